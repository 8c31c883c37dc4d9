"""Migrations can be taken back on a database with data, and done again: a release that goes wrong is undone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from tests.processes import ROOT, database_url, environment

pytestmark = [pytest.mark.django_db, pytest.mark.drill]


@pytest.fixture
def empty_database() -> Iterator[str]:
    """The URL of a new database beside the test database."""
    name, url = f"there_and_back_{uuid4().hex[:8]}", database_url()
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        yield url.removesuffix(str(connection.settings_dict["NAME"])) + name
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_what_tenancy_sign_in_and_privacy_brought_is_taken_back_and_done_again(empty_database: str) -> None:
    """Every row of what was there before stays, with all its values; the walls fall and stand again."""
    command = [sys.executable, "-m", "tests.there_and_back", "ai_answers:0008", "forum:0013", "accounts:0004"]
    env = environment(DATABASE_URL=empty_database, OWNER_DATABASE_URL=empty_database)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["compared"] > 400
    assert said["policies"] > 70
    # What the earlier scheme has no word for: a file that is being checked.
    assert said["lost"] == ["ai_answers_materialimport.state"]
    assert said["other"] == ["ai_answers_materialimport.state"]
