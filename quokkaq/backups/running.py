"""A backup from beginning to end: made, verified, copied to the second place, noted; and what is no longer kept goes."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dbbackup.db.exceptions import CommandConnectorError
from django.db import DatabaseError, connection

from quokkaq import operations
from quokkaq.backups import database, gpg, keeping, media
from quokkaq.backups.lock import only_one
from quokkaq.backups.manifest import Damaged, Manifest
from quokkaq.backups.places import Kind, Place, PlaceError, places
from quokkaq.backups.reading import workspace
from quokkaq.lib.database.owner import as_owner
from quokkaq.lib.storage import StoreError
from quokkaq.models import OperationName

log = logging.getLogger("quokkaq.backups")
Say = Callable[[str], None]
NAMES: dict[Kind, OperationName] = {"database": OperationName.BACKUP_DATABASE, "media": OperationName.BACKUP_MEDIA}
# What an error of the second place begins with, in `Operation.error`.
SECOND = "Second place: "
# What goes wrong with programs, places and keys, said in sentences; anything else is a fault of ours.
EXPECTED = (Damaged, PlaceError, gpg.GpgError, CommandConnectorError, StoreError, DatabaseError, OSError)


class BackupFailed(Exception):
    """No new backup was made. The last good one is untouched."""


class SecondPlaceFailed(Exception):
    """The backup is good and counts; the second place doesn't have it."""


def back_up(kind: Kind, *, say: Say, clean: bool = False, servername: str | None = None) -> Manifest:
    """Make one backup and return its manifest.

    Args:
        say: what is told how far it has come.
        clean: delete afterwards what is no longer kept.

    Raises `BackupFailed`, `SecondPlaceFailed`, and `lock.Busy` when another process is at it.
    """
    with as_owner(), only_one(kind):
        main, *others = places()
        with _noting(kind):
            keeping.sweep_workspace(kind)
            expect_owner()
            manifest = _make(kind, main, say, servername)
        operations.note_backup(NAMES[kind], size=manifest.size, places=[main.name])
        say(f"{manifest.name} is verified in the {main.name} place")
        try:
            _bring_up_to_date(kind, main, others, say)
        finally:
            for place in [main, *others]:
                _tidy(kind, place, clean=clean)
    return manifest


def copy_to_second(kind: Kind, *, say: Say) -> None:
    """Copy to the second place what it doesn't have. Raises `SecondPlaceFailed`, and `lock.Busy`."""
    with as_owner(), only_one(kind):
        main, *others = places()
        keeping.sweep_workspace(kind)
        _bring_up_to_date(kind, main, others, say)


def _make(kind: Kind, main: Place, say: Say, servername: str | None) -> Manifest:
    with workspace(kind) as folder:
        if kind == "database":
            manifest, file = database.dump(folder, servername)
            say(f"{len(manifest.tables)} tables dumped, {manifest.size} bytes")
            database.store(main, manifest, file, folder)
        else:
            manifest = media.copy_files(main, folder, say, servername)
            media.verify(main, manifest)
            main.save_manifest(manifest)
    return manifest


def _bring_up_to_date(kind: Kind, main: Place, others: list[Place], say: Say) -> None:
    """Copy every backup that another place doesn't have, the newest first."""
    copy = database.copy_to if kind == "database" else media.copy_to
    try:
        for other in others:
            there = set(other.names(kind))
            for name in main.names(kind):
                if name not in there:
                    with workspace(kind) as folder:
                        copy(main, other, name, folder)
                    say(f"{name} is verified in the {other.name} place")
    except EXPECTED as error:
        log.error("a backup isn't in the second place", exc_info=error, extra={"kind": kind})
        _note_failure(kind, SECOND + sentence(error))
        raise SecondPlaceFailed(SECOND + sentence(error)) from error
    if others:
        operations.note_copies(NAMES[kind], places=[place.name for place in [main, *others]], error=SECOND)


def _tidy(kind: Kind, place: Place, *, clean: bool) -> None:
    """Let go of what is no longer kept. A place in trouble keeps it a day longer: no reason to call a backup failed."""
    try:
        if clean:
            keeping.keep_to_retention(place, kind)
        keeping.sweep(place, kind)
    except (PlaceError, Damaged, OSError) as error:
        log.warning("old backups can't be deleted", exc_info=error, extra={"kind": kind})


def expect_owner() -> None:
    """Raise `BackupFailed` for an account that would dump what row-level security shows it: nothing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND NOT pg_has_role(relowner, 'USAGE')"
        )
        if cursor.fetchone()[0]:
            raise BackupFailed("This account doesn't own the tables. Set OWNER_DATABASE_URL to the one that does.")


@contextmanager
def _noting(kind: Kind) -> Iterator[None]:
    """Note and log what fails inside, and raise what is expected to fail at times as `BackupFailed`."""
    try:
        yield
    except Exception as error:
        log.error("a backup failed", exc_info=error, extra={"kind": kind})
        _note_failure(kind, sentence(error))
        if isinstance(error, EXPECTED):
            raise BackupFailed(sentence(error)) from error
        raise


def _note_failure(kind: Kind, error: str) -> None:
    try:
        operations.note_failed_backup(NAMES[kind], error)
    except DatabaseError as away:
        # The age of the last good one tells.
        log.error("that a backup failed can't be noted", exc_info=away)


def sentence(error: Exception) -> str:
    """Return what operators are told of an error: what our own code says, or its kind."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    if isinstance(error, (Damaged, PlaceError, gpg.GpgError, CommandConnectorError, StoreError, BackupFailed)):
        return str(error)
    return f"{type(error).__name__}."
