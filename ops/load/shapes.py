"""How many people are there at each moment of a load test, as a share of the most."""

from collections.abc import Callable

# The 24 hours of a day of term, from midnight, as a course's server sees them: two humps, and the evening's is the higher.
DAY = (8, 4, 2, 1, 1, 2, 6, 18, 42, 60, 68, 64, 50, 58, 70, 72, 66, 60, 64, 82, 100, 92, 60, 25)
# From six in the evening to two at night before an exam, in hours.
EVE = (30, 45, 70, 90, 100, 100, 80, 40)
# What is there before the bell, when the herd comes, and how the time is shared: a quarter before.
HERD_BEFORE, HERD_COMES = 0.05, 0.25


def _between(hours: tuple[int, ...], at: float) -> float:
    """Return the value at a part of the time (0 to 1), in a straight line from one hour to the next."""
    place = min(max(at, 0.0), 1.0) * (len(hours) - 1)
    before = min(int(place), len(hours) - 2)
    return (hours[before] + (hours[before + 1] - hours[before]) * (place - before)) / 100


SHAPES: dict[str, Callable[[float], float]] = {
    "steady": lambda at: 1.0,
    "day": lambda at: _between(DAY, at),
    "exam-eve": lambda at: _between(EVE, at),
    "herd": lambda at: HERD_BEFORE if at < HERD_COMES else 1.0,
}


def people(shape: str, at: float, most: int) -> int:
    """Return how many people are there when a part of the time has gone by (0 to 1); at least one. Raises `KeyError`."""
    return max(1, round(SHAPES[shape](at) * most))
