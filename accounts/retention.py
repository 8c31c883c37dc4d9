"""How long things are kept. Each app says which of its rows grow old; `settings.RETENTION_DAYS` says when."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

BATCH = 500


@dataclass(frozen=True)
class Retained:
    """Rows that go when they are old.

    `old` returns those from before a moment; `purge` deletes a batch of an institution's where deleting them as usual
    isn't possible. `is_shared`: the table belongs to no institution; else `institution` is the way to it.
    """

    name: str
    what: str
    old: Callable[[datetime], "models.QuerySet[Any]"]
    purge: Callable[[UUID | None, datetime, int], int] | None = None
    is_shared: bool = False
    institution: str = "institution_id"

    @property
    def days(self) -> int:
        return int(settings.RETENTION_DAYS[self.name])

    def rows(self, institution_id: UUID | None) -> "models.QuerySet[Any]":
        """Return what is too old now."""
        found = self.old(timezone.now() - timedelta(days=self.days))
        return found if self.is_shared else found.filter(**{self.institution: institution_id})

    def forget(self, institution_id: UUID | None) -> int:
        """Delete all that is too old, batch by batch; return how many rows there were."""
        total = 0
        while done := self._forget_batch(institution_id):
            total += done
        return total

    def _forget_batch(self, institution_id: UUID | None) -> int:
        if self.purge is not None:
            return self.purge(institution_id, timezone.now() - timedelta(days=self.days), BATCH)
        found = self.rows(institution_id)
        with transaction.atomic():
            keys = list(found.order_by("pk").values_list("pk", flat=True)[:BATCH])
            found.model._base_manager.filter(pk__in=keys).delete()
        return len(keys)


_rules: dict[str, Retained] = {}


def retain(*rules: Retained) -> None:
    """Say which rows go when they are old."""
    for rule in rules:
        _rules[rule.name] = rule


def rules() -> list[Retained]:
    return list(_rules.values())
