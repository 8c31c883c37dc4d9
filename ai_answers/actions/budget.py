"""The budget: what a call may cost is set aside before it, under locks, and settled after it. No cap is ever overrun.

A day is a day in UTC. Rows are locked in one order everywhere (institution, course, person), so two calls can wait for
each other but not block each other.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.formats import date_format

from accounts.models import Course, User
from ai_answers import access
from ai_answers.engines import Engine, Request, Usage
from ai_answers.engines.limits import (
    BREAKER_FAILURES,
    BREAKER_MEMORY_SECONDS,
    BREAKER_REST_SECONDS,
    LEASE_SECONDS,
)
from ai_answers.measures import count_call
from ai_answers.models import (
    Answer,
    CallOutcome,
    CourseAI,
    InstitutionAI,
    ModelCall,
    ModelPrice,
    Purpose,
    Spending,
    SpendingScope,
)

# What a person does by themselves, as often as they like: these count for the rate with any engine.
ASKED_BY_HAND = (Purpose.CONVERSATION, Purpose.PREVIEW)
# Not asked by a person.
OF_THE_HOUSE = (Purpose.EMBEDDING, Purpose.EVALUATION)
HOUR = timedelta(hours=1)
LOST = "lost"
# Ends that say nothing about whether the engine can be reached.
_HEALTHY_ERRORS = ("garbled", "too_long")
_MILLION = 1_000_000
Account = tuple[SpendingScope, UUID]


class BudgetExceeded(Exception):
    """No call is made. `reason` is a code, `until` when it ends (None: when somebody changes the settings).

    The text is a sentence for the person who asked.
    """

    def __init__(self, reason: str, until: datetime | None, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.until = until

    def __str__(self) -> str:
        when = f" It ends at {date_format(timezone.localtime(self.until), 'H:i, j F')}." if self.until else ""
        return f"{self.args[0]}{when}"


def policy_of(course: Course) -> tuple[InstitutionAI, CourseAI]:
    """Return what holds for a course: stored rows, or new ones with what holds without any."""
    house = InstitutionAI.objects.filter(institution_id=course.institution_id).first()
    return house or InstitutionAI(institution_id=course.institution_id), access.policy_of(course)


def caps_of(course: Course) -> dict[SpendingScope, int]:
    """Return how much may be spent in a day by the institution, the course and one person, in micros."""
    house, own = policy_of(course)
    of_course = own.daily_cap_micros if own.daily_cap_micros is not None else house.course_daily_cap_micros
    return {
        SpendingScope.INSTITUTION: house.daily_cap_micros,
        SpendingScope.COURSE: of_course,
        SpendingScope.USER: house.user_daily_cap_micros,
    }


def price_of(institution_id: UUID, engine: str, model: str, day: date) -> ModelPrice | None:
    """Return what a model costs on a day; None where nobody has said so."""
    prices = ModelPrice.objects.filter(institution_id=institution_id, engine=engine, model=model, valid_from__lte=day)
    return prices.order_by("-valid_from").first()


def cost_of(price: ModelPrice, usage: Usage) -> int:
    """Return what tokens cost in micros, rounded up."""
    total = usage.input_tokens * price.input_micros + usage.output_tokens * price.output_micros
    return -(-total // _MILLION)


@transaction.atomic
def begin_call(
    *,
    engine: Engine,
    request: Request,
    most: Usage,
    course: Course,
    user: User | None,
    purpose: Purpose,
    answer: Answer | None = None,
    is_stand_in: bool = False,
) -> ModelCall:
    """Write a call into the ledger before it is made, with the most it can cost set aside. Raises `BudgetExceeded`.

    A local engine costs nothing: only what people ask by hand is held to their rate, once also where a local engine
    steps in for one that failed (`is_stand_in`).
    """
    now = timezone.now()
    by_hand = user is not None and purpose in ASKED_BY_HAND and not is_stand_in
    accounts: list[Account] = []
    if engine.is_remote:
        accounts = _accounts(course.institution_id, course.pk, user.pk if user else None)
    elif by_hand and user is not None:
        accounts = [(SpendingScope.USER, user.pk)]
    rows = _locked(course.institution_id, accounts, now.astimezone(UTC).date())
    amount = 0
    if user is not None and purpose not in OF_THE_HOUSE and (by_hand or engine.is_remote):
        _check_rate(user, course, now)
    if engine.is_remote:
        _check_breaker(engine, course.institution_id, now)
        amount = _affordable(engine, most, course, rows, now)
        _add(rows, F("reserved_micros") + amount, calls=1)
    return ModelCall.objects.create(
        institution_id=course.institution_id,
        answer=answer,
        course=course,
        user=user,
        purpose=purpose,
        engine=engine.name,
        model=engine.model,
        prompt=engine.prompt,
        outcome=CallOutcome.RESERVED,
        passages=len(request.sources),
        reserved_micros=amount,
        created_at=now,
    )


@transaction.atomic
def extend_call(call: ModelCall, *, engine: Engine, most: Usage, course: Course) -> None:
    """Set aside as much again, for another attempt after one that may have to be paid. Raises `BudgetExceeded`."""
    rows = _locked(call.institution_id, _accounts_of(call), call.created_at.astimezone(UTC).date())
    amount = _affordable(engine, most, course, rows, timezone.now())
    _add(rows, F("reserved_micros") + amount)
    ModelCall.objects.filter(pk=call.pk).update(reserved_micros=F("reserved_micros") + amount)
    call.reserved_micros += amount


@transaction.atomic
def settle_call(
    call: ModelCall,
    *,
    outcome: CallOutcome,
    reason: str = "",
    usage: Usage | None = None,
    free: bool = False,
    lost_micros: int = 0,
    attempts: int = 1,
    duration_ms: int = 0,
    prompt: str = "",
) -> int:
    """Write down what a call cost and give back the rest of what was set aside; return the cost in micros.

    A second time changes nothing.

    Args:
        usage: tokens used, as the provider counts them; None when it didn't say: all that was set aside is spent.
        free: nothing was sent, or the provider refused it.
        lost_micros: what attempts before the last one may have cost.
    """
    rows = _locked(call.institution_id, _accounts_of(call), call.created_at.astimezone(UTC).date())
    row = ModelCall.objects.select_for_update(of=("self",)).filter(pk=call.pk, outcome=CallOutcome.RESERVED).first()
    if row is None:
        return 0
    price = price_of(row.institution_id, row.engine, row.model, row.created_at.astimezone(UTC).date())
    if free or not row.reserved_micros:
        cost = lost_micros
    elif usage is None or price is None:
        cost = row.reserved_micros
    else:
        cost = cost_of(price, usage) + lost_micros
    if row.reserved_micros or cost:
        for spending in rows:
            Spending.objects.filter(pk=spending.pk).update(
                reserved_micros=F("reserved_micros") - row.reserved_micros, spent_micros=F("spent_micros") + cost
            )
    row.outcome, row.reason, row.attempts = outcome, reason[:80], attempts
    row.input_tokens, row.output_tokens = (usage.input_tokens, usage.output_tokens) if usage else (0, 0)
    row.cost_micros, row.duration_ms, row.settled_at = cost, duration_ms, timezone.now()
    row.prompt = prompt or row.prompt
    row.save(
        update_fields=[
            "outcome", "reason", "attempts", "input_tokens", "output_tokens", "cost_micros", "duration_ms", "settled_at",
            "prompt",
        ]
    )  # fmt: skip
    return cost


def settle_lost_calls() -> int:
    """Settle the calls of processes that died, as spent: whether the provider charged for them nobody can tell.

    Return how many. Safe to run any number of times.
    """
    before = timezone.now() - timedelta(seconds=LEASE_SECONDS)
    lost = ModelCall.objects.filter(outcome=CallOutcome.RESERVED, created_at__lt=before)
    calls = list(lost.order_by("created_at")[:500])
    for call in calls:
        cost = settle_call(call, outcome=CallOutcome.ERROR, reason=LOST)
        count_call(call.engine, CallOutcome.ERROR, None, cost_micros=cost)
    return len(calls)


def is_resting(engine: Engine, institution_id: UUID, now: datetime) -> bool:
    """Tell whether an engine failed so often of late that nobody should wait for it now.

    The ledger is the memory of the breaker, so every process sees the same: open after `BREAKER_FAILURES` failures in a
    row, for `BREAKER_REST_SECONDS` from the last one; then half open, for one call that tries it.
    """
    calls = ModelCall.objects.filter(
        institution_id=institution_id,
        engine=engine.name,
        model=engine.model,
        created_at__gte=now - timedelta(seconds=BREAKER_MEMORY_SECONDS),
    )
    settled = calls.exclude(outcome=CallOutcome.RESERVED).exclude(outcome=CallOutcome.STOPPED)
    last = list(settled.order_by("-settled_at").values_list("outcome", "reason", "settled_at")[:BREAKER_FAILURES])
    if len(last) < BREAKER_FAILURES or not all(is_failure(outcome, reason) for outcome, reason, _ in last):
        return False
    opened = last[0][2]
    if opened is None or now < opened + timedelta(seconds=BREAKER_REST_SECONDS):
        return True
    return calls.filter(outcome=CallOutcome.RESERVED, created_at__gt=opened).exists()


def next_day(now: datetime) -> datetime:
    """Return when a day's caps begin anew: midnight in UTC."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)


def is_failure(outcome: str, reason: str) -> bool:
    """Tell whether a call that ended like this says that its engine can't be reached."""
    # Errors of ours are named after their class, with a capital.
    return outcome == CallOutcome.ERROR and reason[:1].islower() and reason not in _HEALTHY_ERRORS


def _check_breaker(engine: Engine, institution_id: UUID, now: datetime) -> None:
    # Under the lock on the institution's row: of those that come together, one tries.
    if is_resting(engine, institution_id, now):
        until = now + timedelta(seconds=BREAKER_REST_SECONDS)
        raise BudgetExceeded("resting", until, "The model has failed several times in a row and is left alone for now.")


def asks_per_hour(course: Course) -> int:
    """Return how often a person may ask within any hour; raise `BudgetExceeded` where nobody may."""
    most = policy_of(course)[0].asks_per_hour
    if most == 0:
        raise BudgetExceeded("rate", None, "Your institution has switched off asking the AI.")
    return most


def next_ask(user: User, most: int, now: datetime, *, waiting: int | None = None) -> datetime | None:
    """Return when a person may ask again who may `most` times within any hour; None: now. The one rule of how often.

    The ledger says how often they have: a call counts when they asked for it by hand, or when it went outside. What failed
    is answered by the local engine, as a call of its own.

    Args:
        waiting: so many questions are asked and not yet answered; they stand for the calls that are under way.
    """
    asked = (
        ModelCall.objects.filter(user=user, created_at__gt=now - HOUR)
        .filter(Q(purpose__in=ASKED_BY_HAND) | ~Q(engine="extractive"))
        .exclude(purpose__in=OF_THE_HOUSE)
        .exclude(outcome=CallOutcome.ERROR)
    )
    if waiting is not None:
        asked = asked.exclude(outcome=CallOutcome.RESERVED)
    times = list(asked.order_by("-created_at").values_list("created_at", flat=True)[:most])
    over = len(times) + (waiting or 0) - most
    if over < 0:
        return None
    # So many of them have to be an hour old before there is room for one more.
    return (times[-1 - min(over, len(times) - 1)] if times else now) + HOUR


def _check_rate(user: User, course: Course, now: datetime) -> None:
    """Raise `BudgetExceeded` when a person has asked as often as they may in the hour that ends now."""
    most = asks_per_hour(course)
    until = next_ask(user, most, now)
    if until is not None:
        sentence = f"You have asked {most} times within an hour, which is as often as you may."
        raise BudgetExceeded("rate", until, sentence)


_OVER = {
    SpendingScope.INSTITUTION: "Your institution has used up what it may spend on AI today.",
    SpendingScope.COURSE: "This course has used up what it may spend on AI today.",
    SpendingScope.USER: "You have used up what one person may spend on AI today.",
}


def _affordable(engine: Engine, most: Usage, course: Course, rows: Sequence[Spending], now: datetime) -> int:
    """Return the most a call can cost, in micros. Raises `BudgetExceeded` where it doesn't fit under every cap."""
    price = price_of(course.institution_id, engine.name, engine.model, now.astimezone(UTC).date())
    if price is None:
        raise BudgetExceeded("no_price", None, "Nobody has said yet what this model costs, so it isn’t called.")
    amount = cost_of(price, most)
    caps = caps_of(course)
    for row in rows:
        scope = SpendingScope(row.scope)
        if row.spent_micros + row.reserved_micros + amount > caps[scope]:
            raise BudgetExceeded(f"cap_{scope}", next_day(now), _OVER[scope])
    return amount


def _accounts(institution: UUID, course: UUID | None, user: UUID | None) -> list[Account]:
    accounts: list[Account] = [(SpendingScope.INSTITUTION, institution)]
    if course is not None:
        accounts.append((SpendingScope.COURSE, course))
    if user is not None:
        accounts.append((SpendingScope.USER, user))
    return accounts


def _accounts_of(call: ModelCall) -> list[Account]:
    return _accounts(call.institution_id, call.course_id, call.user_id) if call.reserved_micros else []


def _locked(institution_id: UUID, accounts: Sequence[Account], day: date) -> list[Spending]:
    """Return the rows of a day's accounts, made where there were none, each locked after the one before."""
    if not accounts:
        return []
    Spending.objects.bulk_create(
        [Spending(institution_id=institution_id, scope=scope, scope_id=key, day=day) for scope, key in accounts],
        ignore_conflicts=True,
    )
    rows = Spending.objects.select_for_update()
    return [rows.get(scope=scope, scope_id=key, day=day) for scope, key in accounts]


def _add(rows: Sequence[Spending], reserved: object, calls: int = 0) -> None:
    for row in rows:
        Spending.objects.filter(pk=row.pk).update(reserved_micros=reserved, calls=F("calls") + calls)
