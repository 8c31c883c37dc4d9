"""Noting what operators do: `dbbackup` and `mediabackup` when they are done, a restore drill by itself."""

from typing import Any

from dbbackup.signals import post_backup, post_media_backup
from django.dispatch import receiver
from django.utils import timezone

from quokkaq.models import Operation, OperationName


def note(name: OperationName, *, succeeded: bool = True, size: int | None = None) -> None:
    """Note that something was done just now. Of backups only those that succeeded: how old the last good one is counts."""
    Operation.objects.update_or_create(
        name=name, defaults={"ended_at": timezone.now(), "succeeded": succeeded, "size": size}
    )


@receiver(post_backup)
def note_database_backup(filename: str, storage: Any, **signal: Any) -> None:
    note(OperationName.BACKUP_DATABASE, size=_size(storage, filename))


@receiver(post_media_backup)
def note_media_backup(filename: str, storage: Any, **signal: Any) -> None:
    note(OperationName.BACKUP_MEDIA, size=_size(storage, filename))


def _size(storage: Any, filename: str) -> int | None:
    """Return how large a backup is; None where it was written elsewhere than the storage (`--output-path`)."""
    try:
        return int(getattr(storage, "storage", storage).size(filename))
    except (OSError, ValueError):
        return None
