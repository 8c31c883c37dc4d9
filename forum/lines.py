"""A line of the thread list."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from django.utils.safestring import SafeString

from accounts.access import Member
from forum.models import Status, Thread
from quokkaq.lib.fragments import fragment, joined
from quokkaq.lib.times import clock

# What of a thread, and of what is joined to it, a line needs. What its list is ordered by goes along.
SHOWN = (
    "number", "title", "kind", "status", "visibility", "moderation", "is_pinned", "is_locked", "reply_count", "vote_count",
    "endorsement_count", "last_activity_at", "anonymity",
    "author__display_name", "author__erased_at", "pseudonym__name", "assignment__title",
)  # fmt: skip


class Line(NamedTuple):
    """All that a line shows, as one reader is shown it: the same line is the same HTML."""

    url: str
    number: int
    title: str
    kind: str
    status: str
    status_label: str
    visibility: str
    moderation: str
    is_pinned: bool
    is_locked: bool
    is_endorsed: bool
    is_unread: bool
    by: str
    by_hidden: bool
    ago: SafeString
    assignment: str
    tags: tuple[str, ...]
    reply_count: int
    vote_count: int


def line_of(thread: Thread, member: Member, base: str, ago: Callable[[datetime], SafeString]) -> Line:
    """Return the line of a thread that was read with `with_read()` and `listed()`.

    Args:
        base: the list's address.
        ago: a `clock`.
    """
    by = thread.byline(member)
    return Line(
        f"{base}{thread.number}/", thread.number, thread.title, thread.kind, thread.status, _STATUS[thread.status],
        thread.visibility, thread.moderation, thread.is_pinned, thread.is_locked, thread.endorsement_count > 0,
        thread.is_unread, by.name, by.hidden, ago(thread.last_activity_at),
        thread.assignment.title if thread.assignment else "", tuple([name for _, name in thread.tag_pairs]),
        thread.reply_count, thread.vote_count,
    )  # fmt: skip


def rows(threads: Iterable[Thread], member: Member, base: str) -> SafeString:
    """Return the rows of the list as HTML."""
    ago = clock()
    return joined(fragment("forum/_thread_row.html", thread=line_of(thread, member, base, ago)) for thread in threads)


_STATUS = {status.value: str(status.label) for status in Status}
