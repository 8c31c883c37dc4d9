"""Places in the forum's navigation that other apps fill. The forum doesn't know who they are."""

from dataclasses import dataclass
from enum import StrEnum

from accounts.access import Member


class Bar(StrEnum):
    """Where a link stands: in the line below the header, in the set-up of a course, or above what waits for staff."""

    COURSE = "course"
    SET_UP = "set_up"
    QUEUE = "queue"


@dataclass(frozen=True)
class Place:
    """A page of a course that has a link of its own; `url_name` takes the course's slug.

    `key` is what the page gives as `section` (in `Bar.COURSE`), `part` (in the set-up) or `here` (in the queue).
    """

    bar: Bar
    key: str
    label: str
    url_name: str
    icon: str = ""
    for_staff: bool = False


_places: list[Place] = []


def register_place(place: Place) -> None:
    """Show a link to a page of another app."""
    if place not in _places:
        _places.append(place)


def places(bar: str, member: Member) -> list[Place]:
    """Return what stands in a bar for the member, in the order it was registered."""
    return [place for place in _places if place.bar == bar and (member.is_staff or not place.for_staff)]
