"""Probes and metrics: what an orchestrator and a Prometheus see."""

import json
import time
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connections
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from prometheus_client import REGISTRY

from quokkaq import views
from quokkaq.lib import health
from quokkaq.lib.health import DatabaseCheck


def ready() -> tuple[int, dict[str, Any]]:
    response = Client().get("/api/v1/ready")
    return response.status_code, json.loads(response.content)


def test_alive_and_ping_touch_nothing(django_assert_num_queries: Any, db: None) -> None:
    with django_assert_num_queries(0):
        assert Client().get("/health").json() == {"status": "ok"}
        assert Client().get("/api/v1/ping").json()["pong"] is True


def test_ready_when_everything_needed_works(db: None) -> None:
    assert ready() == (200, {"status": "ready", "checks": {"database": "up", "storage": "up"}})


@pytest.mark.parametrize("host", ["127.0.0.1", "/nowhere"])
def test_not_ready_without_a_database(db: None, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    real = type(connections["default"]).get_connection_params
    monkeypatch.setattr(
        type(connections["default"]), "get_connection_params", lambda self: {**real(self), "host": host, "port": 1}
    )
    started = time.monotonic()
    status, body = ready()
    assert (status, body["checks"]["database"]) == (503, "down")
    assert time.monotonic() - started < 1.5
    assert host not in json.dumps(body)
    assert Client().get("/health").status_code == 200


def test_a_check_that_hangs_is_down_in_time(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseCheck, "run", lambda self: time.sleep(2))
    monkeypatch.setattr(health, "DEADLINE_SECONDS", 0.2)
    started = time.monotonic()
    assert ready()[0] == 503
    assert time.monotonic() - started < 1.5


def test_not_ready_when_files_cannot_be_stored(db: None, tmp_path: Any) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with override_settings(MEDIA_ROOT=blocked):
        assert ready()[1]["checks"]["storage"] == "down"


def test_the_cache_counts_when_there_is_a_redis(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(REDIS_URL="redis://127.0.0.1:1/0"):
        assert ready()[1]["checks"]["cache"] == "up"  # the local cache stands in
        for held, state in ((None, "down"), ("somebody else's", "up")):
            monkeypatch.setattr(health, "cache", FixedCache(held))
            assert ready()[1]["checks"]["cache"] == state


class FixedCache:
    """Holds one thing whatever is written."""

    def __init__(self, held: str | None) -> None:
        self.held = held

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Forget it."""

    def get(self, key: str) -> str | None:
        return self.held


def test_metrics_are_for_the_one_with_the_token(db: None) -> None:
    assert Client().get("/metrics").status_code == 404
    assert Client().get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {settings.METRICS_TOKEN}"})
    assert response.status_code == 200
    assert b"django_http_requests_total_by_method_total" in response.content
    with override_settings(METRICS_TOKEN=""):
        assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


def test_requests_are_counted_and_a_made_up_method_makes_no_series(db: None) -> None:
    def counted(method: str) -> float | None:
        return REGISTRY.get_sample_value("django_http_requests_total_by_method_total", {"method": method})

    before = counted("GET") or 0
    Client().get("/health")
    assert counted("GET") == before + 1
    assert Client().generic("FOOBAR", "/health").status_code == 405
    assert counted("FOOBAR") is None


def test_an_unreachable_database_is_a_503_with_a_time_to_come_back(rf: RequestFactory) -> None:
    def answer(error: Exception) -> HttpResponse:
        try:
            raise error
        except Exception:
            return views.server_error(rf.get("/"))

    response = answer(OperationalError("too many clients"))
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert b"catching its breath" in response.content
    assert answer(ValueError("x")).status_code == 500


def test_a_page_in_trouble_answers_through_the_handlers(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(raise_request_exception=False)

    def broken(request: HttpRequest) -> HttpResponse:
        raise OperationalError

    monkeypatch.setattr("django.contrib.auth.middleware.get_user", broken)
    response = client.get("/courses/")
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response["X-Request-ID"] in response.content.decode()


def test_a_stale_form_gives_the_text_back(db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post("/sign-in/", {"title": "My title", "body": "My long text", "password": "secret-word"})
    page = response.content.decode()
    assert response.status_code == 403
    assert "My long text" in page
    assert "secret-word" not in page


def test_every_response_has_the_policies(db: None) -> None:
    response = Client().get("/sign-in/")
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "camera=()" in response["Permissions-Policy"]
    assert Client().head("/sign-in/").status_code == 200
