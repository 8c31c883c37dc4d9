"""Everything QuokkaQ stands on is killed, stopped and cut off, one by one, under a gunicorn that is probed all the while."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.db import connection

from quokkaq.lib.postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.conftest import needed
from tests.processes import ROOT, environment, free_port, wait_for
from tests.services import clamd as scanner
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.s3_server import BUCKET, S3Server

pytestmark = [pytest.mark.drill, pytest.mark.django_db]

FAULT_SECONDS = 1.5
RECOVERY_SECONDS = 5.0
KINDS = ("killed", "stopped", "cut off")
HEARTBEAT = "SELECT extract(epoch FROM clock_timestamp() - max(last_heartbeat)) FROM procrastinate_workers"


@dataclass
class Answer:
    """One answer to a probe: when it was asked for and when it came, by the monotonic clock."""

    asked: float
    came: float
    status: int
    body: dict[str, Any]


@dataclass
class Probing:
    """Probes in a loop, each over a new connection, as a balancer does."""

    port: int
    path: str
    answers: list[Answer] = field(default_factory=list)

    def run(self, until: threading.Event) -> None:
        while not until.is_set():
            self.answers.append(probe(self.port, self.path))
            time.sleep(0.05)

    def first(self, fits: Callable[[Answer], bool], *, since: float, within: float) -> float:
        """Return how long after `since` the first fitting answer came; fail when none does in time (and some more)."""
        ends = since + within + 20
        while time.monotonic() < ends:
            for answer in list(self.answers):
                if answer.asked >= since and fits(answer):
                    return answer.came - since
            time.sleep(0.02)
        raise AssertionError(f"{self.path} never said so; last: {self.answers[-1]}")


def probe(port: int, path: str) -> Answer:
    asked = time.monotonic()
    client = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request("GET", path)
        response = client.getresponse()
        status, body = response.status, json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        status, body = 0, {"error": repr(error)}
    finally:
        client.close()
    return Answer(asked, time.monotonic(), status, body)


@dataclass
class Part:
    """Something QuokkaQ stands on: who it is, how it is started again, the way to it, and which check sees it."""

    name: str
    check: str
    processes: Callable[[], list[int]]
    start: Callable[[], None]
    is_up: Callable[[], object]
    proxy: FaultProxy

    def fault(self, kind: str) -> None:
        if kind == "cut off":
            self.proxy.black_hole()
            return
        for process in self.processes():
            os.kill(process, signal.SIGKILL if kind == "killed" else signal.SIGSTOP)

    def heal(self, kind: str) -> None:
        if kind == "cut off":
            self.proxy.heal()
        elif kind == "stopped":
            for process in self.processes():
                os.kill(process, signal.SIGCONT)
        else:
            self.start()
            wait_for(self.is_up, seconds=30, what=self.name)


class Postgres:
    """A database server of its own, with a copy of the test database."""

    def __init__(self, home: Path) -> None:
        self.server = EmbeddedPostgres(home, durable=False)
        self.server._prepare()
        self.server._initialise()
        self.start()
        self.server._psql('CREATE DATABASE "quokkaq"')
        self.server._psql("CREATE ROLE quokkaq_web")
        embedded = settings.EMBEDDED_POSTGRES
        assert embedded is not None
        dump = home / "dump"
        address = connection.settings_dict
        embedded._run("pg_dump", "-Fc", "-h", address["HOST"], "-U", "postgres", "-f", str(dump), address["NAME"])
        self.server._run(
            "pg_restore", "-h", str(self.server.socket_directory), "-U", "postgres", "-d", "quokkaq", str(dump)
        )

    @property
    def socket(self) -> str:
        return f"{self.server.socket_directory}/.s.PGSQL.5432"

    def start(self) -> None:
        def starts() -> bool:
            # After a kill, the last of its processes go a moment later, and hold the shared memory until then.
            (self.server.data / "postmaster.pid").unlink(missing_ok=True)
            try:
                self.server._start()
            except EmbeddedPostgresError:
                return False
            return True

        wait_for(starts, what="PostgreSQL")

    def processes(self) -> list[int]:
        try:
            postmaster = int((self.server.data / "postmaster.pid").read_text().split()[0])
            return [postmaster, *(child.pid for child in psutil.Process(postmaster).children(recursive=True))]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    def ask(self, query: str) -> Any:
        host = str(self.server.socket_directory)
        with psycopg.connect(host=host, user="postgres", dbname="quokkaq", connect_timeout=2) as asked:
            row = asked.execute(query.encode()).fetchone()
            return row and row[0]

    def is_up(self) -> bool:
        try:
            return bool(self.ask("SELECT 1"))
        except psycopg.Error:
            return False

    def stop(self) -> None:
        for process in self.processes():
            os.kill(process, signal.SIGKILL)


class Program:
    """A process that can be started again."""

    def __init__(self, command: list[str], **variables: str) -> None:
        self.command, self.variables = command, variables
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.stop()
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=environment(**self.variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def processes(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid]

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Site:
    """A web server with all its parts, ready."""

    port: int
    web: psutil.Process
    parts: list[Part]


@pytest.fixture(scope="module")
def site(django_db_setup: None, django_db_blocker: Any) -> Iterator[Site]:
    programs = {name: needed(name) for name in ("redis-server", "clamd")}
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    with ExitStack() as stack, django_db_blocker.unblock():
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield stack.enter_context(running_site(folder, programs))


@contextmanager
def running_site(folder: Path, programs: dict[str, str]) -> Iterator[Site]:
    with ExitStack() as stack:
        postgres = Postgres(folder / "pg")
        stack.callback(postgres.stop)
        database = stack.enter_context(fault_proxy(postgres.socket))
        workers_database = stack.enter_context(fault_proxy(postgres.socket))
        redis_port, s3_port = free_port(), free_port()
        to_redis = stack.enter_context(fault_proxy(("127.0.0.1", redis_port)))
        to_s3 = stack.enter_context(fault_proxy(("127.0.0.1", s3_port)))
        cache = Program([programs["redis-server"], "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""])
        bucket = Program([sys.executable, "-m", "tests.services.s3_server", "--port", str(s3_port)])
        (folder / "clamd").mkdir()
        clamd = stack.enter_context(restartable_clamd(folder / "clamd", programs["clamd"]))
        to_clamd = stack.enter_context(fault_proxy(f"{folder}/clamd/socket"))
        worker = Program(
            [sys.executable, "manage.py", "procrastinate", "worker"],
            DATABASE_URL=f"postgres://postgres@127.0.0.1:{workers_database.port}/quokkaq", TASK_STALLED_AFTER_SECONDS="1",
        )  # fmt: skip
        for program in (cache, bucket, worker):
            program.start()
            stack.callback(program.stop)

        # Made once: making one takes so long that the probes of this process would be late.
        to_bucket = S3Server(f"http://127.0.0.1:{s3_port}").client()

        def works() -> bool:
            silent = postgres.ask(HEARTBEAT)
            return silent is not None and silent < 0.5

        def serves() -> bool:
            try:
                return redis.Redis(port=redis_port, socket_timeout=1).ping() is True
            except redis.RedisError:
                return False

        parts = [
            Part("worker", "queue", worker.processes, worker.start, works, workers_database),
            Part("Redis", "cache", cache.processes, cache.start, serves, to_redis),
            Part("S3", "storage", bucket.processes, bucket.start, lambda: bucket_is_there(to_bucket), to_s3),
            Part(
                "clamd", "scanner", clamd.processes, clamd.start, lambda: scans(folder / "clamd" / "socket"), to_clamd
            ),
            # Last: the task worker ends when its database does, for its supervisor to start it again.
            Part("PostgreSQL", "database", postgres.processes, postgres.start, postgres.is_up, database),
        ]
        for part in parts:
            wait_for(part.is_up, seconds=60, what=part.name)
        port = free_port()
        web = subprocess.Popen(
            # Thousands of probes would have the processes replaced by new ones in the middle of it.
            [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "--max-requests", "0", "quokkaq.wsgi"], cwd=ROOT,
            env=environment(
                QUOKKAQ_MODE="demo", PORT=str(port), WEB_WORKERS="2", SECRET_KEY=settings.SECRET_KEY, LOG_LEVEL="ERROR",
                DATABASE_URL=f"postgres://postgres@127.0.0.1:{database.port}/quokkaq",
                REDIS_URL=f"redis://127.0.0.1:{to_redis.port}/0", CLAMD_URL=f"tcp://127.0.0.1:{to_clamd.port}",
                MEDIA_ROOT=str(folder / "media"), **S3Server(f"http://127.0.0.1:{to_s3.port}").environment(),
                HEALTH_WORKER_DEGRADED_SECONDS="1",
                HEALTH_WORKER_DOWN_SECONDS="3600", HEALTH_QUEUE_DEGRADED_SECONDS="3600",
                HEALTH_QUEUE_DOWN_SECONDS="3600", HEALTH_DISK_DEGRADED_PERCENT="101", HEALTH_DISK_DOWN_PERCENT="101",
                HEALTH_MEMORY_DEGRADED_PERCENT="101", HEALTH_MEMORY_DOWN_PERCENT="101",
            ),
        )  # fmt: skip
        stack.callback(end, web)
        wait_for(lambda: probe(port, "/api/v1/startup").status == 200, seconds=60, what="the start")
        yield Site(port, psutil.Process(web.pid), parts)


def bucket_is_there(client: Any) -> bool:
    try:
        client.head_bucket(Bucket=BUCKET)
    except (BotoCoreError, ClientError):
        return False
    return True


@contextmanager
def restartable_clamd(folder: Path, program: str) -> Iterator[Program]:
    with scanner.clamd(folder) as running:
        found = Program([program, "--config-file", str(folder / "clamd.conf")])
        found.process = running.process
        try:
            yield found
        finally:
            found.stop()


def scans(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(1)
        try:
            asked.connect(str(path))
            asked.sendall(b"zPING\0")
            return asked.recv(10).startswith(b"PONG")
        except OSError:
            return False


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Measured:
    """What one fault looked like from outside, in seconds."""

    part: str
    kind: str
    status: int
    fault: float
    recovery: float
    slowest_ready: float
    slowest_health: float

    @property
    def within_limits(self) -> bool:
        return self.fault < FAULT_SECONDS and self.recovery < RECOVERY_SECONDS and self.slowest_ready < FAULT_SECONDS

    def __str__(self) -> str:
        return (
            f"{self.part:<10} {self.kind:<8} {self.status}  {self.fault:5.2f} s  {self.recovery:5.2f} s"
            f"  {self.slowest_ready:5.2f} s  {self.slowest_health * 1000:5.0f} ms"
        )


HEADING = "part       fault    says  seen in  back in  slowest  /health"


def drill(site: Site, part: Part, kind: str) -> Measured:
    """Break one part, wait until the probes say so, mend it, wait until they say that."""
    needed_here = part.check in ("database", "cache", "storage")

    def is_seen(answer: Answer) -> bool:
        state = answer.body.get("checks", {}).get(part.check)
        return answer.status == (503 if needed_here else 200) and state in ("down", "degraded")

    def is_well(answer: Answer) -> bool:
        return answer.status == 200 and answer.body["checks"].get(part.check) == "up"

    ready, health = Probing(site.port, "/api/v1/ready"), Probing(site.port, "/health")
    over = threading.Event()
    threads = [threading.Thread(target=probing.run, args=[over]) for probing in (ready, health)]
    for thread in threads:
        thread.start()
    try:
        ready.first(is_well, since=time.monotonic(), within=RECOVERY_SECONDS)
        broken = time.monotonic()
        part.fault(kind)
        fault = ready.first(is_seen, since=broken, within=FAULT_SECONDS)
        # It stays so for a while.
        time.sleep(1)
        assert is_seen(ready.answers[-1]), ready.answers[-1]
        part.heal(kind)
        recovery = ready.first(is_well, since=time.monotonic(), within=RECOVERY_SECONDS)
    finally:
        over.set()
        for thread in threads:
            thread.join(15)
    assert {answer.status for answer in health.answers} == {200}
    assert len(health.answers) > 10
    slowest = [max(answer.came - answer.asked for answer in probing.answers) for probing in (ready, health)]
    return Measured(part.name, kind, 503 if needed_here else 200, fault, recovery, *slowest)


def test_each_fault_is_seen_in_time_and_so_is_its_end(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    measured = [drill(site, part, kind) for part in site.parts for kind in KINDS]
    with capsys.disabled():
        print("", HEADING, *measured, sep="\n")
    assert [one for one in measured if not one.within_limits] == []
    # /health has nothing to wait for but its turn.
    assert max(one.slowest_health for one in measured) < 0.75


def test_a_flood_of_probes_leaves_room_while_the_database_hangs(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Forty probers at once, as fast as they can: neither threads nor connections run out."""
    postgres = next(part for part in site.parts if part.check == "database")
    over = threading.Event()

    def flood(_: int) -> int:
        count = 0
        while not over.is_set():
            assert probe(site.port, "/api/v1/ready").status in (200, 503)
            count += 1
        return count

    def connections() -> int:
        """Return how many connections the web processes have to the database."""
        found = [link for process in site.web.children() for link in process.net_connections("tcp")]
        return sum(1 for link in found if link.raddr and link.raddr.port == postgres.proxy.port)

    with ThreadPoolExecutor(40) as probers:
        counts = probers.map(flood, range(40))
        time.sleep(1)
        postgres.fault("cut off")
        try:
            time.sleep(1.5)
            alive = [probe(site.port, "/health") for _ in range(20)]
            hanging = max(connections() for _ in range(10))
        finally:
            postgres.heal("cut off")
            over.set()
        asked = sum(counts)
    slowest = max(answer.came - answer.asked for answer in alive)
    with capsys.disabled():
        print(f"\n{asked} probes; {hanging} connections hang; slowest /health {slowest * 1000:.0f} ms")
    assert {answer.status for answer in alive} == {200}
    assert slowest < 0.75
    # Of each of two processes: three checks that ask the database.
    assert hanging <= 2 * 3
