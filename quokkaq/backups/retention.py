"""Which backups are kept: a pure function of their dates."""

from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple


class Keep(NamedTuple):
    """The newest backup of so many days, weeks (ISO, from Monday) and months that have one; all in UTC.

    `longest`: what weeks and months keep goes at this age.
    """

    daily: int
    weekly: int
    monthly: int
    longest: timedelta


def kept(backups: Mapping[str, datetime], keep: Keep, now: datetime) -> set[str]:
    """Return the names of those that stay. The newest always does.

    Args:
        backups: name → when it was taken (aware), of good ones only.
        now: only makes old ones go, and never one of the newest `keep.daily` days: a clock that is wrong for a few nights
            takes no backup away that nightly ones don't replace.
    """
    newest_first = sorted(backups, key=lambda name: (backups[name], name), reverse=True)
    days = _newest_of(newest_first, backups, lambda day: day.date(), max(1, keep.daily))
    longer = _newest_of(newest_first, backups, lambda day: day.isocalendar()[:2], keep.weekly)
    longer |= _newest_of(newest_first, backups, lambda day: (day.year, day.month), keep.monthly)
    return days | {name for name in longer if now - backups[name] <= keep.longest}


def _newest_of(
    newest_first: list[str], backups: Mapping[str, datetime], period: Callable[[datetime], Hashable], most: int
) -> set[str]:
    found: dict[Hashable, str] = {}
    for name in newest_first:
        of = period(backups[name].astimezone(UTC))
        if of not in found and len(found) < most:
            found[of] = name
    return set(found.values())
