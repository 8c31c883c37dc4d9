"""Errors arrive at a service that speaks Sentry's protocol, with the request's id and without what people typed."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sentry_sdk
from asgiref.sync import async_to_sync
from django.core.signals import got_request_exception
from django.db import IntegrityError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from quokkaq.lib import error_reports
from quokkaq.urls import handler400, handler403, handler404, handler500, urlpatterns
from tests.services.error_tracker import Tracker, tracking

__all__ = ["handler400", "handler403", "handler404", "handler500"]

CANARY = "canary-kxq7-wombat"
ADDRESS = f"{CANARY}@example.com"
PHONE = "+49 170 1234567"


@pytest.fixture
def tracker(settings: Any) -> Iterator[Tracker]:
    """Reports on, sent to a service of this test; off again after it."""
    with tracking() as running:
        settings.SENTRY_DSN = running.dsn
        settings.SENTRY_RELEASE = "quokkaq@test"
        settings.ROOT_URLCONF = __name__
        error_reports.switch_on()
        yield running
        sentry_sdk.get_client().close(timeout=0)
        sentry_sdk.init(default_integrations=False)
        error_reports._sentry = None
        got_request_exception.disconnect(dispatch_uid="quokkaq.error_reports")


def arrived(tracker: Tracker) -> list[dict[str, Any]]:
    sentry_sdk.flush(5)
    return tracker.events


def breaks(request: HttpRequest) -> HttpResponse:
    typed = request.POST["body"]  # a local variable
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t (email text UNIQUE)")
        cursor.execute("INSERT INTO t VALUES (%s)", [typed])
        try:
            cursor.execute("INSERT INTO t VALUES (%s)", [typed])
        except IntegrityError as error:
            raise ValueError(f"can't mail {ADDRESS} or call {PHONE}, token={CANARY}") from error
    raise AssertionError


def is_away(request: HttpRequest) -> HttpResponse:
    raise OperationalError("connection refused")


urlpatterns = [path("broken/", breaks), path("away/", is_away), *urlpatterns]


def test_an_error_of_a_view_arrives_without_what_was_typed(db: None, tracker: Tracker) -> None:
    client = Client(raise_request_exception=False)
    headers = {"X-Request-ID": "request-0045", "Cookie": f"x={CANARY}", "User-Agent": CANARY, "Referer": f"/{CANARY}"}
    response = client.post(f"/broken/?q={CANARY}", {"body": f"{CANARY} text"}, headers=headers)
    assert response.status_code == 500
    (event,) = arrived(tracker)
    assert event["tags"] == {
        "request_id": "request-0045",
        "method": "POST",
        "route": f"{__name__}.breaks",
        "release": "quokkaq@test",
    }
    assert (event["release"], event["environment"]) == ("quokkaq@test", "test")
    values = event["exception"]["values"]
    assert [value["type"] for value in values] == ["UniqueViolation", "IntegrityError", "ValueError"]
    error = values[-1]
    assert error["value"] == "can't mail [email] or call [phone], token=[redacted]"
    frame = error["stacktrace"]["frames"][-1]
    assert (frame["function"], frame["module"]) == ("breaks", __name__)
    assert "raise ValueError" in frame["context_line"]
    assert not any({"vars", "abs_path"} & set(each) for each in error["stacktrace"]["frames"])
    sent = json.dumps(event)
    assert CANARY not in sent
    assert "1234567" not in sent
    assert not {"request", "user", "breadcrumbs", "server_name", "extra", "contexts"} & set(event)
    assert tracker.other_items == []


def test_an_error_of_a_task_arrives(db: None, tracker: Tracker) -> None:
    async def failing() -> None:
        raise RuntimeError(f"no answer for {ADDRESS}")

    job = SimpleNamespace(
        task_name="ai_answers.generate_answer",
        queue="answers",
        id=7,
        task_kwargs={"request_id": "request-0046", "x": CANARY},
    )
    with pytest.raises(RuntimeError):
        async_to_sync(error_reports.around_task)(failing, SimpleNamespace(job=job), None)
    (event,) = arrived(tracker)
    assert event["tags"] == {
        "request_id": "request-0046", "task": "ai_answers.generate_answer", "queue": "answers", "job_id": "7",
        "release": "quokkaq@test",
    }  # fmt: skip
    assert event["transaction"] == "ai_answers.generate_answer"
    assert event["exception"]["values"][-1]["value"] == "no answer for [email]"
    assert CANARY not in json.dumps(event)


def test_a_database_that_is_away_is_no_report_per_request(db: None, tracker: Tracker) -> None:
    assert Client(raise_request_exception=False).get("/away/").status_code == 503
    assert arrived(tracker) == []


def test_pages_go_on_when_the_service_refuses_or_is_gone(
    db: None, tracker: Tracker, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    tracker.status = 500
    client = Client(raise_request_exception=False)
    assert client.post("/broken/", {"body": "x"}).status_code == 500
    sentry_sdk.flush(5)
    pool = sentry_sdk.get_client().transport._pool  # type: ignore[union-attr]  # it is switched on
    gone = "http://127.0.0.1:1/api/42/envelope/"
    for _ in range(3):
        with pytest.raises(Exception):  # noqa: B017, PT011 (the SDK drops the event, whatever it is)
            pool.request("POST", gone, body=b"", headers={})
    said = [record for record in caplog.records if record.name.startswith("quokkaq.lib.error_reports")]
    assert len(said) == 1


def test_reports_go_to_their_host_only(db: None, tracker: Tracker) -> None:
    pool = sentry_sdk.get_client().transport._pool  # type: ignore[union-attr]  # it is switched on
    with tracking() as other, pytest.raises(Exception, match="may be called"):
        pool.request("POST", other.dsn.replace("public@", ""), body=b"", headers={})
    assert other.sent == []
