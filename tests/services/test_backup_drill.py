"""Backups while processes die, and by the worker that makes them; how long they take."""

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import override_settings
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from quokkaq.backups import running
from quokkaq.backups.lock import Busy
from quokkaq.backups.manifest import differences, tables
from quokkaq.backups.places import Place, places
from quokkaq.backups.reading import decrypted
from quokkaq.lib.jobs import OPERATIONS
from quokkaq.models import Operation
from tests import factories
from tests.processes import ROOT, end, environment, wait_for
from tests.recovery import measured
from tests.services.backups import (
    PROGRAMS,
    RECIPIENT,
    an_empty_database,
    disk,
    kept_in,
    keyring,
    libpq,
    make_key,
    restore,
    silently,
)

pytestmark = [pytest.mark.drill, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with kept_in(tmp_path / "backups" / ".work", disk(tmp_path / "backups")):
        yield places()[0]


def variables(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process that keeps its backups in a folder, which is this process's `place`."""
    files: Any = default_storage
    kept = {**PROGRAMS, "BACKUP_ROOT": str(folder / "backups"), "MEDIA_ROOT": str(files.location)}
    return environment(**{**kept, **more})


def test_a_backup_that_is_killed_in_the_middle_leaves_nothing_in_the_way(place: Place, tmp_path: Path) -> None:
    factories.make_world()
    good = running.back_up("database", say=silently)
    # It has dumped something, and hangs.
    slow, ids = tmp_path / "slow_pg_dump", tmp_path / "pid"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *zstd*) exit 1 ;; esac\necho $$ > {ids}\nprintf PGDMP\nexec sleep 60\n')
    slow.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "manage.py", "dbbackup", "--clean"], cwd=ROOT, env=variables(tmp_path, PG_DUMP=str(slow)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: list((tmp_path / "backups" / ".work").glob("database-*/stored")) and ids.exists(), seconds=60)
        with pytest.raises(Busy):
            running.back_up("database", say=silently)
    finally:
        process.kill()
        process.wait()
        os.kill(int(ids.read_text()), signal.SIGKILL)
    assert list((tmp_path / "backups" / ".work").glob("database-*"))
    assert place.names("database") == [good.name]
    # The database has noticed, and the next run has its way and cleans up.
    started = time.monotonic()
    while True:
        try:
            made = running.back_up("database", say=silently, clean=True)
            break
        except Busy:
            assert time.monotonic() - started < 30
            time.sleep(0.2)
    # Of one day the newest stays.
    assert place.names("database")[0] == made.name
    assert list((tmp_path / "backups" / ".work").iterdir()) == []
    with decrypted(place, made):
        pass


def test_the_keeper_makes_what_is_due_and_other_workers_leave_it(place: Place, tmp_path: Path) -> None:
    default_storage.save("avatars/a.webp", ContentFile(b"RIFF"))
    app.tasks["quokkaq.back_up_database"].defer()
    app.tasks["quokkaq.back_up_files"].defer()
    everybody = [sys.executable, "manage.py", "procrastinate", "worker", "--fetch-job-polling-interval", "0.2"]
    other = subprocess.Popen(
        everybody, cwd=ROOT, env=variables(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: _workers() >= 1, seconds=60, what="a worker")
        time.sleep(2)
        assert set(ProcrastinateJob.objects.filter(queue_name=OPERATIONS).values_list("status", flat=True)) == {"todo"}
        keeper = subprocess.Popen(
            [*everybody, "--queues", OPERATIONS, "--concurrency", "1"], cwd=ROOT, env=variables(tmp_path),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(lambda: place.names("database") and place.names("media"), seconds=90, what="both backups")
            wait_for(lambda: Operation.objects.filter(succeeded=True, failed_at=None).count() == 2)
        finally:
            end(keeper)
    finally:
        end(other)


@pytest.mark.parametrize(("schedule", "wanted"), [("17 2 * * *", {"17 2 * * *"}), ("off", set())])
def test_backups_are_scheduled_where_they_are_wanted(schedule: str, wanted: set[str]) -> None:
    told = (
        "import django; django.setup(); from procrastinate.contrib.django import app;"
        "print([(t.task.name, t.cron) for t in app.periodic_registry.periodic_tasks.values()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        env=environment(BACKUP_SCHEDULE=schedule, DJANGO_SETTINGS_MODULE="quokkaq.settings"),
    )  # fmt: skip
    found = dict(ast.literal_eval(done.stdout.splitlines()[-1]))
    assert "quokkaq.rescue_stalled_jobs" in found
    made = {name: cron for name, cron in found.items() if "back_up" in name}
    assert set(made.values()) == wanted
    assert set(made) == ({"quokkaq.back_up_database", "quokkaq.back_up_files"} if wanted else set())


def _workers() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_workers")
        return int(cursor.fetchone()[0])


def test_what_an_encrypted_backup_of_a_larger_database_takes(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured: made and verified, without a dump in memory, then restored and compared."""
    with connection.cursor() as cursor:
        # Random text, which hardly compresses: 60 MB in the table.
        cursor.execute("CREATE TABLE ballast AS SELECT n, (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 64) i) AS t FROM generate_series(1, 30000) n")  # fmt: skip
    try:
        with keyring() as home, override_settings(DBBACKUP_GPG_RECIPIENT=RECIPIENT):
            make_key(home)
            monkeypatch.setenv("GNUPGHOME", str(home))
            before = peak_memory()
            started = time.monotonic()
            made = running.back_up("database", say=silently)
            seconds = time.monotonic() - started
            grown = peak_memory() - before
            assert made.tables["ballast"].rows == 30000
            started = time.monotonic()
            with decrypted(place, made) as dump, an_empty_database() as name:
                restore(dump, name)
                with psycopg.connect(libpq(name)) as database, database.cursor() as cursor:
                    assert differences(made.tables, tables(cursor)) == []
            restored = time.monotonic() - started
        assert made.size > 20_000_000
        assert grown < made.size
        measured(
            "backup", note="one snapshot, encrypted, read back and decrypted; then restored and every table compared",
            backup_seconds=seconds, restore_seconds=restored, megabytes=made.size / 1e6, memory_grown_megabytes=grown / 1e6,
            tables=len(made.tables), rows=sum(table.rows for table in made.tables.values()),
        )  # fmt: skip
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE ballast")


def peak_memory() -> int:
    """Return the most that this process ever held in memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
