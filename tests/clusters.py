"""Real PostgreSQL clusters on this machine for drills: started, killed, frozen, followed, promoted, rewound."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import psycopg
from django.conf import settings

from tests.processes import free_port, wait_for

# Of the server programs that come with QuokkaQ, or of Debian's own PostgreSQL (which has no pgvector).
Flavour = Literal["embedded", "debian"]


def programs(flavour: Flavour = "embedded") -> Path:
    """Return the folder of a flavour's programs."""
    if flavour == "embedded":
        assert settings.EMBEDDED_POSTGRES is not None
        return settings.EMBEDDED_POSTGRES.bin
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "Debian's PostgreSQL is not installed: run `make services` as root"
    return found[-1].parent


def account() -> str:
    """Return who runs servers when we are root, which they refuse; else nobody in particular."""
    if os.geteuid() != 0:
        return ""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


@contextmanager
def folder() -> Iterator[Path]:
    """A short-named folder that the servers' account may use, gone afterwards."""
    made = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="quokkaq-drill-"))
    made.chmod(0o755)
    if account():
        shutil.chown(made, account())
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


class Cluster:
    """One data folder and the server on it, at a port of loopback (or of `host` in a network namespace).

    Args:
        home: a folder of `folder()`; the data lies in `home/name`.
        namespace: the network namespace it lives in; empty for this machine's own.
    """

    def __init__(
        self, home: Path, name: str = "primary", *, flavour: Flavour = "embedded", host: str = "127.0.0.1",
        port: int | None = None, namespace: str = "",
    ) -> None:  # fmt: skip
        self.name, self.bin, self.host, self.namespace = name, programs(flavour), host, namespace
        self.port = port or free_port()
        self.data = home / name
        self.log = home / f"{name}.log"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgres://{user}@{self.host}:{self.port}/{database}"

    def run(
        self, program: str, *arguments: str, check: bool = True, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the server's programs as its account, in its namespace; its output is `stdout`."""
        command = [str(self.bin / program), *arguments]
        if account():
            command = ["setpriv", f"--reuid={account()}", f"--regid={account()}", "--clear-groups", *command]
        if self.namespace:
            command = ["ip", "netns", "exec", self.namespace, *command]
        # To a file: a server that outlives pg_ctl would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, check=False,
                cwd="/", env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment}, timeout=timeout,
            )  # fmt: skip
            output.seek(0)
            said = output.read()
        assert not check or done.returncode == 0, f"{program}: {said[-2000:]}"
        return subprocess.CompletedProcess(command, done.returncode, said, "")

    def init(self, **parameters: str) -> "Cluster":
        """Make an empty cluster that trusts whoever reaches it, with checksums and what rewinding needs."""
        self.run(
            "initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8",
            "--data-checksums", "--no-sync",
        )  # fmt: skip
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write("host all,replication all 0.0.0.0/0 trust\n")
        return self.set(
            wal_log_hints="on", wal_keep_size="256MB", max_connections="100", hot_standby="on", **parameters
        )

    def set(self, **parameters: str) -> "Cluster":
        """Write parameters to the end of `postgresql.auto.conf`; a running server reads them at `reload()`."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in parameters.items())
        return self

    def start(self, *, wait: bool = True) -> "Cluster":
        options = f"-c listen_addresses={self.host} -p {self.port} -c unix_socket_directories="
        self.run(
            "pg_ctl", "start", "-D", str(self.data), "-l", str(self.log), "-w" if wait else "-W", "-s", "-t", "60",
            "-o", options,
        )  # fmt: skip
        return self

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        if self.pid:
            self.run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", "-s", check=False)

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        self.run("pg_ctl", "reload", "-D", str(self.data), "-s")

    @property
    def pid(self) -> int:
        """The server's process, 0 when none runs."""
        with suppress(OSError, ValueError, IndexError):
            number = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            os.kill(number, 0)
            return number
        return 0

    def _processes(self) -> list[int]:
        head = self.pid
        if not head:
            return []
        said = subprocess.run(["ps", "-o", "pid=", "--ppid", str(head)], capture_output=True, text=True, check=False)
        return [head, *map(int, said.stdout.split())]

    def signal(self, number: int) -> None:
        """Send a signal to the server and all its children."""
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def kill(self) -> None:
        """End it as a power cut would, for the processes: nothing is written any more."""
        found = self._processes()
        self.signal(signal.SIGKILL)
        wait_for(lambda: not any(_alive(process) for process in found), what=f"{self.name} to be dead")
        # A process that nobody has buried yet counts as one that runs, for a server that starts.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(database), **{"connect_timeout": 2, "autocommit": True, **options})

    def ask(self, sql: str, database: str = "postgres") -> Any:
        """Return the first value of the first row; None where there is no row."""
        with self.connect(database) as connection:
            cursor = connection.execute(sql)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def copy(self, name: str, of: str = "quokkaq") -> None:
        """Make a copy of a database; whoever is connected to that one is cut off."""
        self.ask(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{of}'")
        self.ask(f"CREATE DATABASE {name} TEMPLATE {of}")

    def is_up(self) -> bool:
        with suppress(psycopg.Error):
            return bool(self.ask("SELECT true"))
        return False

    def follow(self, primary: "Cluster", **parameters: str) -> "Cluster":
        """Become a copy of `primary` that follows it; `start()` it then. Its name is its `application_name`."""
        self.run(
            "pg_basebackup", "-d", f"{primary.url().replace('/postgres', '/')}?application_name={self.name}",
            "-D", str(self.data), "-X", "stream", "-c", "fast", "-R",
        )  # fmt: skip
        return self.set(**parameters)

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "-D", str(self.data), "-w", "-s", "-t", "30")

    def rewind(self, source: "Cluster") -> None:
        """Bring the data of a stopped former primary to where `source` left it, and have it follow from there."""
        self.run(
            "pg_rewind", "-D", str(self.data), "-R",
            "--source-server", f"host={source.host} port={source.port} user=postgres dbname=postgres",
        )  # fmt: skip


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextmanager
def cluster(flavour: Flavour = "embedded", **parameters: str) -> Iterator[Cluster]:
    """One running cluster with nothing in it, gone afterwards."""
    with folder() as home:
        made = Cluster(home, flavour=flavour).init(**parameters)
        made.start()
        try:
            yield made
        finally:
            made.thaw()
            made.stop("immediate")


def variables(server: Cluster, database: str = "quokkaq", web_role: str = "quokkaq_web") -> Mapping[str, str]:
    """Return the environment that has QuokkaQ work on a cluster: the web as its own role, commands as the owner."""
    return {"DATABASE_URL": server.url(database, web_role), "OWNER_DATABASE_URL": server.url(database)}
