"""The budget: nothing is called past a cap, everything is settled, and a failing model is left alone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django import app

from ai_answers import actions
from ai_answers.actions import calls
from ai_answers.actions.budget import BudgetExceeded, begin_call, next_day, settle_call, settle_lost_calls
from ai_answers.actions.calls import FAILED, NO_CONSENT, NOT_CONFIGURED, Consultation, consult
from ai_answers.checks import check_chosen_engines_are_configured
from ai_answers.citations import UnsupportedQuotation
from ai_answers.engines import Quote, Request, Source, Statement, Task, Unavailable, Usage
from ai_answers.engines.limits import BREAKER_FAILURES, BREAKER_REST_SECONDS, LEASE_SECONDS
from ai_answers.engines.remote import Failed
from ai_answers.models import (
    CallOutcome,
    CourseAI,
    Disclosure,
    InstitutionAI,
    ModelCall,
    ModelPrice,
    Purpose,
    Spending,
)
from ai_answers.search import Question
from tests.engines import Said, ScriptedEngine
from tests.factories import World
from tests.services.model_servers import ModelServer, Script, lines, serve
from tests.tasks import run_tasks

pytestmark = pytest.mark.django_db
REQUEST = Request(Task.ANSWER, Question("When?"), [Source("Notes", "It is evaluated once, at definition.")])
SAID = lines({"text": "Once.", "quotes": [{"source": 1, "quote": "evaluated once, at definition"}]})
Model = Callable[..., AbstractContextManager[ModelServer]]


class RemoteScript(ScriptedEngine):
    """A scripted engine that counts as one outside this server. It may use 100 tokens, and uses 10."""

    name = "openai"
    is_remote = True

    def most(self, request: Request) -> Usage:
        return Usage(60, 40)


def ten_tokens(request: Request) -> Sequence[Said]:
    return [Statement("Once.", [Quote(1, "evaluated once")]), Usage(6, 4)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let pauses between tries take no time; return them."""
    pauses: list[float] = []
    monkeypatch.setattr(calls, "sleep", pauses.append)
    return pauses


@pytest.fixture
def ready(world: World) -> World:
    """Sam agreed, and a million tokens of the test model cost a dollar: one micro each."""
    actions.set_consent(by=world.user("sam"), is_given=True)
    for model in ("test-1", "m-1"):
        ModelPrice.objects.create(
            institution=world.institution, engine="openai", model=model, input_micros=1_000_000,
            output_micros=1_000_000, valid_from="2020-01-01",
        )  # fmt: skip
    return world


@pytest.fixture
def caps(ready: World) -> InstitutionAI:
    return InstitutionAI.objects.create(institution=ready.institution, engine="openai", asks_per_hour=1000)


def ask(
    world: World, engine: ScriptedEngine | None = None, name: str = "sam", purpose: Purpose = Purpose.ANSWER
) -> Consultation:
    with consult(REQUEST, course=world.course, user=world.user(name), purpose=purpose, engine=engine) as consultation:
        list(consultation)
    return consultation


def spent(scope: str) -> tuple[int, int, int]:
    row = Spending.objects.get(scope=scope)
    return row.spent_micros, row.reserved_micros, row.calls


@pytest.fixture
def model(settings: Any) -> Model:
    """Return what runs a server that plays scripts, and lets the settings point at it."""

    @contextmanager
    def run(*scripts: Script) -> Iterator[ModelServer]:
        with serve("openai", *scripts) as server:
            settings.OPENAI_BASE_URL = server.base_url
            settings.OPENAI_MODEL, settings.OPENAI_API_KEY = "m-1", "sk-canary-0123456789abcdef"
            yield server

    return run


def test_a_call_is_reserved_then_settled_at_what_it_cost(ready: World, caps: InstitutionAI) -> None:
    seen: list[tuple[int, int, int]] = []

    def script(request: Request) -> Sequence[Said]:
        seen.append(spent("course"))
        assert ModelCall.objects.get().outcome == "reserved"
        return ten_tokens(request)

    said = ask(ready, RemoteScript(script))
    assert said.engine.name == "openai"
    assert seen == [(0, 100, 1)]
    assert [spent(scope) for scope in ("institution", "course", "user")] == [(10, 0, 1)] * 3
    call = ModelCall.objects.get()
    assert (call.outcome, call.cost_micros, call.reserved_micros, call.input_tokens, call.output_tokens) == (
        "answered",
        10,
        100,
        6,
        4,
    )
    assert call.settled_at is not None


def test_unknown_usage_costs_all_that_was_set_aside(ready: World, caps: InstitutionAI) -> None:
    ask(ready, RemoteScript(lambda request: [Statement("Once.")]))
    assert spent("user") == (100, 0, 1)


@pytest.mark.parametrize(
    ("field", "reason", "sentence"),
    [
        ("daily_cap_micros", "cap_institution", "Your institution has used up"),
        ("course_daily_cap_micros", "cap_course", "This course has used up"),
        ("user_daily_cap_micros", "cap_user", "You have used up"),
    ],
)
def test_past_a_cap_the_local_engine_answers_and_says_why_and_until_when(
    ready: World, caps: InstitutionAI, field: str, reason: str, sentence: str
) -> None:
    InstitutionAI.objects.update(**{field: 99})
    engine = RemoteScript(ten_tokens)
    said = ask(ready, engine)
    assert engine.requests == []
    assert said.engine.name == "extractive"
    assert said.notice.startswith(sentence)
    assert "It ends at 00:00" in said.notice
    assert not Disclosure.objects.exists()
    assert not Spending.objects.exclude(reserved_micros=0, spent_micros=0, calls=0).exists()
    InstitutionAI.objects.update(**{field: 100})
    assert ask(ready, engine).engine.name == "openai"


def test_a_course_may_have_a_cap_of_its_own(ready: World, caps: InstitutionAI) -> None:
    CourseAI.objects.create(institution=ready.institution, course=ready.course, daily_cap_micros=0)
    assert ask(ready, RemoteScript(ten_tokens)).engine.name == "extractive"


def test_a_day_begins_at_midnight_in_utc() -> None:
    assert next_day(datetime(2026, 11, 25, 23, 59, tzinfo=UTC)) == datetime(2026, 11, 26, tzinfo=UTC)


def test_a_model_without_a_price_isnt_called(ready: World, caps: InstitutionAI) -> None:
    ModelPrice.objects.update(valid_from=timezone.now().date() + timedelta(days=2))
    engine = RemoteScript(ten_tokens)
    said = ask(ready, engine)
    assert engine.requests == []
    assert said.notice == "Nobody has said yet what this model costs, so it isn’t called."


def test_the_newest_price_holds_and_is_rounded_up(ready: World, caps: InstitutionAI) -> None:
    ModelPrice.objects.create(
        institution=ready.institution, engine="openai", model="test-1", input_micros=1, output_micros=1, valid_from="2021-01-01"
    )  # fmt: skip
    ask(ready, RemoteScript(ten_tokens))
    assert spent("user") == (1, 0, 1)


@pytest.mark.parametrize("name", ["noor", None])
def test_without_consent_nothing_leaves(ready: World, caps: InstitutionAI, name: str | None) -> None:
    engine = RemoteScript(ten_tokens)
    user = ready.user(name) if name else None
    with consult(REQUEST, course=ready.course, user=user, purpose=Purpose.ANSWER, engine=engine) as said:
        list(said)
    assert (engine.requests, said.notice, said.engine.name) == ([], NO_CONSENT, "extractive")
    assert not Disclosure.objects.exists()


def test_an_evaluation_asks_for_nobody(ready: World, caps: InstitutionAI) -> None:
    with consult(
        REQUEST, course=ready.course, user=None, purpose=Purpose.EVALUATION, engine=RemoteScript(ten_tokens)
    ) as said:
        list(said)
    assert said.engine.name == "openai"
    assert not Spending.objects.filter(scope="user").exists()


def test_what_leaves_is_kept_before_it_leaves(ready: World, caps: InstitutionAI) -> None:
    kept: list[str] = []

    def script(request: Request) -> Sequence[Said]:
        kept.append(Disclosure.objects.get().text)
        raise Unavailable("no")

    said = ask(ready, RemoteScript(script))
    assert "When?" in kept[0]
    disclosure = Disclosure.objects.get()
    assert (disclosure.user, disclosure.course, disclosure.provider) == (ready.user("sam"), ready.course, "openai")
    assert (said.engine.name, said.notice) == ("extractive", FAILED)
    assert list(ModelCall.objects.order_by("created_at").values_list("engine", "outcome", "reason")) == [
        ("openai", "error", "unavailable"), ("extractive", "abstained", ""),
    ]  # fmt: skip


def test_leaving_early_and_made_up_quotations_are_settled(ready: World, caps: InstitutionAI) -> None:
    for purpose in (Purpose.CONVERSATION, Purpose.SUMMARY):
        with consult(
            REQUEST, course=ready.course, user=ready.user("sam"), purpose=purpose, engine=RemoteScript(ten_tokens)
        ) as said:
            next(iter(said))
    assert set(ModelCall.objects.values_list("outcome", "cost_micros")) == {("stopped", 100)}
    with pytest.raises(UnsupportedQuotation):
        refuse(ready)
    assert ModelCall.objects.filter(outcome="refused", cost_micros=10).count() == 1
    assert spent("user") == (210, 0, 3)


def test_one_who_asks_too_often_is_told_until_when(ready: World, caps: InstitutionAI) -> None:
    InstitutionAI.objects.update(asks_per_hour=2)
    for purpose in (Purpose.CONVERSATION, Purpose.PREVIEW):
        ask(ready, ScriptedEngine(), purpose=purpose)
    with pytest.raises(BudgetExceeded, match="You have asked 2 times within an hour") as caught:
        ask(ready, ScriptedEngine(), purpose=Purpose.CONVERSATION)
    assert caught.value.reason == "rate"
    assert caught.value.until is not None
    assert timedelta(minutes=59) < caught.value.until - timezone.now() <= timedelta(hours=1)
    with pytest.raises(BudgetExceeded):
        ask(ready, RemoteScript(ten_tokens), purpose=Purpose.PREVIEW)
    # A question to everybody is answered all the same, from here.
    assert ask(ready, RemoteScript(ten_tokens)).engine.name == "extractive"
    assert ask(ready, ScriptedEngine()).engine.name == "scripted"
    ModelCall.objects.update(created_at=timezone.now() - timedelta(minutes=61))
    ask(ready, ScriptedEngine(), purpose=Purpose.CONVERSATION)
    InstitutionAI.objects.update(asks_per_hour=0)
    with pytest.raises(BudgetExceeded, match="switched off") as caught:
        ask(ready, ScriptedEngine(), purpose=Purpose.CONVERSATION)
    assert caught.value.until is None


def test_without_settings_ten_may_be_asked_in_an_hour(world: World) -> None:
    for _ in range(10):
        ask(world, purpose=Purpose.CONVERSATION)
    with pytest.raises(BudgetExceeded):
        ask(world, purpose=Purpose.CONVERSATION)
    ask(world, name="noor", purpose=Purpose.CONVERSATION)


def test_the_institutions_engine_answers_over_the_network(ready: World, caps: InstitutionAI, model: Model) -> None:
    with (
        model(Script(SAID)) as server,
        consult(REQUEST, course=ready.course, user=ready.user("sam"), purpose=Purpose.ANSWER) as said,
    ):
        assert list(said) == [Statement("Once.", [Quote(1, "evaluated once, at definition")])]
    assert said.engine.name == "openai"
    call = ModelCall.objects.get()
    assert (call.model, call.prompt, call.cost_micros, call.attempts) == ("m-1", "answer-1", 150, 1)
    sent = "\n\n".join(m["content"] for m in server.seen[0].body["messages"])
    assert Disclosure.objects.get().text == sent


def test_a_chosen_engine_that_isnt_set_up_is_said(ready: World, caps: InstitutionAI) -> None:
    assert ask(ready).notice == NOT_CONFIGURED
    assert [w.id for w in check_chosen_engines_are_configured(None, databases=["default"])] == ["ai_answers.W001"]
    assert check_chosen_engines_are_configured(None) == []
    CourseAI.objects.create(institution=ready.institution, course=ready.course, engine="extractive")
    assert ask(ready).notice == ""
    InstitutionAI.objects.update(engine="extractive")
    assert not [w for w in run_checks(databases=["default"]) if w.id == "ai_answers.W001"]


def test_only_what_may_pass_is_tried_again(ready: World, caps: InstitutionAI, model: Model, quick: list[float]) -> None:
    with model(Script(status=429, headers={"Retry-After": "3"}), Script(status=503), Script(SAID)) as server:
        assert ask(ready).engine.name == "openai"
    assert len(server.seen) == 3
    assert quick[0] == 3.0
    assert 0 <= quick[1] <= 1.0
    call = ModelCall.objects.get()
    assert (call.attempts, call.cost_micros) == (3, 150)
    assert Disclosure.objects.count() == 1
    for script, tries in ((Script(status=500), 3), (Script(status=401), 1), (Script("prose"), 1)):
        with model(script) as server:
            said = ask(ready)
        assert (len(server.seen), said.engine.name, said.notice) == (tries, "extractive", FAILED)
    assert list(ModelCall.objects.filter(outcome="error").order_by("created_at").values_list("reason", flat=True)) == [
        "http_500", "not_authorised", "garbled",
    ]  # fmt: skip


def test_a_server_that_wants_a_long_wait_isnt_waited_for(
    ready: World, caps: InstitutionAI, model: Model, quick: list[float]
) -> None:
    with model(Script(status=429, headers={"Retry-After": "3600"})) as server:
        assert ask(ready).engine.name == "extractive"
    assert (len(server.seen), quick) == (1, [])


def test_another_try_after_one_that_may_cost_needs_room_under_the_cap(
    ready: World, caps: InstitutionAI, model: Model
) -> None:
    error = Script(error={"type": "overloaded_error", "message": "x"})
    with model(error, Script(SAID)) as server:
        ask(ready)
    call = ModelCall.objects.get()
    once = call.reserved_micros // 2
    assert (len(server.seen), call.attempts, call.cost_micros) == (2, 2, once + 150)
    assert spent("user") == (once + 150, 0, 1)
    InstitutionAI.objects.update(user_daily_cap_micros=once + 150 + once)
    with model(error, Script(SAID)) as server:
        assert ask(ready).engine.name == "extractive"
    assert len(server.seen) == 1
    assert spent("user") == (once + 150 + once, 0, 2)


def test_nothing_is_tried_again_once_something_was_said(ready: World, caps: InstitutionAI, model: Model) -> None:
    with model(Script(SAID + SAID, piece=len(SAID), end=None)) as server, pytest.raises(Failed, match="truncated"):
        ask(ready)
    assert len(server.seen) == 1
    call = ModelCall.objects.get()
    assert (call.outcome, call.reason, call.cost_micros) == ("error", "truncated", call.reserved_micros)


def test_an_engine_that_keeps_failing_is_left_alone_then_tried_once(ready: World, caps: InstitutionAI) -> None:
    def broken(request: Request) -> Sequence[Said]:
        raise Failed("http_500", is_temporary=False)

    engine = RemoteScript(broken)
    for _ in range(BREAKER_FAILURES):
        ask(ready, engine)
    assert len(engine.requests) == BREAKER_FAILURES
    said = ask(ready, engine)
    assert len(engine.requests) == BREAKER_FAILURES
    assert said.notice.startswith("The model has failed several times")
    ModelCall.objects.update(settled_at=timezone.now() - timedelta(seconds=BREAKER_REST_SECONDS + 1))

    def probing(request: Request) -> Sequence[Said]:
        # While one tries, others don't.
        other = RemoteScript(ten_tokens)
        assert ask(ready, other).engine.name == "extractive"
        assert other.requests == []
        return ten_tokens(request)

    assert ask(ready, RemoteScript(probing)).engine.name == "openai"
    assert ask(ready, RemoteScript(ten_tokens)).engine.name == "openai"


def test_wrong_answers_dont_trip_the_breaker(ready: World, caps: InstitutionAI) -> None:
    def garbled(request: Request) -> Sequence[Said]:
        raise Failed("garbled", may_cost=True)

    engine = RemoteScript(garbled)
    for _ in range(BREAKER_FAILURES + 1):
        ask(ready, engine)
    assert len(engine.requests) == BREAKER_FAILURES + 1


def test_a_local_engine_that_fails_raises(world: World) -> None:
    def broken(request: Request) -> Sequence[Said]:
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        ask(world, ScriptedEngine(broken))
    assert ModelCall.objects.get().reason == "unavailable"


def test_a_call_never_made_costs_nothing(ready: World, caps: InstitutionAI) -> None:
    with consult(
        REQUEST, course=ready.course, user=ready.user("sam"), purpose=Purpose.ANSWER, engine=RemoteScript(ten_tokens)
    ):
        pass
    assert spent("user") == (0, 0, 1)


def test_the_call_of_a_process_that_died_is_settled_as_spent(ready: World, caps: InstitutionAI) -> None:
    call = begin(ready)
    assert settle_lost_calls() == 0
    ModelCall.objects.update(created_at=timezone.now() - timedelta(seconds=LEASE_SECONDS + 1))
    app.configure_task("ai_answers.settle_lost_calls").defer(timestamp=0)
    run_tasks("ai_answers.settle_lost_calls")
    call.refresh_from_db()
    assert (call.outcome, call.reason, call.cost_micros) == ("error", "lost", 100)
    assert spent("user") == (100, 0, 1)
    # The process wasn't dead after all: it comes too late, and changes nothing.
    assert settle_call(call, outcome=CallOutcome.ANSWERED, usage=Usage(1, 1)) == 0
    assert spent("user") == (100, 0, 1)


def refuse(world: World) -> None:
    engine = RemoteScript(ten_tokens)
    user = world.user("sam")
    with consult(REQUEST, course=world.course, user=user, purpose=Purpose.ANSWER, engine=engine) as said:
        list(said)
        raise UnsupportedQuotation("none")


def begin(world: World, name: str = "sam") -> ModelCall:
    return begin_call(
        engine=RemoteScript(), request=REQUEST, most=Usage(60, 40), course=world.course, user=world.user(name),
        purpose=Purpose.ANSWER,
    )  # fmt: skip


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("field", "names"), [("daily_cap_micros", ("sam", "noor")), ("user_daily_cap_micros", ("sam",))]
)
def test_200_asks_at_once_overspend_by_nothing(field: str, names: tuple[str, ...]) -> None:
    """Each may cost 100 and costs 10. 1,000 allow ten at once, and as others are settled, no more than fit."""
    from tests.factories import make_world

    world = make_world()
    for name in names:
        actions.set_consent(by=world.user(name), is_given=True)
    ModelPrice.objects.create(
        institution=world.institution, engine="openai", model="test-1", input_micros=1_000_000, output_micros=1_000_000,
        valid_from="2020-01-01",
    )  # fmt: skip
    InstitutionAI.objects.create(institution=world.institution, engine="openai", asks_per_hour=1000, **{field: 1000})
    gate, lock = threading.Barrier(20), threading.Lock()
    made: list[int] = []
    most: list[int] = []
    errors: list[BaseException] = []

    def script(request: Request) -> Sequence[Said]:
        with lock:
            made.append(1)
        return [Statement("Once.")]  # usage unknown: all of it is spent

    def work(number: int) -> None:
        try:
            gate.wait()
            for turn in range(10):
                ask(world, RemoteScript(script), names[(number + turn) % len(names)])
                row = Spending.objects.filter(scope="institution").get()
                with lock:
                    most.append(row.spent_micros + row.reserved_micros)
        except BaseException as error:
            errors.append(error)
            raise
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(most) == 200
    assert max(most) == 1000
    assert len(made) == 10
    assert ModelCall.objects.filter(engine="openai").count() == 10
    assert ModelCall.objects.filter(engine="extractive").count() == 190
    row = Spending.objects.get(scope="institution")
    assert (row.spent_micros, row.reserved_micros, row.calls) == (1000, 0, 10)


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_nobody_asks_past_their_rate_by_asking_at_once() -> None:
    from tests.factories import make_world

    world = make_world()
    refused: list[int] = []

    def work() -> None:
        try:
            ask(world, purpose=Purpose.CONVERSATION)
        except BudgetExceeded:
            refused.append(1)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ModelCall.objects.count(), len(refused)) == (10, 20)
