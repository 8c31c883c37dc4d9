"""A region is lost: two network namespaces, the replica and the mirror of the second take over, and the first stays shut."""

import io
import os
import secrets
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.urls import reverse

from quokkaq.lib.storage import FILES, S3Store, StoreError
from tests.clusters import Cluster, folder, variables
from tests.conftest import needed
from tests.processes import ROOT, database_url, end, environment, free_port, wait_for
from tests.recovery import measured
from tests.services.pgbackrest_host import Ledger
from tests.services.s3_server import ACCESS_KEY, BUCKET, REGION, SECRET_KEY

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]
A, B = "qqr-a", "qqr-b"
# This machine reaches each region by an address of its own; between them lies a cable.
ADDRESS = {A: "10.211.1.2", B: "10.211.2.2"}
MIRROR_SECONDS = 0.5
PREPARE = """
from django.conf import settings
from django.test import Client
from quokkaq.lib.database.owner import as_owner
from quokkaq.lib import tenancy
from tests import factories
with as_owner(), tenancy.scope(tenancy.EVERY):
    world = factories.make_world()
    thread = factories.make_thread(world.member("noor"), "Before the outage")
    client = Client()
    client.force_login(world.user("sam"))
print("cookie", client.cookies[settings.SESSION_COOKIE_NAME].value, thread.course.slug, thread.number)
"""


def ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@contextmanager
def regions() -> Iterator[None]:
    """Two network namespaces with a cable to this machine each, and one between them."""
    _remove()
    try:
        for number, name in enumerate((A, B), 1):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip("link", "add", f"{name}0", "type", "veth", "peer", "name", "up0", "netns", name)
            ip("addr", "add", f"10.211.{number}.1/30", "dev", f"{name}0")
            ip("link", "set", f"{name}0", "up")
            ip("-n", name, "addr", "add", f"{ADDRESS[name]}/30", "dev", "up0")
            ip("-n", name, "link", "set", "up0", "up")
        ip("-n", A, "link", "add", "across", "type", "veth", "peer", "name", "across", "netns", B)
        for name, own, other in ((A, "10.211.3.1", B), (B, "10.211.3.2", A)):
            ip("-n", name, "addr", "add", f"{own}/30", "dev", "across")
            ip("-n", name, "link", "set", "across", "up")
            ip("-n", name, "route", "add", f"{ADDRESS[other]}/32", "via", "10.211.3.2" if name == A else "10.211.3.1", "src", ADDRESS[name])  # fmt: skip
        yield
    finally:
        _remove()


def _remove() -> None:
    for name in (A, B):
        ip("netns", "delete", name, check=False)
        ip("link", "delete", f"{name}0", check=False)


def cut(region: str, *, off: bool) -> None:
    """Unplug (or plug in again) every cable of a region."""
    for cable in ("up0", "across"):
        ip("-n", region, "link", "set", cable, "down" if off else "up")


@contextmanager
def s3(region: str) -> Iterator[S3Store]:
    """A region's own S3 endpoint, in a process of its own: what moto holds is a process's."""
    port = free_port()
    process = subprocess.Popen(
        ["ip", "netns", "exec", region, sys.executable, "-m", "tests.services.s3_server", "--port", str(port), "--host", ADDRESS[region]],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert b"endpoint" in process.stdout.readline()
        yield S3Store(BUCKET, f"http://{ADDRESS[region]}:{port}", REGION)
    finally:
        end(process)


class Mirror:
    """Stands in for S3's replication between regions: copies what is new every half second, until the cable is cut."""

    def __init__(self, source: S3Store, target: S3Store) -> None:
        self.source, self.target, self.copied = source, target, set[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(MIRROR_SECONDS):
            with suppress(StoreError, BotoCoreError, ClientError):
                for key in keys(self.source) - self.copied:
                    about = self.source.head(key)
                    assert about is not None
                    file = io.BytesIO(b"".join(self.source.chunks(key)))
                    self.target.put(key, file, content_type=about.content_type, owner=about.owner)
                    self.copied.add(key)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


def keys(store: S3Store) -> set[str]:
    pages = store.client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=FILES)
    return {found["Key"] for page in pages for found in page.get("Contents", [])}


class Web:
    """How a region's web server is started, and what a person with a session does there."""

    def __init__(self, region: str, database: Cluster, files: S3Store, secret: str, home: Path) -> None:
        self.region, self.port, self.pid_file = region, free_port(), home / f"{region}.pid"
        endpoint = files.client.meta.endpoint_url
        self.environment = environment(
            QUOKKAQ_MODE="demo", HOST=ADDRESS[region], PORT=str(self.port), WEB_WORKERS="1", SECRET_KEY=secret,
            LOG_LEVEL="ERROR", RATE_WRITES_PER_MINUTE="0", DATABASE_POOL_WAIT_SECONDS="1", AWS_ACCESS_KEY_ID=ACCESS_KEY,
            AWS_SECRET_ACCESS_KEY=SECRET_KEY, AWS_STORAGE_BUCKET_NAME=BUCKET, AWS_S3_ENDPOINT_URL=endpoint,
            AWS_S3_REGION_NAME=REGION, ALLOWED_HOSTS="*", **variables(database),
        )  # fmt: skip
        self.command = [
            "ip", "netns", "exec", region, sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "--pid",
            str(self.pid_file), "quokkaq.wsgi",
        ]  # fmt: skip
        self.ready = f"http://{ADDRESS[region]}:{self.port}/api/v1/ready"

    def request(self, method: str, path: str, cookie: str = "", **form: str) -> int:
        client = HTTPConnection(ADDRESS[self.region], self.port, timeout=5)
        token = secrets.token_hex(16)
        headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}; {settings.CSRF_COOKIE_NAME}={token}"}
        body = None
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode({**form, "csrfmiddlewaretoken": token})
        try:
            client.request(method, path, body=body, headers=headers)
            return client.getresponse().status
        finally:
            client.close()

    def is_ready(self) -> bool:
        with suppress(OSError):
            return self.request("GET", "/api/v1/ready") == 200
        return False

    def kill(self) -> None:
        """End it as a power cut would: the master and its workers."""
        with suppress(OSError, ValueError):
            head = self.pid_file.read_text().strip()
            children = subprocess.run(["ps", "-o", "pid=", "--ppid", head], capture_output=True, text=True, check=False)
            for process in (head, *children.stdout.split()):
                with suppress(ProcessLookupError):
                    os.kill(int(process), 9)


class Flow:
    """What people do all the time: replies over the web, files into storage; what was acknowledged, and when."""

    def __init__(self, act: Callable[[str], bool], pause: float) -> None:
        self.acknowledged: dict[str, float] = {}
        self._act, self._pause, self._stop = act, pause, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            name = uuid.uuid4().hex
            with suppress(OSError, StoreError):
                if self._act(name):
                    self.acknowledged[name] = time.time()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)


def manage(web: Web, *arguments: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", web.region, sys.executable, "manage.py", *arguments], cwd=ROOT, env=web.environment,
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _copy_database(server: Cluster) -> None:
    """Give a server QuokkaQ's schema as this session's migrations made it, and the web's account."""
    server.ask("CREATE ROLE quokkaq_web LOGIN")
    server.ask("CREATE DATABASE quokkaq")
    dump = subprocess.Popen([str(server.bin / "pg_dump"), "--format=custom", database_url()], stdout=subprocess.PIPE)
    subprocess.run(
        ["ip", "netns", "exec", server.namespace, str(server.bin / "pg_restore"), "--dbname", server.url("quokkaq"), "--no-owner"],
        stdin=dump.stdout, check=True,
    )  # fmt: skip
    assert dump.wait() == 0


def test_a_lost_region_is_taken_over_without_losing_an_acknowledged_row(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    needed("ip")
    needed("curl")
    with ExitStack() as stack:
        stack.enter_context(regions())
        home = stack.enter_context(folder())
        files = {region: stack.enter_context(s3(region)) for region in (A, B)}
        first = Cluster(home, "region_a", host=ADDRESS[A], namespace=A).init()
        second = Cluster(home, "region_b", host=ADDRESS[B], namespace=B)
        for server in (first, second):
            stack.callback(server.stop, "immediate")
        first.start()
        secret = secrets.token_urlsafe(64)
        web_a, web_b = (
            Web(region, server, files[region], secret, home) for region, server in ((A, first), (B, second))
        )
        for web in (web_a, web_b):
            stack.callback(web.kill)
        _copy_database(first)
        said = manage(web_a, "shell", "--no-imports", "-c", PREPARE)
        cookie, slug, number = next(line for line in said.splitlines() if line.startswith("cookie ")).split()[1:]
        Ledger.create(first)
        second.follow(first).start()
        first.set(synchronous_standby_names="region_b")
        first.reload()
        wait_for(
            lambda: first.ask("SELECT sync_state FROM pg_stat_replication") == "sync", what="a synchronous replica"
        )
        subprocess.Popen(web_a.command, cwd=ROOT, env=web_a.environment)
        wait_for(web_a.is_ready, seconds=90, what="the first region's web")
        script = _settings(home, web_a, web_b, first, second)

        # Nobody takes over from a region that is there.
        refused = subprocess.run(script, capture_output=True, text=True, check=False)
        assert refused.returncode == 3, refused.stderr
        assert "the first region is there" in refused.stderr
        assert second.ask("SELECT pg_is_in_recovery()")

        path = reverse("forum:reply", args=[slug, number])
        replies = Flow(
            lambda name: web_a.request("POST", path, cookie, body=f"Reply {name}", anonymity="named") == 302, 0.05
        )
        uploads = Flow(lambda name: _upload(files[A], name), 0.1)
        mirror = Mirror(files[A], files[B])
        ledger = Ledger(first, home / "ledger")
        ledger.start()
        for flow in (replies, uploads, ledger):
            wait_for(lambda flow=flow: len(flow.acknowledged) > 20, seconds=60, what="twenty acknowledgements")  # type: ignore[misc]
        wait_for(lambda: mirror.copied, what="a mirrored file")

        # The outage: no cable, no process.
        cut(A, off=True)
        lost_at = time.time()
        web_a.kill()
        first.kill()
        done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=150)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_for(
            lambda: web_b.request("POST", path, cookie, body="Still here", anonymity="named") == 302,
            what="a reply in the second region",
        )
        rto = time.time() - lost_at
        for writer in (replies, uploads, ledger, mirror):
            writer.stop()

        # Rows: none that was acknowledged is gone.
        there = {body for (body,) in second.connect("quokkaq").execute("SELECT body FROM forum_post")}
        assert len(replies.acknowledged) > 10
        rows_lost = {name for name in replies.acknowledged if f"Reply {name}" not in there}
        ledger_lost = set(ledger.acknowledged) - Ledger(second, ledger.file).rows()
        # Files: what the mirror hadn't copied yet.
        assert len(uploads.acknowledged) > 10
        mirrored = {key.rpartition("/")[2] for key in keys(files[B])}
        missing = [at for name, at in uploads.acknowledged.items() if name not in mirrored]
        seconds_of_files = lost_at - min(missing, default=lost_at)
        measured(
            "region_outage", note="from the cut of every cable to the first reply in the second region, the script begun at once",
            first_write_seconds=rto, rows_acknowledged=len(ledger.acknowledged) + len(replies.acknowledged),
            rows_lost=len(rows_lost) + len(ledger_lost), files_acknowledged=len(uploads.acknowledged), files_lost=len(missing),
            files_lost_seconds=seconds_of_files, mirror_every_seconds=MIRROR_SECONDS,
        )  # fmt: skip
        assert not rows_lost
        assert not ledger_lost
        assert rto < 60
        assert seconds_of_files < 60

        # The first comes back, cables and all: it can't commit, its replica was taken from it.
        cut(A, off=False)
        first.start()
        assert first.is_up()
        again = subprocess.run(script, capture_output=True, text=True, check=False, timeout=150)
        assert again.returncode == 3, again.stdout
        assert _waits_for_ever(first)
        assert second.ask("SELECT count(*) FROM ledger WHERE number < 0") == 0


def _upload(store: S3Store, name: str) -> bool:
    store.put(f"{FILES}{name}", io.BytesIO(secrets.token_bytes(20_000)), content_type="image/png", owner="drill")
    return True


def _waits_for_ever(server: Cluster) -> bool:
    """Tell whether a commit is still unanswered after three seconds."""
    answered = threading.Event()

    def write() -> None:
        with suppress(psycopg.Error), server.connect() as connection:
            connection.execute("INSERT INTO ledger VALUES (-1, 'written behind everybody''s back')")
            answered.set()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    unanswered = not answered.wait(3)
    waiting = server.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    server.stop("immediate")
    thread.join(10)
    return unanswered and waiting == 1 and not answered.is_set()


def _settings(home: Path, away: Web, here: Web, first: Cluster, second: Cluster) -> list[str]:
    """Write what region.sh needs to know of both; return the command that runs it in the second region."""
    start = home / "start.sh"
    exported = "".join(f"export {name}='{value}'\n" for name, value in here.environment.items() if "'" not in value)
    start.write_text(f"cd {ROOT}\n{exported}setsid {' '.join(here.command[4:])} >{home}/web.log 2>&1 &\n")
    values = {
        "AWAY_READY": away.ready, "AWAY_DATABASE": f"host={first.host} port={first.port} user=postgres dbname=postgres",
        "STANDBY": f"host={second.host} port={second.port} user=postgres dbname=postgres", "PSQL": second.bin / "psql",
        "START": f"sh {start}", "READY": here.ready, "READY_SECONDS": 50, "DNS": "forum.example.edu A 192.0.2.20",
    }  # fmt: skip
    (home / "region").write_text("".join(f'{name}="{value}"\n' for name, value in values.items()))
    return ["ip", "netns", "exec", B, "sh", str(ROOT / "ops/failover/region.sh"), str(home / "region")]
