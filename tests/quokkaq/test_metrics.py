"""Every metric moves by what happened, and by nothing else; nothing anybody sends makes series without end."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.usersessions.models import UserSession
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings as project
from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.db import connection, connections, transaction
from django.http import HttpResponse
from django.test import Client, override_settings
from django.utils import timezone
from procrastinate.contrib.django.db_cleanup import DjangoApp
from procrastinate.testing import InMemoryConnector
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from psycopg_pool import ConnectionPool

from accounts import actions as account_actions
from accounts import signing_in
from accounts.models import IdentityProvider
from ai_answers import actions as ai_actions
from ai_answers.actions.budget import begin_call, settle_lost_calls
from ai_answers.actions.calls import consult
from ai_answers.engines import Abstention, Request, Source, Task, Usage, default_engine
from ai_answers.models import (
    Answer,
    AnswerStatus,
    CourseAI,
    InstitutionAI,
    ModelCall,
    ModelPrice,
    Purpose,
    Spending,
    WithdrawalReason,
)
from ai_answers.search import Question
from forum import actions
from forum.models import Thread
from quokkaq import measuring, operations
from quokkaq.lib import tenancy
from quokkaq.lib.cache import ForgivingRedisCache
from quokkaq.lib.health import watching
from quokkaq.lib.mail import deliver
from quokkaq.lib.metrics import database, documentation, machine, state
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import ALL, CERTIFICATE, MOST_SERIES, THREADS_CREATED, CounterSeries
from quokkaq.lib.metrics.jobs import measure_job
from quokkaq.lib.metrics.process import Process
from quokkaq.models import OperationName
from tests import factories
from tests.engines import ScriptedEngine
from tests.factories import PASSWORD, World
from tests.metrics import Moves, moves
from tests.services.mail_servers import MailServer
from tests.services.model_servers import Script, lines, serve

AUTHORIZED = {"Authorization": f"Bearer {project.METRICS_TOKEN}"}
REQUEST = Request(Task.ANSWER, Question("When?"), [Source("Notes", "It is evaluated once, at definition.")])
SAID = lines({"text": "Once.", "quotes": [{"source": 1, "quote": "evaluated once, at definition"}]})
Act = Callable[[World], object]


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """How passwords are kept is no matter here, and Argon2 takes its time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr(factories, "hashed_password", lambda: make_password(PASSWORD))


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    state.forget()
    watching.forget()
    yield
    state.forget()
    watching.forget()


def scraped() -> dict[str, float]:
    response = Client().get("/metrics", headers=AUTHORIZED)
    assert response.status_code == 200
    return {
        f"{sample.name}{{{','.join(f'{name}={value}' for name, value in sample.labels.items())}}}": sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


# Counted once it is committed, and nothing else is


def sign_in(name: str = "sam", password: str = PASSWORD) -> None:
    Client().post("/sign-in/", {"email": f"{name}@example.edu", "password": password})


def start_twice(world: World) -> None:
    """A double click: one thread."""
    draft, key = actions.ThreadDraft("Why is that?", "I wonder."), uuid.uuid4()
    for _ in range(2):
        actions.start_thread(by=world.member("sam"), draft=draft, form_key=key)


def roll_back(world: World) -> None:
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        factories.make_thread(world.member("sam"))
        raise ZeroDivisionError


def vote_twice_and_take_it_back(world: World) -> None:
    thread = Thread.objects.get()
    for on in (True, True, False):
        actions.set_vote(by=world.member("noor"), target=thread, on=on)


def endorse_twice(world: World) -> None:
    post = Thread.objects.get().posts.get()
    for _ in range(2):
        actions.set_endorsement(by=world.member("tim"), post=post, on=True)


def a_wrong_code(world: World) -> None:
    TOTP.activate(world.user("sam"), generate_totp_secret())
    client = Client()
    client.post("/sign-in/", {"email": "sam@example.edu", "password": PASSWORD})
    client.post("/sign-in/second-step/", {"code": "000001"})


def run_into_the_sign_in_limit(world: World) -> None:
    with override_settings(SIGN_IN_FAILURES_PER_ACCOUNT=1):
        for _ in range(2):
            sign_in(password="wrong")


def come_back_from_nowhere(protocol: str, path: str) -> Act:
    def act(world: World) -> None:
        IdentityProvider.objects.create(
            institution=world.institution, slug="uni", name="Uni", protocol=protocol, client_id="us",
            server_url="http://127.0.0.1:9/",
        )  # fmt: skip
        Client().get(path)

    return act


def register(world: World) -> None:
    account_actions.register_person(institution=world.institution, email="new@example.edu", display_name="New")


def mail(answer: bytes | None) -> Act:
    def act(world: World) -> None:
        with MailServer() as server:
            if answer:
                server.answers["RCPT"] = answer
            smtp = {"EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend", "EMAIL_PORT": server.port}
            with override_settings(EMAIL_HOST="127.0.0.1", **smtp), contextlib.suppress(OSError):
                deliver(EmailMessage("Hello", "You.", "us@example.edu", ["sam@example.edu"]))

    return act


def give_up_a_file(world: World) -> None:
    sam = world.member("sam")
    account_actions.discard_upload(by=sam.user, upload=factories.sent_file(sam))


def ask_too_often(world: World) -> None:
    with override_settings(RATE_READS_PER_MINUTE=1, RATE_ADDRESS_FACTOR=1):
        for _ in range(3):
            Client().get("/sign-in/")


def price_the_model(world: World) -> None:
    ai_actions.set_consent(by=world.user("sam"), is_given=True)
    InstitutionAI.objects.create(institution=world.institution, engine="openai")
    ModelPrice.objects.create(
        institution=world.institution, engine="openai", model="m-1", input_micros=1_000_000, output_micros=10_000_000,
        valid_from="2020-01-01",
    )  # fmt: skip


def call_a_model(world: World) -> None:
    """120 tokens read at a micro each, 30 written at ten: 420 micros."""
    price_the_model(world)
    with (
        serve("openai", Script(SAID)) as server,
        override_settings(OPENAI_BASE_URL=server.base_url, OPENAI_MODEL="m-1", OPENAI_API_KEY="sk-test-0123456789"),
        override_settings(EGRESS_ALLOWED_HOSTS=["127.0.0.1"]),
        consult(REQUEST, course=world.course, user=world.user("sam"), purpose=Purpose.ANSWER) as asked,
    ):
        list(asked)


def lose_a_call(world: World) -> None:
    begin_call(
        engine=default_engine(), request=REQUEST, most=Usage(), course=world.course, user=world.user("sam"),
        purpose=Purpose.ANSWER,
    )  # fmt: skip
    ModelCall.objects.update(created_at=timezone.now() - timedelta(hours=1))
    settle_lost_calls()


def answer(**policy: Any) -> Act:
    def act(world: World) -> None:
        CourseAI.objects.create(institution=world.institution, course=world.course, **policy)
        factories.make_material(world.member("tim"))
        factories.make_answer(world.member("sam"), world.member("tim"))

    return act


def abstain(world: World) -> None:
    thread = factories.make_thread(world.member("sam"), "Where is the cafeteria?")
    engine = ScriptedEngine(lambda request: [Abstention("nothing")])
    ai_actions.generate_answer(Answer.objects.get(thread=thread).pk, engine=engine)


def fail_twice(world: World) -> None:
    made = Answer.objects.get()
    for _ in range(2):
        ai_actions.fail_answer(made.pk, ValueError("x"))


def withdraw(world: World) -> None:
    made = factories.put_answer(Thread.objects.get(), AnswerStatus.PUBLISHED, confidence=0.9)
    ai_actions.withdraw_answer(by=world.member("tim"), answer=made, reason=WithdrawalReason.WRONG)


THREAD: Moves = {"quokkaq_threads_created_total{kind=question}": 1}
FAILED = "quokkaq_sign_ins_total{{method={},outcome=failed}}"
SUCCEEDED = "quokkaq_sign_ins_total{{method={},outcome=succeeded}}"
ENGINE: Moves = {
    "quokkaq_model_calls_total{engine=extractive,outcome=answered}": 1,
    "quokkaq_model_seconds_count{engine=extractive}": 1,
}
ACTS: dict[str, tuple[Act, Moves]] = {
    "a question": (lambda world: factories.make_thread(world.member("sam")), THREAD),
    "an announcement": (
        lambda world: factories.make_thread(world.member("ada"), kind="announcement"),
        {"quokkaq_threads_created_total{kind=announcement}": 1},
    ),
    "a double click": (start_twice, THREAD),
    "a transaction that is rolled back": (roll_back, {}),
    "a reply": (
        lambda world: factories.make_post(world.member("noor"), Thread.objects.get()),
        {"quokkaq_posts_created_total{}": 1},
    ),
    "a vote": (vote_twice_and_take_it_back, {"quokkaq_votes_total{}": 1}),
    "an endorsement": (endorse_twice, {"quokkaq_endorsements_total{}": 1}),
    "signing in": (lambda world: sign_in(), {SUCCEEDED.format("password"): 1}),
    "a wrong password": (lambda world: sign_in(password="wrong"), {FAILED.format("password"): 1}),
    "an unknown address": (lambda world: sign_in("who"), {FAILED.format("password"): 1}),
    "a wrong code": (a_wrong_code, {FAILED.format("password"): 1}),
    "a made-up passkey": (
        lambda world: Client().post("/sign-in/passkey/", {"credential": "{}"}),
        {FAILED.format("passkey"): 1},
    ),
    "too many wrong passwords": (
        run_into_the_sign_in_limit,
        {FAILED.format("password"): 1, "quokkaq_rate_limited_total{limit=sign-in}": 1},
    ),
    "a callback nobody asked for": (
        come_back_from_nowhere("oidc", "/oidc/uni/login/callback/?state=x&code=y"),
        {FAILED.format("oidc"): 1},
    ),
    "an assertion nobody asked for": (
        come_back_from_nowhere("saml", "/saml/uni/acs/finish/"),
        {FAILED.format("saml"): 1},
    ),
    "a launch nobody began": (
        lambda world: Client().post("/lti/launch/", {"state": "x", "id_token": "y"}),
        {FAILED.format("lti"): 1},
    ),
    "a new account": (register, {"quokkaq_sign_ups_total{}": 1}),
    "a mail that is taken": (mail(None), {"quokkaq_mails_total{outcome=sent}": 1}),
    "a mail that is refused": (mail(b"550 Unknown"), {"quokkaq_mails_total{outcome=failed}": 1}),
    "a clean file": (
        lambda world: factories.checked_file(world.member("sam")),
        {"quokkaq_uploads_total{outcome=clean}": 1},
    ),
    "a file that lies": (
        lambda world: factories.checked_file(world.member("sam"), "x.png", b"no picture at all"),
        {"quokkaq_uploads_total{outcome=rejected}": 1},
    ),
    "a file that is given up": (give_up_a_file, {"quokkaq_uploads_total{outcome=expired}": 1}),
    "too many pages": (ask_too_often, {"quokkaq_rate_limited_total{limit=reads}": 2}),
    "a model that is called": (
        call_a_model,
        {
            "quokkaq_model_calls_total{engine=openai,outcome=answered}": 1,
            "quokkaq_model_seconds_count{engine=openai}": 1,
            "quokkaq_model_tokens_total{engine=openai,direction=input}": 120,
            "quokkaq_model_tokens_total{engine=openai,direction=output}": 30,
            "quokkaq_model_cost_dollars_total{engine=openai}": 0.00042,
        },
    ),
    "a call that is lost": (lose_a_call, {"quokkaq_model_calls_total{engine=extractive,outcome=error}": 1}),
    "an answer": (
        answer(),
        THREAD | ENGINE | {"quokkaq_ai_answers_total{outcome=published,confidence=high}": 1},
    ),
    "a draft": (
        answer(mode="draft"),
        THREAD | ENGINE | {"quokkaq_ai_answers_total{outcome=draft,confidence=high}": 1},
    ),
    "nothing to say": (
        abstain,
        THREAD
        | {
            "quokkaq_ai_answers_total{outcome=abstained,confidence=none}": 1,
            "quokkaq_model_calls_total{engine=other,outcome=abstained}": 1,
            "quokkaq_model_seconds_count{engine=other}": 1,
        },
    ),
    "an answer that fails": (fail_twice, {"quokkaq_ai_answers_total{outcome=failed,confidence=none}": 1}),
    "an answer that is withdrawn": (withdraw, {"quokkaq_ai_answers_total{outcome=withdrawn,confidence=high}": 1}),
}


@pytest.mark.parametrize("name", ACTS)
def test_what_happens_moves_its_metric_by_exactly_that(
    world: World, name: str, django_capture_on_commit_callbacks: Any
) -> None:
    act, expected = ACTS[name]
    if name in ("a reply", "a vote", "an endorsement", "an answer that fails", "an answer that is withdrawn"):
        factories.make_post(world.member("noor"), factories.make_thread(world.member("sam")))
        if name == "a reply":
            Thread.objects.get().posts.all().delete()
    with moves() as moved, django_capture_on_commit_callbacks(execute=True):
        act(world)
    assert moved == expected


def test_what_people_prove_first_is_how_they_signed_in(world: World) -> None:
    sam = world.user("sam")
    IdentityProvider.objects.create(institution=world.institution, slug="uni", name="Uni", protocol="saml")
    for record, method in (
        ({"method": "password"}, "password"),
        ({"method": "invitation"}, "password"),
        ({"method": "mfa", "type": Authenticator.Type.WEBAUTHN, "passwordless": True}, "passkey"),
        ({"method": "socialaccount", "provider": "uni"}, "saml"),
        ({"method": "socialaccount", "provider": "gone"}, "oidc"),
        ({"method": "lti"}, "lti"),
    ):
        assert signing_in.method_of(sam, [record, {"method": "mfa"}]) == method


# Tasks


def test_tasks_are_counted_by_how_they_end(caplog: pytest.LogCaptureFixture) -> None:
    used: Any = project.PROCRASTINATE_WORKER_DEFAULTS
    assert measure_job in used["worker_middleware"]
    app = DjangoApp(connector=InMemoryConnector(), worker_defaults={"worker_middleware": [measure_job]})

    @app.task(name="tests.works")
    def works() -> None:
        time.sleep(0.02)

    @app.task(name="tests.works_later")
    async def works_later() -> None:
        """A task on the event loop."""

    @app.task(name="tests.fails")
    def fails() -> None:
        raise ValueError

    async def run() -> None:
        async with app.open_async():
            for task in (works, works, works_later, fails):
                await task.defer_async()
            await app.configure_task("tests.made_up_by_somebody", allow_unknown=True).defer_async()
            await app.run_worker_async(wait=False, install_signal_handlers=False)

    with moves() as moved:
        asyncio.run(run())
    assert moved == {
        "quokkaq_tasks_total{task=tests.works,outcome=succeeded}": 2,
        "quokkaq_tasks_total{task=tests.works_later,outcome=succeeded}": 1,
        "quokkaq_tasks_total{task=tests.fails,outcome=failed}": 1,
        "quokkaq_task_seconds_count{task=tests.works}": 2,
        "quokkaq_task_seconds_count{task=tests.works_later}": 1,
        "quokkaq_task_seconds_count{task=tests.fails}": 1,
    }
    assert 0.04 <= (REGISTRY.get_sample_value("quokkaq_task_seconds_sum", {"task": "tests.works"}) or 0) < 2


# Database and cache


def test_statements_are_timed_and_slow_and_refused_ones_counted(db: None) -> None:
    def run(statement: str) -> Moves:
        with (
            moves("quokkaq_db_") as moved,
            contextlib.suppress(Exception),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
        # The savepoint, and its end: two statements when it is rolled back.
        moved["quokkaq_db_query_seconds_count{}"] -= 3 if "quokkaq_db_errors_total" in str(moved) else 2
        return moved

    once = {"quokkaq_db_query_seconds_count{}": 1}
    assert run("SELECT 1") == once
    assert run("SELECT pg_sleep(0.51)") == once | {"quokkaq_db_slow_queries_total{}": 1}
    assert run("SELECT 1/0") == once | {"quokkaq_db_errors_total{error=DivisionByZero}": 1}
    assert run("SELECT nothing") == once | {"quokkaq_db_errors_total{error=UndefinedColumn}": 1}


def test_a_connection_that_cannot_be_had_is_an_error_too(db: None) -> None:
    spare = connections["default"].copy("spare")
    spare.settings_dict = {**spare.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
    with moves("quokkaq_db_errors") as moved, contextlib.suppress(Exception):
        spare.connect()
    assert moved == {"quokkaq_db_errors_total{error=OperationalError}": 1}
    with moves("quokkaq_db_errors") as moved:
        database.count_error(KeyboardInterrupt())
    assert moved == {"quokkaq_db_errors_total{error=other}": 1}


def test_the_cache_counts_what_it_finds() -> None:
    cache.set("there", None)
    away = ForgivingRedisCache("redis://127.0.0.1:1/0", {})
    for look, expected in (
        (lambda: cache.get("there"), {"hit": 1}),
        (lambda: cache.get("gone"), {"miss": 1}),
        (lambda: cache.get_many(["there", "gone", "lost"]), {"hit": 1, "miss": 2}),
        (lambda: away.get("there"), {"error": 1}),
        (lambda: away.get_many(["there", "gone"]), {"error": 1}),
        (lambda: away.set("there", 1), {"error": 1}),
    ):
        with moves("quokkaq_cache_") as moved:
            look()
        assert moved == {
            f"quokkaq_cache_operations_total{{result={result}}}": number for result, number in expected.items()
        }


def test_pools_say_what_they_have(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = connection.get_connection_params()
    kept: dict[str, Any] = {
        name: parameters[name] for name in ("host", "user", "dbname", "port", "password") if name in parameters
    }
    with ConnectionPool(kwargs=kept, min_size=2, max_size=5, open=True) as pool:
        pool.wait()
        wrapper: Any = type(connections["default"])
        monkeypatch.setitem(wrapper._connection_pools, "default", pool)
        with pool.connection():
            Process().refresh()
            shown = scraped()
    assert shown["quokkaq_db_pool_connections{state=used}"] == 1
    assert shown["quokkaq_db_pool_connections{state=idle}"] == 1
    assert (shown["quokkaq_db_pool_max{}"], shown["quokkaq_db_pool_waiting{}"]) == (5, 0)
    assert shown["quokkaq_process_resident_bytes{}"] > 10_000_000
    assert shown["quokkaq_process_open_files{}"] > 3


def test_the_cpu_of_a_process_is_counted_once() -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("quokkaq_process_cpu_seconds_total") or 0

    before, process, earliest = counted(), Process(), time.process_time()
    process.refresh()
    process.refresh()
    assert earliest <= counted() - before + 1e-6 <= time.process_time() + 2e-6


# Requests


def test_requests_are_counted_by_route(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with moves("django_") as moved:
        Client().get("/health")
    assert moved == {
        "django_http_requests_total_by_view_transport_method_total{view=health,transport=http,method=GET}": 1,
        "django_http_responses_total_by_status_view_method_total{status=200,view=health,method=GET}": 1,
        "django_http_requests_latency_seconds_by_view_method_count{view=health,method=GET}": 1,
    }

    def broken(*args: object) -> HttpResponse:
        raise ZeroDivisionError

    monkeypatch.setattr("accounts.views.entering._sign_in_page", broken)
    with moves("django_http_exceptions", "django_http_responses") as moved:
        Client(raise_request_exception=False).get("/sign-in/", secure=True)
    assert moved == {
        "django_http_responses_total_by_status_view_method_total{status=500,view=accounts:sign-in,method=GET}": 1,
        "django_http_exceptions_total_by_view_total{view=accounts:sign-in}": 1,
    }


HOSTILE: dict[str, Callable[[int], object]] = {
    "method": lambda n: Client().generic(f"METHOD{n}", "/health"),
    "path": lambda n: Client().get(f"/nowhere/{n}/"),
    "course": lambda n: Client().get(f"/c/course-{n}/{n}/"),
    "query": lambda n: Client().get(f"/sign-in/?page{n}={n}"),
    "host": lambda n: Client().get("/sign-in/", headers={"Host": f"h{n}.example"}),
    "agent": lambda n: Client().get("/sign-in/", headers={"User-Agent": f"agent {n}", "X-Request-ID": f"id-{n}"}),
    "kind": lambda n: count(THREADS_CREATED, f"kind-{n}"),
    "lti": lambda n: Client().post("/lti/launch/", {"state": f"s{n}", "id_token": "x"}),
    "provider": lambda n: Client().get(f"/oidc/provider-{n}/login/callback/?error=e{n}"),
}


def test_200_hostile_requests_make_no_more_series_than_the_first_of_each_kind(
    world: World, django_capture_on_commit_callbacks: Any
) -> None:
    def series() -> int:
        return sum(len(family.samples) for family in REGISTRY.collect() if not family.name.startswith("python"))

    with django_capture_on_commit_callbacks(execute=True):
        for attack in HOSTILE.values():
            attack(0)
    before = series()
    with django_capture_on_commit_callbacks(execute=True):
        for number in range(1, 24):
            for attack in HOSTILE.values():
                attack(number)
    assert series() == before


def test_a_metric_that_is_bounded_by_nothing_else_stops_at_some_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quokkaq.lib.metrics.definitions.MOST_SERIES", 3)
    made: list[tuple[str, ...]] = []

    class Metric:
        def labels(self, *labels: str) -> Any:
            made.append(labels)
            return SimpleNamespace(inc=lambda by: None)

    definition = SimpleNamespace(labels={"view": "any"})
    series = CounterSeries(Metric(), definition)  # type: ignore[arg-type]  # stands in for one
    ALL.pop()
    for number in range(50):
        series.inc(f"view-{number}")
    assert made == [("view-0",), ("view-1",), ("view-2",), ("other",)]
    assert MOST_SERIES > 1000


# State


def told(query: Callable[[Any], Iterator[state.Reading]]) -> dict[str, float]:
    """Return what a query tells to the web role, which works for no institution."""
    with tenancy.scope(None), connection.cursor() as cursor:
        readings = list(query(cursor))
    return {f"{gauge.name}{{{','.join(labels)}}}": value for gauge, labels, value in readings}


def test_what_is_so_is_counted_over_all_institutions(world: World) -> None:
    sam, noor = world.member("sam"), world.member("noor")
    eve = world.member("eve", world.foreign_course)
    for by in (sam, sam, noor, eve):
        factories.make_thread(by)
    factories.make_thread(world.member("ada"), kind="announcement")
    answered, deleted = Thread.objects.filter(author=sam.user)
    factories.make_post(noor, answered)
    actions.delete_thread(by=sam, thread=deleted)
    for name, days in (("sam", 0), ("noor", 3), ("eve", 0), ("tim", 9)):
        client = factories.browser(world.user(name))
        UserSession.objects.create(
            user=world.user(name), session_key=client.session.session_key or "", ip="127.0.0.0", user_agent="x",
            last_seen_at=timezone.now() - timedelta(days=days),
        )  # fmt: skip
    InstitutionAI.objects.create(
        institution=world.institution, daily_cap_micros=1000, course_daily_cap_micros=400, user_daily_cap_micros=1
    )
    CourseAI.objects.create(institution=world.institution, course=world.other_course, daily_cap_micros=0)
    today = timezone.now().date()
    for scope, key, spent, reserved, day in (
        ("institution", world.institution.pk, 200, 50, today),
        ("institution", world.other_institution.pk, 2_000_000, 0, today),  # of 20 dollars
        ("course", world.course.pk, 300, 0, today),
        ("course", world.other_course.pk, 9, 0, today),  # may spend nothing
        ("course", world.foreign_course.pk, 5_000_000, 0, today - timedelta(days=1)),
        ("user", sam.user.pk, 100, 0, today),
    ):
        Spending.objects.create(
            institution=world.institution, scope=scope, scope_id=key, spent_micros=spent, reserved_micros=reserved,
            day=day,
        )  # fmt: skip
    shown = told(measuring.state)
    assert shown.pop("quokkaq_db_size_bytes{}") > 1_000_000
    assert shown == {
        "quokkaq_threads{}": 4,
        "quokkaq_threads_unanswered{}": 2,
        "quokkaq_sessions{}": 4,
        "quokkaq_active_users{day}": 2,
        "quokkaq_active_users{week}": 3,
        "quokkaq_budget_used_ratio{institution}": 0.25,
        "quokkaq_budget_used_ratio{course}": 0.75,
    }
    with tenancy.scope(None):
        assert not Thread.objects.exists()  # that was no back door


@pytest.mark.drill
def test_many_threads_are_estimated(world: World) -> None:
    sam = world.member("sam")
    thread = factories.make_thread(sam)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = 'forum_thread'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('id', 'number', 'submission_key')"
        )
        columns = cursor.fetchone()[0]
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE forum_thread DISABLE TRIGGER USER")
        cursor.execute(
            f"INSERT INTO forum_thread (id, number, submission_key, {columns}) SELECT gen_random_uuid(), 100 + n,"
            f" gen_random_uuid(), {columns} FROM forum_thread, generate_series(1, 20100) n WHERE id = %s",
            [thread.pk],
        )
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE forum_thread ENABLE TRIGGER USER")
        cursor.execute("UPDATE pg_class SET reltuples = 1234567 WHERE oid = 'forum_thread'::regclass")
    shown = told(measuring.state)
    assert shown["quokkaq_threads{}"] == 1234567
    assert shown["quokkaq_threads_unanswered{}"] == 20101


def test_the_queue_tells_what_waits_and_for_how_long(db: None) -> None:
    def job(status: str, queue: str = "mail", scheduled: str = "NULL", deferred: str = "") -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, status, scheduled_at)"
                f" VALUES (%s, 'x', %s, {scheduled}) RETURNING id",
                [queue, status],
            )
            row = cursor.fetchone()
            if deferred:
                cursor.execute(
                    f"UPDATE procrastinate_events SET at = now() - interval '{deferred}' WHERE job_id = %s", row
                )

    before = told(measuring.queue)
    assert before["quokkaq_tasks_waiting{mail}"] == before["quokkaq_tasks_oldest_seconds{mail}"] == 0
    assert before["quokkaq_worker_heartbeat_age_seconds{}"] == float("inf")
    job("todo", deferred="90 seconds")
    job("todo", deferred="10 seconds")
    job("todo", scheduled="now() - interval '30 seconds'", deferred="9 hours")
    job("todo", scheduled="now() + interval '30 seconds'")
    job("succeeded", deferred="1 day")
    job("failed")
    job("todo", "answers", scheduled="now() - interval '300 seconds'")
    with connection.cursor() as cursor:
        for age in (400, 20):
            cursor.execute(
                "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s * interval '1 second')", [age]
            )
    shown = told(measuring.queue)
    assert shown["quokkaq_tasks_waiting{mail}"] == 3
    assert shown["quokkaq_tasks_oldest_seconds{mail}"] == pytest.approx(90, abs=1)
    assert shown["quokkaq_tasks_waiting{answers}"] == 1
    assert shown["quokkaq_tasks_oldest_seconds{answers}"] == pytest.approx(300, abs=1)
    assert shown["quokkaq_tasks_failing{}"] == 1
    assert shown["quokkaq_worker_heartbeat_age_seconds{}"] == pytest.approx(20, abs=1)
    assert shown.keys() == before.keys()


def test_backups_and_drills_tell_how_long_ago(db: None) -> None:
    assert told(measuring.operations) == {}
    operations.note_backup(OperationName.BACKUP_DATABASE, size=1000, places=["main"])
    operations.note_backup(OperationName.BACKUP_DATABASE, size=2000, places=["main"])
    operations.note_failed_backup(OperationName.BACKUP_DATABASE, "no room")
    operations.note_failed_backup(OperationName.BACKUP_MEDIA, "no room")
    operations.note(OperationName.RESTORE_DRILL, succeeded=False)
    shown = {name: round(value) for name, value in told(measuring.operations).items()}
    assert shown == {
        # The last good one still counts.
        "quokkaq_backup_age_seconds{database}": 0,
        "quokkaq_backup_size_bytes{database}": 2000,
        "quokkaq_backup_failed{database}": 1,
        # There never was one.
        "quokkaq_backup_failed{media}": 1,
        "quokkaq_restore_drill_age_seconds{}": 0,
        "quokkaq_restore_drill_succeeded{}": 0,
    }
    operations.note_backup(OperationName.BACKUP_DATABASE, size=3000, places=["main"])
    assert told(measuring.operations)["quokkaq_backup_failed{database}"] == 0


def test_memory_is_the_containers_where_it_has_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < machine.memory_used_ratio() < 1
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    whole = machine.memory_used_ratio()
    for name, text in {
        "memory.max": "1000000", "memory.current": "700000", "memory.stat": "anon 5\ninactive_file 200000\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    assert machine.memory_used_ratio() == 0.5
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory_used_ratio() == pytest.approx(whole, abs=0.1)


@contextlib.contextmanager
def tls_server(folder: Path, days: int) -> Iterator[int]:
    """A server whose certificate, made by itself, ends in `days`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "forum.example")])
    ends = timezone.now() + timedelta(days=days)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(ends - timedelta(days=90)).not_valid_after(ends).sign(key, hashes.SHA256())
    path = folder / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("days", [20, -3])
def test_the_certificate_tells_when_it_ends_also_when_it_has(tmp_path: Path, days: int) -> None:
    certificate = machine.Certificate()
    with tls_server(tmp_path, days) as port, override_settings(BASE_URL=f"https://localhost:{port}"):
        ((gauge, labels, seconds),) = certificate.read()
    assert (gauge, labels) == (CERTIFICATE, ())
    assert seconds == pytest.approx(days * 86400, abs=5)
    with override_settings(BASE_URL="http://localhost"):
        assert list(certificate.read()) == []
    with override_settings(BASE_URL="https://127.0.0.1:1"), pytest.raises(OSError, match="refused"):
        list(certificate.read())
    # It isn't asked again at once.
    with override_settings(BASE_URL="https://127.0.0.1:1"):
        assert list(certificate.read()) == []


# The page


def test_the_page_shows_every_metric_but_those_of_what_is_not_there(db: None) -> None:
    names = {sample.partition("{")[0] for sample in scraped()}
    missing = {one.name for one in ALL if not {one.name, f"{one.name}_count"} & names}
    absent = {
        "quokkaq_backup_age_seconds", "quokkaq_backup_failed", "quokkaq_backup_size_bytes", "quokkaq_restore_drill_age_seconds",
        "quokkaq_restore_drill_succeeded", "quokkaq_replica_lag_seconds", "quokkaq_certificate_expires_seconds",
    }  # fmt: skip
    not_yet = {one.name for one in ALL if any(isinstance(words, str) for words in one.labels.values())}
    assert absent <= missing <= absent | not_yet
    assert "quokkaq_up" in names


def test_the_page_shows_what_is_so(db: None) -> None:
    shown = scraped()
    assert shown["quokkaq_up{check=database}"] == 1
    assert shown[f"quokkaq_build_info{{version={project.VERSION}}}"] == 1
    for place in ("system", "media"):
        assert 0 < shown.get(f"quokkaq_disk_used_ratio{{place={place}}}", 0.5) < 1


def test_state_is_read_once_in_a_while(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    source = state.Source("test", lambda: read.append(1) or [], 10, 0)  # type: ignore[func-returns-value]  # it is for what it does
    for _ in range(3):
        done = source.begin()
        if done is not None:
            done.wait(5)
    assert read == [1]


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and says nothing, as a stopped database does."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1]


@pytest.mark.parametrize("how", ["refuses", "says nothing"])
@pytest.mark.clocked
def test_without_a_database_the_page_still_answers(db: None, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    real = type(connections["default"]).get_connection_params
    with silent_server() as port:
        place = {"host": "127.0.0.1", "port": 1 if how == "refuses" else port}
        monkeypatch.setattr(type(connections["default"]), "get_connection_params", lambda self: {**real(self), **place})
        started = time.monotonic()
        shown = scraped()
        # As long as Prometheus waits for it.
        assert time.monotonic() - started < 5
    assert shown["quokkaq_up{check=database}"] == 0
    assert shown["quokkaq_votes_total{}"] >= 0
    assert f"quokkaq_build_info{{version={project.VERSION}}}" in shown
    assert "quokkaq_threads{}" not in shown


def test_one_source_that_fails_takes_no_other_with_it(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quokkaq.lib.metrics.machine.shutil.disk_usage", lambda path: 1 / 0)
    shown = scraped()
    assert not [name for name in shown if name.startswith("quokkaq_disk")]
    assert "quokkaq_memory_used_ratio{}" in shown


# The guide


def test_the_guide_has_the_table_of_what_is_defined() -> None:
    text = (Path(project.BASE_DIR) / "docs/operating.md").read_text()
    assert text == documentation.written_into(text), "run manage.py list_metrics --write"
    with pytest.raises(ValueError, match="no place"):
        documentation.written_into("nothing")


def test_the_version_is_the_projects() -> None:
    assert f'version = "{project.VERSION}"' in (Path(project.BASE_DIR) / "pyproject.toml").read_text()
