"""A database's host for drills of point-in-time recovery: Debian's PostgreSQL, pgBackRest, and what `ops/backups` installs."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from werkzeug.serving import make_server

from tests.clusters import Cluster, account
from tests.processes import ROOT
from tests.services.s3_server import ACCESS_KEY, REGION, SECRET_KEY, Gate, QuietHandler


class Host:
    """A cluster "primary" below `home`, with two repositories and the scripts in `home/scripts`.

    Args:
        home: a folder of `tests.clusters.folder()`.
        s3: the second repository, see `s3_over_tls`; without it both are folders.
    """

    def __init__(self, home: Path, s3: Mapping[str, str] | None = None) -> None:
        self.home, self.scripts = home, home / "scripts"
        self.server = Cluster(home, flavour="debian")
        self.repositories = (home / "repo1", home / "repo2")
        self.metrics = home / "metrics"
        self.socket = home / "s"
        for made in (self.metrics, self.socket):
            made.mkdir()
            if account():
                shutil.chown(made, account())
        values = {
            "STANZA": "quokkaq", "PG_ACCOUNT": account() or os.environ["USER"], "PG_BIN": self.server.bin,
            "PG_DATA": self.server.data, "PG_SOCKET": self.socket, "PG_PORT": self.server.port,
            "PG_OPTIONS": f"'-c listen_addresses=127.0.0.1 -c unix_socket_directories={self.socket}'",
            "SPOOL": home / "spool", "LOGS": home / "logs", "METRICS": self.metrics,
            "REPO1_TYPE": "posix", "REPO1_PATH": self.repositories[0],
            "REPO2_TYPE": "posix", "REPO2_PATH": self.repositories[1], **(s3 or {}),
        }  # fmt: skip
        (home / "settings").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        if s3:
            (self.scripts / "secrets").mkdir(parents=True)
            (self.scripts / "secrets/repo2_s3_key").write_text(ACCESS_KEY)
            (self.scripts / "secrets/repo2_s3_key_secret").write_text(SECRET_KEY)
        self.install()
        self.server.init(track_commit_timestamp="on")
        with (self.server.data / "postgresql.conf").open("a") as file:
            file.write(f"include_if_exists = '{self.scripts}/postgresql.conf'\n")

    def install(self) -> None:
        subprocess.run(
            ["sh", "ops/backups/install.sh", str(self.home / "settings"), str(self.scripts)], cwd=ROOT, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.server.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.socket}"
        self.server.run(
            "pg_ctl", "start", "-D", str(self.server.data), "-l", str(self.home / "logs/server.log"), "-w", "-s", "-o", options
        )  # fmt: skip

    def script(self, name: str, *arguments: str, check: bool = True) -> tuple[int, str]:
        """Run an installed script as the server's account; return its exit code and what it said."""
        done = self.server.run(str(self.scripts / name), *arguments, check=check)
        return done.returncode, done.stdout

    def archived(self) -> None:
        """Have everything that was written until now in the archive."""
        self.script("pgbackrest.sh", "check")


@dataclass
class Ledger:
    """Writes numbered rows and, once each is committed, its acknowledgement to a file that survives everything.

    `acknowledged` maps the number of a row to when its COMMIT had been answered, in seconds since 1970.
    """

    server: Cluster
    file: Path
    acknowledged: dict[int, float] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @staticmethod
    def create(server: Cluster) -> None:
        with server.connect() as connection:
            connection.execute("CREATE TABLE ledger (number bigint PRIMARY KEY, body text NOT NULL)")

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(20)

    def _write(self) -> None:
        number = max(self.asked, default=0)
        try:
            with self.server.connect(autocommit=False) as connection, self.file.open("a") as file:
                while not self._stop.is_set():
                    number += 1
                    connection.execute("INSERT INTO ledger VALUES (%s, repeat('x', 200))", [number])
                    self.asked[number] = time.time()
                    connection.commit()
                    file.write(f"{number}\n")
                    file.flush()
                    os.fsync(file.fileno())
                    self.acknowledged[number] = time.time()
                    time.sleep(0.002)
        except psycopg.Error:
            return  # the server is gone; what wasn't acknowledged doesn't count

    def rows(self) -> set[int]:
        with self.server.connect() as connection:
            return {number for (number,) in connection.execute("SELECT number FROM ledger")}


def instant(seconds: float) -> str:
    """Return a moment as the scripts take it, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")


class _Polite(QuietHandler):
    """Says goodbye before it hangs up: pgBackRest takes an answer that just breaks off for a broken one."""

    def finish(self) -> None:
        super().finish()
        with suppress(OSError, ValueError):
            self.connection.settimeout(2)
            self.connection.unwrap()


@contextmanager
def s3_over_tls(home: Path) -> Iterator[dict[str, str]]:
    """Serve the tests' S3 endpoint over TLS, which pgBackRest insists on; yield the settings of a repository there."""
    key, certificate = home / "s3.key", home / "s3.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=DNS:127.0.0.1,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate.chmod(0o644)
    # What moto holds outlives its server, so each has a bucket of its own.
    gate, bucket = Gate(), home.name.replace("_", "-")
    gate.ask("PUT", f"/{bucket}")
    server = make_server(
        "127.0.0.1", 0, gate, threaded=True, request_handler=_Polite, ssl_context=(str(certificate), str(key))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {
            "REPO2_TYPE": "s3", "REPO2_PATH": "/pgbackrest", "REPO2_S3_BUCKET": bucket, "REPO2_S3_REGION": REGION,
            "REPO2_S3_ENDPOINT": f"127.0.0.1:{server.server_port}", "REPO2_S3_URI_STYLE": "path",
            "REPO2_S3_CA_FILE": str(certificate),
        }  # fmt: skip
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
