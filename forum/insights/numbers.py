"""The numbers of a course over a period. All of them are counted in SQL, in a fixed number of queries."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.core.cache import cache
from django.db.models import Aggregate, BooleanField, Count, DurationField, F, Min, OuterRef, Q, Subquery, Value
from django.db.models.functions import Greatest, TruncHour
from django.utils import timezone

from accounts.access import Member
from forum.insights.clusters import Group, frequent_questions
from forum.insights.period import Bucket, Period
from forum.insights.sources import machine_answers
from forum.models import Anonymity, Deflection, Post, Status, Tag, Thread
from forum.querysets import PostQuerySet

# An assumption, shown where it is used: what a question costs a member of staff who reads and answers it.
STAFF_MINUTES = 10
KEPT_SECONDS = 60
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

    @property
    def is_empty(self) -> bool:
        """True when nothing was ever asked that could be counted here."""
        return not (self.now.questions or self.before.questions or self.now.answers or self.unanswered.total)


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
    # Whoever answered in these days has moved their thread up: the index on activity bounds what is looked at.
    answers = Post.objects.answers_in(member).filter(thread__last_activity_at__gte=period.start_before)
    now, before = _counts(member, period, answers)
    questions_at = _by_hour(Thread.objects.questions_in(member).filter(period.during("created_at")))
    answers_at = _by_hour(answers.filter(period.during("created_at")))
    buckets = period.buckets()
    return Report(
        period=period, now=now, before=before, tags=_tags(member, period),
        contributors=_contributors(answers.filter(period.during("created_at"))),
        unanswered=_unanswered(member, period.end), groups=frequent_questions(member, period),
        buckets=buckets, questions_over_time=_over(buckets, questions_at), answers_over_time=_over(buckets, answers_at),
        by_hour=_week(questions_at + answers_at),
    )  # fmt: skip


def _counts(member: Member, period: Period, answers: PostQuerySet) -> tuple[Counts, Counts]:
    """Return the counts of both periods. Three queries."""
    others = (
        Post.objects.answers_in(member)
        .filter(thread=OuterRef("pk"))
        .annotate(wait=Greatest(F("created_at"), OuterRef("created_at")) - OuterRef("created_at"))
        .order_by("created_at", "id")
        .values("wait")
    )
    machines = machine_answers()
    questions = (
        Thread.objects.questions_in(member)
        .filter(period.during("created_at") | period.before("created_at"))
        .annotate(
            wait=Subquery(others[:1], output_field=DurationField()),
            staff_wait=Subquery(others.filter(is_by_staff=True)[:1], output_field=DurationField()),
            published=_any(source.published for source in machines),
            approved=_any(source.endorsed for source in machines),
        )
    )
    settled = Q(status=Status.RESOLVED)
    wanted: dict[str, Any] = {}
    for name, when in (("now", period.during), ("before", period.before)):
        asked = when("created_at")
        conditions = {
            "questions": Q(),
            "answered": Q(wait__isnull=False) | Q(endorsement_count__gt=0) | settled,
            "endorsed": Q(endorsement_count__gt=0),
            "machine": Q(published=True),
            "spared": Q(published=True, wait__isnull=True) & (Q(approved=True) | settled),
            "by_people": Q(wait__isnull=False),
            "by_staff": Q(staff_wait__isnull=False),
        }
        wanted |= {f"{name}_{key}": Count("pk", filter=asked & condition) for key, condition in conditions.items()}
        wanted |= {f"{name}_{wait}": Median(wait, filter=asked) for wait in ("wait", "staff_wait")}
    counted = questions.aggregate(**wanted)
    for rows, key in ((answers, "answers"), (Deflection.objects.countable_by(member), "deflections")):
        found = rows.aggregate(
            now=Count("pk", filter=period.during("created_at")), before=Count("pk", filter=period.before("created_at"))
        )
        counted |= {f"now_{key}": found["now"], f"before_{key}": found["before"]}
    return tuple(  # type: ignore[return-value]  # two of them
        Counts(**{key.removeprefix(f"{name}_"): value for key, value in counted.items() if key.startswith(f"{name}_")})
        for name in ("now", "before")
    )


def _any(conditions: Any) -> Any:
    """Return the condition that any of some conditions holds."""
    found: Any = Value(False, output_field=BooleanField())
    for condition in conditions:
        found = condition() | found
    return found


def _tags(member: Member, period: Period) -> list[TagTrend]:
    """Return the tags whose questions grew most, then the most used."""
    counted = Q(threads__in=Thread.objects.questions_in(member))
    rows = (
        Tag.objects.visible_to(member)
        .annotate(
            now=Count("threads", filter=counted & period.during("threads__created_at")),
            before=Count("threads", filter=counted & period.before("threads__created_at")),
        )
        .filter(Q(now__gt=0) | Q(before__gt=0))
        .values_list("name", "slug", "now", "before")
    )
    trends = [TagTrend(*row) for row in rows]
    return sorted(trends, key=lambda tag: (tag.before - tag.now, -tag.now, tag.name))[:SHOWN_TAGS]


def _contributors(answers: PostQuerySet) -> list[Contributor]:
    """Return who answered most under their own name, and one line for all who hid. Two queries.

    What is written under a pseudonym is never counted to a person, whoever reads: a total would tell who hides.
    """
    counted: dict[str, Any] = {"answers": Count("pk"), "endorsed": Count("pk", filter=Q(endorsement_count__gt=0))}
    named = answers.filter(anonymity=Anonymity.NAMED).values("author_id", "author__display_name", "is_by_staff")
    people: list[Contributor] = []
    erased = Counter[str]()
    rows: Any = named.annotate(**counted).order_by()
    for row in rows:
        if row["author_id"] is None:
            erased.update(answers=row["answers"], endorsed=row["endorsed"])
        else:
            people.append(Contributor(row["author__display_name"], row["answers"], row["endorsed"], row["is_by_staff"]))
    people.sort(key=lambda person: (-person.answers, -person.endorsed, person.name))
    lumps = []
    under = answers.exclude(anonymity=Anonymity.NAMED).aggregate(**counted)
    if under["answers"]:
        lumps.append(Contributor("Under a pseudonym", under["answers"], under["endorsed"], is_lump=True))
    if erased["answers"]:
        lumps.append(Contributor("Deleted users", erased["answers"], erased["endorsed"], is_lump=True))
    return [*people[:SHOWN_PEOPLE], *lumps]


def _unanswered(member: Member, now: datetime) -> Unanswered:
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
