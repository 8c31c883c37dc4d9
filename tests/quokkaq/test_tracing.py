"""What a trace tells, to whom, and what it never holds. The receiver is a real one that decodes the protocol."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from django.core.signals import got_request_exception
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.models import User
from quokkaq.lib import egress, request_id, tracing
from quokkaq.lib.database import watching
from quokkaq.lib.tracing import export, spans
from quokkaq.urls import handler400, handler403, handler404, handler500, urlpatterns
from tests import factories
from tests.factories import World
from tests.processes import ROOT, environment
from tests.services.otlp_receiver import Received, Receiver, receiving

__all__ = ["handler400", "handler403", "handler404", "handler500"]

CANARY = "canary-kxq7-wombat"
ADDRESS = f"{CANARY}@example.com"
STRANGERS_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SignIn = Callable[[User], Client]


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """Traces on, sent to a receiver of this test; off again after it."""
    with receiving() as running:
        settings.TRACES_ENDPOINT = running.url
        settings.MIDDLEWARE = ["quokkaq.lib.tracing.spans.TracingMiddleware", *settings.MIDDLEWARE]
        where = settings.MIDDLEWARE.index("quokkaq.lib.request_id.RequestIdMiddleware")
        settings.MIDDLEWARE.insert(where, settings.MIDDLEWARE.pop(0))
        tracing.switch_on()
        yield running
        spans.flush()
        tracing._spans = None
        watching.observers.remove(spans.on_statement)
        got_request_exception.disconnect(dispatch_uid="quokkaq.tracing")


def arrived(receiver: Receiver) -> list[Received]:
    spans.flush()
    return receiver.spans


def root(receiver: Receiver) -> Received:
    (found,) = [span for span in arrived(receiver) if span.kind == 2]
    return found


# What is told


def test_a_request_and_its_statements_are_one_trace(world: World, signed_in: SignIn, receiver: Receiver) -> None:
    thread = factories.make_thread(world.member("sam"))
    receiver.spans.clear()
    client = signed_in(world.user("noor"))
    client.get(f"/c/cs-101/{thread.number}/?q={CANARY}", headers={"X-Request-ID": "request-0042"})
    request = root(receiver)
    assert request.name == "GET /c/<slug:slug>/<int:number>/"
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/c/<slug:slug>/<int:number>/",
        "http.response.status_code": 200,
        "quokkaq.request_id": "request-0042",
        "quokkaq.institution_id": str(world.institution.pk),
    }
    assert request.resource["service.name"] == "quokkaq"
    statements = receiver.named("SELECT")
    assert len(statements) > 5
    assert {span.trace for span in statements} == {request.trace}
    assert {span.parent for span in statements} == {request.id}
    assert all(request.started_ns <= span.started_ns <= span.ended_ns <= request.ended_ns for span in statements)
    assert any('FROM "forum_thread"' in span.attributes["db.query.text"] for span in statements)
    assert not any(CANARY in span.text for span in receiver.spans)


def test_what_people_type_is_in_no_span(world: World, signed_in: SignIn, receiver: Receiver) -> None:
    client = signed_in(world.user("sam"))
    form = {
        "kind": "question",
        "title": f"Why {CANARY}?",
        "body": f"Ask {ADDRESS}, +49 170 1234567.",
        "visibility": "course",
        "anonymity": "named",
        "confirmed": "1",
    }
    assert client.post("/c/cs-101/ask/", form).status_code == 302
    client.get(f"/c/cs-101/search/?q={CANARY}")
    client.get(f"/feeds/{CANARY}/cs-101/")
    Client().post("/sign-in/", {"login": ADDRESS, "password": CANARY})
    client.get(f"/{CANARY}/", headers={"User-Agent": CANARY, "Cookie": CANARY, "Referer": f"/{CANARY}"})
    sent = "\n".join(span.text for span in arrived(receiver))
    assert "INSERT INTO" in sent
    assert sent.count("quokkaq.request_id") == 5
    assert CANARY not in sent
    assert "1234567" not in sent


def test_an_error_is_told_by_its_kind(world: World, receiver: Receiver, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    client = Client(raise_request_exception=False)
    assert client.get("/broken/").status_code == 500
    request = root(receiver)
    assert request.failed
    assert request.attributes["error.type"] == "Trouble"
    assert (request.attributes["http.response.status_code"], request.name) == (500, "GET /broken/")
    (statement,) = [span for span in receiver.spans if span.failed and span is not request]
    assert statement.attributes["error.type"] == "DataError"
    assert not any(CANARY in span.text for span in receiver.spans)


def test_a_stream_lasts_until_its_last_piece(world: World, receiver: Receiver, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    response = Client().get("/streamed/")
    assert b"".join(response.streaming_content) == b"12"  # type: ignore[attr-defined]  # set at run time, or typed as its base
    request = root(receiver)
    assert request.ended_ns - request.started_ns >= 20_000_000
    assert [span.parent for span in receiver.named("SELECT") if "pg_sleep" in span.text] == [request.id] * 2


def test_probes_are_not_traced_and_the_sampler_decides(db: None, receiver: Receiver, settings: Any) -> None:
    settings.TRACES_RATIO = 0.0
    client = Client()
    client.get("/health")
    client.get("/sign-in/")
    assert arrived(receiver) == []


class Trouble(Exception):
    pass


def breaks(request: HttpRequest) -> HttpResponse:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::inet", [CANARY])
    except Exception as error:
        raise Trouble(CANARY) from error
    raise AssertionError


def streams(request: HttpRequest) -> StreamingHttpResponse:
    def pieces() -> Iterator[bytes]:
        for piece in (b"1", b"2"):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(0.01)")
            yield piece

    return StreamingHttpResponse(pieces())


urlpatterns = [path("broken/", breaks), path("streamed/", streams), *urlpatterns]


# Who may join


def test_a_stranger_cant_join_a_trace(db: None, receiver: Receiver, settings: Any) -> None:
    settings.TRUSTED_PROXIES = ["10.1.0.0/16"]
    Client(REMOTE_ADDR="192.0.2.7").get("/sign-in/", headers={"traceparent": STRANGERS_TRACE})
    assert root(receiver).trace != STRANGERS_TRACE.split("-")[1]


def test_a_proxy_of_ours_can(db: None, receiver: Receiver, settings: Any) -> None:
    settings.TRUSTED_PROXIES = ["10.1.0.0/16"]
    client = Client(REMOTE_ADDR="10.1.0.3")
    client.get("/sign-in/", headers={"traceparent": STRANGERS_TRACE})
    client.get("/sign-in/", headers={"traceparent": f"{STRANGERS_TRACE[:-2]}00"})  # not to be traced
    client.get("/sign-in/", headers={"traceparent": "nonsense"})
    first, second = [span for span in arrived(receiver) if span.kind == 2]
    assert (first.trace, first.parent) == tuple(STRANGERS_TRACE.split("-")[1:3])
    assert second.parent == ""


def test_only_services_that_operators_named_learn_what_they_work_for(
    receiver: Receiver, settings: Any, loopback: None
) -> None:
    with receiving() as service, request_id.working_on("request-0043"):
        address = f"{service.url}/v1/traces"
        with spans.tracer().start_as_current_span("outside"):
            egress.requests_session().post(address, data=b"")
            with egress.client() as client:
                client.post(address, content=b"")
            settings.EGRESS_ALLOWED_HOSTS = []
            with egress.client(base_url=service.url) as client:
                client.post(address, content=b"")
            told = egress.Door().call("GET", address)[1]
    calls = [span for span in arrived(receiver) if span.name == "POST 127.0.0.1"]
    assert len(calls) == len(service.headers) == 3
    for call, headers in zip(calls, service.headers, strict=True):
        assert headers["x-request-id"] == "request-0043"
        assert headers["traceparent"] == f"00-{call.trace}-{call.id}-03"  # sampled, of random bits
        assert call.attributes["http.response.status_code"] == 200
        assert set(call.attributes) == {
            "http.request.method", "http.response.status_code", "server.address", "server.port",
        }  # fmt: skip
    assert told == {}


def test_without_traces_services_still_learn_the_request(loopback: None) -> None:
    with receiving() as service, egress.client() as client:
        with request_id.working_on("request-0044"):
            client.post(f"{service.url}/v1/traces", content=b"")
        client.post(f"{service.url}/v1/traces", content=b"")
    assert [headers.get("x-request-id") for headers in service.headers] == ["request-0044", None]
    assert not any("traceparent" in headers for headers in service.headers)


def test_a_call_that_fails_says_how(receiver: Receiver, loopback: None) -> None:
    with spans.tracer().start_as_current_span("outside"), egress.client() as client:
        with pytest.raises(httpx2.ConnectError):
            client.get(f"http://127.0.0.1:1/{CANARY}")
        with pytest.raises(httpx2.ConnectError):
            client.get(f"https://localhost.invalid/{CANARY}")
    kinds = [span.attributes["error.type"] for span in arrived(receiver) if span.failed]
    assert kinds == ["ConnectError", "ConnectError"]
    assert not any(CANARY in span.text for span in receiver.spans)


# Tasks


def test_a_job_carries_its_trace_and_only_when_there_is_one(world: World, receiver: Receiver) -> None:
    ProcrastinateJob.objects.all().delete()  # a transaction's end doesn't
    with spans.tracer().start_as_current_span("outside") as outside:
        factories.make_thread(world.member("sam"), "Where does this go?")
        trace = f"{outside.get_span_context().trace_id:032x}"
    traced = [job.args["traceparent"] for job in ProcrastinateJob.objects.all() if "traceparent" in job.args]
    assert traced
    assert {parent.split("-")[1] for parent in traced} == {trace}
    ProcrastinateJob.objects.all().delete()
    factories.make_thread(world.member("sam"), "Where does that go?")
    assert not any("traceparent" in job.args for job in ProcrastinateJob.objects.all())


# What leaves


def exported(**attributes: Any) -> Any:
    made = TracerProvider().get_tracer("test").start_span("name", attributes=attributes)
    made.add_event("exception", {"exception.message": CANARY})
    made.end()
    return export.cleaned(made)  # type: ignore[arg-type]  # it is the SDK's


def test_other_attributes_events_and_words_stay_here() -> None:
    span = exported(**{"url.full": CANARY, "user.email": ADDRESS, "http.route": f"/x {ADDRESS}"})
    assert dict(span.attributes) == {"http.route": "/x [email]"}
    assert not span.events


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ('SELECT "t4"."c_1" FROM x T4 WHERE a = %s', '"t4"."c_1" FROM x T4 WHERE a = %s'),
        (f"SELECT 1 WHERE a = '{CANARY}' AND b", "SELECT ? WHERE a = ? AND b"),
        (f"a = 'it''s {CANARY}' OR b = 42.5", "a = ? OR b = ?"),
        (f"a = '{CANARY}", "a = ?"),
        (f"DO $x$ {CANARY} $x$ end", "DO ? end"),
        ("WHERE mail = someone@example.com", "WHERE mail = [email]"),
    ],
)
def test_statements_leave_without_values(sql: str, shown: str) -> None:
    assert shown in exported(**{"db.query.text": sql}).attributes["db.query.text"]


def test_a_receiver_that_is_down_is_complained_about_once(caplog: pytest.LogCaptureFixture) -> None:
    results = [SpanExportResult.FAILURE] * 3 + [SpanExportResult.SUCCESS] * 2 + [SpanExportResult.FAILURE]

    class Moody(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return results.pop(0)

    exporter = export.CleaningExporter(Moody())
    caplog.set_level("INFO", logger="quokkaq")
    for _ in range(6):
        exporter.export([])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_headers_are_sent_along(receiver: Receiver, settings: Any) -> None:
    settings.TRACES_HEADERS = "authorization=Bearer%20t0ken, x-team = a=b"
    spans.tracer().start_span("one").end()
    arrived(receiver)
    assert receiver.headers[0]["authorization"] == "Bearer t0ken"
    assert receiver.headers[0]["x-team"] == "a=b"


def test_a_fork_sends_its_own_spans(receiver: Receiver) -> None:
    spans.tracer().start_span("before").end()
    child = os.fork()
    if child == 0:
        try:
            spans.tracer().start_span("in the child").end()
            spans.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    spans.tracer().start_span("in the parent").end()
    assert sorted(span.name for span in arrived(receiver)) == ["before", "in the child", "in the parent"]


@pytest.mark.clocked
def test_the_end_of_a_process_waits_seconds_at_most(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "SEND_SECONDS", 0.3)
    receiver.holds.set()
    for _ in range(3000):
        spans.tracer().start_span("waits").end()
    started = time.monotonic()
    spans.flush()
    assert time.monotonic() - started < 2


def test_while_off_nothing_is_imported() -> None:
    """The client of Redis looks for OpenTelemetry by itself, and takes its metrics; nothing of traces."""
    script = (
        "import sys, django; django.setup()\n"
        "from django.test import Client\n"
        "assert Client().get('/health').status_code == 200\n"
        "import quokkaq.lib.jobs, quokkaq.lib.egress\n"
        "ours = ('quokkaq.lib.tracing.', 'quokkaq.lib.error_reports.', 'opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith((*ours, 'sentry_sdk', 'google.protobuf'))])"
    )
    variables = environment(DJANGO_SETTINGS_MODULE="quokkaq.settings")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
