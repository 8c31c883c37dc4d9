"""What waits for a human: every thread of a course that staff should look at, the most urgent first.

A row is a thread with the reasons it is here. Other apps add reasons through `register_queue_source`; the forum doesn't
know who they are.

Ranking needs numbers that change with the clock, so no index holds the order. What is ranked is bounded instead, and
each bound is one index scan: the `NEWEST` and the `LONGEST` waiting open questions, the `WANTED` that most people share,
the `DUE` whose assignment is due next, and up to `EACH` of everything flagged, to approve, or private. Below a few
hundred open threads, that is all of them; beyond, what is left out is neither old, new, wanted nor due.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import models
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.utils import timezone

from accounts.access import Member
from forum.models import Flag, FlagStatus, Kind, Moderation, Post, Status, Thread, Visibility

NEWEST = LONGEST = EACH = 500
WANTED = DUE = 200
SOON = timedelta(days=3)


class Need(models.TextChoices):
    """Why a thread is in the queue."""

    FLAG = "flag", "Flagged"
    APPROVAL = "approval", "To approve"
    PRIVATE = "private", "Private"
    ANSWER = "answer", "Unanswered"
    AI = "ai", "AI answers"


@dataclass(frozen=True)
class Reason:
    """Why a thread needs a human, or why soon, in words, and what it adds to the score. `need` is empty for the latter."""

    text: str
    points: int
    need: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known about a thread that waits. Times are aware; `since` is when it began to need somebody."""

    now: datetime
    since: datetime
    unanswered: bool = False
    private: bool = False
    flags: int = 0
    approvals: int = 0
    same: int = 0
    readers: int = 0
    assignment: str = ""
    due_at: datetime | None = None
    others: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Urgency:
    """How soon somebody should look, and why."""

    score: int
    reasons: tuple[Reason, ...] = field(default=())

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(reason.need for reason in self.reasons if reason.need)


def urgency(facts: Facts) -> Urgency:
    """Add up how urgent a thread is. The score is the sum of the points of its reasons:

    - flagged: 60, and 10 for each further flag, up to 100
    - texts wait for approval: 50, and 5 for each further one, up to 80
    - private, without an answer by staff: 10
    - unanswered: 0 by itself, the waiting counts
    - waiting: 10 for each whole day, up to 50
    - the same question: 2 for each other person who has it, up to 40
    - the assignment is due: in 6 hours or less 40, in a day 30, in three days 15; after that, or past it, 0
    - viewed: 1 for every 10 people, up to 10
    - what other parts add (the AI found no answer: 10; it failed: 15; its draft waits: 12; its answer lost its source: 10)
    - what readers add (somebody asks for a person: 25; they find the AI's answer unhelpful: 15), and what the AI isn't sure of: 5

    So a flag comes before a question of five days, and a question of many before an old one of one person.
    """
    reasons: list[Reason] = []
    if facts.flags:
        points = min(60 + 10 * (facts.flags - 1), 100)
        reasons.append(Reason(_many(facts.flags, "open flag"), points, Need.FLAG))
    if facts.approvals:
        points = min(50 + 5 * (facts.approvals - 1), 80)
        verb = "waits" if facts.approvals == 1 else "wait"
        reasons.append(Reason(f"{_many(facts.approvals, 'text')} {verb} for approval", points, Need.APPROVAL))
    if facts.private:
        reasons.append(Reason("private, and no answer by staff", 10, Need.PRIVATE))
    if facts.unanswered:
        reasons.append(Reason("nobody has answered", 0, Need.ANSWER))
    reasons += facts.others
    days = (facts.now - facts.since).days
    if days > 0:
        reasons.append(Reason(f"waiting {_many(days, 'day')}", min(10 * days, 50)))
    if facts.same:
        verb = "has" if facts.same == 1 else "have"
        people = f"{facts.same} more {'person' if facts.same == 1 else 'people'}"
        reasons.append(Reason(f"{people} {verb} the same question", min(2 * facts.same, 40)))
    if facts.due_at is not None and facts.now < facts.due_at <= facts.now + SOON:
        left = facts.due_at - facts.now
        points = 40 if left <= timedelta(hours=6) else 30 if left <= timedelta(days=1) else 15
        reasons.append(Reason(f"{facts.assignment} is due in {_span(left)}", points))
    if facts.readers:
        reasons.append(Reason(f"viewed by {facts.readers}", min(facts.readers // 10, 10)))
    return Urgency(sum(reason.points for reason in reasons), tuple(reasons))


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _span(left: timedelta) -> str:
    hours = int(left.total_seconds() // 3600)
    if hours >= 48:
        return _many(hours // 24, "day")
    return _many(hours, "hour") if hours else "less than an hour"


# Returns reasons by thread, of threads the member may read: at most `EACH`, in a constant number of queries.
QueueSource = Callable[[Member], Mapping[uuid.UUID, Iterable[Reason]]]

_sources: list[QueueSource] = []


def register_queue_source(source: QueueSource) -> None:
    """Let another app say which threads need a human, and why."""
    if source not in _sources:
        _sources.append(source)


@dataclass(frozen=True)
class Entry:
    """A thread in the queue, as far as ranking needs it."""

    thread_id: uuid.UUID
    assignee_id: uuid.UUID | None
    urgency: Urgency
    since: datetime


@dataclass(frozen=True)
class Row(Entry):
    """One that is shown."""

    thread: Thread


class _Candidate(NamedTuple):
    """The columns that ranking needs: thousands of whole threads would cost more than all else."""

    pk: uuid.UUID
    created_at: datetime
    kind: str
    status: str
    moderation: str
    duplicate_of: uuid.UUID | None
    same_count: int
    reader_count: int
    assignee: uuid.UUID | None
    assignment__title: str | None
    assignment__due_at: datetime | None


def unanswered(member: Member) -> models.QuerySet[Thread]:
    """Return the open questions nobody else has replied to, as everybody sees them."""
    return Thread.objects.visible_to(member).filter(
        kind=Kind.QUESTION, status=Status.OPEN, moderation=Moderation.SHOWN, duplicate_of=None
    )


def private_without_staff(member: Member) -> models.QuerySet[Thread]:
    """Return the private threads that no member of staff has replied to. Whose they are doesn't matter."""
    answered = Post.objects.filter(thread=OuterRef("pk"), is_by_staff=True, deleted_at=None)
    waiting = Thread.objects.visible_to(member).filter(visibility=Visibility.STAFF, duplicate_of=None)
    return waiting.exclude(Q(status=Status.RESOLVED) | Q(kind=Kind.ANNOUNCEMENT)).filter(~Exists(answered))


def queue(member: Member) -> list[Entry]:
    """Return the threads of the course that need a human, the most urgent first; of equals, the longest waiting.

    Nine queries and one for each registered source, at any number of threads.
    """
    now = timezone.now()
    others = [source(member) for source in _sources]
    flags = _grouped(
        Flag.objects.visible_to(member).filter(status=FlagStatus.OPEN).filter(Q(post=None) | Q(post__deleted_at=None))
    )
    approvals = _grouped(Post.objects.visible_to(member).filter(moderation=Moderation.PENDING))
    pending = set(_ids(Thread.objects.visible_to(member).filter(moderation=Moderation.PENDING), "created_at", EACH))
    private = set(_ids(private_without_staff(member), "created_at", EACH))
    candidates = {*flags, *approvals, *pending, *private, *(thread for source in others for thread in source)}
    waiting = unanswered(member)
    wanted = waiting.filter(same_count__gt=0)
    due = waiting.filter(assignment__due_at__gt=now, assignment__due_at__lte=now + SOON)
    for threads, order, size in (
        (waiting, "created_at", LONGEST), (waiting, "-created_at", NEWEST), (wanted, "-same_count", WANTED),
        (due, "assignment__due_at", DUE),
    ):  # fmt: skip
        candidates.update(_ids(threads, order, size))
    rows = Thread.objects.visible_to(member).filter(pk__in=candidates).order_by().values_list(*_Candidate._fields)
    entries = []
    for thread in map(_Candidate._make, rows):
        flagged, to_approve = flags.get(thread.pk), approvals.get(thread.pk)
        is_open = (thread.kind, thread.status, thread.moderation) == (Kind.QUESTION, Status.OPEN, Moderation.SHOWN)
        is_unanswered = is_open and thread.duplicate_of is None
        is_private = thread.pk in private
        extra = tuple(reason for source in others for reason in source.get(thread.pk, ()))
        since = [found[1] for found in (flagged, to_approve) if found]
        if is_unanswered or is_private or extra or thread.pk in pending:
            since.append(thread.created_at)
        if not since:
            continue  # settled between two of the queries
        facts = Facts(
            now=now,
            since=min(since),
            unanswered=is_unanswered,
            private=is_private,
            flags=flagged[0] if flagged else 0,
            approvals=(to_approve[0] if to_approve else 0) + (thread.pk in pending),
            same=thread.same_count,
            readers=thread.reader_count,
            assignment=thread.assignment__title or "",
            due_at=thread.assignment__due_at,
            others=extra,
        )
        entries.append(Entry(thread.pk, thread.assignee, urgency(facts), min(since)))
    return sorted(entries, key=lambda entry: (-entry.urgency.score, entry.since, entry.thread_id))


def _ids(threads: models.QuerySet[Thread], order: str, size: int) -> list[uuid.UUID]:
    return list(threads.order_by(order, "id").values_list("pk", flat=True)[:size])


def _grouped(rows: models.QuerySet[Flag] | models.QuerySet[Post]) -> dict[uuid.UUID, tuple[int, datetime]]:
    """Return how many rows there are of each thread, and when the first was made: the `EACH` threads that wait longest."""
    grouped = rows.order_by().values("thread").annotate(n=Count("pk"), first=Min("created_at")).order_by("first")
    return {row["thread"]: (row["n"], row["first"]) for row in grouped[:EACH]}


def load(member: Member, entries: Iterable[Entry]) -> list[Row]:
    """Return entries with their threads, for those that are shown. One query."""
    entries = list(entries)
    rows = Thread.objects.visible_to(member).listed().select_related("assignee").filter(
        pk__in=[entry.thread_id for entry in entries]
    )  # fmt: skip
    threads = {thread.pk: thread for thread in rows}
    return [
        Row(entry.thread_id, entry.assignee_id, entry.urgency, entry.since, threads[entry.thread_id])
        for entry in entries
        if entry.thread_id in threads
    ]
