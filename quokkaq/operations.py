"""Noting what operators do: backups when they are done or failed, a restore drill by itself."""

from collections.abc import Sequence

from django.db.models import F
from django.utils import timezone

from quokkaq.models import Operation, OperationName


def note(name: OperationName, *, succeeded: bool = True, size: int | None = None) -> None:
    """Note that something was done just now."""
    Operation.objects.update_or_create(
        name=name, defaults={"ended_at": timezone.now(), "succeeded": succeeded, "size": size}
    )


def note_backup(name: OperationName, *, size: int, places: Sequence[str]) -> None:
    """Note a good backup, verified in `places` just now. What failed before is over."""
    Operation.objects.update_or_create(
        name=name,
        defaults={
            "ended_at": timezone.now(), "succeeded": True, "size": size, "places": ", ".join(places),
            "failed_at": None, "failures": 0, "error": "",
        },
    )  # fmt: skip


def note_failed_backup(name: OperationName, error: str) -> None:
    """Note that a backup failed. When the last good one was made, and how large it is, stays: that still counts."""
    Operation.objects.get_or_create(name=name, defaults={"ended_at": None})
    Operation.objects.filter(name=name).update(failed_at=timezone.now(), failures=F("failures") + 1, error=error[:300])


def note_copies(name: OperationName, *, places: Sequence[str], error: str) -> None:
    """Note that the last good backup lies in all places now, where it was this alone (`error`) that had failed."""
    Operation.objects.filter(name=name).update(places=", ".join(places))
    Operation.objects.filter(name=name, error__startswith=error).update(failed_at=None, failures=0, error="")
