"""A manifest says what is in a backup, and what differs."""

from datetime import UTC, datetime

import pytest
from django.db import connection

from quokkaq.backups.manifest import Damaged, Manifest, StoredFile, Table, differences, tables
from tests import factories
from tests.factories import World

MADE = Manifest(
    "a.dump", "database", datetime(2026, 11, 27, tzinfo=UTC), 12, "ab", tables={"t": Table(1, "5")},
    files={"files/x": StoredFile(3, "cd", "v1")},
)  # fmt: skip


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert Manifest.from_json(MADE.to_json()) == MADE


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', MADE.to_json().replace("2026-", "x"), b"\xff\xfe"])
def test_what_is_no_manifest_is_damaged(text: str | bytes) -> None:
    with pytest.raises(Damaged):
        Manifest.from_json(text)


def test_differences_are_named() -> None:
    was = {"a": Table(1, "1"), "b": Table(2, "2"), "c": Table(3, "3"), "d": Table(0, "0")}
    now = {"a": Table(1, "1"), "b": Table(3, "2"), "c": Table(3, "9"), "e": Table(0, "0")}
    assert differences(was, now) == [
        "b: 3 rows instead of 2", "c: the 3 rows hold something else", "d: missing", "e: not in the manifest",
    ]  # fmt: skip
    assert differences(was, was) == []


def test_one_letter_changes_the_digest_of_its_table_only(world: World) -> None:
    thread = factories.make_thread(world.member("sam"), "A question with a body")
    with connection.cursor() as cursor:
        before = tables(cursor)
        thread.title += "!"
        thread.save(update_fields=["title"])
        after = tables(cursor)
    assert before["accounts_user"].rows == len(world.people)
    assert [one.split(":")[0] for one in differences(before, after)] == ["forum_thread"]
