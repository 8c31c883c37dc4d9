"""Points: made from what happened, each time they are read.

There is no table of points, so they can't drift, and what is taken back (a vote, an endorsement, a post) takes its
points with it. Only oneself sees one's points: what somebody gets for a text under a pseudonym would tell who wrote it.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, F, OuterRef, QuerySet, Subquery, TextChoices, Value, When, Window
from django.db.models.functions import RowNumber

from accounts.access import Member
from forum.happenings import fetch, happened, in_sql, page_of
from forum.models import Endorsement, Kind, Moderation, Post, Thread, Vote


class Reason(TextChoices):
    QUESTION = "question", "You asked a question"
    FIRST_VOTE = "first_vote", "Your answer got its first upvote"
    VOTE = "vote", "Your answer got another upvote"
    ENDORSED = "endorsed", "Staff endorsed your answer"
    SHARED = "shared", "You shared a conversation"


POINTS = {Reason.QUESTION: 2, Reason.FIRST_VOTE: 10, Reason.VOTE: 5, Reason.ENDORSED: 20, Reason.SHARED: 15}
# So many upvotes after the first one count: an answer isn't better without end.
FURTHER_VOTES = 5
DEFINITIONS = {
    Reason.QUESTION: "A question you asked. It counts from when you asked it, while it is shown and not deleted.",
    Reason.FIRST_VOTE: "An answer of yours that somebody else has upvoted. Comments don't count.",
    Reason.VOTE: f"Each further upvote of that answer, {FURTHER_VOTES} at most for one answer.",
    Reason.ENDORSED: "An answer of yours that staff put their name under. Once for an answer, whoever endorses it too.",
    Reason.SHARED: "A conversation with the course AI that you turned into a thread. It counts while the thread is shown and "
    "you keep the conversation.",
}
MILESTONES = {
    25: "Warming up",
    100: "Good company",
    250: "Lending a paw",
    500: "Pillar of the course",
    1000: "Quokka emeritus",
}
PAGE_SIZE = 25
# Returns the threads a member made of conversations of theirs; whoever holds the conversations registers it.
SharedThreads = Callable[[Member], QuerySet[Thread]]
_shared: list[SharedThreads] = []


@dataclass(frozen=True)
class Entry:
    """One line of the ledger; `total` is what one had with it."""

    at: datetime
    reason: Reason
    id: uuid.UUID
    number: int
    title: str
    points: int
    total: int


@dataclass(frozen=True)
class Milestone:
    """A number of points with a name, and when it was reached: empty while it isn't."""

    points: int
    name: str
    reached_at: datetime | None


@dataclass(frozen=True)
class Standing:
    """How many points somebody has, and had since some days."""

    total: int
    milestones: list[Milestone]

    @property
    def next(self) -> Milestone | None:
        return next((one for one in self.milestones if one.reached_at is None), None)

    @property
    def missing(self) -> int:
        """How many points there are to the next milestone."""
        return self.next.points - self.total if self.next else 0

    @property
    def reached(self) -> Milestone | None:
        return next((one for one in reversed(self.milestones) if one.reached_at is not None), None)


def register_shared(threads: SharedThreads) -> None:
    """Count threads that somebody made of conversations of theirs."""
    if threads not in _shared:
        _shared.append(threads)


def entries(member: Member) -> QuerySet[Any, dict[str, Any]]:
    """Return the member's entries, unordered, in the columns of `forum.happenings`."""
    questions = Thread.objects.in_reach_of(member).filter(
        author=member.user, kind=Kind.QUESTION, moderation=Moderation.SHOWN, deleted_at=None
    )
    answers = Post.objects.credited_to(member)
    place = Window(RowNumber(), partition_by=[F("post")], order_by=[F("created_at").asc(), F("id").asc()])
    votes = Vote.objects.received_by(member).annotate(place=place).filter(place__lte=1 + FURTHER_VOTES)
    of_vote = Case(When(place=1, then=Value(Reason.FIRST_VOTE.value)), default=Value(Reason.VOTE.value))
    first = Endorsement.objects.filter(post=OuterRef("pk")).order_by("created_at", "id").values("created_at")[:1]
    endorsed = answers.filter(endorsement_count__gt=0)
    return happened(questions, kind=Reason.QUESTION, at="created_at", thread="").union(
        happened(votes, kind=of_vote, at="created_at", thread="post__thread__", text="post__"),
        happened(endorsed, kind=Reason.ENDORSED, at=Subquery(first), thread="thread__"),
        *(
            happened(
                threads(member).filter(author=member.user, moderation=Moderation.SHOWN, deleted_at=None),
                kind=Reason.SHARED,
                at="created_at",
                thread="",
            )
            for threads in _shared
        ),
        all=True,
    )


def _totalled(member: Member) -> tuple[str, list[Any]]:
    """Return SQL of the entries with what each is worth and the running total."""
    sql, params = in_sql(entries(member))
    # Only constants of ours are put into the text.
    worth = " ".join(f"WHEN '{reason.value}' THEN {points}" for reason, points in POINTS.items())
    return (
        f"SELECT *, sum(points) OVER (ORDER BY at, kind, id) AS total"  # noqa: S608
        f" FROM (SELECT *, CASE kind {worth} END AS points FROM ({sql}) AS entry) AS worth",
        params,
    )


def ledger(member: Member, cursor: str = "") -> tuple[list[Entry], str]:
    """Return one page of the member's entries, newest first, and the cursor of the next. One query.

    Raises `quokkaq.lib.keyset.BadCursor`.
    """
    scope = f"points:{member.course.pk}"
    sql, params = _totalled(member)
    rows, following = page_of(sql, params, cursor=cursor, size=PAGE_SIZE, scope=scope)
    return [_entry(row) for row in rows], following


def whole_ledger(member: Member) -> list[Entry]:
    """Return all of the member's entries, newest first. One query."""
    sql, params = _totalled(member)
    return [_entry(row) for row in fetch(f"{sql} ORDER BY at DESC, kind DESC, id DESC", params)]


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(
        row["at"], Reason(row["kind"]), row["id"], row["number"], row["title"], int(row["points"]), int(row["total"])
    )


def standing(member: Member) -> Standing:
    """Return the member's points and milestones. One query."""
    sql, params = _totalled(member)
    reached = ", ".join(f"min(at) FILTER (WHERE total >= {points}) AS m{points}" for points in MILESTONES)
    (row,) = fetch(f"SELECT coalesce(sum(points), 0) AS total, {reached} FROM ({sql}) AS ledger", params)  # noqa: S608
    milestones = [Milestone(points, name, row[f"m{points}"]) for points, name in MILESTONES.items()]
    return Standing(int(row["total"]), milestones)


def points_since(member: Member, moments: Sequence[datetime]) -> list[int]:
    """Return the points of the entries since each moment. One query."""
    sql, params = _totalled(member)
    wanted = ", ".join(
        f"coalesce(sum(points) FILTER (WHERE at >= %s), 0) AS since{place}" for place in range(len(moments))
    )
    (row,) = fetch(f"SELECT {wanted} FROM ({sql}) AS ledger", [*moments, *params])  # noqa: S608
    return [int(row[f"since{place}"]) for place in range(len(moments))]
