"""Which threads a link on a learning platform may lead to."""

from accounts.access import Member
from forum.models import Thread, Visibility

COUNT = 20


def linkable(member: Member, query: str) -> list[tuple[int, str]]:
    """Return number and title of threads that everybody in the course may read, newest first: the title goes outside."""
    shown = Thread.objects.visible_to(member).filter(visibility=Visibility.COURSE, moderation="shown")
    number = query.removeprefix("#")
    if number.isascii() and number.isdigit():
        shown = shown.filter(number=int(number[:9]))
    elif query:
        shown = shown.filter(title__icontains=query)
    return list(shown.order_by("-number").values_list("number", "title")[:COUNT])
