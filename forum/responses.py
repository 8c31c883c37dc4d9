"""Filling in response templates. The variables are a fixed set found by a pattern: what people wrote is never a format."""

import re
from collections.abc import Iterator, Mapping

from django.utils import timezone
from django.utils.formats import date_format

from accounts.access import Member
from accounts.models import Role, User
from forum.models import Thread

VARIABLES = {
    "student": "what classmates see as the author’s name, also when it is a pseudonym",
    "title": "the thread’s title",
    "number": "the thread’s number",
    "course": "the course’s name",
    "assignment": "the assignment the thread is about",
    "due": "when that is due",
    "me": "your name",
}
_PLACE = re.compile(r"\{([A-Za-z_]+)\}")


def unknown_variables(text: str) -> list[str]:
    """Return what stands in braces like a variable and isn't one, each once."""
    return list(dict.fromkeys(name for name in _PLACE.findall(text) if name not in VARIABLES))


def values_for(member: Member, thread: Thread) -> dict[str, str]:
    """Return what the variables stand for in an answer of `member` to `thread`; what it doesn't have is left out."""
    # A student who is nobody in particular: a reply is read by classmates, so it calls people what they do.
    classmate = Member(User(), thread.course, Role.STUDENT)
    values = {
        "student": thread.byline(classmate).name,
        "title": thread.title,
        "number": f"#{thread.number}",
        "course": thread.course.name,
        "me": member.user.display_name,
    }
    if thread.assignment is not None:
        values["assignment"] = thread.assignment.title
        if thread.assignment.due_at is not None:
            values["due"] = date_format(timezone.localtime(thread.assignment.due_at), "j F, H:i T")
    return values


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put the values in, in one pass: what a value holds is not looked at again. What has no value stays as it is."""
    return _PLACE.sub(lambda place: values.get(place[1], place[0]), text)


def left_over(text: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield the places of a template that `fill` leaves for the writer."""
    for name in dict.fromkeys(_PLACE.findall(text)):
        if name not in values:
            yield f"{{{name}}}"
