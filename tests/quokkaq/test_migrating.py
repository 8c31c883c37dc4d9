"""A lock that can't be had, as `manage.py migrate` sees it."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection

from quokkaq import migrating
from tests.processes import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lock(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take a lock on a table as a migration would; what is waited for is short."""
    settings.MIGRATE_LOCK_TIMEOUT_MS = 700
    monkeypatch.setattr(migrating, "PAUSES", (0.01, 0.01))

    def take() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DO 'BEGIN LOCK TABLE accounts_ratecount; END'")

    return take


def test_after_the_last_try_it_gives_up_and_says_who_was_in_the_way(lock: Callable[[], None]) -> None:
    said: list[str] = []
    with psycopg.connect(database_url()) as somebody:
        somebody.execute("SELECT 'their secret' FROM accounts_ratecount")
        pid = somebody.info.backend_pid
        with (
            migrating.at_work(connection, said.append),
            pytest.raises(
                CommandError, match=rf"try 3 of 3\)\. In the way: process {pid} \(idle in transaction, for"
            ) as ended,
        ):
            migrating.patiently(connection, lock, say=said.append, doing=lambda: "forum.0099_x")
    assert [line.rpartition(". ")[2] for line in said] == ["Trying again in 0.01 s.", "Trying again in 0.01 s."]
    assert "nothing is half done" in str(ended.value)
    assert "their secret" not in f"{said}{ended.value}"


def test_another_failure_is_not_tried_again(lock: Callable[[], None]) -> None:
    tried = []

    def fail() -> None:
        tried.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)")

    with pytest.raises(OperationalError, match="statement timeout"):
        migrating.patiently(connection, fail, say=lambda sentence: None, doing=lambda: "x")
    assert tried == [1]


def test_time_outs_and_the_turn_end_with_the_work() -> None:
    def state(cursor: Any) -> tuple[str, str, bool]:
        cursor.execute(
            "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'),"
            " EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
        )
        found: tuple[str, str, bool] = cursor.fetchone()
        return found

    with connection.cursor() as cursor:
        before = state(cursor)
        with migrating.at_work(connection, lambda sentence: None):
            assert state(cursor) == ("3s", "0", True)
        assert state(cursor) == before == ("5s", "15s", False)


def test_who_comes_second_waits_for_the_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without holding up whoever is at work: it asks again and again, and waits in no statement."""
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('quokkaq.migrate'))")
        pid, slept = other.info.backend_pid, []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            waiting = other.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
            assert waiting == (0,)
            other.execute("SELECT pg_advisory_unlock_all()")

        monkeypatch.setattr("quokkaq.migrating.time.sleep", sleep)
        call_command("migrate", verbosity=1)
    said = capsys.readouterr().out
    assert len(slept) == 1
    assert f"Another migrate is at work on this database: process {pid} (for" in said
    assert "It is done: this one's turn." in said
    assert "No migrations to apply." in said
