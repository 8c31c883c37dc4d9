"""What the checks, the disks, the memory and the certificate say."""

import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from cryptography import x509
from django.conf import settings

from quokkaq.lib import health
from quokkaq.lib.metrics.definitions import BUILD, CERTIFICATE, DISK_USED, MEMORY_USED, UP
from quokkaq.lib.metrics.state import Reading, register

CERTIFICATE_EVERY = 3600
CERTIFICATE_AGAIN = 300
CERTIFICATE_TIMEOUT = 5
CGROUP = Path("/sys/fs/cgroup")


def checks() -> Iterator[Reading]:
    for name, is_up in health.states().items():
        yield UP, (name,), float(is_up)


def disks() -> Iterator[Reading]:
    places = {"media": settings.MEDIA_ROOT, "backups": settings.BACKUP_ROOT, "system": Path("/")}
    for place, path in places.items():
        if path.exists():
            usage = shutil.disk_usage(path)
            # As `df` counts: what only root may use isn't there for us.
            yield DISK_USED, (place,), usage.used / ((usage.used + usage.free) or 1)


def memory() -> Iterator[Reading]:
    yield MEMORY_USED, (), memory_used_ratio()


def memory_used_ratio() -> float:
    """Return how much of the container's memory is used; of the machine's, where the container has no limit of its own."""
    machine = psutil.virtual_memory()
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        limit = "max"
    if limit == "max" or int(limit) >= machine.total:
        return 1 - machine.available / machine.total
    # Pages of files that can be dropped at once don't press.
    return max(0, used - int(stat.get("inactive_file", 0))) / int(limit)


class Certificate:
    """The end of a certificate, looked up once an hour."""

    def __init__(self) -> None:
        self._url = ""
        self._ends: float | None = None
        self._look_at = 0.0

    def read(self) -> Iterator[Reading]:
        url = settings.BASE_URL
        if url != self._url:
            self._url, self._ends, self._look_at = url, None, 0.0
        if not url.startswith("https://"):
            return
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + CERTIFICATE_AGAIN
            self._ends = certificate_end(url)
            self._look_at = time.monotonic() + CERTIFICATE_EVERY
        if self._ends is not None:
            yield CERTIFICATE, (), self._ends - time.time()


def certificate_end(url: str) -> float:
    """Return when the certificate of an address expires, in seconds since the epoch. Raises `OSError`."""
    address = urlsplit(url)
    host = address.hostname or ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Also one that has expired tells when it did: nothing is sent over this connection.
    # rule: unverified-tls (the certificate itself is looked at, and nothing is said)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, address.port or 443), CERTIFICATE_TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(found or b"").not_valid_after_utc.timestamp()


def build() -> Iterator[Reading]:
    yield BUILD, (settings.VERSION,), 1


register("checks", checks, every=5)
register("disks", disks)
register("memory", memory)
register("certificate", Certificate().read, keep=CERTIFICATE_EVERY)
register("build", build, every=3600, keep=3600)
