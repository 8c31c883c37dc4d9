"""Whatever goes wrong, an answer says what to do and which number to quote, in the form the caller takes."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path

from accounts.models import User
from quokkaq.lib import error_pages
from quokkaq.lib.error_pages import SAID
from quokkaq.lib.request_id import working_on
from quokkaq.urls import handler400, handler403, handler404, handler500, urlpatterns
from tests.factories import World

__all__ = ["handler400", "handler403", "handler404", "handler500"]

SignIn = Callable[[User], Client]
NUMBER = "request-0047"


def breaks(request: HttpRequest) -> HttpResponse:
    raise ValueError


def is_away(request: HttpRequest) -> HttpResponse:
    raise OperationalError


urlpatterns = [path("broken/", breaks), path("away/", is_away), *urlpatterns]


def provoke(status: int, client: Client, settings: Any, **headers: str) -> Any:
    """Make a request that is answered with a status, by a real page where there is one."""
    settings.ROOT_URLCONF = __name__
    settings.RATE_READS_PER_MINUTE = 1 if status == 429 else 0
    headers |= {"X-Request-ID": NUMBER}
    if status == 429:
        client.get("/courses/")
    given: dict[int, tuple[str, dict[str, str]]] = {
        400: ("/courses/", {"HTTP_HOST": "evil.example"}),
        403: ("/c/cs-101/flags/", {}),
        404: ("/nowhere/", {}),
        405: ("/mail/inbound/", {}),
        413: ("/courses/", {"CONTENT_LENGTH": str(200 * 1024 * 1024)}),
        429: ("/courses/", {}),
        500: ("/broken/", {}),
        503: ("/away/", {}),
    }
    url, more = given[status]
    return client.get(url, headers=headers, **more)  # type: ignore[arg-type]  # passed through


@pytest.fixture
def sam(world: World) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(world.user("sam"))
    return client


@pytest.mark.parametrize("status", SAID)
def test_every_error_is_a_page_with_the_number_of_the_request(status: int, sam: Client, settings: Any) -> None:
    response = provoke(status, sam, settings)
    page = response.content.decode()
    assert response.status_code == status
    assert response["X-Request-ID"] == NUMBER
    assert f"<h1>{SAID[status][0]}</h1>" in page
    assert f"<code>{NUMBER}</code>" in page
    assert page.lower().count("<html") == page.count("<main") == page.count("<h1") == 1
    assert "css/site" in page
    if status == 503:
        assert response["Retry-After"] == "5"


@pytest.mark.parametrize("status", SAID)
def test_a_page_that_fetches_a_piece_gets_a_piece(status: int, sam: Client, settings: Any) -> None:
    response = provoke(status, sam, settings, **{"HX-Request": "true"})
    assert response.status_code == status
    assert re.fullmatch(r'<p class="note" role="alert">[^<]+</p>', response.content.decode())


@pytest.mark.parametrize("status", SAID)
def test_scripts_get_json(status: int, sam: Client, settings: Any) -> None:
    response = provoke(status, sam, settings, Accept="application/json")
    assert response.status_code == status
    assert response.json()["request_id"] == NUMBER
    assert response.json()["error"]


def test_others_get_a_line(rf: RequestFactory) -> None:
    with working_on(NUMBER):
        response = error_pages.answer(rf.get("/", headers={"Accept": "text/plain"}), 500)
    assert response.content.decode() == f"It has been noted. Try again in a moment. (request {NUMBER})\n"
    assert response["Content-Type"] == "text/plain; charset=utf-8"


def test_a_click_that_was_refused_gets_the_part_it_swaps_in(sam: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    response = sam.post("/nowhere/", {"body": "An hour of <typing>"}, headers={"HX-Request": "true"})
    page = response.content.decode()
    assert response.status_code == 404
    assert page.count('<main id="page"') == 1
    assert "An hour of &lt;typing&gt;" in page
    assert "<html" not in page
    assert "<header" not in page


@pytest.mark.parametrize("status", [400, 405, 413, 500, 503])
def test_pages_for_the_worst_ask_nothing_of_the_database(status: int, rf: RequestFactory) -> None:
    """Without the fixture `db`, each query is an error here."""
    page = error_pages.answer(rf.get("/"), status).content.decode()
    assert SAID[status][1] in page
    assert page.rstrip().endswith("</html>")
    assert "quote this number" not in page  # there is none outside of a request


@pytest.mark.parametrize("url", ["/broken/", "/away/"])
def test_what_was_written_comes_back(url: str, sam: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    response = sam.post(url, {"title": "Why?", "body": "An hour of typing."})
    assert response.status_code >= 500
    assert "An hour of typing." in response.content.decode()
    assert "Try again</a>" not in response.content.decode()  # it would ask for the page, and send nothing


@pytest.mark.parametrize(
    "broken",
    [
        "django.contrib.sessions.backends.db.SessionStore.load",
        "django.contrib.auth.middleware.get_user",
        "accounts.middleware.TenancyMiddleware._scope_of",
        "accounts.middleware.RateLimitMiddleware.process_view",
        "accounts.middleware.keep_up",
    ],
)
def test_middleware_without_a_database_answers_503(broken: str, sam: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    def fail(*args: object, **kwargs: object) -> None:
        called.append(1)
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(broken, fail)
    response = sam.get("/courses/", headers={"X-Request-ID": NUMBER})
    assert called
    assert response.status_code == 503
    assert f"<code>{NUMBER}</code>" in response.content.decode()
    assert "Content-Security-Policy" in response
