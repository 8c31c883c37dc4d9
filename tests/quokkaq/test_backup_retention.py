"""Which backups are kept, over years, holes, and clocks that are wrong."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from quokkaq.backups.retention import Keep, kept

KEEP = Keep(daily=7, weekly=4, monthly=12, longest=timedelta(days=372))
START = datetime(2026, 1, 1, 2, 17, tzinfo=UTC)
DAY = timedelta(days=1)


def nightly(days: int, start: datetime = START) -> dict[str, datetime]:
    return {f"{number:04}": start + number * DAY for number in range(days)}


def live(days: int, keep: Keep = KEEP, start: datetime = START) -> tuple[dict[str, datetime], list[int]]:
    """Make one each night and keep to the rule each time; return what is left, and how many there were each day."""
    there: dict[str, datetime] = {}
    counts = []
    for name, taken in nightly(days, start).items():
        there[name] = taken
        stays = kept(there, keep, taken)
        assert name in stays
        there = {one: there[one] for one in stays}
        counts.append(len(there))
    return there, counts


def test_over_400_days_there_are_seven_days_four_weeks_and_twelve_months() -> None:
    there, counts = live(400)
    newest = sorted(there.values(), reverse=True)
    now = newest[0]
    assert newest[:7] == [now - number * DAY for number in range(7)]
    weeks = {day.isocalendar()[:2] for day in newest}
    assert {(now - number * 7 * DAY).isocalendar()[:2] for number in range(4)} <= weeks
    assert len({(day.year, day.month) for day in newest}) == 12
    assert max(now - day for day in newest) <= KEEP.longest
    assert max(counts) <= 7 + 4 + 12
    # It grows until the first months go, and no further.
    assert counts[:7] == [1, 2, 3, 4, 5, 6, 7]


def test_keeping_each_night_ends_where_keeping_at_once_does() -> None:
    """What a night lets go of is nothing that a later one would have kept."""
    there, _ = live(400)
    every = nightly(400)
    assert set(there) == kept(every, KEEP, max(every.values()))


def test_nothing_is_older_than_people_are_told() -> None:
    for first in range(40):
        there, _ = live(380 + first, start=START + first * DAY)
        assert max(there.values()) - min(there.values()) <= KEEP.longest


@pytest.mark.parametrize("seed", range(200))
def test_whatever_the_dates_the_newest_stays(seed: int) -> None:
    """Several a day, holes of months, clocks that go backwards, odd numbers to keep."""
    chance = random.Random(seed)
    backups = {
        str(number): START + timedelta(minutes=chance.choice([1, 60, 1440, 43200]) * chance.randint(-40, 400))
        for number in range(chance.randint(1, 60))
    }
    keep = Keep(
        chance.randint(0, 9), chance.randint(0, 6), chance.randint(0, 14), timedelta(days=chance.randint(1, 400))
    )
    now = START + timedelta(days=chance.randint(-400, 4000))
    stays = kept(backups, keep, now)
    newest = max(backups, key=lambda name: (backups[name], name))
    assert newest in stays
    assert stays <= set(backups)
    assert len(stays) <= max(1, keep.daily) + keep.weekly + keep.monthly
    # Said again, it says the same.
    assert kept({name: backups[name] for name in stays}, keep, now) == stays
    days = {backups[name].date() for name in backups}
    assert len({backups[name].date() for name in stays}) >= min(len(days), max(1, keep.daily))


def test_of_several_a_day_the_last_stays() -> None:
    backups = {str(hour): START + timedelta(hours=hour) for hour in range(20)}
    assert kept(backups, KEEP, START + DAY) == {"19"}


def test_nothing_goes_while_no_new_ones_come() -> None:
    """The nightly job was off for three years: the last seven days that have one stay."""
    backups = nightly(30)
    stays = kept(backups, KEEP, START + 1100 * DAY)
    assert {f"{number:04}" for number in range(23, 30)} == stays


def test_a_clock_that_was_years_ahead_for_a_night_takes_little_away() -> None:
    backups = nightly(200)
    backups["ahead"] = START + 4000 * DAY
    stays = kept(backups, KEEP, backups["ahead"])
    assert len(stays - {"ahead"}) == 6
    # And when it is right again, the one from the future is in nobody's way.
    stays = kept(backups, KEEP, START + 200 * DAY)
    assert {f"{number:04}" for number in range(194, 200)} <= stays
    assert len(stays) >= 6 + 3 + 6


def test_with_nothing_but_days_only_days_stay() -> None:
    assert kept(nightly(90), Keep(3, 0, 0, DAY), START + 90 * DAY) == {"0087", "0088", "0089"}
    assert kept({}, KEEP, START) == set()
