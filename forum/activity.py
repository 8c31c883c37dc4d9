"""What somebody did in a course, and what came of it: for their own eyes.

Others never see it: what somebody wrote under a pseudonym stands here beside what they wrote under their name.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery, TextChoices
from django.db.models.functions import Coalesce

from accounts.access import Member
from accounts.models import AuditEvent
from forum.happenings import fetch, happened, in_sql, page_of
from forum.models import Endorsement, Kind, Moderation, Post, SameQuestion, Thread

PAGE_SIZE = 25


class Happening(TextChoices):
    QUESTION = "question", "You asked"
    THREAD = "thread", "You started"
    ANSWER = "answer", "You answered in"
    ENDORSED = "endorsed", "Your answer was endorsed in"
    ACCEPTED = "accepted", "Your answer was accepted in"
    SAME = "same", "You have the same question as"


# What is counted, as the page names it.
COUNTED = {
    Happening.QUESTION: "Questions",
    Happening.ANSWER: "Answers",
    Happening.ENDORSED: "Endorsements received",
    Happening.ACCEPTED: "Answers accepted",
    Happening.SAME: "Same questions",
}


@dataclass(frozen=True)
class Event:
    """One thing that happened. `pseudonym` is the name one's text stands under, empty when it is one's own."""

    at: datetime
    kind: Happening
    id: uuid.UUID
    number: int
    title: str
    pseudonym: str
    moderation: str
    who: str

    @property
    def is_pending(self) -> bool:
        return self.moderation == Moderation.PENDING

    @property
    def is_hidden(self) -> bool:
        return self.moderation == Moderation.HIDDEN


def events(member: Member) -> QuerySet[Any, dict[str, Any]]:
    """Return what happened to the member in the course, unordered, in the columns of `forum.happenings`."""
    # A question that was merged is still one's own.
    started = Thread.objects.in_reach_of(member).filter(author=member.user, deleted_at=None)
    asked, others = started.filter(kind=Kind.QUESTION), started.exclude(kind=Kind.QUESTION)
    answers = Post.objects.visible_to(member).filter(author=member.user, parent=None)
    endorsed = Endorsement.objects.filter(post__in=answers)
    accepted = Thread.objects.visible_to(member).filter(accepted_post__in=answers)
    # When it was accepted is written down in the audit log alone, and there for a year.
    noted = AuditEvent.objects.filter(target_id=OuterRef("accepted_post_id"), verb="post.accepted")
    accepted_at = Coalesce(
        Subquery(noted.order_by("-created_at").values("created_at")[:1]), F("accepted_post__created_at")
    )
    same = SameQuestion.objects.visible_to(member).filter(thread__in=Thread.objects.visible_to(member))
    return happened(asked, kind=Happening.QUESTION, at="created_at", thread="").union(
        happened(others, kind=Happening.THREAD, at="created_at", thread=""),
        happened(answers, kind=Happening.ANSWER, at="created_at", thread="thread__"),
        happened(
            endorsed, kind=Happening.ENDORSED, at="created_at", thread="post__thread__", text="post__",
            who="endorser__display_name",
        ),
        happened(accepted, kind=Happening.ACCEPTED, at=accepted_at, thread="", text="accepted_post__"),
        happened(same, kind=Happening.SAME, at="created_at", thread="thread__", text=None),
        all=True,
    )  # fmt: skip


def activity(member: Member, cursor: str = "") -> tuple[list[Event], str]:
    """Return one page of what happened, newest first, and the cursor of the next. One query.

    Raises `quokkaq.lib.keyset.BadCursor`.
    """
    sql, params = in_sql(events(member))
    rows, following = page_of(sql, params, cursor=cursor, size=PAGE_SIZE, scope=f"activity:{member.course.pk}")
    return [
        Event(
            row["at"], Happening(row["kind"]), row["id"], row["number"], row["title"], row["pseudonym"] or "",
            row["moderation"], row["who"] or "",
        )
        for row in rows
    ], following  # fmt: skip


def counts_since(member: Member, moments: Sequence[datetime]) -> dict[Happening, list[int]]:
    """Return how often each counted thing happened since each moment. One query."""
    sql, params = in_sql(events(member))
    wanted = ", ".join(f"count(*) FILTER (WHERE at >= %s) AS since{place}" for place in range(len(moments)))
    rows = fetch(f"SELECT kind, {wanted} FROM ({sql}) AS listed GROUP BY kind", [*moments, *params])  # noqa: S608
    found = {row["kind"]: [row[f"since{place}"] for place in range(len(moments))] for row in rows}
    return {kind: found.get(kind.value, [0] * len(moments)) for kind in COUNTED}
