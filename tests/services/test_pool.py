"""gunicorn with its connection pool, as shipped: a busy or restarted database costs a wait or a 503, never a 500."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from psycopg_pool import ConnectionPool, PoolTimeout

from tests import factories
from tests.processes import ROOT, database_url, environment, free_port, wait_for


@pytest.fixture
def web(transactional_db: None) -> Iterator[tuple[int, str]]:
    """A web server with a pool of one connection, and the cookie of somebody signed in."""
    world = factories.make_world()
    client = Client()
    client.force_login(world.user("sam"))
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    port = free_port()
    # Development mode pools, test mode doesn't.
    variables = environment(
        QUOKKAQ_MODE="demo", PORT=str(port), WEB_WORKERS="1", DATABASE_POOL_SIZE="1", DATABASE_POOL_WAIT_SECONDS="1",
        SECRET_KEY=settings.SECRET_KEY, LOG_LEVEL="ERROR",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"], cwd=ROOT, env=variables
    )

    def up() -> bool:
        try:
            return get(port, "/health").status == 200
        except OSError:
            return False

    wait_for(up, what="the web server")
    yield port, cookie
    process.terminate()
    process.wait(20)


def get(port: int, path: str, cookie: str = "") -> HTTPResponse:
    client = HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    response = client.getresponse()
    response.read()
    return response


def test_a_used_up_pool_is_a_503_with_a_time_to_come_back(web: tuple[int, str]) -> None:
    port, cookie = web
    assert get(port, "/courses/", cookie).status == 200
    waiting: list[int] = []
    with psycopg.connect(_libpq()) as holder:
        holder.execute("LOCK TABLE accounts_enrollment IN ACCESS EXCLUSIVE MODE")
        # One request holds the only connection, waiting for the lock; the next finds the pool empty.
        first = threading.Thread(target=lambda: waiting.append(get(port, "/courses/", cookie).status))
        first.start()
        wait_for(_somebody_waits, what="the first request to hold the connection")
        refused = get(port, "/courses/", cookie)
        assert (refused.status, refused.getheader("Retry-After")) == (503, "5")
        holder.rollback()
    first.join()
    assert waiting == [200]
    assert get(port, "/courses/", cookie).status == 200


def test_after_the_database_dropped_every_connection_the_next_request_works(web: tuple[int, str]) -> None:
    port, cookie = web
    assert get(port, "/courses/", cookie).status == 200
    with psycopg.connect(_libpq(), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
            " AND pid <> pg_backend_pid()",
            [_own_backend()],
        )
    assert [get(port, "/courses/", cookie).status for _ in range(5)] == [200] * 5


def test_a_pool_looks_for_its_server_many_times_a_second() -> None:
    """Else it would do so after one, two, four, eight … seconds: `quokkaq.lib.database.pool` sets the library's delays."""
    tries: list[float] = []

    class Away(psycopg.Connection[Any]):
        @classmethod
        def connect(cls, *args: Any, **kwargs: Any) -> Any:
            tries.append(time.monotonic())
            raise psycopg.OperationalError("connection refused")

    with (
        ConnectionPool(connection_class=Away, min_size=1, open=True, reconnect_timeout=60) as pool,
        pytest.raises(PoolTimeout),
    ):
        pool.getconn(timeout=2)
    assert len(tries) > 5


def _own_backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _libpq() -> str:
    return database_url().replace("postgres://", "postgresql://", 1)


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE relation = 'accounts_enrollment'::regclass AND NOT granted")
        return bool(cursor.fetchone()[0])
