"""PgBouncer in transaction mode, as ops/pgbouncer has it, before a real cluster: the same tests, and nobody sees others' rows."""

import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import clusters
from tests.clusters import Cluster
from tests.conftest import needed
from tests.processes import ROOT, end, environment, free_port, wait_for
from tests.recovery import measured
from tests.serving import Browser, Load, Place, rows, web

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("connections")]

# The part of the suite that is run through it: whose rows are shown, writing, searching and signing in.
MATRIX = (
    "tests/quokkaq/test_tenancy.py",
    "tests/forum/test_asking.py",
    "tests/forum/test_search.py",
    "tests/accounts/test_signing_in.py",
)
POOL = 3


class PgBouncer:
    def __init__(self, cluster: Cluster, home: Path) -> None:
        self.port, self.home = free_port(), home
        program = needed("pgbouncer", "/usr/sbin/pgbouncer")
        (home / "users.txt").write_text('"postgres" ""\n"quokkaq_web" ""\n')
        text = (ROOT / "ops" / "pgbouncer" / "pgbouncer.ini").read_text()
        for name, value in {
            "quokkaq": f"host={cluster.host} port={cluster.port}", "listen_port": self.port, "auth_type": "trust",
            "auth_file": f"{home}/users.txt", "default_pool_size": POOL, "reserve_pool_size": 0,
        }.items():  # fmt: skip
            text, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
            assert found == 1, name
        # The database of the tests that are run through it.
        text = text.replace(
            "[pgbouncer]\n", f"* = host={cluster.host} port={cluster.port}\n[pgbouncer]\nunix_socket_dir =\n"
        )
        (home / "pgbouncer.ini").write_text(text)
        command = [program, "-q", str(home / "pgbouncer.ini")]
        if clusters.account():
            user = clusters.account()
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        self.process = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, what="PgBouncer")

    def _answers(self) -> bool:
        assert self.process.poll() is None, "PgBouncer ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def url(self, user: str = "quokkaq_web") -> str:
        return f"postgres://{user}@127.0.0.1:{self.port}/quokkaq"


@pytest.fixture(scope="module")
def bouncer(place: Place) -> Iterator[PgBouncer]:
    with clusters.folder() as home:
        made = PgBouncer(place.cluster, home)
        # As `migrate` leaves it where PgBouncer is: the role brings the time-outs.
        with place.cluster.connect("quokkaq") as owner:
            owner.execute("ALTER ROLE quokkaq_web SET statement_timeout = 15000")
        yield made
        with place.cluster.connect("quokkaq") as owner:
            owner.execute("ALTER ROLE quokkaq_web RESET ALL")
        end(made.process)


def test_the_tests_pass_through_it(place: Place, bouncer: PgBouncer) -> None:
    # Migrations need the server itself.
    place.cluster.ask("DROP DATABASE IF EXISTS test_quokkaq WITH (FORCE)")
    place.cluster.ask("CREATE DATABASE test_quokkaq")
    direct = place.cluster.url("test_quokkaq")
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True, timeout=300,
        env=environment(DATABASE_URL=direct, OWNER_DATABASE_URL=direct),
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-q", "--reuse-db", "-m", "not drill", "-p", "no:cacheprovider", *MATRIX],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=900,
        env=environment(
            DATABASE_URL=bouncer.url("postgres"), OWNER_DATABASE_URL=bouncer.url("postgres"), DATABASE_BEHIND_PGBOUNCER="yes",
        ),
    )  # fmt: skip
    place.cluster.ask("DROP DATABASE test_quokkaq WITH (FORCE)")
    assert done.returncode == 0, done.stdout[-4000:]
    last = done.stdout.strip().splitlines()[-1]
    measured("connections", note="tests run through PgBouncer in transaction mode", said=last)


def test_readers_of_two_institutions_share_three_connections_and_see_their_own(
    place: Place, bouncer: PgBouncer
) -> None:
    seen = []
    with web(
        place.cluster, DATABASE_URL=bouncer.url(), DATABASE_BEHIND_PGBOUNCER="yes", DATABASE_POOL_WAIT_SECONDS="10"
    ) as server:
        load = Load(lambda: server.port)
        for name in ("sam", "noor", "tim"):
            load.reader(
                place.cookies[name],
                "/c/cs-101/",
                "/c/cs-101/search/?q=empty",
                holds="at home?",
                lacks="away?",
            )
            load.reader(
                place.cookies["eve"],
                "/c/cs-101/",
                "/c/cs-101/search/?q=empty",
                holds="away?",
                lacks="at home?",
            )
        load.writer(place.cookies["sam"], place.threads["home"], pause=0.3)
        with load.running():
            for _ in range(30):
                seen.append(
                    rows(place.cluster, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'quokkaq_web'")[0]
                )
                time.sleep(0.2)
    measured(
        "connections", note="two institutions through PgBouncer in transaction mode", backends=max(seen),
        pages=load.counts()[200], wrong=len(load.wrong), failed=len(load.failures()),
    )  # fmt: skip
    assert not load.failures(), load.counts()
    assert not load.wrong, load.wrong[:3]
    # Also what probes look at goes through it.
    assert 0 < max(seen) <= POOL
    assert load.posted


def test_a_worker_hears_of_jobs_at_once_on_a_line_of_its_own(place: Place, bouncer: PgBouncer) -> None:
    variables = {
        "QUOKKAQ_MODE": "demo", "DATABASE_URL": bouncer.url(), "DATABASE_BEHIND_PGBOUNCER": "yes",
        "OWNER_DATABASE_URL": place.cluster.url("quokkaq"), "TASKS_DATABASE_URL": place.cluster.url("quokkaq", "quokkaq_web"),
        "LOG_LEVEL": "CRITICAL",
    }  # fmt: skip
    jobs = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND scheduled_at IS NULL"
    with web(place.cluster, DATABASE_URL=bouncer.url(), DATABASE_BEHIND_PGBOUNCER="yes") as server:
        # It looks for itself once in ten minutes only: what it does, it was told of.
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "procrastinate", "worker", "--fetch-job-polling-interval", "600"],
            cwd=ROOT, env=environment(**variables), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            listens = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            wait_for(lambda: rows(place.cluster, listens)[0], seconds=60, what="the worker to listen")
            wait_for(
                lambda: rows(place.cluster, jobs)[0] == 0, seconds=90, what="the worker to have done what was there"
            )
            before = rows(place.cluster, "SELECT count(*) FROM procrastinate_jobs")[0]
            sam = Browser(lambda: server.port, place.cookies["sam"])
            fields = {"body": "Heard?", "form_key": str(uuid.uuid4()), "anonymity": "named"}
            assert sam.ask("POST", f"/c/cs-101/{place.threads['home']}/reply/", fields)[0] == 302
            assert rows(place.cluster, "SELECT count(*) FROM procrastinate_jobs")[0] > before
            wait_for(lambda: rows(place.cluster, jobs)[0] == 0, seconds=30, what="the worker to be told")
        finally:
            end(worker, seconds=30)
