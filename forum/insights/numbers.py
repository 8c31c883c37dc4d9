"""The numbers of a course over a period, added up in SQL from `forum.models.facts`, in a fixed number of queries."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.core.cache import cache
from django.db.models import Aggregate, Case, CharField, Count, DurationField, F, Func, Min, Q, UUIDField, Value, When
from django.db.models.functions import TruncHour
from django.utils import timezone

from accounts.access import Member
from forum.happenings import fetch
from forum.insights.clusters import Group, frequent_questions
from forum.insights.facts import up_to
from forum.insights.period import Bucket, Period
from forum.models import AnswerFact, Deflection, QuestionFact, Status, Tag, Thread
from forum.querysets import FactQuerySet

# An assumption, shown where it is used: what a question costs a member of staff who reads and answers it.
STAFF_MINUTES = 10
# With the task that makes facts, every twenty seconds, nothing is more than a minute late.
KEPT_SECONDS = 30
SHOWN_TAGS = 10
SHOWN_PEOPLE = 20
AGES = ("Less than a day", "1 to 3 days", "3 to 7 days", "More than 7 days")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Median(Aggregate):
    """The middle value, or between the two middle ones: `percentile_cont(0.5)`."""

    function = "percentile_cont"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = DurationField()


@dataclass(frozen=True)
class Counts:
    """What was counted over one period."""

    questions: int = 0
    answered: int = 0
    endorsed: int = 0
    machine: int = 0
    # Questions that only a machine answered, and staff endorsed it or the asker called it settled.
    spared: int = 0
    by_people: int = 0
    by_staff: int = 0
    wait: timedelta | None = None
    staff_wait: timedelta | None = None
    answers: int = 0
    deflections: int = 0

    @property
    def minutes_saved(self) -> int:
        return (self.deflections + self.spared) * STAFF_MINUTES


@dataclass(frozen=True)
class TagTrend:
    """How many questions of two periods have a tag."""

    name: str
    slug: str
    now: int
    before: int


@dataclass(frozen=True)
class Contributor:
    """How much somebody answered under their own name; a name of "" stands for all who hid."""

    name: str
    answers: int
    endorsed: int
    is_staff: bool = False
    is_lump: bool = False


@dataclass(frozen=True)
class Unanswered:
    """Questions that are open now, by age, whenever they were asked."""

    total: int
    ages: Sequence[int]
    oldest: datetime | None


@dataclass(frozen=True)
class Report:
    """Everything the page shows; nothing in it depends on who reads it but the time zone."""

    period: Period
    # Up to when everything that happened is counted.
    as_of: datetime
    now: Counts
    before: Counts
    tags: Sequence[TagTrend]
    contributors: Sequence[Contributor]
    unanswered: Unanswered
    groups: Sequence[Group]
    buckets: Sequence[Bucket]
    questions_over_time: Sequence[int]
    answers_over_time: Sequence[int]
    # Questions and answers by weekday (Monday first) and hour of the reader's day.
    by_hour: Sequence[Sequence[int]]


def report(member: Member, days: int) -> Report:
    """Return the numbers of the last `days` days, at most `KEPT_SECONDS` old. Only for staff of the course."""
    # All staff of a course see the same: the key names the course and what a day is, and nobody.
    key = f"forum.insights:{member.course.pk.hex}:{days}:{timezone.localdate()}:{timezone.get_current_timezone_name()}"
    found = cache.get(key)
    if isinstance(found, Report):
        return found
    made = measure(member, Period.last(days))
    cache.set(key, made, KEPT_SECONDS)
    return made


def measure(member: Member, period: Period) -> Report:
    """Count everything now."""
    as_of = up_to(member, period.end)
    questions, answers = (model.objects.countable_by(member).order_by() for model in (QuestionFact, AnswerFact))
    questions_at = _by_hour(questions, period, "asked_at")
    answers_at = _by_hour(answers, period, "given_at")
    given = {"now": answers_at.total(), "before": answers.filter(period.before("given_at")).count()}
    deflections = Deflection.objects.countable_by(member).aggregate(
        now=Count("pk", filter=period.during("created_at")), before=Count("pk", filter=period.before("created_at"))
    )
    counted = _counts(questions, period)
    now, before = (
        Counts(answers=given[name], deflections=deflections[name], **counted[name]) for name in ("now", "before")
    )
    buckets = period.buckets()
    return Report(
        period=period, as_of=as_of, now=now, before=before, tags=_tags(member, questions, period),
        contributors=_contributors(answers, period),
        unanswered=_unanswered(member, period.end), groups=frequent_questions(member, period),
        buckets=buckets, questions_over_time=_over(buckets, questions_at), answers_over_time=_over(buckets, answers_at),
        by_hour=_week(questions_at + answers_at),
    )  # fmt: skip


def _counts(questions: FactQuerySet, period: Period) -> dict[str, dict[str, Any]]:
    """Return the fields of `Counts` of both periods that are about questions. One query."""

    def having(flag: str) -> Count:
        return Count("course", filter=Q(**{flag: True}))

    fields: dict[str, Any] = {
        "questions": Count("*"), "answered": having("is_answered"), "endorsed": having("is_endorsed"),
        "machine": having("has_machine"), "spared": having("is_spared"),
        "by_people": Count("wait"), "by_staff": Count("staff_wait"),
        "wait": Median("wait"), "staff_wait": Median("staff_wait"),
    }  # fmt: skip
    rows = (
        questions.filter(period.during("asked_at") | period.before("asked_at"))
        .annotate(when=_when(period, "asked_at"))
        .values_list("when")
        .annotate(**{f"f_{name}": made for name, made in fields.items()})
    )
    found: dict[str, dict[str, Any]] = {"now": {}, "before": {}}
    for when, *values in rows:
        found[when] = dict(zip(fields, values, strict=True))
    return found


def _when(period: Period, field: str) -> Case:
    """Return `now` or `before` for a time in one of the periods, and nothing for one between them."""
    return Case(
        When(period.during(field), then=Value("now")),
        When(period.before(field), then=Value("before")),
        default=Value(""),
        output_field=CharField(),
    )


def _tags(member: Member, questions: FactQuerySet, period: Period) -> list[TagTrend]:
    """Return the tags whose questions grew most, then the most used. Two queries."""
    rows = (
        questions.filter(period.during("asked_at") | period.before("asked_at"))
        .annotate(tag=Func(F("tags"), function="unnest", output_field=UUIDField()))
        .values_list("tag")
        .annotate(
            now=Count("course", filter=period.during("asked_at")),
            before=Count("course", filter=period.before("asked_at")),
        )
    )
    counts = {tag: (now, before) for tag, now, before in rows}
    tags = Tag.objects.visible_to(member).filter(pk__in=counts).values_list("pk", "name", "slug")
    trends = [TagTrend(name, slug, *counts[key]) for key, name, slug in tags]
    return sorted(trends, key=lambda tag: (tag.before - tag.now, -tag.now, tag.name))[:SHOWN_TAGS]


# Who is erased is nobody by name. Names are looked up after counting, and in the order of Python's own sorting.
_CONTRIBUTORS = """
WITH tally AS MATERIALIZED (SELECT * FROM ({tally}) AS row (person, is_named, is_staff, answers, endorsed)),
told AS (
    SELECT t.is_named, t.is_staff, t.answers, t.endorsed, u.display_name AS name
    FROM tally t LEFT JOIN accounts_user u ON u.id = t.person AND u.erased_at IS NULL
)
(
    SELECT name, answers, endorsed, is_staff, false AS is_lump FROM told WHERE name IS NOT NULL
    ORDER BY answers DESC, endorsed DESC, name COLLATE "C" LIMIT %s
)
UNION ALL (
    SELECT CASE WHEN is_named THEN 'Deleted users' ELSE 'Under a pseudonym' END, sum(answers)::int, sum(endorsed)::int,
        false, true
    FROM told WHERE name IS NULL GROUP BY is_named ORDER BY is_named
)
"""


def _contributors(answers: FactQuerySet, period: Period) -> list[Contributor]:
    """Return who gave answers. One query.

    What is written under a pseudonym is never counted to a person, whoever reads: a total would tell who hides. It
    makes one line for everybody.
    """
    tally = (
        answers.filter(period.during("given_at"))
        .values_list("person", "is_named", "is_by_staff")
        .annotate(answers=Count("*"), endorsed=Count("course", filter=Q(is_endorsed=True)))
    )
    sql, params = tally.query.sql_with_params()
    rows = fetch(_CONTRIBUTORS.format(tally=sql), [*params, SHOWN_PEOPLE])
    return [Contributor(**row) for row in rows]


def _unanswered(member: Member, now: datetime) -> Unanswered:
    """Return the open questions by age: the same ones as the list shows under "Unanswered"."""
    open_now = Thread.objects.questions_in(member).filter(status=Status.OPEN)
    limits = [now - timedelta(days=days) for days in (1, 3, 7)]
    younger = {f"younger_{place}": Count("pk", filter=Q(created_at__gte=limit)) for place, limit in enumerate(limits)}
    found = open_now.aggregate(total=Count("pk"), oldest=Min("created_at"), **younger)
    steps = [0, *(found[name] for name in younger), found["total"]]
    return Unanswered(found["total"], [b - a for a, b in pairwise(steps)], found["oldest"])


def _by_hour(facts: FactQuerySet, period: Period, field: str) -> Counter[tuple[date, int]]:
    """Return how many there were in each hour of the reader's days. One query."""
    hours = facts.filter(period.during(field)).annotate(hour=TruncHour(field)).values_list("hour")
    found: Counter[tuple[date, int]] = Counter()
    for hour, made in hours.annotate(made=Count("*")):
        found[hour.date(), hour.hour] += made
    return found


def _over(buckets: Sequence[Bucket], hours: Counter[tuple[date, int]]) -> list[int]:
    days = Counter[date]()
    for (day, _), made in hours.items():
        days[day] += made
    return [sum(made for day, made in days.items() if bucket.first <= day <= bucket.last) for bucket in buckets]


def _week(hours: Counter[tuple[date, int]]) -> list[list[int]]:
    week = [[0] * 24 for _ in WEEKDAYS]
    for (day, hour), made in hours.items():
        week[day.weekday()][hour] += made
    return week
