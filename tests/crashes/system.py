"""QuokkaQ and all it needs, as processes that are restarted when they end."""

import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from django.conf import settings

from tests.clusters import Cluster, folder, variables
from tests.crashes.taps import Tap, tap
from tests.processes import ROOT, end, free_port, wait_for
from tests.services.clamd import PROGRAM, clamd
from tests.services.mail_servers import MailServer
from tests.services.model_servers import ModelServer, Script, lines, serve
from tests.services.s3_server import S3Server, running

DATABASE_SIZE, TEMPORARY_SIZE = "1500m", "64m"
MODEL = "drill-model"
SENTENCE = "A default parameter value is evaluated once, when the function definition is executed."


class Service:
    """A process that is started again when it ends, unless it is `held` down."""

    def __init__(
        self, name: str, command: list[str], environ: dict[str, str], log: Path, *, clock: Path | None = None
    ) -> None:  # fmt: skip
        self.name, self.command, self.environ, self.log = name, command, environ, log
        self.held = False
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.clock = log.with_suffix(".clock")
        if clock is not None:
            self.jump(0)
            self.environ = environ | {"LD_PRELOAD": str(clock), "CLOCK_OFFSET_FILE": str(self.clock)}

    def start(self) -> None:
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        self.starts += 1

    def keep(self) -> None:
        if not self.held and (self.process is None or self.process.poll() is not None):
            self.start()

    def children(self) -> list[int]:
        if self.process is None:
            return []
        said = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(word) for word in said.stdout.split()]

    def send(self, number: int) -> None:
        """Send a signal to the process and all it has started."""
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def jump(self, seconds: int) -> None:
        """Set the process's clock so many seconds before or after the machine's."""
        # In place: whoever runs has the file mapped.
        with self.clock.open("r+b" if self.clock.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))

    def end(self) -> None:
        self.held = True
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            end(self.process)
            self.send(signal.SIGKILL)


@dataclass
class System:
    """All that runs. `base` is where people reach it."""

    home: Path
    cluster: Cluster
    s3: S3Server
    model: ModelServer
    mail: MailServer
    taps: dict[str, Tap]
    web: Service
    workers: list[Service]
    redis: Service
    scanner: Service | None
    port: int
    database_disk: Path | None
    temporary: Path
    temporary_is_small: bool
    environ: dict[str, str]
    database_held: bool = False
    keeping: threading.Event = field(default_factory=threading.Event)

    @property
    def services(self) -> list[Service]:
        return [service for service in (self.redis, self.scanner, self.web, *self.workers) if service is not None]

    def keep(self) -> None:
        """Start again what ended, until told otherwise: what systemd or an orchestrator does."""
        while not self.keeping.wait(0.1):
            if not self.database_held and not self.cluster.pid:
                with suppress(AssertionError, subprocess.TimeoutExpired):
                    self.cluster.start(wait=False)
            for service in self.services:
                service.keep()

    def is_up(self) -> bool:
        """Tell whether pages are served, and nothing they need is missing."""
        with suppress(OSError):
            connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/api/v1/ready")
            return connection.getresponse().status == 200
        return False

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database as the owner, who sees every institution."""
        with self.cluster.connect("quokkaq") as connection:
            cursor = connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []


def answer_from_lecture(body: dict[str, Any]) -> str:
    """Write what a model would: a statement with a true quotation of whichever source holds the sentence."""
    told = "\n".join(str(message["content"]) for message in body["messages"])
    found = re.search(re.escape(SENTENCE), told)
    quotes = [{"source": number, "quote": SENTENCE} for number in (1, 2, 3)] if found else []
    return lines({"text": "It is evaluated once, when the function is defined.", "quotes": quotes})


def _clock(folder: Path) -> Path | None:
    """Build what moves a process's clock; None where there is no compiler."""
    if (compiler := shutil.which("cc")) is None:
        return None
    built = folder / "clock.so"
    source = str(Path(__file__).with_name("clock.c"))
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(built), source], check=True)
    return built


def _mount(place: Path, size: str) -> bool:
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(place)], capture_output=True, check=False
    )
    return done.returncode == 0


@contextmanager
def system(template: Path | None = None) -> Iterator[System]:
    """Prepare everything until the block ends; what was started is ended by its process, what was mounted unmounted.

    `template` is where a migrated cluster is, or will be kept for the next time.
    """
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        disk, temporary = home / "disk", home / "tmp"
        mounted = [place for place, size in ((disk, DATABASE_SIZE), (temporary, TEMPORARY_SIZE)) if _mount(place, size)]
        for place in mounted:
            stack.callback(subprocess.run, ["umount", "-l", str(place)], check=False)
        for place in (disk, temporary):
            place.chmod(0o1777)
        cluster = Cluster(disk)
        made_before = template is not None and template.is_dir()
        if made_before:
            subprocess.run(["cp", "-a", str(template), str(cluster.data)], check=True)
        else:
            cluster.init(max_wal_size="128MB", log_min_messages="warning", deadlock_timeout="500ms")
            cluster.set(wal_keep_size="0")
        cluster.start()
        if not made_before:
            cluster.ask("CREATE DATABASE quokkaq")
        stack.callback(cluster.stop, "immediate")
        stack.callback(cluster.thaw)
        s3 = stack.enter_context(running())
        model = stack.enter_context(serve("openai", Script(obeys=answer_from_lecture, pause=0.02, usage=(120, 30))))
        mail = stack.enter_context(MailServer())
        ports = {
            "s3": int(s3.endpoint.rpartition(":")[2]),
            "model": int(model.url.rpartition(":")[2]),
            "mail": mail.port,
        }
        taps = {name: stack.enter_context(tap(("127.0.0.1", port))) for name, port in ports.items()}
        redis_port, port = free_port(), free_port()
        variables_of_scanner, scanner = {"SCAN_UPLOADS": "no"}, None
        if PROGRAM is not None:
            (home / "av").mkdir()
            started = stack.enter_context(clamd(home / "av"))
            variables_of_scanner = {"CLAMD_URL": started.url, "SCAN_UPLOADS": "yes"}
            scanner = Service("scanner", list(started.process.args), dict(os.environ), home / "clamd.log")  # type: ignore[arg-type]  # given as the process was started
            started.process.kill()
            started.process.wait()
            (home / "av" / "socket").unlink(missing_ok=True)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COV_", "COVERAGE", "PYTEST", "DJANGO", "QUOKKAQ"))
        }
        environ = {
            **kept, **variables(cluster), **s3.environment(), **variables_of_scanner, "QUOKKAQ_MODE": "demo",
            "SECRET_KEY": settings.SECRET_KEY, "PORT": str(port),
            "AWS_S3_ENDPOINT_URL": f"http://127.0.0.1:{taps['s3'].port}", "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "EMAIL_URL": f"smtp://127.0.0.1:{taps['mail'].port}", "BASE_URL": f"http://127.0.0.1:{port}",
            "DEFAULT_FROM_EMAIL": "noreply@quokkaq.example", "MAIL_BURST_SECONDS": "1",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{taps['model'].port}/v1", "OPENAI_MODEL": MODEL,
            "EGRESS_ALLOWED_HOSTS": f"127.0.0.1:{taps['model'].port}", "EGRESS_ALLOW_HTTP": "yes",
            "RATE_READS_PER_MINUTE": "0", "RATE_WRITES_PER_MINUTE": "0", "RATE_BACKGROUND_PER_MINUTE": "0",
            "RATE_UPLOADS_PER_MINUTE": "0", "TASK_STALLED_AFTER_SECONDS": "6", "LOG_LEVEL": "WARNING",
            "TMPDIR": str(temporary), "MEDIA_ROOT": str(temporary / "media"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        if not made_before:
            migrate = [sys.executable, "manage.py", "migrate", "-v", "0"]
            subprocess.run(migrate, cwd=ROOT, env=environ, check=True, timeout=600)
            if template is not None:
                cluster.stop()
                subprocess.run(["cp", "-a", str(cluster.data), str(template)], check=True)
                cluster.start()
        python, clock = sys.executable, _clock(home)
        web = Service("web", [python, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"], {**environ, "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics")}, home / "web.log", clock=clock)  # fmt: skip
        work = [python, "manage.py", "procrastinate", "worker", "--fetch-job-polling-interval", "1"]
        workers = [Service(f"worker{n}", work, environ, home / f"worker{n}.log", clock=clock) for n in (0, 1)]
        redis_program = shutil.which("redis-server")
        assert redis_program is not None, "redis-server isn't installed: run `make services` as root"
        redis = Service(
            "redis", [redis_program, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home)],
            dict(os.environ), home / "redis.log",
        )  # fmt: skip
        made = System(
            home, cluster, s3, model, mail, taps, web, workers, redis, scanner, port,
            disk if disk in mounted else None, temporary, temporary in mounted, environ,
        )  # fmt: skip
        yield made


@contextmanager
def kept_running(made: System) -> Iterator[None]:
    """Start what serves, and keep it running inside the block."""
    keeper = threading.Thread(target=made.keep, daemon=True)
    keeper.start()
    try:
        wait_for(made.is_up, seconds=120, what="QuokkaQ to be ready")
        yield
    finally:
        made.keeping.set()
        keeper.join(30)
        for service in reversed(made.services):
            service.end()


def lines_of(log: Path, *, last: int = 40) -> list[str]:
    with suppress(OSError):
        return log.read_text(errors="replace").splitlines()[-last:]
    return []


__all__ = ["MODEL", "SENTENCE", "Service", "System", "kept_running", "lines_of", "system"]
