"""The counts behind `quokkaq.lib.ratelimit`. Rows of no institution: a key is a keyed hash and says nothing by itself."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class _Count(models.Model):
    """When something was done of late.

    No index on `expires_at`: without one, counting updates the row where it lies (a heap-only update).
    """

    key = models.CharField(max_length=64, primary_key=True)
    hits = ArrayField(models.BigIntegerField())  # microseconds since 1970, newest first
    expires_at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.key


class RateCount(_Count):
    """Counts that hold whatever happens: signing in."""


class PassingRateCount(_Count):
    """Counts of a minute or an hour, in an unlogged table: quick, and empty after a crash of the database."""
