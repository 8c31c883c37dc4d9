"""A rehearsal of restoring: the newest backup goes into a scratch database, is compared, migrated, used, and dropped."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from quokkaq.backups import databases
from quokkaq.backups.databases import Database, RestoreError, Say
from quokkaq.backups.gpg import GpgError
from quokkaq.backups.manifest import Damaged, Manifest
from quokkaq.backups.places import Kind, Place, PlaceError, places
from quokkaq.backups.reading import decrypted
from quokkaq.failing import explain
from quokkaq.models import OperationName, RestoreDrill
from quokkaq.operations import note

# What the last line of a traceback begins with.
_CLASS = re.compile(r"[A-Za-z_][\w.]*")
# So long may the restored copy be migrated and used, in seconds.
LONGEST = 6 * 3600
# Of a drill that finds everything wrong, so many sentences are kept.
MOST_DIFFERENCES = 50
# What a copy must not reach: others' services, the caches of the real one, its files, and where it would be counted.
_OFF = (
    "REDIS_URL", "EMAIL_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "ANTHROPIC_API_KEY", "ANTHROPIC_MODEL", "EMBEDDING_BASE_URL",
    "EMBEDDING_MODEL", "EMBEDDING_API_KEY", "AWS_STORAGE_BUCKET_NAME", "BACKUP_BUCKET_NAME", "BACKUP_SECOND_ROOT", "BACKUP_SECOND_BUCKET_NAME", "BACKUP_GPG_PASSPHRASE",
    "CLAMD_URL", "SENTRY_DSN",
    "OTEL_EXPORTER_OTLP_ENDPOINT", "EGRESS_ALLOWED_HOSTS", "LOG_DIRECTORY",
    "RESTORE_DRILL_DATABASE_URL",
)  # fmt: skip


def find(kind: Kind, *, name: str = "", place: str = "") -> tuple[Place, Manifest]:
    """Return a backup and where it lies: the one named, or the newest of its kind. Raises `RestoreError` for none."""
    known = places()
    wanted = [one for one in known if not place or one.name == place]
    if not wanted:
        raise RestoreError(f"There is no place {place!r} for backups: there is {', '.join(one.name for one in known)}.")
    for one in wanted:
        found = one.names(kind)
        if name in found if name else found:
            return one, one.manifest(name or found[0])
    raise RestoreError(f"There is no backup {name}." if name else f"There is no backup of the {kind} to restore.")


def drill(*, say: Say, backup: str = "", place: str = "", keep: bool = False) -> RestoreDrill:
    """Rehearse restoring, and keep what came of it. Whatever is wrong stands in the row; nothing is raised for it.

    Args:
        say: told of each step.
        backup: the one to restore; the newest without it.
        place: where it lies; the first place that has it without it.
        keep: leave the scratch database, for whoever wants to look.
    """
    row = RestoreDrill.objects.create()
    try:
        _rehearse(row, say, backup, place, keep=keep)
        row.problem = row.differences[0][:300] if row.differences else ""
    except (Damaged, GpgError, PlaceError, RestoreError) as error:
        row.problem = explain(error)["text"]
    except Exception as error:
        found = explain(error)
        row.problem = f"{found['error']}: {found['text']}"[:300]
    row.ended_at = timezone.now()
    row.succeeded = not row.problem
    row.save()
    note(OperationName.RESTORE_DRILL, succeeded=row.succeeded, size=row.size)
    return row


def _rehearse(row: RestoreDrill, say: Say, backup: str, place: str, *, keep: bool) -> None:
    live = Database.live()
    for name in databases.sweep(live):
        say(f"Dropped {name}, which a drill that died left behind.")
    found, manifest = find("database", name=backup, place=place)
    row.place, row.backup, row.taken_at, row.size = found.name, manifest.name, manifest.taken_at, manifest.size
    say(f"Restoring {manifest.name} from {found.name}, taken at {manifest.taken_at:%Y-%m-%d %H:%M:%S %Z}.")
    target = databases.scratch(live)
    step = _steps(row, say)
    try:
        with step("fetch and decrypt"):
            opened = decrypted(found, manifest)
            dump = opened.__enter__()
        try:
            with step("restore"):
                databases.create(target)
                databases.restore(dump, target)
        finally:
            opened.__exit__(None, None, None)
        with step("compare"):
            row.rows, wrong = databases.compare(target, manifest)
            row.differences = wrong[:MOST_DIFFERENCES]
        for sentence in wrong:
            say(f"  {sentence}")
        if not wrong:
            _use(row, target, say)
    finally:
        if keep:
            say(f"Kept the database {target.name}: drop it when you are done; a drill does after a day.")
        else:
            with step("drop"):
                databases.drop(target)


def _steps(row: RestoreDrill, say: Say) -> Any:
    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            add(row, say, name, time.perf_counter() - started)

    return step


def add(row: RestoreDrill, say: Say, name: str, seconds: float) -> None:
    row.steps.append({"name": name, "seconds": round(seconds, 3)})
    row.save(update_fields=["steps", "place", "backup", "taken_at", "size", "rows", "differences"])
    say(f"  {name}: {seconds:.1f} s")


def _use(row: RestoreDrill, target: Database, say: Say) -> None:
    """Migrate and use the copy in a process of its own, which knows nothing of the real one's services."""
    with tempfile.TemporaryDirectory(prefix="quokkaq-drill-") as folder:
        done = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "try_restored"], cwd=settings.BASE_DIR,
            env=environment(target, Path(folder)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            output, said = done.communicate(timeout=LONGEST)
        finally:
            done.kill()
            done.wait()
    for line in output.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if "step" in found:
            add(row, say, found["step"], found["seconds"])
        row.differences += found.get("wrong", [])
    if done.returncode:
        kind = _CLASS.match(said.strip().rpartition("\n")[2])
        raise RestoreError(
            f"The restored copy couldn't be used: {kind[0] if kind else f'code {done.returncode}'}"
            f" after the step {row.steps[-1]['name']}."
        )


def environment(target: Database, folder: Path) -> dict[str, str]:
    """Return the environment of a process that works on a restored copy and reaches nothing else."""
    blank = {name: "" for off in _OFF for name in (off, f"{off}_FILE")}
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO", "PROMETHEUS_"))
    }
    return {
        **kept, **blank, "DATABASE_BEHIND_PGBOUNCER": "false", "DATABASE_STATEMENT_TIMEOUT_MS": "0", "SCAN_UPLOADS": "false", "LOG_LEVEL": "ERROR",
        "QUOKKAQ_MODE": str(settings.MODE), "MEDIA_ROOT": str(folder), "BACKUP_ROOT": str(folder), "BACKUP_SCHEDULE": "off",
        "DATABASE_URL": target.url(web=True), "DATABASE_URL_FILE": "",
        "OWNER_DATABASE_URL": target.url(), "OWNER_DATABASE_URL_FILE": "",
    }  # fmt: skip
