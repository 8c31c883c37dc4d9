"""Code of the last release goes on working on the schema of this one, while hosts are replaced one by one."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from ops.releases.record import breaks, last_release, needed
from quokkaq.lib import tenancy
from tests.processes import ROOT, environment

pytestmark = pytest.mark.django_db


@pytest.fixture
def cursor(db: None) -> Iterator[Any]:
    with connection.cursor() as made:
        yield made


# Changes that nobody should make in one step, and the sentence that stops them.
BREAKS = {
    "ALTER TABLE forum_thread RENAME COLUMN title TO heading": "forum_thread.title is gone.",
    "DROP TABLE forum_notification CASCADE": "forum_notification is gone.",
    "ALTER TABLE accounts_institution ALTER name TYPE varchar(100)": "accounts_institution.name was character varying(200) and is character varying(100).",
    "ALTER TABLE forum_thread ALTER reply_count TYPE bigint": "forum_thread.reply_count was integer and is bigint.",
    "ALTER TABLE forum_thread ADD COLUMN mood text NOT NULL": "forum_thread.mood is new and must have a value that old code doesn't give.",
    "ALTER TABLE forum_post ALTER edited_at SET NOT NULL": "forum_post.edited_at could be null and must have a value.",
    "ALTER TABLE forum_thread ALTER institution_id DROP DEFAULT": "forum_thread.institution_id has lost its default.",
    "ALTER TABLE forum_thread ADD CHECK (kind IN ('question', 'announcement'))": "forum_thread.kind no longer takes 'discussion'.",
    "ALTER TABLE forum_thread ADD CHECK (reader_count < 5)": "forum_thread has a new check that old code knows nothing of: CHECK ((reader_count < 5))",
    "CREATE UNIQUE INDEX once ON forum_thread (course_id, title)": "forum_thread has a new unique index that old code knows nothing of: btree (course_id, title)",
}  # fmt: skip
SERVES = (
    "ALTER TABLE forum_thread ADD COLUMN mood text",
    "ALTER TABLE forum_thread ADD COLUMN mood text NOT NULL DEFAULT 'calm', ADD CHECK (mood <> '')",
    "ALTER TABLE forum_thread ADD COLUMN mood text GENERATED ALWAYS AS (lower(title)) STORED",
    "ALTER TABLE accounts_institution ALTER name TYPE varchar(300)",
    "ALTER TABLE forum_thread DROP CONSTRAINT thread_kind_known, ADD CONSTRAINT thread_kind_known"
    " CHECK (kind IN ('question', 'discussion', 'announcement', 'poll'))",
    "CREATE TABLE forum_mood (id uuid PRIMARY KEY)",
)


@pytest.mark.parametrize("change", BREAKS)
def test_a_change_that_breaks_code_of_the_last_release_is_seen(cursor: Any, change: str) -> None:
    release = {"tables": needed(cursor)}
    assert breaks(release, cursor) == []
    # Empty tables, as far as the change is concerned.
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    cursor.execute(change)
    assert BREAKS[change] in breaks(release, cursor)


@pytest.mark.parametrize("change", SERVES)
def test_a_change_that_adds_serves_the_last_release(cursor: Any, change: str) -> None:
    release = {"tables": needed(cursor)}
    cursor.execute(change)
    assert breaks(release, cursor) == []


def test_the_schema_of_today_serves_the_last_release(cursor: Any) -> None:
    assert breaks(last_release(), cursor) == []


# A value for each type that a column without a default may have.
VALUES = {
    "uuid": "gen_random_uuid()", "text": "''", "character": "''", "integer": "0", "bigint": "0", "smallint": "0", "numeric": "0",
    "double": "0", "boolean": "false", "timestamp": "now()", "date": "current_date", "interval": "'0'", "jsonb": "'{}'",
    "json": "'{}'", "bytea": "''", "inet": "'127.0.0.1'", "tsvector": "''",
}  # fmt: skip


def _value(cursor: Any, kind: str) -> str:
    if kind.endswith("[]"):
        return f"'{{}}'::{kind}"
    if kind.startswith(("vector", "halfvec")):
        return f"array_fill(1, ARRAY[{kind.partition('(')[2][:-1] or 1}])::vector::{kind}"
    if kind.startswith("procrastinate_"):
        return f"(enum_range(NULL::{kind}))[1]"
    return f"{VALUES[kind.split(maxsplit=1)[0].split('(', maxsplit=1)[0]]}::{kind}"


def test_a_row_of_the_last_release_can_be_written(cursor: Any) -> None:
    """With the columns of old, and nothing in those that came since."""
    written = 0
    with tenancy.scope(tenancy.EVERY):
        for table, of in last_release()["tables"].items():
            given = {
                name: _value(cursor, column["type"]) for name, column in of["columns"].items()
                if not column["null"] and column["default"] is None
            }  # fmt: skip
            copy = f'CREATE TEMP TABLE copy (LIKE public."{table}" INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING IDENTITY)'
            with transaction.atomic():
                cursor.execute(copy)
                if "institution_id" in of["columns"]:
                    given["institution_id"] = "gen_random_uuid()"
                names = ", ".join(f'"{name}"' for name in given)
                row = f"({names}) VALUES ({', '.join(given.values())})" if given else "DEFAULT VALUES"
                cursor.execute(f"INSERT INTO copy {row}")
                written += cursor.rowcount
                cursor.execute("DROP TABLE copy")
    assert written == len(last_release()["tables"]) > 90


def test_who_records_a_release_of_other_models_is_stopped() -> None:
    first = subprocess.run(
        ["git", "rev-list", "--max-parents=0", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not first:
        pytest.skip("not a git repository")
    done = subprocess.run(
        [sys.executable, "-m", "ops.releases.record", "--commit", first[-1]], cwd=ROOT, capture_output=True, text=True, check=False,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert "These aren't the models and migrations" in done.stderr
