"""The database's primary is killed, cut off or changed, under writes: nothing that was acknowledged is lost, nobody acknowledges twice."""

import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from urllib.parse import urlencode

import psycopg
import pytest

from tests.clusters import Cluster, variables
from tests.conftest import needed
from tests.processes import ROOT, end, environment, free_port, wait_for
from tests.recovery import measured
from tests.services.failover import Pair, Writer, entries, lost, pair
from tests.services.network import Network, network

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("failover")]

ROUNDS = int(os.environ.get("FAILOVER_ROUNDS", "3"))
PAGE_ROUNDS = 2

_figures: dict[str, float] = {}


def database_failure(**figures: float) -> None:
    """Two drills measure this scenario: rows written to the database, and replies of people."""
    _figures.update(figures)
    measured(
        "database_failure", note="kill -9 of the primary, under writes through PgBouncer and under people's replies",
        longest_seconds=max(value for name, value in _figures.items() if name.endswith("_longest_seconds")),
        lost_rows=int(sum(value for name, value in _figures.items() if name.endswith("_lost"))), **_figures,
    )  # fmt: skip


def failover(drill: Pair, writers: list[Writer]) -> float:
    """Kill the primary; return seconds until the next write is acknowledged. The old primary is a synchronous standby then."""
    old = drill.primary
    killed = time.monotonic()
    old.kill()
    dead = time.monotonic()
    wait_for(lambda: first(writers, dead) < math.inf, seconds=30, what="a write")
    took = first(writers, dead) - killed
    wait_for(lambda: drill.primary is not old, what="the state to say so")
    drill.script("rejoin.sh", old.name, on=old.name)
    drill.wait_for_sync()
    assert old.ask("SELECT pg_is_in_recovery()") is True
    return took


def first(writers: list[Writer], moment: float) -> float:
    return min(writer.first_after(moment) for writer in writers)


def test_killed_primaries_lose_nothing_that_was_acknowledged() -> None:
    needed("pgbouncer")
    with pair() as drill:
        writers = [drill.write(f"w{number}") for number in range(3)]
        wait_for(lambda: all(len(writer.acknowledged) > 50 for writer in writers), what="writes")
        times = [failover(drill, writers) for _ in range(ROUNDS)]
        for writer in writers:
            writer.stop()
        there = entries(drill.primary)
        missing = lost(writers, there)
        acknowledged = sum(len(writer.acknowledged) for writer in writers)
        wait_for(lambda: entries(drill.standby) == there, what="the standby to have the same")
        database_failure(
            rounds=ROUNDS, median_seconds=statistics.median(times), row_longest_seconds=max(times), rows_acknowledged=acknowledged,
            rows_lost=len(missing),
        )  # fmt: skip
    assert missing == set()
    assert max(times) < 10


def test_a_standby_is_promoted_only_when_it_has_everything_and_the_primary_is_gone() -> None:
    needed("pgbouncer")
    with pair("debian", settings={"AUTOMATIC": "no"}) as drill:
        alpha, beta = drill.nodes.values()

        def refusal(*arguments: str) -> str:
            done = drill.script("promote.sh", *arguments, check=False)
            assert done.returncode == 1
            assert beta.ask("SELECT pg_is_in_recovery()") is True
            return done.stdout

        assert "alpha answers" in refusal("--data-loss-accepted", "--primary-is-off")
        alpha.kill()
        wait_for(lambda: int(drill.state["failures"]) > 3, what="the primary to be missed")
        known = drill.state
        drill.know(known, mode="alone")
        assert "acknowledged without beta" in refusal()
        assert "pull its plug" in refusal("--data-loss-accepted")
        drill.know(known, seen="1")
        assert "too long" in refusal()
        drill.know(known, flush_lsn="FF/0")
        assert "had confirmed up to FF/0" in refusal()
        # Interrupted when it had just promoted, and the old primary comes back: it must not go on alone.
        drill.know(known, mode="handover")
        beta.promote()
        alpha.start()
        time.sleep(6)
        assert alpha.ask("SHOW synchronous_standby_names") == "ANY 1 (beta)"
        # Nor when beta was promoted by other hands.
        drill.know(known)
        wait_for(lambda: "by other hands" in drill.said(), what="the watch to notice")
        assert alpha.ask("SHOW synchronous_standby_names") == "ANY 1 (beta)"
        drill.know(known, mode="handover")
        said = drill.script("promote.sh").stdout
        assert "interrupted: going on" in said
        assert "alpha is stopped" in said
        assert drill.primary is beta
        drill.write("after")
        wait_for(lambda: drill.writers[0].acknowledged, what="writes through the pooler")
        drill.script("rejoin.sh", "alpha", on="alpha")
        drill.wait_for_sync()
        # Who took over is never rewound to who was before.
        drill.writers[0].stop()
        for refused in ("make-standby.sh", "rejoin.sh"):
            done = drill.script(refused, "beta", check=False, on="beta")
            assert (done.returncode, beta.ask("SELECT pg_is_in_recovery()")) == (1, False), done.stdout
        assert lost(drill.writers, entries(alpha)) == set()


# The network is cut


@pytest.fixture
def wires() -> Iterator[Network]:
    needed("ip")
    needed("iptables")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with network("alpha", "beta", "watch", "clients") as made:
        yield made


def test_a_cut_network_never_has_two_that_acknowledge(wires: Network) -> None:
    needed("pgbouncer")
    hosts = wires.addresses
    with pair(
        "debian", hosts=(hosts["alpha"], hosts["beta"]), namespaces=(wires.namespace("alpha"), wires.namespace("beta")),
        watcher=wires.namespace("watch"), pooler_host=hosts["watch"], pooler_port=6432,
        # Nobody can be stopped through a network that is cut.
        settings={"FENCE_COMMAND": "false", "STANDBY_LOST": "wait"},
    ) as drill:  # fmt: skip
        alpha, beta = drill.nodes["alpha"], drill.nodes["beta"]
        # As QuokkaQ has it: a time limit on statements must not end the wait for the standby with an acknowledgement.
        to_alpha, to_beta = (
            drill.write(
                f"to_{server.name}", server.url("ledger"), wires.namespace("clients"), "-c statement_timeout=1000"
            )
            for server in (alpha, beta)
        )
        pooled = drill.write("pooled", namespace=wires.namespace("clients"))
        writers = [to_alpha, to_beta, pooled]
        wait_for(lambda: len(to_alpha.acknowledged) > 20 < len(pooled.acknowledged), what="writes")

        # Primary and standby don't see each other, everybody else sees both; by the rule, writes wait.
        wires.cut("alpha", "beta")
        time.sleep(1)
        quiet = time.monotonic()
        time.sleep(7)
        assert first(writers, quiet) == math.inf, "a commit was acknowledged that is in one place only"
        assert drill.primary is alpha
        wires.heal()
        wait_for(lambda: first(writers, quiet) < math.inf, what="writes to go on")
        drill.wait_for_sync()

        # The standby is cut off; by the other rule, the primary goes on alone, and nobody may be promoted from then on.
        drill.watch_by(STANDBY_LOST="continue")
        cut = time.monotonic()
        wires.cut("beta", "alpha", "watch")
        wait_for(lambda: to_alpha.first_after(cut + 2) < math.inf, what="writes to go on alone")
        alone = min(first([to_alpha], cut + 2), first([pooled], cut + 2)) - cut
        assert drill.state["mode"] == "alone"
        # Now the primary is cut off from where it is watched, and the standby is back there: it lacks what was written meanwhile.
        wires.heal("beta", "watch")
        wires.cut("alpha", "watch")
        wait_for(lambda: "lose data" in drill.said(), what="a promotion to be refused")
        time.sleep(3)
        assert beta.ask("SELECT pg_is_in_recovery()") is True
        moment = time.monotonic()
        wait_for(lambda: to_alpha.first_after(moment) < math.inf, what="the primary to go on for who reaches it")
        assert drill.script("promote.sh", "--data-loss-accepted", check=False).returncode == 1, "not fenced"
        wires.heal()
        drill.wait_for_sync()
        assert not to_beta.acknowledged

        # The primary is cut off from its standby and from where it is watched; clients still reach it.
        cut = time.monotonic()
        wires.cut("alpha", "beta", "watch")
        done = time.monotonic()
        wait_for(lambda: first([to_beta, pooled], done) < math.inf, seconds=30, what="the other side to take over")
        took = first([to_beta, pooled], done) - cut
        wait_for(lambda: drill.primary is beta, what="the state to say so")
        time.sleep(3)
        wires.heal()
        time.sleep(3)
        assert to_alpha.first_after(done) == math.inf
        assert _last(to_alpha) < first([to_beta], 0), "both acknowledged"
        assert alpha.ask("SELECT pg_is_in_recovery()") is False, "the former primary still believes it is one"
        said = drill.script("rejoin.sh", "alpha", on="alpha").stdout
        assert "rewinding" in said, "nothing was to be taken back"
        drill.wait_for_sync()

        # The primary hangs, is replaced, and wakes up.
        for writer in (to_alpha, to_beta):
            writer.stop()
        past = [to_alpha, to_beta]
        to_alpha, to_beta = (drill.write(f"again_{writer.name}", writer.url, writer.namespace) for writer in past)
        writers = [to_alpha, to_beta, pooled]
        wait_for(lambda: len(to_beta.acknowledged) > 20, what="writes")
        frozen = time.monotonic()
        beta.freeze()
        wait_for(lambda: first([to_alpha, pooled], frozen + 1) < math.inf, seconds=30, what="the other to take over")
        hung = first([to_alpha, pooled], frozen + 1) - frozen
        beta.thaw()
        time.sleep(3)
        assert _last(to_beta) < first([to_alpha], 0), "both acknowledged"
        drill.script("rejoin.sh", "beta", on="beta")
        drill.wait_for_sync()

        for writer in writers:
            writer.stop()
        there = entries(drill.primary)
        missing = lost(drill.writers, there)
        wait_for(lambda: entries(drill.standby) == there, what="both to hold the same")
        measured(
            "partition", shapes=4, acknowledged_by_both=0, lost_rows=len(missing), first_write_seconds=took,
            first_write_hung_seconds=hung, alone_seconds=alone,
            note="primary and standby cut off from each other, from the pooler, and hung; writers attached to each side",
        )  # fmt: skip
    assert missing == set()
    assert max(took, hung) < 10


def _last(writer: Writer) -> float:
    """When it was told last that a row is saved."""
    return max(ended for _, ended in writer.acknowledged.values())


# A planned change


def test_a_planned_switch_is_a_wait_and_no_error() -> None:
    needed("pgbouncer")
    with pair("debian") as drill:
        writers = [drill.write(f"w{number}") for number in range(3)]
        wait_for(lambda: all(len(writer.acknowledged) > 50 for writer in writers), what="writes")
        for _ in range(2):
            before = drill.primary
            drill.script("switch.sh")
            assert drill.primary is not before
            drill.wait_for_sync()
        moment = time.monotonic()
        wait_for(lambda: first(writers, moment) < math.inf, what="writes after it")
        # Workers hear of jobs through the session pool, wherever the primary is.
        with psycopg.connect(f"{drill.pooled}_session", autocommit=True) as worker:
            worker.execute("LISTEN jobs")
            drill.primary.ask("NOTIFY jobs", "ledger")
            assert [heard.channel for heard in worker.notifies(timeout=10, stop_after=1)] == ["jobs"]
        for writer in writers:
            writer.stop()
        errors = [error for writer in writers for error in writer.errors]
        there = entries(drill.primary)
        missing = lost(writers, there)
        measured(
            "planned_switch", switches=2, errors=len(errors), lost_rows=len(missing),
            longest_wait_seconds=max(writer.longest for writer in writers),
            acknowledged_rows=sum(len(writer.acknowledged) for writer in writers),
        )  # fmt: skip
        assert drill.script("rejoin.sh", drill.primary.name, check=False, on=drill.primary.name).returncode == 1
    assert (errors, missing) == ([], set())


# With QuokkaQ in front


@dataclass
class Person:
    """Somebody signed in who posts one reply after the other, and remembers which of them were taken."""

    port: int
    cookie: str
    thread: str
    # text → seconds (monotonic) when it was sent, and when the page said that it was posted.
    posted: dict[str, tuple[float, float]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stopped.is_set():
            self.ask("GET", self.thread)
            text = f"Reply {uuid.uuid4()}"
            form = urlencode({"body": text, "anonymity": "named", "form_key": str(uuid.uuid4())})
            # What wasn't taken is sent again, as the same form.
            while not self.stopped.is_set():
                began = time.monotonic()
                if self.ask("POST", f"{self.thread}reply/", form) == 302:
                    self.posted[text] = (began, time.monotonic())
                    break
                self.stopped.wait(0.2)
            self.stopped.wait(0.1)

    def ask(self, method: str, path: str, form: str | None = None) -> int:
        token = "t" * 32
        headers = {"Cookie": f"{self.cookie}; csrftoken={token}", "X-CSRFToken": token}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        client = HTTPConnection("127.0.0.1", self.port, timeout=30)
        client.request(method, path, form, headers)
        response = client.getresponse()
        response.read()
        client.close()
        self.statuses[response.status] += 1
        return response.status


def quokkaq(url: str, owner: str) -> dict[str, str]:
    """The environment of QuokkaQ's processes: pooling as in production, and no limits on how much one person does."""
    return environment(
        QUOKKAQ_MODE="demo", DATABASE_URL=url, OWNER_DATABASE_URL=owner, LOG_LEVEL="ERROR", RATE_READS_PER_MINUTE="0",
        RATE_WRITES_PER_MINUTE="0",
    )  # fmt: skip


def test_people_lose_no_reply_that_was_taken_when_the_primary_is_killed() -> None:
    needed("pgbouncer")
    said = ""

    def prepare(primary: Cluster) -> None:
        nonlocal said
        primary.ask("CREATE DATABASE quokkaq")
        owner = primary.url("quokkaq")
        command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        _run(command, quokkaq(variables(primary)["DATABASE_URL"], owner))
        said = _run([sys.executable, "-m", "tests.services.failover_world"], quokkaq(owner, owner)).splitlines()[-1]

    with pair(databases="quokkaq", prepare=prepare) as drill:
        port = free_port()
        web_url = drill.pooled.replace("//postgres@", "//quokkaq_web@")
        with (drill.home / "web.log").open("wb") as log:
            web = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"], cwd=ROOT, stdout=log, stderr=log,
                env={**quokkaq(web_url, drill.pooled), "DATABASE_BEHIND_PGBOUNCER": "yes", "PORT": str(port), "WEB_WORKERS": "2"},
            )  # fmt: skip
        people = [Person(port, **json.loads(said)) for _ in range(2)]
        try:
            wait_for(lambda: _answers(people[0], "/health"), seconds=60, what="the web server")
            threads = [threading.Thread(target=person.run, daemon=True) for person in people]
            for thread in threads:
                thread.start()
            wait_for(lambda: all(len(person.posted) > 5 for person in people), seconds=60, what="replies")
            times = [_kill_under_people(drill, people) for _ in range(PAGE_ROUNDS)]
            for person in people:
                person.stopped.set()
            for thread in threads:
                thread.join(40)
        finally:
            for person in people:
                person.stopped.set()
            end(web, seconds=40)
        with drill.primary.connect("quokkaq") as connection:
            there = Counter(row[0] for row in connection.execute("SELECT body FROM forum_post"))
    taken = [text for person in people for text in person.posted]
    missing, twice = [text for text in taken if not there[text]], [text for text, times in there.items() if times > 1]
    statuses = sum((person.statuses for person in people), Counter[int]())
    database_failure(
        page_rounds=PAGE_ROUNDS, page_median_seconds=statistics.median(times), page_longest_seconds=max(times),
        replies_taken=len(taken), replies_lost=len(missing), replies_twice=len(twice), answers_503=statuses[503],
        answers_500=statuses[500],
    )  # fmt: skip
    assert (missing, twice) == ([], [])
    assert set(statuses) <= {200, 302, 503}, statuses
    assert max(times) < 10


def _run(command: list[str], variables: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=variables, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _answers(person: Person, path: str) -> bool:
    try:
        return person.ask("GET", path) == 200
    except OSError:
        return False


def _kill_under_people(drill: Pair, people: list[Person]) -> float:
    """Kill the primary; return seconds until a reply is taken that was sent after."""

    def taken(after: float) -> float:
        return min(
            (ended for person in people for began, ended in list(person.posted.values()) if began > after), default=math.inf
        )  # fmt: skip

    old, killed = drill.primary, time.monotonic()
    old.kill()
    dead = time.monotonic()
    wait_for(lambda: taken(dead) < math.inf, seconds=40, what="a reply that is taken")
    took = taken(dead) - killed
    wait_for(lambda: drill.primary is not old, what="the state to say so")
    drill.script("rejoin.sh", old.name, on=old.name)
    drill.wait_for_sync()
    return took
