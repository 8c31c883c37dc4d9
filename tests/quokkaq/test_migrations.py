"""Migrating beside a site in use: two hosts at once, a lock held by somebody, a killed run, there and back on data."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from ops.releases.record import last_release
from ops.rules.migrations import BASELINE
from tests.clusters import folder
from tests.conftest import needed
from tests.processes import ROOT, database_url, end, environment, free_port, wait_for
from tests.recovery import measured

# What these drills measured, kept together.
FIGURES: dict[str, float | int | str] = {}

# One process has them all: they share a database that was migrated once.
pytestmark = [pytest.mark.django_db, pytest.mark.drill, pytest.mark.xdist_group("migrations")]


def note(**figures: float | int | str) -> None:
    FIGURES.update(figures)
    measured(
        "migrations",
        note="from nothing by two hosts at once; each taken back and done again on the demo's data",
        **FIGURES,
    )


class Database:
    """A database of its own beside the test database.

    Args:
        like: the one that it is a copy of; none: it is empty.
    """

    def __init__(self, like: "Database | None" = None) -> None:
        self.name = f"migrations_{uuid4().hex[:8]}"
        self.url = database_url().removesuffix(str(connection.settings_dict["NAME"])) + self.name
        self.server(f'CREATE DATABASE "{self.name}"' + (f' TEMPLATE "{like.name}"' if like else ""))

    def server(self, sql: str) -> None:
        with psycopg.connect(database_url(), autocommit=True) as server:
            server.execute(sql)

    def drop(self) -> None:
        self.server(f'DROP DATABASE "{self.name}" WITH (FORCE)')

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True)

    def ask(self, sql: str) -> Any:
        with self.connect() as asking:
            row = asking.execute(sql).fetchone()
            return row[0] if row else None

    def environment(self, **changes: str) -> dict[str, str]:
        return environment(DATABASE_URL=self.url, OWNER_DATABASE_URL=self.url, **changes)


class Run:
    """A `manage.py migrate` that is under way."""

    def __init__(self, database: Database, output: Path, *arguments: str, **changes: str) -> None:
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "migrate", "--skip-checks", *arguments], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
                env=database.environment(PYTHONUNBUFFERED="1", **changes),
            )  # fmt: skip

    def says(self, pattern: str) -> bool:
        return bool(re.search(pattern, self.output.read_text()))

    def wait_until(self, pattern: str, *, seconds: float = 300) -> None:
        wait_for(lambda: self.says(pattern) or self.process.poll() is not None, seconds=seconds, what=pattern)
        assert self.says(pattern), self.output.read_text()[-3000:]

    def ends_well(self, *, seconds: float = 600) -> str:
        assert self.process.wait(seconds) == 0, self.output.read_text()[-3000:]
        return self.output.read_text()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    """Start a migrate of the drills' own app; whatever still runs at the end is ended."""
    runs: list[Run] = []

    def start(database: Database, *arguments: str, **changes: str) -> Run:
        changes = {"DJANGO_SETTINGS_MODULE": "tests.migrating.settings"} | changes
        runs.append(Run(database, tmp_path / f"{len(runs)}.log", *arguments, **changes))
        return runs[-1]

    yield start
    for run in runs:
        end(run.process)


@pytest.fixture(scope="module")
def migrated(
    kept_module: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, list[Run], float]]:
    """A database that two hosts migrated from nothing, both at once; how that went, and how long it took in seconds."""
    logs = tmp_path_factory.mktemp("migrated")
    database = Database()
    began = time.monotonic()
    runs = [Run(database, logs / f"{name}.log") for name in ("one", "other")]
    try:
        for run in runs:
            run.process.wait(600)
        yield database, runs, time.monotonic() - began
    finally:
        for run in runs:
            end(run.process)
        database.drop()


@pytest.fixture(scope="module")
def kept_module(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def copy(migrated: tuple[Database, list[Run], float]) -> Iterator[Database]:
    """A copy of the migrated database."""
    made = Database(like=migrated[0])
    yield made
    made.drop()


@pytest.fixture
def busy(copy: Database, started: Any) -> Database:
    """A copy with a table of 1,000 rows that the next migrations are about to change."""
    started(copy, "migrating", "0001").ends_well()
    return copy


def test_two_hosts_migrate_an_empty_database_at_once(migrated: tuple[Database, list[Run], float]) -> None:
    """One works, the other waits and says so, and finds nothing to do."""
    database, runs, seconds = migrated
    said = sorted((run.ends_well() for run in runs), key=lambda text: "Waiting for it to end" in text)
    assert "Applying forum.0001_initial... OK" in said[0]
    assert "Waiting for it to end" not in said[0]
    assert re.search(r"Another migrate is at work on this database: process \d+ \(for \d+ s\), from \S+\.", said[1])
    assert "No migrations to apply." in said[1]
    assert database.ask("SELECT count(*) FROM pg_policy WHERE polname = 'tenancy'") > 70
    note(from_nothing_seconds=seconds, migrations=database.ask("SELECT count(*) FROM django_migrations"))


def test_a_lock_that_somebody_holds_is_waited_for_shortly_and_again(busy: Database, started: Any) -> None:
    """It is said who is in the way, never what they do; people who read in between aren't kept waiting."""
    with busy.connect() as somebody, busy.connect() as reader:
        reader.execute("SET statement_timeout = '60s'")
        somebody.execute("BEGIN; SELECT 'their secret' FROM migrating_row LIMIT 1")
        pid = somebody.info.backend_pid
        run = started(busy, "migrating", "0002", MIGRATE_LOCK_TIMEOUT_MS="500")
        run.wait_until(r"Trying again in 2 s")
        reader.execute("SELECT count(*) FROM migrating_row")
        somebody.execute("COMMIT")
    said = run.ends_well()
    assert re.search(
        r"migrating\.0002_note: a lock couldn't be had within 500 ms \(try 1 of 8\)\. In the way: "
        rf"process {pid} \(idle in transaction, for \d+ s\)\. Trying again in 1 s\.",
        said,
    )
    assert "their secret" not in said
    assert busy.ask("SELECT count(*) FROM django_migrations WHERE app = 'migrating'") == 2


def test_a_killed_run_is_taken_up_where_it_stood(busy: Database, started: Any) -> None:
    """A migration is there whole, with the note that it was done, or not at all."""
    run = started(busy, "migrating", "0002")
    wait_for(
        lambda: busy.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND datname = current_database()"
        ),
        seconds=120,
    )
    run.process.kill()
    run.process.wait()
    again = started(busy, "migrating", "0002").ends_well()
    assert "Applying migrating.0002_note" in again
    assert busy.ask("SELECT count(*) FROM information_schema.columns WHERE table_name = 'migrating_row'") == 4
    assert (
        busy.ask("SELECT count(*) FROM pg_constraint WHERE conrelid = 'migrating_row'::regclass AND contype = 'f'") == 1
    )


@pytest.mark.parametrize("how", ["half built", "built, but not noted"])
def test_an_index_that_a_killed_run_left_is_seen_to(busy: Database, started: Any, how: str) -> None:
    started(busy, "migrating", "0002").ends_well()
    somebody = busy.connect()
    with somebody:
        # What is written at the moment is waited for by whoever builds an index beside it.
        somebody.execute("BEGIN; UPDATE migrating_row SET size = size WHERE id = 1")
        run = started(busy, "migrating", MIGRATE_LOCK_TIMEOUT_MS="300")
        wait_for(
            lambda: busy.ask("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass('row_by_size')"),
            seconds=60,
        )
        time.sleep(1)  # longer than a lock is waited for
        builder = busy.ask(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND datname = current_database()"
        )
        assert builder, run.output.read_text()
        run.process.kill()
        run.process.wait()
        if how == "half built":
            busy.ask(f"SELECT pg_terminate_backend({builder})")
        somebody.execute("COMMIT")
    wait_for(lambda: not busy.ask(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {builder}"), seconds=300)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('row_by_size')"
    assert busy.ask(valid) is (how == "built, but not noted")
    said = started(busy, "migrating").ends_well()
    assert "Applying migrating.0003_by_size" in said
    assert busy.ask("SELECT count(*) FROM pg_constraint WHERE conname = 'row_size_once' AND contype = 'u'") == 1
    assert busy.ask(valid) is None  # the last migration drops it
    started(busy, "migrating", "0003").ends_well()  # and back
    assert busy.ask(valid) is True
    assert busy.ask("SELECT to_regclass('row_size_once')") is None


def test_a_pooler_is_refused(copy: Database) -> None:
    """Through PgBouncer a session's lock and time-outs would be somebody else's."""
    program, port = needed("pgbouncer"), free_port()
    address = connection.settings_dict
    through = f"postgres://{address['USER']}@127.0.0.1:{port}/{copy.name}"

    def is_up() -> bool:
        with contextlib.suppress(psycopg.Error):
            psycopg.connect(through, prepare_threshold=None, connect_timeout=2).close()
            return True
        return False

    with folder() as home:
        (home / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={address['HOST']} port={address['PORT'] or 5432} user={address['USER']}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\nunix_socket_dir =\n"
            "ignore_startup_parameters = options\n"
        )
        command = [program, str(home / "pgbouncer.ini")]
        if os.geteuid() == 0:  # which it refuses to be
            command += ["-u", "nobody"]
        pooler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        try:
            wait_for(is_up, what="pgbouncer")
            done = subprocess.run(
                [sys.executable, "manage.py", "migrate"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
                env=environment(DATABASE_URL=through, OWNER_DATABASE_URL=through),
            )  # fmt: skip
        finally:
            end(pooler)
    assert done.returncode == 1
    assert "This connection goes through a pooler (PgBouncer)." in done.stderr
    assert "set OWNER_DATABASE_URL to its own address" in done.stderr


# What an earlier scheme has no word for, by the migration that is taken back: the columns that hold something else after
# the way forth, and the tables that miss rows. Everything else comes back as it was.
NO_WORD = {
    # A file that is being checked.
    "ai_answers.0009_imports_of_uploads": ["ai_answers_materialimport.state"],
    # Why staff took an answer back.
    "ai_answers.0007_withdrawal_reasons": ["ai_answers_answer.withdrawal_reason"],
    # Answers that aren't shown, with what hangs on them.
    "ai_answers.0006_life_of_an_answer": [
        "ai_answers_answer", "ai_answers_answerfeedback", "ai_answers_citation", "ai_answers_modelcall.answer_id",
    ],
    # The index of words is made anew, out of what it is an index of.
    "forum.0006_search_triggers": ["forum_searchentry.id", "forum_searchentry.vector"],
    # What insights add up is made anew, out of what it is made of: noted once for each thread, for the task to make.
    "forum.0019_first_facts": ["forum_factsdue"],
}  # fmt: skip


def test_every_migration_is_taken_back_and_done_again_on_data(copy: Database) -> None:
    """Each after the first ones, one step back and forth, then all of them forth: every row stays, with all its values."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.there_and_back"]
    done = subprocess.run(
        command, cwd=ROOT, env=copy.environment(), capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    steps = {name: step for name, step in said["steps"].items() if step["other"] or step["apart"]}
    assert {name: step["other"] for name, step in steps.items()} == NO_WORD
    assert not any(step["apart"] for name, step in steps.items() if name not in NO_WORD)
    # All of ours but the first of each app, and every column there was.
    files = [path for app in BASELINE for path in (ROOT / app / "migrations").glob("0*.py")]
    assert len(said["steps"]) == len(files) - 3
    assert said["compared"] > 800
    assert said["policies"] > 70
    assert said["threads"] > 50
    note(
        there_and_back_seconds=time.monotonic() - began, migrations_there_and_back=len(said["steps"]), columns_compared=said["compared"]
    )  # fmt: skip


@pytest.fixture
def old_code(tmp_path: Path) -> Path:
    """The tree of the last release."""
    commit = last_release()["commit"]
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    if known.returncode:
        pytest.skip(f"this clone hasn't the commit of the last release ({commit[:7]}): it is shallow")
    archive, tree = tmp_path / "old.tar", tmp_path / "old"
    subprocess.run(["git", "archive", "--output", archive, commit], cwd=ROOT, check=True)
    with tarfile.open(archive) as packed:
        packed.extractall(tree, filter="data")
    if not (tree / "tests/release_smoke.py").exists():
        shutil.copy(ROOT / "tests/release_smoke.py", tree / "tests")
    return tree


def test_code_of_the_last_release_works_on_the_schema_of_this_one(copy: Database, old_code: Path) -> None:
    began = time.monotonic()
    env = copy.environment(MEDIA_ROOT=str(old_code / "media"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.release_smoke"],
        cwd=old_code,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert Path(said.pop("code")) == old_code
    assert said == {
        "statuses": {"empty list": 200, "ask": 302, "reply": 302, "vote": 302, "list": 200, "page": 200, "search": 200},
        "votes": 1, "replies": 1, "listed": True, "read": True, "found": True,
    }  # fmt: skip
    note(last_release_seconds=time.monotonic() - began, last_release=last_release()["commit"][:7])
