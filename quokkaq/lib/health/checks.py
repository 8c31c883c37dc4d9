"""The things QuokkaQ stands on that no app has to explain. Apps register theirs with `watching.register`."""

import shutil
from functools import cache
from pathlib import Path

import psutil
import redis
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from django.urls import reverse
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from quokkaq.lib.health.asking import ask
from quokkaq.lib.health.watching import Check, register
from quokkaq.lib.jobs import LANES, OPERATIONS
from quokkaq.lib.scanner import ping as ping_scanner
from quokkaq.lib.storage import check_reachable

# What one statement, or one round trip, may take.
ANSWER_SECONDS = 0.8


class DatabaseCheck(Check):
    """A real statement over a new connection."""

    name = "database"

    def run(self) -> None:
        ask("SELECT 1", seconds=ANSWER_SECONDS)


class MigrationsCheck(Check):
    """Every migration of this code is in the database. What was once applied stays so, and isn't asked again."""

    name = "migrations"
    _done = False

    def run(self) -> None:
        if MigrationsCheck._done:
            return
        missing = pending_migrations()
        self.detail["pending"] = len(missing)
        if missing:
            raise ServiceUnavailable("migrations are pending")
        MigrationsCheck._done = True


def pending_migrations() -> list[tuple[str, str]]:
    """Return which migrations of this code the database doesn't have: app and name."""
    rows = ask("SELECT app, name FROM django_migrations", seconds=ANSWER_SECONDS)
    applied = {(str(app), str(name)) for app, name in rows}
    return sorted(
        key
        for key, replaced in _migrations().items()
        if key not in applied and not (replaced and applied.issuperset(replaced))
    )


@cache
def _migrations() -> dict[tuple[str, str], tuple[tuple[str, str], ...]]:
    """Return the migrations on the disk, each with those that it replaces."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return {key: tuple(migration.replaces) for key, migration in loader.disk_migrations.items()}


class CacheCheck(Check):
    """Write and read one key, without the forgiveness that pages are shown."""

    name = "cache"

    @classmethod
    def is_configured(cls) -> bool:
        return bool(settings.REDIS_URL)

    def run(self) -> None:
        client = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=0.4,
            socket_timeout=0.4,
            retry=None,
            single_connection_client=True,
        )
        try:
            client.set("quokkaq.health", 1, ex=30)
            if client.get("quokkaq.health") is None:
                raise ServiceUnavailable("nothing is kept")
        finally:
            client.close()


class StorageCheck(Check):
    """Ask whether the bucket is there (HeadBucket); on a local disk, write."""

    name = "storage"

    def run(self) -> None:
        if not check_reachable():
            raise ServiceUnavailable("unreachable")


# Backups (`operations`) wait for one another for hours; that none was made, the alert of their age tells. Of what comes in
# bulk ten thousand may wait their turn; an alert tells when that takes long.
_PATIENT = ", ".join(f"'{queue}'" for queue in (OPERATIONS, *LANES["bulk"]))
_QUEUE = f"""
SELECT (SELECT extract(epoch FROM now() - max(last_heartbeat)) FROM procrastinate_workers),
    (SELECT extract(epoch FROM now() - min(scheduled_at)) FROM procrastinate_jobs
        WHERE status = 'todo' AND scheduled_at <= now() AND queue_name NOT IN ({_PATIENT})),
    (SELECT extract(epoch FROM now() - max(e.at)) FROM procrastinate_events e WHERE e.job_id =
        (SELECT min(id) FROM procrastinate_jobs
            WHERE status = 'todo' AND scheduled_at IS NULL AND queue_name NOT IN ({_PATIENT})))
"""  # noqa: S608  # nosec B608 (names from our own table)


class QueueCheck(Check):
    """How long the oldest job that is due has been waiting, but for those in bulk, and since when no worker has been heard of."""

    name = "queue"

    def run(self) -> None:
        heartbeat, scheduled, waiting = ask(_QUEUE, seconds=ANSWER_SECONDS)[0]
        oldest = max(float(scheduled or 0), float(waiting or 0))
        self.detail["oldest_seconds"] = round(oldest, 1)
        if heartbeat is None:
            raise ServiceUnavailable("there is no worker")
        silent = float(heartbeat)
        self.detail["heartbeat_seconds"] = round(silent, 1)
        if silent > settings.HEALTH_WORKER_DOWN_SECONDS or oldest > settings.HEALTH_QUEUE_DOWN_SECONDS:
            raise ServiceUnavailable("nothing is worked off")
        if silent > settings.HEALTH_WORKER_DEGRADED_SECONDS or oldest > settings.HEALTH_QUEUE_DEGRADED_SECONDS:
            raise ServiceWarning("jobs are late")


class ScannerCheck(Check):
    """Ask the scanner whether it is there. Without it people read and write, and new files wait."""

    name = "scanner"

    @classmethod
    def is_configured(cls) -> bool:
        return bool(settings.CLAMD_URL or settings.SCAN_UPLOADS)

    def run(self) -> None:
        if not ping_scanner():
            raise ServiceUnavailable("unreachable")


class DiskCheck(Check):
    """How full the places are that QuokkaQ writes to."""

    name = "disk"

    def run(self) -> None:
        used = disk_used()
        self.detail.update({place: round(ratio, 3) for place, ratio in used.items()})
        _judge(max(used.values()) * 100, settings.HEALTH_DISK_DEGRADED_PERCENT, settings.HEALTH_DISK_DOWN_PERCENT)


class MemoryCheck(Check):
    """How much of the memory is used that this container, or else this machine, has."""

    name = "memory"

    def run(self) -> None:
        used = memory_used()
        self.detail["used"] = round(used, 3)
        _judge(used * 100, settings.HEALTH_MEMORY_DEGRADED_PERCENT, settings.HEALTH_MEMORY_DOWN_PERCENT)


class WarmCheck(Check):
    """This process has read its routes and templates, so that the first page doesn't wait for them."""

    name = "warm"
    _done = False

    def run(self) -> None:
        if not WarmCheck._done:
            from django.template.loader import get_template

            reverse("health")
            get_template("base.html")
            WarmCheck._done = True


def disk_used() -> dict[str, float]:
    """Return how full the disks are under media, backups and the system (0 to 1); what lies in a bucket is left out."""
    places = {"system": Path("/")}
    if not settings.AWS_STORAGE_BUCKET_NAME:
        places["media"] = Path(settings.MEDIA_ROOT)
    if not settings.BACKUP_BUCKET_NAME:
        places["backups"] = Path(settings.BACKUP_ROOT)
    return {name: _used(path) for name, path in sorted(places.items())}


def _used(path: Path) -> float:
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    usage = shutil.disk_usage(there)
    # As `df` does: what only root may fill isn't there.
    return usage.used / (usage.used + usage.free) if usage.used + usage.free else 1.0


def memory_used(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Return which part of the memory is used (0 to 1): of the container, where it has a limit, else of the machine.

    What the kernel keeps of files it can let go of counts as free.
    """
    for limit, current in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        found = _container(cgroup / limit, cgroup / current)
        if found is not None:
            return found
    return float(psutil.virtual_memory().percent) / 100


def _container(limit: Path, current: Path) -> float | None:
    try:
        most, now = limit.read_text().strip(), int(current.read_text())
        stat = dict(line.split() for line in (current.parent / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    # Without a limit there stands “max”, or (version 1) more than any machine has.
    if not most.isdigit() or int(most) > psutil.virtual_memory().total:
        return None
    return max(0, now - int(stat.get("inactive_file", 0))) / int(most)


def _judge(percent: float, degraded: int, down: int) -> None:
    if percent > down:
        raise ServiceUnavailable("full")
    if percent > degraded:
        raise ServiceWarning("nearly full")


def register_checks() -> None:
    """Have all of these looked at."""
    register(
        DatabaseCheck, MigrationsCheck, CacheCheck, StorageCheck, QueueCheck, ScannerCheck, DiskCheck, MemoryCheck
    )  # fmt: skip
