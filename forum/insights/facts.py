"""Making the rows that insights add up (`forum.models.facts`) from threads and posts.

Triggers note which threads changed (migrations 0016 to 0018, and 0011 of `ai_answers`); `refresh_facts` makes anew all facts of those, twice
a minute. What counts is said once, by `counted()` of threads and posts.
"""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.functions import RandomUUID
from django.db import connection, transaction
from django.db.models import (
    BooleanField,
    Case,
    DurationField,
    ExpressionWrapper,
    F,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts.access import Member
from forum.insights.period import DAYS
from forum.insights.sources import machine_answers
from forum.models import Anonymity, AnswerFact, FactsDue, Post, QuestionFact, Status, Thread, ThreadTag
from quokkaq.lib import tenancy

BATCH = 1000
# The longest period and the one before it, in any time zone.
KEPT = timedelta(days=2 * max(DAYS) + 2)


def refresh_facts(*, now: datetime | None = None) -> int:
    """Make anew the facts of the threads that changed first, `BATCH` changes at most; return how many changes that were.

    Of one institution. Two at a time would overwrite each other, so the second does nothing.
    """
    with transaction.atomic():
        if not _is_alone():
            return 0
        due = list(
            FactsDue.objects.filter(institution=tenancy.institution())
            .order_by("created_at")
            .values_list("pk", "thread_id")[:BATCH]
        )
        if due:
            # What was noted by then is there to be read by now: both became so in one commit.
            _make({thread for _, thread in due}, since=(now or timezone.now()) - KEPT)
            FactsDue.objects.filter(pk__in=[key for key, _ in due]).delete()
    return len(due)


def forget_old_facts(*, now: datetime | None = None) -> None:
    """Delete the facts that no period reaches any more."""
    since = (now or timezone.now()) - KEPT
    of = {"institution": tenancy.institution()}
    QuestionFact.objects.filter(asked_at__lt=since, **of).delete()
    AnswerFact.objects.filter(given_at__lt=since, **of).delete()


def up_to(member: Member, now: datetime) -> datetime:
    """Return up to when all that happened is in the facts. One query."""
    of = FactsDue.objects.filter(institution_id=member.course.institution_id)
    oldest: datetime | None = of.aggregate(oldest=Min("created_at"))["oldest"]
    return min(now, oldest) if oldest else now


def _is_alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtext('forum.facts'), hashtext(%s))", [str(tenancy.institution())]
        )
        return bool(cursor.fetchone()[0])


def _make(threads: Collection[uuid.UUID], *, since: datetime) -> None:
    for model in (QuestionFact, AnswerFact):
        model.objects.filter(thread_id__in=threads).delete()
    _insert(QuestionFact, Thread.objects.counted().filter(pk__in=threads, created_at__gte=since), _of_question())
    _insert(AnswerFact, Post.objects.counted().filter(thread_id__in=threads, created_at__gte=since), _of_answer())


def _of_question() -> dict[str, Any]:
    answers = Post.objects.counted().filter(thread=OuterRef("pk")).order_by().values("thread")
    # What was merged in from an older thread may be older than the question: it waited no time.
    wait = ExpressionWrapper(
        Greatest(F("created_at"), F("thread__created_at")) - F("thread__created_at"), output_field=DurationField()
    )
    helped = Q(f_wait__isnull=False)
    settled = Q(status=Status.RESOLVED)
    return {
        "institution_id": F("institution_id"),
        "course_id": F("course_id"),
        "thread_id": F("pk"),
        "asked_at": F("created_at"),
        "wait": Subquery(answers.annotate(least=Min(wait)).values("least")),
        "staff_wait": Subquery(answers.filter(is_by_staff=True).annotate(least=Min(wait)).values("least")),
        "is_answered": _holds(helped | Q(endorsement_count__gt=0) | settled),
        "is_endorsed": _holds(Q(endorsement_count__gt=0)),
        "has_machine": _any(source.published for source in machine_answers()),
        "is_spared": _holds(
            Q(f_has_machine=True) & ~helped & (settled | Q(_any(source.endorsed for source in machine_answers())))
        ),
        "tags": ArraySubquery(ThreadTag.objects.filter(thread=OuterRef("pk")).order_by("tag").values("tag")),
    }


def _of_answer() -> dict[str, Any]:
    named = Q(anonymity=Anonymity.NAMED)
    return {
        "institution_id": F("institution_id"),
        "course_id": F("thread__course_id"),
        "thread_id": F("thread_id"),
        "given_at": F("created_at"),
        "person_id": Case(When(named, then=F("author_id"))),
        "is_named": _holds(named),
        "is_by_staff": F("is_by_staff"),
        "is_endorsed": _holds(Q(endorsement_count__gt=0)),
    }


def _insert(model: type[QuestionFact | AnswerFact], rows: QuerySet[Any], columns: dict[str, Any]) -> None:
    """Insert for each row its columns, within the database."""
    columns = {"id": RandomUUID(), **columns}
    rows = rows.order_by()
    for name, made in columns.items():
        rows = rows.annotate(**{f"f_{name}": made})
    sql, params = rows.values_list(*(f"f_{name}" for name in columns)).query.sql_with_params()
    with connection.cursor() as cursor:
        # rule: raw-sql (compiled by Django from a queryset, with parameters)
        cursor.execute(f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) {sql}", params)


def _holds(condition: Q) -> Any:
    return ExpressionWrapper(condition, output_field=BooleanField())


def _any(conditions: Any) -> Any:
    """Return the condition that any of some conditions holds."""
    found: Any = Value(False, output_field=BooleanField())
    for condition in conditions:
        found = condition() | found
    return found
