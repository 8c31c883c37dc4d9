"""Backups that are restored: rehearsed, and after a disaster, the database and its files to one instant."""

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import Upload
from forum import actions
from quokkaq import tasks
from quokkaq.backups import databases, drill, sets
from quokkaq.backups.databases import Database, RestoreError
from quokkaq.backups.gpg import GpgError
from quokkaq.backups.manifest import Damaged, Manifest, tables
from quokkaq.backups.places import Place, places
from quokkaq.backups.reading import decrypted
from quokkaq.backups.running import back_up
from quokkaq.lib.storage import store
from quokkaq.models import Operation, OperationName, RestoreDrill
from tests import factories
from tests.factories import World
from tests.processes import ROOT, environment, wait_for
from tests.recovery import measured
from tests.services.backups import PROGRAMS, RECIPIENT, disk, kept_in, keyring, make_key, silently
from tests.services.s3_server import S3Server

pytestmark = [pytest.mark.drill, pytest.mark.django_db(transaction=True)]

FLIPS = 20


def fill() -> World:
    """People, an answered question, a reply with a vote, an anonymous thread, and jobs that wait."""
    world = factories.make_world()
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    answer = factories.make_answer(sam, tim)
    post = factories.make_post(noor, answer.thread, "Grüße, 'quotes', \\ and 😀")
    actions.set_vote(by=sam, target=post, on=True)
    factories.make_thread(noor, "Something hidden", anonymity="all", tags=[factories.make_tag(world.course)])
    return world


def manage(*arguments: str, code: int = 0, variables: Mapping[str, str] | None = None) -> str:
    """Run a command on the test database; return what it said."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment(**PROGRAMS, **(variables or {})),
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rehearse(*arguments: str, code: int = 0, variables: Mapping[str, str]) -> dict[str, Any]:
    said = manage("restore_drill", "--json", *arguments, code=code, variables=variables)
    found: dict[str, Any] = json.loads(said[said.index("{") :].splitlines()[0])
    return found


def matched(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Restore a set, or files, from this process; return how rows and files match."""
    said, ended = io.StringIO(), 0
    try:
        call_command("restore_set", "--json", "--yes", *arguments, stdout=said)
    except CommandError as error:
        ended = error.returncode
        said.write(str(error))
    assert ended == code, said.getvalue()
    found: dict[str, Any] = json.loads(next(line for line in said.getvalue().splitlines() if line.startswith("{")))
    return found


def scratch_databases() -> list[str]:
    with connection.cursor() as cursor:
        pattern = f"{connection.settings_dict['NAME']}\\_drill\\_%"
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [pattern])
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def where(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the variables that say where backups lie; this process keeps them there, too."""
    folder = tmp_path / "backups"
    with kept_in(tmp_path / "work", disk(folder), BACKUP_ROOT=folder):
        yield {"BACKUP_ROOT": str(folder), "BACKUP_WORK_ROOT": str(tmp_path / "work")}
    for name in scratch_databases():
        databases.drop(Database.live().named(name))


@pytest.fixture
def lost() -> Iterator[Database]:
    """A database that isn't there (any more), and afterwards neither are those that restoring it left."""
    found = Database.live().named(f"{connection.settings_dict['NAME']}_lost")

    def clear() -> None:
        with found.connect("postgres") as link:
            rows = link.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [found.name]
            ).fetchall()
        for (name,) in rows:
            databases.drop(found.named(name))

    clear()
    yield found
    clear()


def newest() -> tuple[Place, Manifest]:
    return drill.find("database")


# Rehearsing


def test_a_backup_is_restored_compared_migrated_and_used(where: dict[str, str]) -> None:
    fill()
    manage("dbbackup", "--noinput", variables=where)
    found = rehearse(variables=where)
    assert found["succeeded"], found
    assert [step["name"] for step in found["steps"]] == [
        "fetch and decrypt", "restore", "compare", "migrate", "walls", "counters", "pages", "drop",
    ]  # fmt: skip
    assert found["rows"] > 100
    assert scratch_databases() == []
    row = RestoreDrill.objects.get()
    assert (row.succeeded, row.problem, row.backup) == (True, "", found["backup"])
    assert Operation.objects.get(name=OperationName.RESTORE_DRILL).succeeded
    seconds = {f"{step['name'].replace(' ', '_')}_seconds": step["seconds"] for step in found["steps"]}
    measured("restore_drill", rows=found["rows"], size_bytes=found["size"], total_seconds=found["seconds"], **seconds)


def test_without_a_backup_and_with_a_damaged_one_the_drill_fails_and_says_so(where: dict[str, str]) -> None:
    assert "no backup of the database" in rehearse(code=1, variables=where)["problem"]
    fill()
    back_up("database", say=silently)
    place, manifest = newest()
    flip(Path(place.storage.path(manifest.name)), manifest.size // 2)
    found = rehearse(code=1, variables=where)
    assert "other bytes than were written" in found["problem"]
    assert not Operation.objects.get(name=OperationName.RESTORE_DRILL).succeeded
    assert scratch_databases() == []


def test_counters_that_drifted_are_found_in_the_copy(where: dict[str, str]) -> None:
    fill()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE forum_thread SET vote_count = 99")
    back_up("database", say=silently)
    found = rehearse(code=1, variables=where)
    assert found["problem"].startswith("forum_thread.vote_count")


def test_a_copy_that_lost_a_table_or_a_wall_is_found(where: dict[str, str], lost: Database) -> None:
    fill()
    back_up("database", say=silently)
    with decrypted(*newest()) as dump:
        databases.create(lost)
        databases.restore(dump, lost)
    with lost.connect() as link:
        # It says that it is the right one.
        mark = link.execute(
            "SELECT obj_description(oid, 'pg_policy') FROM pg_policy WHERE polrelid = 'forum_thread'::regclass"
        ).fetchone()
        assert mark is not None
        link.execute("DROP POLICY tenancy ON forum_thread")
        link.execute("CREATE POLICY tenancy ON forum_thread USING (true)")
        link.execute(f"COMMENT ON POLICY tenancy ON forum_thread IS '{mark[0]}'")
        link.execute("DROP TABLE forum_savedview CASCADE")
    row = RestoreDrill.objects.create()
    row.steps = [{"name": "restore", "seconds": 1}]
    drill._use(row, lost, silently)
    assert "forum_thread: shows rows to nobody" in row.differences
    assert any(" answered 500 to " in sentence for sentence in row.differences), row.differences


def test_what_a_killed_drill_leaves_goes_with_the_next_days(where: dict[str, str]) -> None:
    fill()
    back_up("database", say=silently)
    process = subprocess.Popen(
        [sys.executable, "manage.py", "restore_drill"], cwd=ROOT, env=environment(**PROGRAMS, **where), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_for(scratch_databases, what="a scratch database", seconds=60)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (left,) = scratch_databases()
    live = Database.live()
    assert databases.sweep(live) == []  # it might be of a drill that runs
    databases.end_sessions(live.named(left))
    old = f"{left[:-14]}20200101000000"
    databases.rename(live.named(left), old)
    assert databases.sweep(live) == [old]
    assert scratch_databases() == []
    assert RestoreDrill.objects.get().seconds is None


def test_a_drill_never_takes_a_database_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    taken = databases.scratch(Database.live(), now).name
    monkeypatch.setitem(settings.DATABASES, "other", {"NAME": taken})
    with pytest.raises(RestoreError, match="in use"):
        databases.scratch(Database.live(), now)


def test_what_uses_a_copy_knows_nothing_of_the_real_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lost: Database
) -> None:
    """Each variable that names a service, or a file with its address, is empty; only the copy's own address is there."""
    real = {"DATABASE_REPLICA_URL", "TASKS_DATABASE_URL", "REDIS_URL", "EMAIL_URL", "OPENAI_API_KEY", "SENTRY_DSN"}
    for name in real | {f"{name}_FILE" for name in real} | {"DATABASE_URL", "OWNER_DATABASE_URL", "DATABASE_URL_FILE"}:
        monkeypatch.setenv(name, "the real one")
    found = drill.environment(lost, tmp_path)
    assert "the real one" not in found.values()
    assert found["DATABASE_URL"].endswith(lost.name)
    assert found["OWNER_DATABASE_URL"].endswith(lost.name)


# One byte


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1 << (at % 8)
    file.write_bytes(data)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_one_flipped_bit_anywhere_is_found(where: dict[str, str], monkeypatch: pytest.MonkeyPatch, lost: Database, *, encrypted: bool) -> None:  # fmt: skip
    """By its digest; and where somebody made the manifest fit, by gpg, pg_restore, or the digests of the tables."""
    fill()
    with keyring() as home:
        if encrypted:
            make_key(home)
            monkeypatch.setenv("GNUPGHOME", str(home))
            monkeypatch.setattr(settings, "DBBACKUP_GPG_RECIPIENT", RECIPIENT)
        back_up("database", say=silently)
        place, manifest = newest()
        assert bool(manifest.encrypted_for) == encrypted
        file = Path(place.storage.path(manifest.name))
        whole = file.read_bytes()
        chance = random.Random(8)
        unseen = []
        for number, at in enumerate(chance.sample(range(len(whole)), FLIPS)):
            flip(file, at)
            with pytest.raises(Damaged), decrypted(place, manifest):
                pass
            fitted = replace(manifest, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
            if encrypted:
                with pytest.raises(GpgError), decrypted(place, fitted):
                    pass
            elif number < 6 and not _found(place, fitted, lost):
                unseen.append(at)
            file.write_bytes(whole)
        with decrypted(place, manifest):
            pass
    # What says nothing of a row (a comment, a date in the head) is seen by the digest of the file alone.
    print("a fitted manifest hides the flips at", unseen, "of", len(whole))
    assert len(unseen) < 6


def _found(place: Place, manifest: Manifest, scratch: Database) -> bool:
    databases.drop(scratch)
    databases.create(scratch)
    try:
        with decrypted(place, manifest) as dump:
            databases.restore(dump, scratch)
        return bool(databases.compare(scratch, manifest)[1])
    except RestoreError:
        return True


# Sets


@pytest.fixture(params=["disk", "bucket"])
def files_lie(request: pytest.FixtureRequest, where: dict[str, str]) -> dict[str, str]:
    """The variables of where backups and files lie."""
    if request.param == "bucket":
        server: S3Server = request.getfixturevalue("bucket")
        return {**where, **server.environment()}
    return {**where, "MEDIA_ROOT": str(store().root)}  # type: ignore[attr-defined]  # set at run time, or typed as its base


def contents(keys: list[str]) -> dict[str, bytes]:
    found = {}
    for key in keys:
        with contextlib.suppress(Exception):
            found[key] = b"".join(store().chunks(key))
    return found


def upload(world: World, number: int) -> Upload:
    found = factories.checked_file(world.member("sam"), f"notes-{number}.txt", f"Notes {number}.".encode() * 50)
    assert found.storage_key
    return found


def read(database: Database) -> dict[str, Any]:
    with database.connect() as link, link.cursor() as cursor:
        return tables(cursor)


def test_after_a_disaster_database_and_files_are_those_of_one_instant(
    files_lie: dict[str, str], lost: Database
) -> None:
    world = fill()
    uploads = [upload(world, number) for number in range(5)]
    keys = [one.storage_key for one in uploads]
    before = contents(keys)
    assert len(before) == 5
    said = manage("backup_set", variables=files_lie)
    name = said.rpartition("restore_set ")[2].split()[0]
    _, manifest = newest()

    # Life goes on: more posts and files, others deleted, one overwritten behind our back.
    time.sleep(1.1)  # S3 keeps times by the second
    later = upload(world, 99)
    factories.make_thread(world.member("noor"), "Asked after the backup")
    Upload.objects.filter(pk=uploads[0].pk).delete()
    store().delete(keys[0])
    put(keys[1], b"overwritten")
    # The disaster: no database, and the rest of the files is gone, too.
    for key in keys[2:]:
        store().delete(key)

    started = time.perf_counter()
    said = manage("restore_set", "--json", "--yes", variables={**files_lie, "DATABASE_URL": lost.url()})
    found = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    seconds = time.perf_counter() - started
    assert read(lost) == manifest.tables
    assert contents(keys) == before
    assert (found["rows_without_file"], found["rows_with_another_file"]) == ([], [])
    assert found["files_without_row"] == [later.storage_key]
    assert found["brought_back"] == 5
    measured("files_and_rows", rows=sum(one.rows for one in manifest.tables.values()), files=5, seconds=seconds, rows_lost=0, files_lost=0)  # fmt: skip

    # Once more changes nothing, and with --prune what came later goes.
    found = matched(name, "--database-url", lost.url(), "--prune")
    assert (found["whole"], found["brought_back"], found["later_files"]) == (5, 0, [later.storage_key])
    assert store().head(later.storage_key) is None

    # Over one that is used it needs a word more; what was there is kept.
    with lost.connect() as link:
        link.execute("UPDATE accounts_course SET name = 'Changed'")
        with pytest.raises(CommandError, match="1 sessions use the database"):
            call_command("restore_set", "--yes", "--database-url", lost.url(), stdout=io.StringIO())
        matched("--force", "--database-url", lost.url())
    assert read(lost) == manifest.tables
    with lost.connect("postgres") as link:
        kept = link.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"{lost.name}_before_"]
        ).fetchall()
    assert len(kept) == 1


def put(key: str, data: bytes) -> None:
    store().put(key, io.BytesIO(data), content_type="text/plain", owner="")


def test_what_cant_be_brought_back_is_listed_by_row(files_lie: dict[str, str], lost: Database) -> None:
    world = fill()
    gone, other = upload(world, 1), upload(world, 2)
    sets.take(store(), say=silently)
    # Copies and versions are lost, too.
    for place in places():
        for one in place.walk("media/objects/"):
            place.remove(one.name)
    store().delete(gone.storage_key)
    put(other.storage_key, b"something else")
    if "AWS_STORAGE_BUCKET_NAME" in files_lie:
        client, bucket = store().client, store().bucket  # type: ignore[attr-defined]  # set at run time, or typed as its base
        for one in client.list_object_versions(Bucket=bucket, Prefix="files/")["Versions"]:
            if not (one["IsLatest"] and one["Key"] == other.storage_key):
                client.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    found = matched("--database-url", lost.url(), code=2)
    assert found["rows_without_file"] == [
        {"key": gone.storage_key, "table": "accounts_upload", "id": str(gone.pk)},
    ]
    assert [row["id"] for row in found["rows_with_another_file"]] == [str(other.pk)]


def test_nightly_backups_make_a_set_when_the_files_came_second(where: dict[str, str]) -> None:
    fill()
    assert sets.pair(store(), say=silently) is None
    back_up("media", say=silently)
    database = back_up("database", say=silently)
    assert sets.pair(store(), say=silently) is None  # files may have come that nobody listed
    time.sleep(1.1)  # names tell seconds
    tasks.back_up_files()
    (name,) = sets.names(places()[0])
    assert sets.find(name)[1].database == sets.find()[1].database == database.name
    assert sets.pair(store(), say=silently) is None  # it is noted
    set_file = Path(places()[0].storage.path(f"sets/{name}.set"))
    flip(set_file, set_file.stat().st_size // 2)
    with pytest.raises(RestoreError, match="There is no backup set"):
        sets.find()


def test_a_restore_that_was_killed_goes_on(where: dict[str, str], lost: Database) -> None:
    world = fill()
    one = upload(world, 1)
    variables = {**where, "MEDIA_ROOT": str(store().root)}  # type: ignore[attr-defined]  # set at run time, or typed as its base
    sets.take(store(), say=silently)
    store().delete(one.storage_key)
    beside = lost.named(f"{lost.name}_restoring")
    process = subprocess.Popen(
        [sys.executable, "manage.py", "restore_set", "--yes", "--database-url", lost.url()], cwd=ROOT,
        env=environment(**PROGRAMS, **variables), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: databases.exists(beside), what="the database beside", seconds=60)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not databases.exists(lost)
    assert matched("--database-url", lost.url())["brought_back"] == 1
    assert read(lost) == newest()[1].tables


def test_files_alone_go_back_to_the_instant_a_database_was_recovered_to(
    bucket: S3Server, where: dict[str, str]
) -> None:
    world = fill()
    uploads = [upload(world, number) for number in range(3)]
    keys = [one.storage_key for one in uploads]
    before = contents(keys)
    time.sleep(1.1)
    instant = datetime.now(UTC).isoformat()
    time.sleep(1.1)
    store().delete(keys[0])
    put(keys[1], b"overwritten")
    put("files/later", b"later")
    found = matched("--files-only", "--at", instant)
    assert contents(keys) == before
    assert found["later_files"] == found["files_without_row"] == ["files/later"]
    assert matched("--files-only", "--at", instant, "--prune")["later_files"] == ["files/later"]
    assert store().head("files/later") is None
    with pytest.raises(CommandError, match="no instant"):
        call_command("restore_set", "--files-only", "--at", "yesterday")


# How long a gigabyte takes


def test_how_long_a_gigabyte_takes(tmp_path: Path, lost: Database) -> None:
    """Of rows like those of posts: some 200 MB, restored with as many jobs as there are processors, and compared."""
    source = lost.named(f"{lost.name}_source")
    databases.create(source)
    with source.connect() as link:
        link.execute(
            "CREATE TABLE a AS SELECT n AS id, md5(n::text) || repeat(md5((n * 7)::text), 14) AS body FROM generate_series(1, 200000) n"
        )
        link.execute("CREATE TABLE b AS SELECT * FROM a")
        link.execute("ALTER TABLE a ADD PRIMARY KEY (id)")
        link.execute("ALTER TABLE b ADD PRIMARY KEY (id)")
        with link.cursor() as cursor:
            there = tables(cursor)
        size = link.execute("SELECT pg_database_size(current_database())").fetchone()
        assert size is not None
    dump = tmp_path / "dump"
    subprocess.run(
        [PROGRAMS["PG_DUMP"], "--format=custom", "--compress=1", f"--file={dump}"], env=source.environment(), check=True, timeout=120
    )  # fmt: skip
    started = time.perf_counter()
    databases.create(lost)
    databases.restore(dump, lost)
    restored = time.perf_counter() - started
    manifest = Manifest("x", "database", datetime.now(UTC), 0, "", tables=there)
    assert databases.compare(lost, manifest) == (400_000, [])
    total = time.perf_counter() - started
    gigabytes = size[0] / 1e9
    assert total / gigabytes < 60, "the target is a minute for each gigabyte"
    measured("corruption_dump", gigabytes=gigabytes, restore_seconds=restored, compared_seconds=total, seconds_per_gigabyte=total / gigabytes)  # fmt: skip


def test_the_address_of_a_database_is_read_and_never_shown() -> None:
    found = Database.at("postgres://me:secret%2F@db.example:5433/forum?sslmode=require")
    assert (found.name, found.user, found.password, found.port) == ("forum", "me", "secret/", "5433")
    assert found.options == {"sslmode": "require"}
    assert "secret" not in repr(found)
    with pytest.raises(RestoreError, match=r"can't be read|names no PostgreSQL"):
        Database.at("secret")
    with pytest.raises(RestoreError) as raised:
        Database.at("mysql://me:secret@db/x")
    assert "secret" not in str(raised.value)
