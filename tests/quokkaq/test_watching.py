"""Every statement carries the request it works for, and is told of with the time it took."""

import pytest
from django.db import ProgrammingError, connection, transaction

from quokkaq.lib.database import watching
from quokkaq.lib.database.watching import Statement
from quokkaq.lib.request_id import working_on

pytestmark = pytest.mark.django_db
RUNNING = "SELECT current_query()"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    told: list[Statement] = []
    monkeypatch.setattr(watching, "observers", [told.append])
    return told


def _run(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return str(cursor.fetchone()[0])


def test_the_server_sees_which_request_a_statement_works_for() -> None:
    with working_on("request-0001"):
        assert _run(RUNNING).endswith("/* request_id=request-0001 */")
    assert "request_id" not in _run(RUNNING)


def test_an_id_cant_end_the_comment() -> None:
    with working_on("x*/; DROP TABLE accounts_user; --") as minted:
        assert _run(RUNNING).endswith(f"/* request_id={minted} */")
        assert "DROP" not in minted


def test_statements_are_told_of_with_their_time(seen: list[Statement]) -> None:
    _run("SELECT pg_sleep(0.05)::text")
    (statement,) = seen
    assert statement.sql == "SELECT pg_sleep(0.05)::text"
    assert 0.05 <= statement.seconds < 5
    assert statement.error is None
    assert statement.alias == "default"


def test_so_are_those_that_fail(seen: list[Statement]) -> None:
    with pytest.raises(ProgrammingError), transaction.atomic():
        _run("SELECT nothing_like_that")
    assert [type(each.error).__name__ for each in seen if each.error] == ["ProgrammingError"]
