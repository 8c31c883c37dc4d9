"""Whether models answer, as health tells it: by how the last calls ended."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from ai_answers import actions, health
from ai_answers.actions import budget, calls
from ai_answers.actions.calls import consult
from ai_answers.engines import Request, Source, Task, remote
from ai_answers.engines.limits import BREAKER_FAILURES, BREAKER_MEMORY_SECONDS
from ai_answers.health import EngineCheck
from ai_answers.models import InstitutionAI, ModelCall, ModelPrice, Purpose
from ai_answers.search import Question
from quokkaq.lib.health import configured, look, watching
from tests.factories import World
from tests.services.fault_proxy import fault_proxy
from tests.services.model_servers import Script, lines, serve

REQUEST = Request(Task.ANSWER, Question("When?"), [Source("Notes", "It is evaluated once, at definition.")])
SAID = lines({"text": "Once.", "quotes": [{"source": 1, "quote": "evaluated once, at definition"}]})


@pytest.fixture
def provider(settings: Any) -> None:
    settings.OPENAI_MODEL, settings.OPENAI_API_KEY = "m-1", "sk-canary-0123456789abcdef"


def a_call(world: World, outcome: str, reason: str = "", *, ago: float = 0, engine: str = "openai") -> None:
    at = timezone.now() - timedelta(seconds=ago)
    ModelCall.objects.create(
        institution=world.institution, course=world.course, purpose=Purpose.ANSWER, engine=engine, model="m-1",
        outcome=outcome, reason=reason, created_at=at, settled_at=at,
    )  # fmt: skip


def state(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what the check finds over the connection of this test."""

    def ask_here(query: str, *values: str, seconds: float) -> list[tuple[str | None, ...]]:
        for number in range(len(values), 0, -1):
            query = query.replace(f"${number}", "%s")
        with connection.cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    monkeypatch.setattr(health, "ask", ask_here)
    try:
        EngineCheck().run()
    except ServiceWarning:
        return "degraded"
    except ServiceUnavailable:
        return "down"
    return "up"


def test_it_is_looked_at_where_a_provider_is_configured(settings: Any, provider: None) -> None:
    assert EngineCheck in configured()
    settings.OPENAI_MODEL = ""
    assert EngineCheck not in configured()


def test_so_many_failures_in_a_row_are_down(world: World, provider: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state(monkeypatch) == "up"
    for number in range(BREAKER_FAILURES):
        assert state(monkeypatch) == "up"
        a_call(world, "error", "timeout", ago=10 - number)
    assert state(monkeypatch) == "down"
    # What a person stopped, or what isn't over, says nothing.
    a_call(world, "stopped")
    a_call(world, "reserved")
    assert state(monkeypatch) == "down"
    a_call(world, "answered")
    assert state(monkeypatch) == "up"


@pytest.mark.parametrize(
    ("reason", "ago"), [("garbled", 0), ("RuntimeError", 0), ("timeout", BREAKER_MEMORY_SECONDS + 1)]
)
def test_what_says_nothing_about_the_provider_now(
    world: World, provider: None, monkeypatch: pytest.MonkeyPatch, reason: str, ago: float
) -> None:
    for _ in range(BREAKER_FAILURES):
        a_call(world, "error", reason, ago=ago)
    assert state(monkeypatch) == "up"


def test_one_of_two_providers_is_degraded(
    world: World, provider: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ANTHROPIC_MODEL, settings.ANTHROPIC_API_KEY = "m-1", "sk-canary-0123456789abcdef"
    for _ in range(BREAKER_FAILURES):
        a_call(world, "error", "timeout")
    assert state(monkeypatch) == "degraded"
    for _ in range(BREAKER_FAILURES):
        a_call(world, "error", "timeout", engine="anthropic")
    assert state(monkeypatch) == "down"


@pytest.fixture
def roomy(transactional_db: None) -> Iterator[None]:
    watching.forget()
    yield
    watching.forget()


@pytest.mark.drill
@pytest.mark.parametrize("kind", ["killed", "stopped", "cut off"])
def test_a_model_server_that_breaks(
    roomy: None, loopback: None, provider: None, settings: Any, monkeypatch: pytest.MonkeyPatch, kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A real server behind a real network is broken; the calls that people make tell of it, and of its end."""
    from tests import factories

    world = factories.make_world()
    actions.set_consent(by=world.user("sam"), is_given=True)
    InstitutionAI.objects.create(institution=world.institution, engine="openai", asks_per_hour=1000)
    ModelPrice.objects.create(
        institution=world.institution, engine="openai", model="m-1", input_micros=1, output_micros=1,
        valid_from="2020-01-01",
    )  # fmt: skip
    monkeypatch.setattr(calls, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(remote, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(budget, "BREAKER_REST_SECONDS", 0.0)

    def call() -> None:
        with consult(REQUEST, course=world.course, user=world.user("sam"), purpose=Purpose.ANSWER) as said:
            list(said)

    def since(expected: str, started: float) -> float:
        while look([EngineCheck])["engine"].state != expected:
            assert time.monotonic() - started < 10, expected
            time.sleep(0.02)
        return time.monotonic() - started

    with serve("openai", Script(SAID)) as server:
        port = int(server.url.rpartition(":")[2])
        with fault_proxy(("127.0.0.1", port)) as proxy:
            settings.OPENAI_BASE_URL = f"http://127.0.0.1:{proxy.port}/v1"
            call()
            assert ModelCall.objects.latest("created_at").outcome == "answered"
            assert look([EngineCheck])["engine"].state == "up"
            if kind == "killed":
                proxy.target = ("127.0.0.1", 1)
            elif kind == "stopped":
                server.scripts[:] = [Script(SAID, before=3)]
            else:
                proxy.black_hole()
            for _ in range(BREAKER_FAILURES):
                call()
            fault = since("down", time.monotonic())
            proxy.target = ("127.0.0.1", port)
            server.scripts[:] = [Script(SAID)]
            proxy.heal()
            call()
            recovery = since("up", time.monotonic())
    with capsys.disabled():
        print(f"\nmodel      {kind:<8} 200  {fault:5.2f} s  {recovery:5.2f} s")
    assert fault < 1.5
    assert recovery < 5
