"""What stands on each line, in which stream, which routes say least, and which statements are told of."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import get_resolver, path

from accounts import actions as account_actions
from accounts import lti_urls, security_urls
from accounts.models import User
from quokkaq.lib import jobs, request_id, tenancy
from quokkaq.lib.database import slow
from quokkaq.lib.database.slow import without_values
from quokkaq.lib.debug_pages import Reporter
from quokkaq.lib.logs import catch_strays, is_unlogged, unlogged
from quokkaq.lib.request_id import RequestIdMiddleware
from tests import factories
from tests.canaries import Heard, listening
from tests.factories import World
from tests.quokkaq.test_route_policies import ROUTES

log = logging.getLogger("forum.test")


@pytest.fixture
def heard() -> Iterator[Heard]:
    with listening("INFO") as lines:
        yield lines


def lines_of(heard: Heard, **wanted: Any) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = [json.loads(line) for line in heard.json.lines]
    return [line for line in parsed if all(line.get(name) == value for name, value in wanted.items())]


# On each line


def saying(request: HttpRequest) -> HttpResponse:
    """A page that logs without having asked who is there."""
    log.warning("inside")
    return HttpResponse("")


def streaming(request: HttpRequest) -> StreamingHttpResponse:
    def pieces() -> Iterator[bytes]:
        log.warning("a piece")
        yield b"x"

    return StreamingHttpResponse(pieces())


urlpatterns = [path("saying/", saying, name="saying"), path("streaming/", streaming, name="streaming")]


@override_settings(ROOT_URLCONF=__name__)
def test_lines_within_a_request_say_for_whom_and_where_and_cost_no_query(
    world: World, heard: Heard, django_assert_num_queries: Any
) -> None:
    client = factories.browser(world.user("sam"))
    client.raise_request_exception = False
    client.get("/saying/", headers={"X-Request-ID": "request-0001"})
    (inside,) = lines_of(heard, message="inside")
    (access,) = lines_of(heard, stream="access")
    for line in (inside, access):
        assert line["request_id"] == "request-0001"
        assert line["user_id"] == str(world.user("sam").pk)
        assert line["institution_id"] == str(world.institution.pk)
        assert line["route"] == "saying"
    assert inside["stream"] == "application"
    assert inside["at"].endswith("test_log_lines.py:" + str(saying.__code__.co_firstlineno + 2) + " saying")
    assert (access["method"], access["status"], access["path"]) == ("GET", 200, "/saying/")
    assert access["duration_ms"] > 0
    with django_assert_num_queries(0):
        Client().get("/saying/")


@override_settings(ROOT_URLCONF=__name__)
def test_what_is_streamed_belongs_to_its_request(db: None, heard: Heard) -> None:
    response = Client().get("/streaming/", headers={"X-Request-ID": "request-0002"})
    assert lines_of(heard, message="a piece") == []
    assert b"".join(response.streaming_content) == b"x"  # type: ignore[attr-defined]  # a stream, as made above
    (line,) = lines_of(heard, message="a piece")
    assert (line["request_id"], line["route"]) == ("request-0002", "streaming")
    assert request_id.current() == "-"


STRAYS: dict[str, Callable[[Client], Any]] = {
    "static file": lambda client: client.get("/static/css/site.css"),
    "missing file": lambda client: client.get("/static/nothing.css"),
    "missing page": lambda client: client.get("/nothing/"),
    "made-up method": lambda client: client.generic("BREW", "/"),
    "too large": lambda client: client.post("/sign-in/", {}, CONTENT_LENGTH="99999999999"),
    "no length": lambda client: client.post("/sign-in/", {}, HTTP_TRANSFER_ENCODING="chunked"),
    "strange host": lambda client: client.get("/", HTTP_HOST="else.example"),
    "redirect": lambda client: client.get("/courses/"),
    "probe": lambda client: client.get("/health"),
}


@pytest.mark.parametrize("kind", STRAYS)
def test_every_answer_has_an_id_and_a_line(db: None, heard: Heard, kind: str) -> None:
    response = STRAYS[kind](Client(raise_request_exception=False, headers={"X-Request-ID": "request-0003"}))
    assert response["X-Request-ID"] == "request-0003"
    (line,) = lines_of(heard, stream="access")
    assert (line["request_id"], line["status"]) == ("request-0003", response.status_code)
    assert line["method"] in ("GET", "POST", "OTHER")
    assert "nothing" not in "".join(heard.json.lines)


def test_plain_http_is_answered_with_an_id(db: None) -> None:
    with override_settings(SECURE_SSL_REDIRECT=True):
        response = Client().get("/courses/")
    assert response.status_code == 301
    assert len(response["X-Request-ID"]) == 32


def test_the_request_id_stands_above_everything() -> None:
    assert settings.MIDDLEWARE[0] == f"{RequestIdMiddleware.__module__}.{RequestIdMiddleware.__name__}"


def test_lines_of_tasks_say_for_whom_and_which_task(world: World, heard: Heard) -> None:
    @jobs.of_institution
    def count_things() -> None:
        log.warning("counting")

    @jobs.for_every_institution
    def fail_each() -> None:
        log.warning("visiting")
        raise ValueError("it can't be")

    count_things(institution_id=str(world.institution.pk), request_id="request-0004")
    (line,) = lines_of(heard, message="counting")
    assert line["request_id"] == "request-0004"
    assert line["route"] == "tests.count_things"
    assert line["institution_id"] == str(world.institution.pk)
    (done,) = lines_of(heard, message="task succeeded")
    assert (done["status"], done["route"]) == ("succeeded", "tests.count_things")
    assert done["duration_ms"] >= 0
    with pytest.raises(ExceptionGroup):
        fail_each()
    visits = lines_of(heard, message="visiting")
    assert {line["institution_id"] for line in visits} == {str(key) for key in tenancy.institutions()}
    assert len({line["request_id"] for line in visits}) == 1
    (failed,) = lines_of(heard, message="task failed")
    assert failed["request_id"] == visits[0]["request_id"] != "-"
    assert "ValueError: it can't be" in failed["exc_info"]


# Routes that say least

DOORS = {
    "accounts:sign-in", "accounts:sign-out", "accounts:invitation", "accounts:join", "accounts:join-course",
    "accounts:download-data", "accounts:erase", "accounts:change-feeds", "accounts:enter-institution",
    "accounts:leave-institution", "feed", "inbox:unsubscribe", "inbox:inbound",
}  # fmt: skip


def test_every_way_in_is_marked() -> None:
    ways_in = [*security_urls.urlpatterns, *lti_urls.urlpatterns]
    ways_in += [ROUTES[name] for name in DOORS]
    assert len(ways_in) > 60
    assert [str(each.pattern) for each in ways_in if not getattr(each.callback, "unlogged", False)] == []
    # Whatever has a secret in its path is one of them.
    secrets = [
        name for name, each in ROUTES.items() if {"key", "token", "code", "ticket"} & set(each.pattern.converters)
    ]
    assert len(secrets) >= 6
    assert [name for name in secrets if not getattr(ROUTES[name].callback, "unlogged", False)] == []


def test_a_marked_route_says_method_route_and_status_only(db: None, heard: Heard) -> None:
    Client().get("/invitations/a-secret-of-somebody/?x=y")
    (line,) = lines_of(heard, stream="access")
    kept = {"time", "level", "stream", "logger", "request_id", "route", "message", "method", "status", "duration_ms"}
    assert set(line) == kept
    assert line["message"] == "GET accounts:invitation 404"


def test_words_in_a_path_are_logged_when_a_page_was_found_by_them(world: World, heard: Heard) -> None:
    factories.make_thread(world.member("sam"))
    client = factories.browser(world.user("sam"))
    client.get("/c/cs-101/1/?x=y")
    client.get("/c/sams-diary/1/")
    assert [line["path"] for line in lines_of(heard, route="forum:thread", stream="access")] == [
        "/c/cs-101/1/",
        "/c/<slug>/1/",
    ]


def test_the_report_of_a_developer_shows_nothing_of_a_marked_route(settings: Any) -> None:
    settings.DEBUG = True
    secret = "".join(["swordfish", "-"]) * 2

    @unlogged
    def door(request: HttpRequest, token: str) -> None:
        password = request.POST["password"]
        raise ValueError(f"can't take {password}")

    request = RequestFactory().post(
        f"/door/{secret}/?q={secret}", {"password": secret}, HTTP_COOKIE=f"quokkaq_session={secret}"
    )
    request.resolver_match = get_resolver().resolve("/sign-in/")
    assert is_unlogged(request.resolver_match)
    try:
        door(request, secret)
    except ValueError as error:
        reporter = Reporter(request, type(error), error, error.__traceback__)
        assert secret not in reporter.get_traceback_html()
        assert secret not in reporter.get_traceback_text()
        request.resolver_match = get_resolver().resolve("/courses/")
        shown = Reporter(request, type(error), error, error.__traceback__).get_traceback_html()
    # The control: elsewhere a developer sees what happened, and still no cookie.
    assert secret in shown
    assert f"quokkaq_session={secret}" not in shown


# The security stream


def test_who_is_refused_and_who_comes_in_stands_in_the_security_stream(
    world: World, heard: Heard, settings: Any
) -> None:
    settings.SIGN_IN_FAILURES_PER_ACCOUNT = 2
    client = Client(raise_request_exception=False)
    for _ in range(3):
        client.post("/sign-in/", {"email": "sam@example.edu", "password": "wrong"})
    events = [line["event"] for line in lines_of(heard, stream="security")]
    assert events.count("sign_in.failed") == 2
    assert events.count("sign_in.locked") == 1
    Client().post("/sign-in/", {"email": "tim@example.edu", "password": factories.PASSWORD}, REMOTE_ADDR="10.1.1.1")
    (came,) = lines_of(heard, stream="security", verb="person.signed_in")
    assert came["by"] == came["user_id"] == str(world.user("tim").pk)
    (access,) = lines_of(heard, stream="access", user_id=str(world.user("tim").pk))
    assert access["status"] == 302
    factories.browser(world.user("sam")).get("/c/cs-101/queue/")
    (refused,) = lines_of(heard, event="permission.refused")
    assert (refused["route"], refused["user_id"], refused["level"]) == (
        "forum:queue",
        str(world.user("sam").pk),
        "WARNING",
    )
    Client(enforce_csrf_checks=True).post("/sign-in/", {}, HTTP_ORIGIN="https://evil.example")
    (forged,) = lines_of(heard, event="csrf.failed")
    assert forged["code"] == "Origin_checking_failed"
    Client().post("/lti/login/", {"iss": "https://nobody.example"})
    (launch,) = lines_of(heard, event="lti.refused")
    assert launch["code"] == "platform"
    assert "example" not in "".join(json.dumps(line) for line in lines_of(heard, stream="security"))


def test_rate_limits_roles_glass_and_admin_stand_there_too(world: World, heard: Heard, settings: Any) -> None:
    settings.RATE_READS_PER_MINUTE, settings.RATE_ADDRESS_FACTOR = 1, 1
    for _ in range(2):
        Client().get("/sign-in/")
    (limited,) = lines_of(heard, event="rate_limited")
    assert limited["limit"] == "reads"
    settings.RATE_READS_PER_MINUTE = 0
    enrollment = world.user("sam").enrollments.get(course=world.course)
    client = factories.browser(world.user("ada"))
    client.post(f"/c/cs-101/course/roster/{enrollment.pk}/", {"role": "ta", "status": "active", "section": ""})
    (changed,) = lines_of(heard, verb="enrollment.changed")
    assert (changed["stream"], changed["target_id"], changed["by"]) == (
        "security", str(enrollment.pk), str(world.user("ada").pk),
    )  # fmt: skip
    root = User.objects.create_superuser("root@example.edu", display_name="Root")
    account_actions.enter_institution(by=root, institution=world.institution, reason="Somebody asked for help")
    (entered,) = lines_of(heard, verb="institution.entered")
    assert entered["target_id"] == str(world.institution.pk)
    tag = factories.make_tag(world.course)
    factories.browser(root).post(f"/admin/forum/tag/{tag.pk}/delete/", {"post": "yes"})
    (acted,) = lines_of(heard, event="admin.acted")
    assert (acted["verb"], acted["target_id"], acted["by"]) == ("tag.erased", str(tag.pk), str(root.pk))
    assert "Somebody asked" not in heard.json.text


# Slow statements


def test_a_slow_statement_is_told_of_without_its_values(db: None, heard: Heard, settings: Any) -> None:
    settings.SLOW_QUERY_MS = 50
    typed = "".join(["Whit", "lock"])
    with request_id.working_on("request-0005"), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.execute(f"SELECT pg_sleep(0.08), %s::text, '{typed}' /* {typed} */", [typed])
    (line,) = lines_of(heard, logger="quokkaq.lib.database.slow")
    assert line["statement"] == "SELECT pg_sleep(?), %s::text, ?"
    assert line["request_id"] == "request-0005"
    assert line["duration_ms"] >= 80
    assert line["database"] == "default"
    with transaction.atomic(), connection.cursor() as cursor, suppress(OperationalError):
        cursor.execute("SET LOCAL statement_timeout = 60")
        with transaction.atomic():
            cursor.execute("SELECT pg_sleep(1)")
    assert "sqlstate 57014" in lines_of(heard, logger="quokkaq.lib.database.slow")[-1]["error"]


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        (
            'SELECT "T3"."name" FROM "t" WHERE a = %s AND b IN (1, 2.5)',
            'SELECT "T3"."name" FROM "t" WHERE a = %s AND b IN (?, ?)',
        ),
        ("SELECT 'it''s' || E'a\\'b' || $$c$$ || $x$d$$e$x$ || B'01'", "SELECT ? || ? || ? || ? || ?"),
        ("SELECT 1 -- Sam\n, 2 /* Sam */, u2", "SELECT ? , ? , u2"),
        ("SELECT 'never ends", "SELECT ?"),
        ("SELECT $1, $2", "SELECT ?, ?"),
    ],
)
def test_values_leave_a_statement(sql: str, shown: str) -> None:
    assert without_values(sql) == shown


@pytest.mark.parametrize("unit", ["'", "a", "a'", '"', "$", "$a", "/*", "--", "1", "E'\\", " "])
@pytest.mark.clocked
def test_no_statement_is_slow_to_read(unit: str) -> None:
    started = time.monotonic()
    assert len(without_values(unit * 100_000)) <= slow.LONGEST
    assert time.monotonic() - started < 2


# What nothing catches


def test_what_nothing_catches_is_logged_like_everything(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    typed = "".join(["Whit", "lock"])
    try:
        catch_strays()
        thread = threading.Thread(target=lambda: int(typed))
        thread.start()
        thread.join()
    finally:
        logging.captureWarnings(False)
    (line,) = lines_of(heard, message="not caught")
    assert line["level"] == "CRITICAL"
    assert line["exc_info"].endswith("ValueError")
