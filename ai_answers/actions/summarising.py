"""Summaries of long threads: points with the exact words of the posts they come from.

They are made from what every student of the course may read, and show nothing else to anybody.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone

from accounts.access import Member, Refused
from accounts.models import Role, User
from ai_answers import access
from ai_answers.actions.calls import consult
from ai_answers.citations import find_words
from ai_answers.engines import Abstention, Engine, Request, Source, Statement, Task
from ai_answers.models import AIConsent, AnswerMode, Purpose, SummaryPoint, SummaryState, ThreadSummary
from ai_answers.search import Question
from forum.models import Post, Thread
from quokkaq.lib.jobs import enqueue

SUMMARY_TASK = "ai_answers.summarise"
PENDING_STATES = (SummaryState.QUEUED, SummaryState.WRITING)
# A thread is long with so many replies and comments, or with so many characters in them.
LONG_REPLIES = 8
LONG_CHARACTERS = 6000
# What an engine gets to read of one thread, and how many points it may make.
MAX_CHARACTERS = 60_000
MAX_POINTS = 10
MAX_POINT = 500


@dataclass(frozen=True)
class Text:
    """Something in a thread that every student of the course may read; no post: the thread's own text."""

    post: Post | None
    body: str


def texts_of(thread: Thread) -> list[Text]:
    """Return what a summary may be made from: the question, and the posts that everybody in the course sees. One query."""
    anybody = Member(User(institution_id=thread.institution_id), thread.course, Role.STUDENT)
    posts = (
        Post.objects.visible_to(anybody)
        .filter(thread=thread, moderation="shown")
        .only("body", "parent", "thread", "author")
    )
    return [Text(None, thread.body), *(Text(post, post.body) for post in posts.order_by("created_at", "id"))]


def digest_of(thread: Thread, texts: Sequence[Text]) -> str:
    """Return the SHA-256 of the texts a summary is made from, with what they belong to."""
    digest = hashlib.sha256(thread.title.encode())
    for text in texts:
        digest.update(f"\x1e{text.post.pk if text.post else ''}\x1f{text.body}".encode())
    return digest.hexdigest()


@transaction.atomic
def request_summary(*, by: Member, thread: Thread) -> ThreadSummary:
    """Ask for a summary, or for a new one where a text has changed, and enqueue the work. Asking twice asks once.

    Raises `Refused` with the reason when the machine is off, or the member may only read.
    """
    if not access.may_be_summed_up(thread):
        raise PermissionDenied
    policy = access.policy_of(by.course)
    if reason := access.why_no_talk(by, policy):
        raise Refused(reason)
    ThreadSummary.objects.get_or_create(
        thread=thread, defaults={"institution_id": thread.institution_id, "state": "failed"}
    )
    summary = ThreadSummary.objects.select_for_update(of=("self",), no_key=True).get(thread=thread)
    if summary.state in PENDING_STATES:
        return summary
    if summary.state == SummaryState.READY and summary.digest == digest_of(thread, texts_of(thread)):
        return summary
    summary.state = SummaryState.QUEUED
    summary.error_code = ""
    summary.created_at = timezone.now()
    summary.save(update_fields=["state", "error_code", "created_at"])
    enqueue(
        SUMMARY_TASK, of=summary.institution_id, queue="answers", lock=f"summary:{summary.pk}",
        summary_id=str(summary.pk), user_id=str(by.user.pk),
    )  # fmt: skip
    return summary


def write_summary(summary_id: uuid.UUID, *, user_id: uuid.UUID, engine: Engine | None = None) -> None:
    """Let the engine sum a thread up, and store the points whose words stand in a post. Safe to run any number of times.

    `user_id` is who asked. Raises whatever the engine raises: the task is retried.
    """
    summary = ThreadSummary.objects.select_related("thread__course").filter(pk=summary_id).first()
    if summary is None or summary.state not in PENDING_STATES:
        return
    thread = summary.thread
    if not access.may_be_summed_up(thread) or access.policy_of(thread.course).mode == AnswerMode.OFF:
        summary.delete()
        return
    ThreadSummary.objects.filter(pk=summary_id).update(state=SummaryState.WRITING)
    texts = texts_of(thread)
    read = _within(texts)
    # Nobody's name goes along: who wrote what is said by the page, to whom it may be said.
    sources = [
        Source("Question" if text.post is None else f"Reply {place}", text.body) for place, text in enumerate(read)
    ]
    request = Request(Task.SUMMARY, Question(thread.title, thread.body), sources)
    points: list[SummaryPoint] = []
    with consult(
        request, course=thread.course, user=_person(user_id, thread, read), purpose=Purpose.SUMMARY, engine=engine
    ) as said:
        for statement in said:
            if isinstance(statement, Abstention):
                continue
            point = _point(statement, read)
            if point is not None and len(points) < MAX_POINTS:
                points.append(point)
    _store(summary_id, digest_of(thread, texts), points, said.engine.name)


def fail_summary(summary_id: uuid.UUID, error: BaseException) -> None:
    """Give up: show that it failed; anybody may try again."""
    ThreadSummary.objects.filter(pk=summary_id, state__in=PENDING_STATES).update(
        state=SummaryState.FAILED, error_code=type(error).__name__[:80], finished_at=timezone.now()
    )


def _person(user_id: uuid.UUID, thread: Thread, texts: Sequence[Text]) -> User | None:
    """Return who asked, if everybody whose words would go along lets their texts leave this server; else nobody.

    For nobody, nothing leaves it: the local engine sums up.
    """
    authors = {thread.author_id, user_id, *(text.post.author_id for text in texts if text.post)}
    agreed = AIConsent.objects.given().filter(user__in=authors - {None}).count()
    asked_by = User.objects.filter(pk=user_id, institution=thread.institution_id).first()
    return asked_by if agreed == len(authors) else None


def _within(texts: Sequence[Text]) -> list[Text]:
    """Return the texts that fit into what an engine may read, whole ones, in order."""
    kept, size = [], 0
    for text in texts:
        size += len(text.body)
        if size > MAX_CHARACTERS:
            break
        kept.append(text)
    return kept


def _point(statement: Statement, texts: Sequence[Text]) -> SummaryPoint | None:
    """Return a statement as a point with the first of its quotations that is true; None when none is."""
    words = " ".join(statement.text.split())[:MAX_POINT]
    for quote in statement.quotes:
        if words and 1 <= quote.source <= len(texts):
            text = texts[quote.source - 1]
            match = find_words(quote.text, text.body)
            if match is not None:
                return SummaryPoint(text=words, post=text.post, quote=match[0])
    return None


@transaction.atomic
def _store(summary_id: uuid.UUID, digest: str, points: Sequence[SummaryPoint], engine: str) -> None:
    """Put new points in the place of those before; without any, it counts as failed."""
    summary = ThreadSummary.objects.select_for_update(of=("self",), no_key=True).filter(pk=summary_id).first()
    if summary is None or summary.state not in PENDING_STATES:
        return
    there = set(
        Post.objects.filter(pk__in=[point.post_id for point in points if point.post_id]).values_list("pk", flat=True)
    )
    kept = [point for point in points if point.post_id is None or point.post_id in there]
    summary.points.all().delete()
    for number, point in enumerate(kept, start=1):
        point.institution_id, point.summary, point.number = summary.institution_id, summary, number
    SummaryPoint.objects.bulk_create(kept)
    summary.state = SummaryState.READY if kept else SummaryState.FAILED
    summary.error_code = "" if kept else "nothing_quoted"
    summary.engine, summary.digest = engine, digest
    summary.finished_at = timezone.now()
    summary.save()
