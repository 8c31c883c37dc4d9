"""What a course's AI did and cost, in sums: by engine and over time. Never whose calls they were."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Aggregate, Count, F, FloatField, Q, Sum
from django.db.models.functions import TruncDate, TruncHour
from django.utils import timezone

from accounts.access import Member
from ai_answers.actions.budget import caps_of, next_day
from ai_answers.models import CallOutcome, ModelCall, Spending, SpendingScope

DAYS = (1, 7, 30, 90)


class Percentile(Aggregate):
    """The value below which a share of the values lies, interpolated (PostgreSQL's percentile_cont)."""

    function = "percentile_cont"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()

    def __init__(self, expression: str, share: float, **extra: Any) -> None:
        super().__init__(expression, share=share, **extra)


@dataclass(frozen=True)
class EngineSums:
    """One engine and model over the days asked for. Shares are of the calls that ended; times in milliseconds."""

    name: str
    model: str
    calls: int
    answered: int
    abstained: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    p50_ms: int
    p95_ms: int

    @property
    def cost(self) -> str:
        return dollars(self.cost_micros)

    def share(self, count: int) -> str:
        return f"{count * 100 / self.calls:.0f} %" if self.calls else "–"

    @property
    def shares(self) -> tuple[str, str, str]:
        """How many of a hundred were answered, abstained from, failed."""
        return self.share(self.answered), self.share(self.abstained), self.share(self.failed)


@dataclass(frozen=True)
class Bucket:
    """An hour or a day in UTC."""

    label: str
    calls: int
    cost_micros: int

    @property
    def cost(self) -> str:
        return dollars(self.cost_micros)


@dataclass(frozen=True)
class Left:
    """What may still be spent today, and when the day ends."""

    scope: str
    cap_micros: int
    left_micros: int

    @property
    def left(self) -> str:
        return dollars(self.left_micros)

    @property
    def cap(self) -> str:
        return dollars(self.cap_micros)


@dataclass(frozen=True)
class Report:
    days: int
    engines: Sequence[EngineSums]
    buckets: Sequence[Bucket]
    left: Sequence[Left]
    resets_at: datetime

    @property
    def calls(self) -> int:
        return sum(engine.calls for engine in self.engines)

    @property
    def cost(self) -> str:
        return dollars(sum(engine.cost_micros for engine in self.engines))

    @property
    def is_used_up(self) -> bool:
        return any(one.left_micros <= 0 for one in self.left)


def report(member: Member, days: int) -> Report:
    """Return the sums of a course over the last `days` days (UTC), today included, for its staff. Five queries."""
    now = timezone.now().astimezone(UTC)
    first = now.date() - timedelta(days=days - 1)
    calls = ModelCall.objects.visible_to(member).filter(created_at__gte=datetime.combine(first, time.min, UTC))
    calls = calls.exclude(outcome=CallOutcome.RESERVED)
    return Report(days, _engines(calls), _buckets(calls, first, days), _left(member, now.date()), next_day(now))


def dollars(micros: int) -> str:
    """Return an amount for people: two digits after the point, or four where it is less than ten cents."""
    return f"${micros / 1_000_000:,.{2 if micros >= 100_000 or not micros else 4}f}"


HEADER = (
    "engine", "model", "calls", "answered", "abstained", "failed", "tokens_read", "tokens_written", "cost_micros",
    "p50_ms", "p95_ms",
)  # fmt: skip


def rows(found: Report) -> list[list[object]]:
    """Return the sums as rows of a table, under `HEADER`."""
    return [
        [
            e.name, e.model, e.calls, e.answered, e.abstained, e.failed, e.input_tokens, e.output_tokens, e.cost_micros,
            e.p50_ms, e.p95_ms,
        ]
        for e in found.engines
    ]  # fmt: skip


def _engines(calls: Any) -> list[EngineSums]:
    failed = Q(outcome__in=(CallOutcome.ERROR, CallOutcome.REFUSED))
    sums = (
        calls.order_by()
        .values("engine", "model")
        .annotate(
            number=Count("pk"),
            answered=Count("pk", filter=Q(outcome=CallOutcome.ANSWERED)),
            abstained=Count("pk", filter=Q(outcome=CallOutcome.ABSTAINED)),
            failed=Count("pk", filter=failed),
            read=Sum("input_tokens"),
            written=Sum("output_tokens"),
            cost=Sum("cost_micros"),
            p50=Percentile("duration_ms", 0.5),
            p95=Percentile("duration_ms", 0.95),
        )
        .order_by("engine", "model")
    )
    return [
        EngineSums(
            s["engine"], s["model"], s["number"], s["answered"], s["abstained"], s["failed"], s["read"], s["written"],
            s["cost"], round(s["p50"]), round(s["p95"]),
        )
        for s in sums
    ]  # fmt: skip


def _buckets(calls: Any, first: date, days: int) -> list[Bucket]:
    """Return one bucket per day, or per hour of today; also those in which nothing was asked."""
    place = TruncHour("created_at", tzinfo=UTC) if days == 1 else TruncDate("created_at", tzinfo=UTC)
    sums = calls.order_by().annotate(place=place).values("place").annotate(number=Count("pk"), cost=Sum("cost_micros"))
    found = {row["place"]: (row["number"], row["cost"]) for row in sums}
    if days == 1:
        start = datetime.combine(first, time.min, UTC)
        hours = [start + timedelta(hours=hour) for hour in range(24)]
        return [Bucket(f"{hour:%H}:00", *found.get(hour, (0, 0))) for hour in hours]
    dates = [first + timedelta(days=day) for day in range(days)]
    return [Bucket(f"{day:%-d %b}", *found.get(day, (0, 0))) for day in dates]


def _left(member: Member, day: date) -> list[Left]:
    """Return what the course and its institution may still spend today."""
    course = member.course
    caps = caps_of(course)
    keys = {SpendingScope.COURSE: course.pk, SpendingScope.INSTITUTION: course.institution_id}
    found = Spending.objects.filter(day=day, scope__in=keys, scope_id__in=keys.values())
    used = dict(found.values_list("scope", F("spent_micros") + F("reserved_micros")))
    names = {SpendingScope.COURSE: "this course", SpendingScope.INSTITUTION: "the whole institution"}
    return [Left(name, caps[scope], max(0, caps[scope] - used.get(scope, 0))) for scope, name in names.items()]
