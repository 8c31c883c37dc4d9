"""What a notification says. Inbox and mail both ask here, so they can't disagree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.access import Member
from accounts.models import Course
from forum.models import Byline, Moderation, Notification, NotificationKind, Post, Thread


@dataclass(frozen=True)
class Sentence:
    """`who` `what` “`title`”`after`. `by` is set when `who` wrote the text in question."""

    what: str
    title: str
    who: str = ""
    after: str = ""
    by: Byline | None = None

    def __str__(self) -> str:
        return f"{f'{self.who} ' if self.who else ''}{self.what} “{self.title}”{self.after}"


@dataclass(frozen=True)
class Told:
    """One line of an inbox or a digest: one thing that happened, or several replies in one thread."""

    sentence: Sentence
    rows: Sequence[Notification]  # newest first
    member: Member

    @property
    def newest(self) -> Notification:
        return self.rows[0]

    @property
    def course(self) -> Course:
        return self.member.course

    @property
    def thread(self) -> Thread:
        return self.newest.thread

    @property
    def kind(self) -> str:
        return self.newest.kind

    @property
    def when(self) -> datetime:
        return self.newest.created_at

    @property
    def is_unread(self) -> bool:
        return self.newest.read_at is None

    @property
    def url(self) -> str:
        """Return the path of the page (and of the first new reply on it)."""
        return address(self.rows[-1])


def address(row: Notification) -> str:
    """Return the path of what a notification is about."""
    url = row.thread.get_absolute_url()
    return f"{url}#post-{row.post_id}" if row.post_id else url


def gather(rows: Sequence[Notification], members: Mapping[UUID, Member]) -> list[Told]:
    """Return the lines that say what `rows` hold, in their order: replies in one thread, read or unread, are one line.

    The rows come from `with_what()`.
    """
    lines: dict[tuple[object, ...], list[Notification]] = {}
    for row in rows:
        if row.course_id not in members:
            continue
        row.thread.course = members[row.course_id].course
        if row.post is not None:
            row.post.thread = row.thread
        together = row.kind == NotificationKind.REPLY
        key = (row.thread_id, row.read_at is None) if together else (row.pk,)
        lines.setdefault(key, []).append(row)
    return [
        Told(sentence(line, members[line[0].course_id]), line, members[line[0].course_id]) for line in lines.values()
    ]


def sentence(rows: Sequence[Notification], member: Member) -> Sentence:
    """Say what happened, to `member`: everybody is named as they may know them."""
    row = rows[0]
    title = row.thread.title
    writing: Thread | Post = row.post or row.thread
    by = writing.byline(member)
    thing = _thing(row)
    staff = row.actor.display_name if row.actor else "Staff"
    match NotificationKind(row.kind):
        case NotificationKind.REPLY:
            if len(rows) > 1:
                return Sentence(f"{len(rows)} new replies in", title)
            return Sentence("commented in" if row.post and row.post.parent_id else "replied in", title, by.name, by=by)
        case NotificationKind.MENTION:
            return Sentence("called you by name in", title, by.name, by=by)
        case NotificationKind.ANNOUNCEMENT:
            return Sentence("announced", title, by.name, by=by)
        case NotificationKind.ENDORSEMENT:
            return Sentence(f"endorsed your {thing} in", title, staff)
        case NotificationKind.ACCEPTED:
            return Sentence(f"Your {thing} was accepted as the answer to", title)
        case NotificationKind.AI_ANSWER:
            return Sentence("There is an answer from the course materials to", title)
        case NotificationKind.AI_WITHDRAWN:
            return Sentence("The answer from the course materials was withdrawn in", title)
        case NotificationKind.ASSIGNED:
            return Sentence("assigned to you:", title, staff)
        case NotificationKind.FLAGGED:
            return Sentence(f"Somebody flagged a {thing} in" if row.post else "Somebody flagged", title)
        case NotificationKind.PENDING:
            return Sentence(f"A {thing} waits for approval in" if row.post else "Waits for approval:", title)
        case NotificationKind.DECISION:
            mine = f"your {thing} in" if row.post else "your thread"
            reason = f": {writing.moderation_reason}" if writing.moderation_reason else ""
            if writing.moderation == Moderation.HIDDEN:
                return Sentence(f"hid {mine}", title, staff, reason)
            return Sentence(f"looked at {mine}", title, staff, f", which everybody in the course can read{reason}")


def _thing(row: Notification) -> str:
    if row.post is None:
        return "thread"
    return "comment" if row.post.parent_id else "reply"
