"""Days as the reader counts them, and the same number of days before."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Q
from django.utils import timezone

DAYS = (7, 30, 90)
# Ninety single days are too many for a picture.
_LONGEST_BY_DAY = 31
_WEEK = 7


@dataclass(frozen=True)
class Bucket:
    """One bar of a chart over time: the days from `first` to `last`."""

    first: date
    last: date

    @property
    def label(self) -> str:
        return f"{self.first.day} {self.first:%b}"

    def __str__(self) -> str:
        if self.first == self.last:
            return self.label
        return f"{self.label} to {self.last.day} {self.last:%b}"


@dataclass(frozen=True)
class Period:
    """The last `days` days in the reader's time zone, today among them, up to `end`.

    The period before it ends at the same time of day: half a day isn't compared with a whole one.
    """

    days: int
    start: datetime
    end: datetime
    start_before: datetime
    end_before: datetime

    @classmethod
    def last(cls, days: int, now: datetime | None = None) -> "Period":
        """Return the period that ends now, in the current time zone."""
        local = timezone.localtime(now)

        def midnight(days_ago: int) -> datetime:
            return timezone.make_aware(datetime.combine(local.date() - timedelta(days=days_ago), time.min))

        before = timezone.make_aware(local.replace(tzinfo=None, fold=0) - timedelta(days=days))
        return cls(days, midnight(days - 1), local, midnight(2 * days - 1), before)

    def during(self, field: str) -> Q:
        """Return the condition that a time lies in the period."""
        return Q(**{f"{field}__gte": self.start, f"{field}__lt": self.end})

    def before(self, field: str) -> Q:
        """Return the condition that a time lies in the period before."""
        return Q(**{f"{field}__gte": self.start_before, f"{field}__lt": self.end_before})

    @property
    def first_day(self) -> date:
        return timezone.localdate(self.start)

    @property
    def last_day(self) -> date:
        return timezone.localdate(self.end)

    @property
    def step(self) -> int:
        """How many days one bar stands for."""
        return 1 if self.days <= _LONGEST_BY_DAY else _WEEK

    def buckets(self) -> list[Bucket]:
        """Return the days, or the weeks that end today (the first one may be shorter), oldest first."""
        found = []
        last = self.last_day
        while last >= self.first_day:
            first = max(self.first_day, last - timedelta(days=self.step - 1))
            found.append(Bucket(first, last))
            last = first - timedelta(days=1)
        return found[::-1]
