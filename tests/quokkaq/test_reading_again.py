"""A page whose connection broke is read again; what may have been written is never sent twice."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.cache import cache
from django.db import OperationalError, close_old_connections, connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from psycopg_pool import PoolTimeout

from quokkaq.lib import tenancy
from quokkaq.lib.reading_again import is_lost, writes
from quokkaq.lib.sessions import Walled
from quokkaq.urls import handler400, handler403, handler404, handler500, urlpatterns
from tests import factories

__all__ = ["handler400", "handler403", "handler404", "handler500"]

calls: list[str] = []


def _end_own_connection() -> None:
    """Have the server end the connection, as it does when it is shut down."""
    with tenancy.scope(tenancy.EVERY), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def once(request: HttpRequest) -> HttpResponse:
    calls.append(str(request.user))
    if len(calls) == 1:
        _end_own_connection()
    return HttpResponse(f"read by {request.user}")


def always(request: HttpRequest) -> HttpResponse:
    calls.append("")
    _end_own_connection()
    return HttpResponse()


def after_writing(request: HttpRequest) -> HttpResponse:
    calls.append("")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_institution SET name = name")
    _end_own_connection()
    return HttpResponse()


def waits_in_vain(request: HttpRequest) -> HttpResponse:
    calls.append("")
    raise OperationalError from PoolTimeout("couldn't get a connection after 3.00 sec")


def breaks(request: HttpRequest) -> HttpResponse:
    calls.append("")
    raise ValueError


urlpatterns = [
    path("once/", once), path("always/", always), path("after-writing/", after_writing), path("waits/", waits_in_vain),
    path("breaks/", breaks), *urlpatterns,
]  # fmt: skip


@pytest.fixture
def sam(transactional_db: None, settings: Any) -> Iterator[Client]:
    settings.ROOT_URLCONF = __name__
    calls.clear()
    client = Client(raise_request_exception=False)
    client.force_login(factories.make_world().user("sam"))
    yield client
    close_old_connections()  # the server does so after each request, the test client doesn't


def test_a_page_whose_connection_broke_is_read_again_by_the_same_person(sam: Client) -> None:
    answer = sam.get("/once/")
    assert (answer.status_code, len(calls)) == (200, 2)
    assert calls[0] == calls[1]
    assert answer.content.decode() == f"read by {calls[0]}"
    calls.clear()
    assert (sam.head("/once/").status_code, len(calls)) == (200, 2)


def test_it_is_read_again_once_and_then_a_503_says_when_to_come_back(sam: Client) -> None:
    answer = sam.get("/always/")
    assert (answer.status_code, answer["Retry-After"], len(calls)) == (503, "5", 2)


def test_what_wrote_something_is_not_run_again(sam: Client) -> None:
    assert (sam.get("/after-writing/").status_code, len(calls)) == (503, 1)


def test_a_form_is_not_sent_again_and_gives_back_what_was_typed(sam: Client) -> None:
    answer = sam.post("/once/", {"body": "Why is my list empty?"})
    assert (answer.status_code, len(calls)) == (503, 1)
    assert "Why is my list empty?" in answer.content.decode()


def test_who_waited_for_a_connection_in_vain_does_not_wait_again(sam: Client) -> None:
    assert (sam.get("/waits/").status_code, len(calls)) == (503, 1)


def test_other_errors_are_errors(sam: Client) -> None:
    assert (sam.get("/breaks/").status_code, len(calls)) == (500, 1)


def test_a_lost_connection_leaves_no_error_in_the_log_when_the_page_came(
    sam: Client, caplog: pytest.LogCaptureFixture
) -> None:
    sam.get("/once/")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_session_that_broke_is_read_again_too(sam: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Walled._get_session_from_db
    lost: list[bool] = []

    def breaking(self: Any) -> Any:
        if not lost:
            lost.append(True)
            _end_own_connection()
        return load(self)

    monkeypatch.setattr(Walled, "_get_session_from_db", breaking)
    cache.clear()
    assert sam.get("/courses/").status_code == 200
    assert lost


def test_which_statements_write() -> None:
    for sql in (
        "INSERT INTO forum_thread VALUES (1)", "UPDATE forum_thread SET title = ''", "DELETE FROM forum_thread",
        "SELECT procrastinate_defer_jobs_v1(%s)", "WITH gone AS (DELETE FROM x RETURNING id) SELECT id FROM gone",
        "TRUNCATE forum_thread", "COPY forum_thread FROM STDIN",
    ):  # fmt: skip
        assert writes(sql), sql
    for sql in ("SELECT 1", "  select 1", "SAVEPOINT s1", "INSERT INTO accounts_passingratecount AS kept VALUES (1)"):
        assert not writes(sql), sql


def test_which_errors_mean_that_the_connection_is_lost() -> None:
    assert is_lost(psycopg.errors.AdminShutdown())
    assert is_lost(psycopg.errors.CannotConnectNow())
    assert is_lost(psycopg.errors.ProtocolViolation())  # PgBouncer's
    assert is_lost(psycopg.OperationalError("server closed the connection unexpectedly"))
    assert is_lost(psycopg.InterfaceError("the connection is closed"))
    assert not is_lost(psycopg.errors.QueryCanceled())
    assert not is_lost(psycopg.errors.LockNotAvailable())
    assert not is_lost(psycopg.errors.TooManyConnections())
    assert not is_lost(PoolTimeout())
    assert not is_lost(ValueError())
