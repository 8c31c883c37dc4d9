"""Two PostgreSQL servers, PgBouncer and what `ops/failover` has to keep watch over them, for drills."""

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.clusters import Cluster, Flavour, account, folder
from tests.processes import ROOT, end, free_port, wait_for

SCRIPTS = ROOT / "ops/failover"
PGBOUNCER = "/usr/sbin/pgbouncer"


@dataclass
class Pair:
    """A primary `alpha` and a standby `beta`, the pooler in front of them, and the settings of the scripts.

    Args:
        watcher: the network namespace of pooler and scripts; empty for this machine's own.
    """

    home: Path
    nodes: dict[str, Cluster]
    databases: str = "ledger"
    watcher: str = ""
    pooler_host: str = "127.0.0.1"
    pooler_port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    writers: list["Writer"] = field(default_factory=list)

    # Settings

    def configure(self) -> None:
        # The standby's are a copy.
        with (self.primary.data / "postgresql.conf").open("a") as file:
            file.write(f"include '{SCRIPTS / 'postgresql.conf'}'\n")
        stop = f"pg_ctl stop -s -m {{mode}} -D {self.home}/$NODE"
        start = (
            "case $NODE in " + " ".join(f"{n}) {self._start(server)} ;;" for n, server in self.nodes.items()) + " esac"
        )
        rejoin = f"{SCRIPTS / 'rejoin.sh'} --config {self.home}/$NODE.conf $NODE"
        common = {
            "NODES": " ".join(self.nodes), "ADMIN_USER": "postgres", "REPLICATION_USER": "postgres",
            **{f"ADDRESS_{name}": f"host={server.host} port={server.port}" for name, server in self.nodes.items()},
            "STATE_DIR": str(self.home / "state"), "DATABASES": self.databases, "PGBIN": str(self.primary.bin),
            "POOLER": f"host={self.pooler_host} port={self.pooler_port} user=postgres dbname=pgbouncer",
            "POOLER_FILE": str(self.home / "databases.ini"), "AUTOMATIC": "yes",
            "FENCE_COMMAND": stop.replace("{mode}", "immediate"), "STOP_COMMAND": stop.replace("{mode}", "fast"),
            "START_COMMAND": start, "REJOIN_COMMAND": rejoin, "LOCAL_STOP": stop.replace("{mode}", "fast"), "LOCAL_START": start,
            **self.settings,
        }  # fmt: skip
        for name in ("watch", *self.nodes):
            data = {"PGDATA": str(self.home / name)} if name in self.nodes else {}
            lines = "".join(f"{key}='{value}'\n" for key, value in {**common, **data}.items())
            (self.home / f"{name}.conf").write_text(lines)
        (self.home / "pgbouncer.ini").write_text(self._pgbouncer())
        (self.home / "users.txt").write_text('"postgres" ""\n"quokkaq_web" ""\n')

    @staticmethod
    def _start(server: Cluster) -> str:
        options = f"-c listen_addresses={server.host} -p {server.port} -c unix_socket_directories="
        return f'pg_ctl start -D {server.data} -l {server.log} -w -s -t 60 -o "{options}"'

    def _pgbouncer(self) -> str:
        """The shipped file, at an address of the drill and without passwords."""
        changed = {
            "listen_addr": self.pooler_host, "listen_port": str(self.pooler_port), "auth_type": "trust", "admin_users": "postgres",
            "auth_file": str(self.home / "users.txt"),
        }  # fmt: skip
        lines = (SCRIPTS / "pgbouncer.ini").read_text().splitlines()
        lines = [f"{name} = {changed[name]}" if (name := line.split(" =")[0]) in changed else line for line in lines]
        text = "\n".join(lines).replace("/etc/pgbouncer/databases.ini", str(self.home / "databases.ini"))
        return f"{text}\nunix_socket_dir =\nlogfile = {self.home / 'pgbouncer.log'}\n"

    # Running

    def command(self, *arguments: str, namespace: str | None = None) -> list[str]:
        """The command as the servers' account, in a namespace."""
        user, inside = account(), self.watcher if namespace is None else namespace
        prefix = ["ip", "netns", "exec", inside] if inside else []
        if user:
            prefix += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return [*prefix, *arguments]

    def script(self, name: str, *arguments: str, check: bool = True, on: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of the scripts to its end; on a server, with that server's settings and in its namespace."""
        log = self.home / f"{name}.log"
        namespace = self.nodes[on].namespace if on else None
        with log.open("ab") as output:
            begins = output.tell()
            done = subprocess.run(
                self.command(str(SCRIPTS / name), "--config", str(self.home / f"{on or 'watch'}.conf"), *arguments, namespace=namespace),
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False, timeout=120, cwd="/", env=_environment(),
            )  # fmt: skip
        said = log.read_bytes()[begins:].decode()
        assert not check or done.returncode == 0, f"{name}: {said}"
        return subprocess.CompletedProcess([name], done.returncode, said, "")

    def start(self, *command: str, log: str) -> subprocess.Popen[bytes]:
        with (self.home / log).open("ab") as output:
            process = subprocess.Popen(
                self.command(*command), stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", env=_environment(),
                start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def watch(self) -> subprocess.Popen[bytes]:
        return self.start(str(SCRIPTS / "watch.sh"), "--config", str(self.home / "watch.conf"), log="watch.log")

    def watch_by(self, **settings: str) -> None:
        """Watch by other settings; the watch is what was started last."""
        end(self.started[-1])
        with (self.home / "watch.conf").open("a") as file:
            file.writelines(f"{name}='{value}'\n" for name, value in settings.items())
        self.watch()

    def pool(self) -> None:
        (self.home / "databases.ini").write_text(
            "[databases]\n"
            + "".join(
                f"{name} = host={self.primary.host} port={self.primary.port} dbname={name}\n" for name in self.databases.split()
            )
        )  # fmt: skip
        self.start(PGBOUNCER, str(self.home / "pgbouncer.ini"), log="pgbouncer.out")

    def write(self, name: str, url: str = "", namespace: str = "", options: str = "") -> "Writer":
        """Start a writer, through the pooler when no URL is given; it ends with the drill at the latest."""
        self.writers.append(Writer(name, url or self.pooled, namespace, options).start())
        return self.writers[-1]

    def end(self) -> None:
        for writer in self.writers:
            writer.stop(seconds=0)
        for process in reversed(self.started):
            # The whole session: a script's children, too.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            end(process)
        for server in self.nodes.values():
            server.thaw()
            server.stop("immediate")

    # What is so

    @property
    def state(self) -> dict[str, str]:
        with suppress(OSError):
            return dict(line.split("=", 1) for line in (self.home / "state/state").read_text().splitlines())
        return {}

    def know(self, state: dict[str, str], **changes: str) -> None:
        """Have the scripts go by another state."""
        with (self.home / "state/lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = "".join(f"{name}={value}\n" for name, value in {**state, **changes}.items())
            (self.home / "state/state").write_text(text)

    @property
    def primary(self) -> Cluster:
        return self.nodes[self.state.get("primary") or next(iter(self.nodes))]

    @property
    def standby(self) -> Cluster:
        return next(server for server in self.nodes.values() if server is not self.primary)

    def wait_for_sync(self, seconds: float = 60) -> None:
        """Wait until the primary waits for the standby, and the state says so."""
        wait_for(
            lambda: self.state.get("mode") == "sync", seconds=seconds, what=f"a synchronous standby: {self.said()}"
        )
        found = self.primary.ask("SELECT array_agg(sync_state) FROM pg_stat_replication")
        # With ANY 1 (…) PostgreSQL calls it quorum.
        assert found in (["quorum"], ["sync"]), found

    def said(self) -> str:
        with suppress(OSError):
            return (self.home / "watch.log").read_text()[-2000:]
        return ""

    @property
    def pooled(self) -> str:
        return f"postgres://postgres@{self.pooler_host}:{self.pooler_port}/{self.databases.split()[0]}"


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


@contextmanager
def pair(
    flavour: Flavour = "embedded", *, databases: str = "ledger", hosts: tuple[str, str] = ("127.0.0.1", "127.0.0.1"),
    namespaces: tuple[str, str] = ("", ""), prepare: Any = None, **fields: Any,
) -> Iterator[Pair]:  # fmt: skip
    """Two servers of which `beta` was made by make-standby.sh and is synchronous, with pooler and watch.sh running.

    Args:
        prepare: called with the primary before there is a standby; it makes the databases.
    """
    with folder() as home:
        nodes = {
            name: Cluster(home, name, flavour=flavour, host=host, namespace=namespace)
            for name, host, namespace in zip(("alpha", "beta"), hosts, namespaces, strict=True)
        }
        made = Pair(home, nodes, databases, **fields)
        nodes["alpha"].init()
        try:
            made.configure()
            nodes["alpha"].start()
            (prepare or make_ledger)(nodes["alpha"])
            made.script("make-standby.sh", "beta", on="beta")
            made.pool()
            made.watch()
            made.wait_for_sync()
            yield made
        except BaseException:
            print(made.said())
            raise
        finally:
            made.end()


def make_ledger(primary: Cluster) -> None:
    primary.ask("CREATE DATABASE ledger")
    primary.ask("CREATE TABLE entry (writer text, number int, PRIMARY KEY (writer, number))", "ledger")


@dataclass
class Writer:
    """Writes numbered rows one after the other and remembers those that were acknowledged.

    Each try has a number of its own: what wasn't acknowledged is never tried again, so it may be there or not, but never twice.
    """

    name: str
    url: str
    namespace: str = ""
    options: str = ""
    # number → seconds (monotonic) when the statement began, and when it was acknowledged.
    acknowledged: dict[int, tuple[float, float]] = field(default_factory=dict)
    errors: list[tuple[float, str]] = field(default_factory=list)
    longest: float = 0
    pause: float = 0.01
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> "Writer":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self, *, seconds: float = 30) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(seconds)

    def _run(self) -> None:
        if self.namespace:
            _enter(self.namespace)
        number = 0
        connection: psycopg.Connection[Any] | None = None
        while not self._stop.is_set():
            number += 1
            began = time.monotonic()
            try:
                connection = connection or psycopg.connect(
                    self.url, autocommit=True, connect_timeout=3, prepare_threshold=None, options=self.options,
                    keepalives_idle=2, keepalives_interval=1, keepalives_count=3, tcp_user_timeout=5000,
                )  # fmt: skip
                connection.execute("INSERT INTO entry VALUES (%s, %s)", [self.name, number])
                ended = time.monotonic()
                self.acknowledged[number] = (began, ended)
                self.longest = max(self.longest, ended - began)
            except psycopg.Error as error:
                self.errors.append((time.monotonic(), f"{type(error).__name__}: {error}"))
                if connection is not None:
                    connection.close()
                connection = None
                self._stop.wait(0.1)
            self._stop.wait(self.pause)

    def first_after(self, moment: float) -> float:
        """When a row was acknowledged whose statement began after `moment`; infinity if none was."""
        return min((ended for began, ended in list(self.acknowledged.values()) if began > moment), default=float("inf"))


def _enter(namespace: str) -> None:
    """Have this thread's new sockets be in a network namespace."""
    import ctypes

    with Path(f"/run/netns/{namespace}").open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")


def entries(server: Cluster) -> set[tuple[str, int]]:
    """Return every row of the ledger."""
    with server.connect("ledger") as connection:
        return set(connection.execute("SELECT writer, number FROM entry").fetchall())


def lost(writers: list[Writer], there: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return what was acknowledged and isn't there."""
    return {(writer.name, number) for writer in writers for number in writer.acknowledged} - there
