"""Backups that are restored: rehearsed, and after a disaster, the database and its files to one instant."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from forum import actions
from tests import factories
from tests.factories import World
from tests.processes import ROOT, environment
from tests.recovery import measured
from tests.services.test_backup import PROGRAMS

pytestmark = [pytest.mark.drill, pytest.mark.django_db(transaction=True)]


def fill() -> World:
    """People, an answered question, a reply with a vote, a file, and jobs that wait."""
    world = factories.make_world()
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    answer = factories.make_answer(sam, tim)
    post = factories.make_post(noor, answer.thread, "Grüße, 'quotes', \\ and 😀")
    actions.set_vote(by=sam, target=post, on=True)
    factories.make_thread(noor, "Something hidden", anonymity="all", tags=[factories.make_tag(world.course)])
    return world


def manage(*arguments: str, code: int = 0, **changes: str) -> str:
    """Run a command on the test database; return what it said."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment(**PROGRAMS, **changes), capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rehearse(*arguments: str, code: int = 0, **changes: str) -> dict[str, Any]:
    said = manage("restore_drill", "--json", *arguments, code=code, **changes)
    found: dict[str, Any] = json.loads(said[said.index("{") :].splitlines()[0])
    return found


def scratch_databases() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{connection.settings_dict['NAME']}\\_drill\\_%"]
        )
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def backed_up(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A small world and one backup of it; yields the variables that say where it lies."""
    fill()
    where = {"BACKUP_ROOT": str(tmp_path / "backups")}
    manage("dbbackup", "--noinput", **where)
    yield where
    assert scratch_databases() == []


def test_a_backup_is_restored_compared_migrated_and_used(backed_up: dict[str, str]) -> None:
    found = rehearse(**backed_up)
    assert found["succeeded"], found
    assert [step["name"] for step in found["steps"]] == [
        "fetch and decrypt", "restore", "compare", "migrate", "walls", "counters", "pages", "drop",
    ]  # fmt: skip
    assert found["rows"] > 100
    seconds = {f"{step['name'].replace(' ', '_')}_seconds": step["seconds"] for step in found["steps"]}
    measured("restore_drill", rows=found["rows"], size_bytes=found["size"], total_seconds=found["seconds"], **seconds)
