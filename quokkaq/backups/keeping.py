"""What is kept in a place, and what goes."""

import logging
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dbbackup import utils
from django.conf import settings
from django.utils import timezone

from quokkaq.backups.manifest import SUFFIX, Damaged
from quokkaq.backups.places import OBJECTS, Kind, Locked, Place, kind_of, object_name
from quokkaq.backups.retention import Keep, kept
from quokkaq.backups.storages import OLD_SUFFIX

log = logging.getLogger("quokkaq.backups")
# What has no manifest after a day is of a run that died.
LEFT_AFTER = timedelta(days=1)
# Backups of releases that wrote no manifest were kept so long.
OLD_AFTER = timedelta(days=35)


def taken_at(name: str) -> datetime:
    """Return the instant a backup shows, to the second, which its name tells."""
    found: datetime = utils.filename_to_date(name)
    return found.replace(tzinfo=UTC)


def keep_to_retention(place: Place, kind: Kind) -> list[str]:
    """Delete the backups that are no longer kept, and return their names. What the place has locked stays for now."""
    keep = Keep(
        settings.BACKUP_KEEP_DAILY,
        settings.BACKUP_KEEP_WEEKLY,
        settings.BACKUP_KEEP_MONTHLY,
        timedelta(days=settings.BACKUP_RETENTION_DAYS),
    )
    names = {name: taken_at(name) for name in place.names(kind)}
    gone = []
    for name in sorted(names.keys() - kept(names, keep, timezone.now())):
        try:
            place.delete(name)
        except Locked:
            log.info("a backup stays until its lock ends", extra={"kind": kind})
        else:
            gone.append(name)
    return gone


def sweep(place: Place, kind: Kind) -> None:
    """Delete what runs that died have left in a place, and copies of files that no backup lists any more."""
    now = timezone.now()
    place.sweep(now - LEFT_AFTER)
    found = {one.name: one for one in place.walk()}
    for name, one in found.items():
        whole = name.removesuffix(OLD_SUFFIX)
        if kind_of(whole) != kind or whole + SUFFIX in found:
            continue
        after = OLD_AFTER if whole + OLD_SUFFIX in found else LEFT_AFTER
        if one.written_at < now - after:
            _remove(place, name)
    if kind == "media":
        _sweep_objects(place, now - LEFT_AFTER)


def sweep_workspace(prefix: str) -> None:
    """Delete what a run that died has left on this machine. Only for who holds the lock of such runs."""
    for folder in Path(settings.BACKUP_WORK_ROOT).glob(f"{prefix}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _sweep_objects(place: Place, before: datetime) -> None:
    needed: set[str] = set()
    for name in place.names("media"):
        try:
            manifest = place.manifest(name)
        except Damaged as error:
            # Nobody knows what it lists: nothing goes.
            log.error("a manifest can't be read, so no copies of files are deleted", exc_info=error)
            return
        needed.update(object_name(key, file.sha256, manifest.encrypted_for) for key, file in manifest.files.items())
    for one in place.walk(OBJECTS):
        if one.name not in needed and one.written_at < before:
            _remove(place, one.name)


def _remove(place: Place, name: str) -> None:
    with suppress(Locked):
        place.remove(name)
