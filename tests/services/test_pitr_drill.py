"""Point in time: what was acknowledged comes back to the chosen second, from either repository, and damage is found."""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.clusters import Cluster, folder
from tests.conftest import needed
from tests.processes import wait_for
from tests.recovery import measured
from tests.services.pgbackrest_host import Host, Ledger, instant, s3_over_tls

pytestmark = pytest.mark.drill
ARCHIVE_TIMEOUT = 5
# What `corruption` is told by: each drill adds its own.
FIGURES: dict[str, float] = {}
SCHEMA = """
CREATE TABLE person (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE post (id int PRIMARY KEY, author_id int NOT NULL REFERENCES person, body text NOT NULL);
INSERT INTO person SELECT n, 'person ' || n FROM generate_series(1, 100) n;
INSERT INTO post SELECT n, 1 + n % 100, repeat('word ', n % 50) FROM generate_series(1, 5000) n;
"""
CONTENTS = "SELECT md5(string_agg(p::text, '|' ORDER BY id)) FROM post p"


@pytest.fixture(autouse=True)
def _programs() -> None:
    needed("pgbackrest")
    needed("openssl")


@contextmanager
def running(home: Path, **settings: str) -> Iterator[Host]:
    host = Host(home, settings)
    try:
        host.start()
        yield host
    finally:
        host.server.stop("immediate")
        _end_archiving(home)


def _end_archiving(home: Path) -> None:
    """Kill what pgBackRest still runs for a host: it outlives the server that started it."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{home}/".encode() in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                os.kill(int(entry.parent.name), signal.SIGKILL)


def restored(host: Host, *arguments: str) -> tuple[float, str]:
    """Run restore-to.sh; return the seconds from its start to the first write, and what it said."""
    ended = threading.Event()

    def first_write() -> float:
        while host.server.is_up() and not ended.wait(0.1):
            pass
        while not ended.wait(0.1):
            with suppress(psycopg.Error):
                host.server.ask("CREATE TABLE IF NOT EXISTS after_the_loss (at timestamptz DEFAULT now())")
                return time.time()
        return float("inf")

    with ThreadPoolExecutor(1) as pool:
        started = time.time()
        waiting = pool.submit(first_write)
        try:
            said = host.script("restore-to.sh", *arguments)[1]
        finally:
            ended.set()
        assert waiting.result() < float("inf")
        return waiting.result() - started, said


def test_an_oops_is_undone_to_the_second_before_and_the_next_restore_works_too() -> None:
    with folder() as home, running(home) as host:
        server = host.server
        server.ask(SCHEMA)
        Ledger.create(server)
        ledger = Ledger(server, home / "ledger")
        posts = server.ask(CONTENTS)
        host.script("backup.sh", "full", "--no-verify")

        ledger.start()
        wait_for(lambda: len(ledger.acknowledged) > 100, what="a hundred rows")
        time.sleep(1.2)
        oops = time.time()
        server.ask("BEGIN; DELETE FROM ledger; DROP TABLE post; COMMIT")
        # The clock goes on taking backups, now of the wrong history.
        host.script("backup.sh", "incr", "--repo", "1", "--no-verify")
        ledger.stop()
        wrong = _newest_backup(host)
        chosen = oops - 1

        seconds, said = restored(host, instant(chosen), "--yes")
        rows = ledger.rows()
        assert {number for number, at in ledger.acknowledged.items() if at <= chosen} <= rows
        assert rows <= {number for number, at in ledger.asked.items() if at <= chosen}
        assert len(rows) > 100
        assert server.ask(CONTENTS) == posts
        last = server.ask("SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float FROM ledger")
        assert 0 <= chosen - last < 1
        assert "full backup into repository 2" in said

        # Life goes on; then everything is restored once more, beside.
        before = max(ledger.asked)
        ledger.start()
        wait_for(lambda: max(ledger.acknowledged) > before + 50, what="fifty more rows")
        ledger.stop()
        host.archived()
        with _beside(host, "copy", "latest") as copy:
            new = {number for number in ledger.acknowledged if number > before}
            assert len(new) >= 50
            assert Ledger(copy, ledger.file).rows() == rows | new
            assert copy.ask(CONTENTS) == posts
            assert copy.ask("SHOW archive_mode") == "off"

        # What was left isn't lost: its history can still be followed.
        with _beside(host, "left", instant(oops + 0.5), "--timeline", "1") as left:
            assert left.ask("SELECT to_regclass('post') IS NULL")

        # Why the full backup at once: the newest one before it belongs to the history that was left.
        host.script("pgbackrest.sh", f"--pg1-path={home}/trap", "--archive-mode=off", f"--set={wrong}", "restore")
        trap = Cluster(home, "trap", flavour="debian")
        with pytest.raises(AssertionError):
            trap.start()
        fatal = [line for line in trap.log.read_text().splitlines() if "FATAL" in line or "PANIC" in line]
        assert re.search("is not a child of this server's history|checkpoint record", fatal[0]), fatal
        report(
            undo_seconds=seconds, undo_rows_before_the_instant=len(rows), undo_rows_lost=0,
            undo_last_row_before_the_instant_ms=1000 * (chosen - last),
        )  # fmt: skip


def test_a_primary_and_its_disk_come_back_from_the_repository_elsewhere() -> None:
    with folder() as home, s3_over_tls(home) as s3, running(home, **s3) as host:
        server = host.server
        server.set(archive_timeout=f"{ARCHIVE_TIMEOUT}s")
        server.reload()
        server.ask(SCHEMA)
        Ledger.create(server)
        ledger = Ledger(server, home / "ledger")
        posts = server.ask(CONTENTS)
        host.script("backup.sh", "full", "--no-verify")

        ledger.start()
        time.sleep(ARCHIVE_TIMEOUT * 2.5)
        server.kill()
        lost_at = time.time()
        ledger.stop()
        _end_archiving(home)
        for gone in (server.data, host.repositories[0], home / "spool"):
            shutil.rmtree(gone)

        host.install()
        seconds, _ = restored(host, "latest", "--yes", "--repo", "2")
        rows = ledger.rows()
        missing = set(ledger.acknowledged) - rows
        seconds_lost = lost_at - min((ledger.acknowledged[number] for number in missing), default=lost_at)
        # A piece of the end only, no longer than what had not been archived yet.
        assert rows <= set(range(1, len(rows) + 1))
        assert len(rows) > 100
        assert seconds_lost < ARCHIVE_TIMEOUT + 10
        assert server.ask(CONTENTS) == posts
        code, said = host.script("status.sh")
        assert (code, said.count(": ok, newest backup")) == (0, 2)
        report(
            second_repository_seconds=seconds, second_repository_rows_lost=len(missing),
            second_repository_seconds_lost=seconds_lost, second_repository_archive_timeout_seconds=ARCHIVE_TIMEOUT,
        )  # fmt: skip


def test_a_damaged_page_and_a_damaged_backup_are_found_and_the_page_is_restored() -> None:
    with folder() as home, running(home) as host:
        server = host.server
        server.run(
            "pgbench",
            "-i",
            "-I",
            "dtgv",
            "-q",
            "-s",
            "20",
            "-h",
            server.host,
            "-p",
            str(server.port),
            "-U",
            "postgres",
            "postgres",
        )
        total, file = server.ask("SELECT sum(pg_database_size(oid)) FROM pg_database"), server.data / server.ask(
            "SELECT pg_relation_filepath('pgbench_accounts')"
        )  # fmt: skip
        host.script("backup.sh", "full", "--repo", "1", "--no-verify")
        server.ask("CREATE TABLE since AS SELECT 1 AS written")

        server.stop()
        _flip(file, 8192 * 1000 + 5000)
        said = server.run("pg_checksums", "--check", "-D", str(server.data), check=False)
        assert said.returncode != 0
        assert "checksum verification failed" in said.stdout
        host.start()
        with pytest.raises(psycopg.errors.DataCorrupted):
            server.ask("SELECT sum(abalance) FROM pgbench_accounts")
        # What runs each night finds it too, and what it then has isn't what is restored.
        code, output = host.script("backup.sh", "diff", "--repo", "1", "--no-verify", check=False)
        assert code == 1
        assert "pages with a wrong checksum" in output
        assert 'run_succeeded{repo="1"} 0' in (host.metrics / "quokkaq_pgbackrest_run_1.prom").read_text()
        assert host.script("status.sh", check=False)[0] == 1

        seconds, output = restored(host, "latest", "--yes")
        assert "beginning with" in output
        assert server.ask("SELECT count(*) FROM pgbench_accounts WHERE abalance = 0") == 2_000_000
        assert server.ask("SELECT written FROM since") == 1
        assert host.script("backup.sh", "verify", "--repo", "1")[0] == 0

        kept = max((host.repositories[0] / "backup/quokkaq").rglob("*.zst"), key=lambda path: path.stat().st_size)
        _flip(kept, kept.stat().st_size // 2)
        code, output = host.script("backup.sh", "verify", "--repo", "1", check=False)
        assert code == 1
        assert "repository 1 is damaged" in output
        report(
            damaged_page_seconds=seconds,
            damaged_page_seconds_per_gb=seconds / (int(total) / 1e9),
            gigabytes=int(total) / 1e9,
        )
        assert seconds / (int(total) / 1e9) < 60


def report(**figures: float) -> None:
    FIGURES.update(figures)
    measured(
        "corruption", note="a DELETE undone, a disk lost, a page damaged; an archive_timeout shorter than the shipped 30 s",
        **FIGURES,
    )  # fmt: skip


def _newest_backup(host: Host) -> str:
    said = host.script("pgbackrest.sh", "info")[1]
    return [line.split()[-1] for line in said.splitlines() if " backup: " in line][-1]


@contextmanager
def _beside(host: Host, name: str, *arguments: str) -> Iterator[Cluster]:
    copy = Cluster(host.home, name, flavour="debian")
    host.script("restore-to.sh", *arguments, "--into", str(copy.data), "--port", str(copy.port))
    try:
        yield copy
    finally:
        copy.stop("immediate")


def _flip(file: Path, offset: int) -> None:
    with file.open("r+b") as bytes_of:
        bytes_of.seek(offset)
        byte = bytes_of.read(1)[0]
        bytes_of.seek(offset)
        bytes_of.write(bytes([byte ^ 0xFF]))
