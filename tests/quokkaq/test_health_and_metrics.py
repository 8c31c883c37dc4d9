"""Metrics, and what people see of trouble."""

import pytest
from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings

from quokkaq import views


def test_metrics_are_for_the_one_with_the_token(db: None) -> None:
    assert Client().get("/metrics").status_code == 404
    assert Client().get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {settings.METRICS_TOKEN}"})
    assert response.status_code == 200
    assert b"django_http_requests_total_by_view_transport_method_total" in response.content
    with override_settings(METRICS_TOKEN=""):
        assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


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
