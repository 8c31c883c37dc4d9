"""The numbers of a course counted from threads and posts themselves, slowly: what `forum.insights.measure` has to agree with."""

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from django.db.models import (
    BooleanField,
    Case,
    Count,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Min,
    OuterRef,
    Q,
    Value,
    When,
)
from django.db.models.functions import Greatest, TruncHour

from accounts.access import Member
from forum.insights.clusters import frequent_questions
from forum.insights.numbers import (
    SHOWN_PEOPLE,
    SHOWN_TAGS,
    Contributor,
    Counts,
    Median,
    Report,
    TagTrend,
    Unanswered,
    _over,
    _week,
    _when,
)
from forum.insights.period import Period
from forum.insights.sources import machine_answers
from forum.models import Anonymity, Deflection, Post, Status, Thread
from forum.querysets import PostQuerySet


def measure(member: Member, period: Period) -> Report:
    """Count everything."""
    # Whoever answered in these days has moved their thread up: the index on activity bounds what is looked at.
    answers = Post.objects.answers_in(member).filter(
        thread__last_activity_at__gte=period.start_before,
        created_at__gte=period.start_before,
        created_at__lt=period.end,
    )
    answers_now, answers_before, contributors = _given(answers, period)
    now, before = (
        Counts(answers=given, **counted)
        for given, counted in zip((answers_now, answers_before), _counts(member, period), strict=True)
    )
    questions_at = _by_hour(Thread.objects.questions_in(member).filter(period.during("created_at")))
    answers_at = _by_hour(answers.filter(period.during("created_at")))
    buckets = period.buckets()
    return Report(
        period=period, as_of=period.end, now=now, before=before, tags=_tags(member, period),
        contributors=contributors,
        unanswered=_unanswered(member, period.end), groups=frequent_questions(member, period),
        buckets=buckets, questions_over_time=_over(buckets, questions_at), answers_over_time=_over(buckets, answers_at),
        by_hour=_week(questions_at + answers_at),
    )  # fmt: skip


def _counts(member: Member, period: Period) -> list[dict[str, Any]]:
    """Return the fields of `Counts` of both periods, but the answers. Three queries."""
    machines = machine_answers()
    flags: dict[str, Any] = {
        "when": _when(period, "created_at"),
        # The time of the thread bounds the answers the database gathers to look this up.
        "helped": Exists(
            Post.objects.answers_in(member).filter(thread=OuterRef("pk"), thread__created_at__gte=period.start_before)
        ),
        "is_endorsed": _holds(Q(endorsement_count__gt=0)),
        "settled": _holds(Q(status=Status.RESOLVED)),
        "published": _any(source.published for source in machines),
        "approved": _any(source.endorsed for source in machines),
    }
    questions = Thread.objects.questions_in(member).filter(
        created_at__gte=period.start_before, created_at__lt=period.end
    )
    counted: dict[str, Counter[str]] = {"now": Counter(), "before": Counter(), "": Counter()}
    # Grouped by what holds of them, so that each condition is asked once for a question; there are 192 groups at most.
    for when, helped, endorsed, settled, published, approved, made in (
        questions.annotate(**flags).order_by().values_list(*flags).annotate(made=Count("pk"))
    ):
        conditions = {
            "questions": True,
            "answered": helped or endorsed or settled,
            "endorsed": endorsed,
            "machine": published,
            "spared": published and not helped and (approved or settled),
        }
        counted[when].update({name: made for name, holds in conditions.items() if holds})
    deflections = Deflection.objects.countable_by(member).aggregate(
        now=Count("pk", filter=period.during("created_at")), before=Count("pk", filter=period.before("created_at"))
    )
    waits = _waits(member, period)
    return [{**counted[name], **waits[name], "deflections": deflections[name]} for name in ("now", "before")]


def _waits(member: Member, period: Period) -> dict[str, dict[str, Any]]:
    """Return how long the questions of both periods waited for people, and of how many that is known. One query."""
    answers = Post.objects.answers_in(member).filter(
        thread__created_at__gte=period.start_before, thread__created_at__lt=period.end
    )
    # What was merged in from an older thread may be older than the question: it waited no time.
    wait = Greatest(F("created_at"), F("thread__created_at")) - F("thread__created_at")
    first = answers.order_by().values("thread").annotate(
        when=Min(_when(period, "thread__created_at")),
        wait=Min(wait, output_field=DurationField()),
        staff_wait=Min(wait, filter=Q(is_by_staff=True), output_field=DurationField()),
    )  # fmt: skip
    wanted: dict[str, Any] = {}
    for name in ("now", "before"):
        of = Q(when=name)
        wanted |= {
            f"{name}_wait": Median("wait", filter=of),
            f"{name}_staff_wait": Median("staff_wait", filter=of),
            f"{name}_by_people": Count("wait", filter=of),
            f"{name}_by_staff": Count("staff_wait", filter=of),
        }
    found = first.aggregate(**wanted)
    fields = ("wait", "staff_wait", "by_people", "by_staff")
    return {name: {field: found[f"{name}_{field}"] for field in fields} for name in ("now", "before")}


def _holds(condition: Q) -> Any:
    return ExpressionWrapper(condition, output_field=BooleanField())


def _any(conditions: Any) -> Any:
    """Return the condition that any of some conditions holds."""
    found: Any = Value(False, output_field=BooleanField())
    for condition in conditions:
        found = condition() | found
    return found


def _tags(member: Member, period: Period) -> list[TagTrend]:
    """Return the tags whose questions grew most, then the most used."""
    rows = (
        Thread.objects.questions_in(member)
        .filter(created_at__gte=period.start_before, created_at__lt=period.end, tags__isnull=False)
        .order_by()
        .values_list("tags__name", "tags__slug")
        .annotate(
            now=Count("pk", filter=period.during("created_at")), before=Count("pk", filter=period.before("created_at"))
        )
        .filter(Q(now__gt=0) | Q(before__gt=0))
    )
    trends = [TagTrend(*row) for row in rows]
    return sorted(trends, key=lambda tag: (tag.before - tag.now, -tag.now, tag.name))[:SHOWN_TAGS]


def _given(answers: PostQuerySet, period: Period) -> tuple[int, int, list[Contributor]]:
    """Return how many answers both periods have, and who gave those of this one. One query.

    What is written under a pseudonym is never counted to a person, whoever reads: a total would tell who hides. It
    makes one line for everybody.
    """
    is_named, during = Q(anonymity=Anonymity.NAMED), period.during("created_at")
    rows: Any = (
        answers.annotate(
            is_hidden=Case(When(is_named, then=Value(False)), default=Value(True)),
            person=Case(When(is_named & Q(author__erased_at=None), then=F("author_id"))),
            name=Case(When(is_named, then=F("author__display_name"))),
        )
        .order_by()
        .values_list("is_hidden", "person", "name", "is_by_staff")
        .annotate(
            now=Count("pk", filter=during),
            endorsed=Count("pk", filter=during & Q(endorsement_count__gt=0)),
            before=Count("pk", filter=period.before("created_at")),
        )
    )
    people: list[Contributor] = []
    lumps: dict[str, Counter[str]] = {"Under a pseudonym": Counter(), "Deleted users": Counter()}
    total, total_before = 0, 0
    for is_hidden, person, name, is_by_staff, now, endorsed, before in rows:
        total += now
        total_before += before
        if is_hidden or person is None:
            lumps["Under a pseudonym" if is_hidden else "Deleted users"].update(answers=now, endorsed=endorsed)
        elif now:
            people.append(Contributor(name, now, endorsed, is_by_staff))
    people.sort(key=lambda one: (-one.answers, -one.endorsed, one.name))
    shown = [
        Contributor(name, made["answers"], made["endorsed"], is_lump=True)
        for name, made in lumps.items()
        if made["answers"]
    ]
    return total, total_before, [*people[:SHOWN_PEOPLE], *shown]


def _unanswered(member: Member, now: Any) -> Unanswered:
    """Return the open questions by age: the same ones as the list shows under "Unanswered"."""
    open_now = Thread.objects.questions_in(member).filter(status=Status.OPEN)
    limits = [now - timedelta(days=days) for days in (1, 3, 7)]
    younger = {f"younger_{place}": Count("pk", filter=Q(created_at__gte=limit)) for place, limit in enumerate(limits)}
    found = open_now.aggregate(total=Count("pk"), oldest=Min("created_at"), **younger)
    steps = [0, *(found[name] for name in younger), found["total"]]
    return Unanswered(found["total"], [b - a for a, b in pairwise(steps)], found["oldest"])


def _by_hour(rows: Any) -> Counter[tuple[date, int]]:
    """Return how many rows were made in each hour of the reader's days. One query."""
    hours = rows.annotate(hour=TruncHour("created_at")).order_by().values_list("hour").annotate(made=Count("pk"))
    found: Counter[tuple[date, int]] = Counter()
    for hour, made in hours:
        found[hour.date(), hour.hour] += made
    return found
