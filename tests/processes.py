"""Start the product's own commands as processes, and wait for what they do."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import connection

ROOT = Path(settings.BASE_DIR)


def database_url() -> str:
    """Return the URL of the database this test session uses."""
    address = connection.settings_dict
    host = quote(address["HOST"], safe="")
    password = f":{quote(address['PASSWORD'])}" if address["PASSWORD"] else ""
    port = f":{address['PORT']}" if address["PORT"] else ""
    return f"postgres://{address['USER']}{password}@{host}{port}/{address['NAME']}"


def environment(**changes: str) -> dict[str, str]:
    """Return an environment for a child that works on the test database."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COV_", "COVERAGE", "PYTEST", "DJANGO"))
    }
    return {**kept, "QUOKKAQ_MODE": "test", "DATABASE_URL": database_url(), **changes}


def worker(
    *, options: Sequence[str] = ("--fetch-job-polling-interval", "0.2"), **changes: str
) -> subprocess.Popen[bytes]:
    """Start a task worker; without `options` as production does."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "procrastinate", "worker", *options],
        cwd=ROOT, env=environment(**changes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@contextmanager
def running_worker(**changes: str) -> Iterator[subprocess.Popen[bytes]]:
    process = worker(**changes)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], *, seconds: float = 10) -> None:
    """Ask a process to end; kill one that doesn't in time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(true: Callable[[], object], *, seconds: float = 20, what: str = "") -> None:
    """Wait until `true()` is, or fail."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what or true}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
