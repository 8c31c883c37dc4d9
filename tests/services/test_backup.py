"""A backup comes back the same, from disk and from S3; one that isn't whole is none, and takes nothing away."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from moto.server import ThreadedMotoServer

from forum import actions
from quokkaq import measuring
from quokkaq.backups import gpg, keeping, media, running
from quokkaq.backups.connector import Contents
from quokkaq.backups.lock import Busy, only_one
from quokkaq.backups.manifest import Damaged, Manifest, differences, tables
from quokkaq.backups.places import OBJECTS, Kind, Locked, Place, PlaceError, object_name, places
from quokkaq.backups.reading import decrypted, open_file
from quokkaq.backups.running import BackupFailed, SecondPlaceFailed
from quokkaq.backups.storages import DiskStorage
from quokkaq.lib import storage, tenancy
from quokkaq.lib.database.owner import as_owner
from quokkaq.lib.storage import PrivateS3Storage, store
from quokkaq.models import Operation
from tests import factories
from tests.factories import World
from tests.processes import ROOT, environment
from tests.services import s3_server
from tests.services.backups import (
    PROGRAMS,
    RECIPIENT,
    an_empty_database,
    bucket,
    disk,
    kept_in,
    keyring,
    libpq,
    make_key,
    restore,
    silently,
)
from tests.services.backups import (
    gpg as run_gpg,
)
from tests.services.s3_server import Gate, Refused, S3Server
from tests.tasks import run_tasks

# Programs of the server and gpg run in nearly all of them.
pytestmark = pytest.mark.drill
MAIN = "main"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 endpoint on this machine with the bucket `files`, which takes any key."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="files")
    yield url
    server.stop()


@pytest.fixture(scope="module")
def one_bucket_server() -> Iterator[S3Server]:
    with s3_server.running(bucket="backups") as server:
        yield server


@pytest.fixture
def bucket_server(one_bucket_server: S3Server) -> S3Server:
    """An S3 endpoint with an empty bucket `backups`."""
    one_bucket_server.empty()
    return one_bucket_server


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """A GNUPGHOME with one key pair without a passphrase."""
    with keyring() as home:
        make_key(home)
        yield home


@pytest.fixture
def public_only(keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """GNUPGHOME as a server has it: the public key, and no private one."""
    with keyring() as home:
        run_gpg(home, "--import", given=run_gpg(keys, "--export", RECIPIENT))
        monkeypatch.setenv("GNUPGHOME", str(home))
        yield home


@pytest.fixture
def on_disk(tmp_path: Path, transactional_db: None) -> Iterator[Place]:
    """Backups on the disk, readable."""
    with kept_in(tmp_path / "work", disk(tmp_path / "backups")):
        yield places()[0]


def fill() -> None:
    world = factories.make_world()
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    answer = factories.make_answer(sam, tim)
    post = factories.make_post(noor, answer.thread, "Grüße, 'quotes', \\ and 😀")
    actions.set_vote(by=sam, target=post, on=True)
    actions.set_endorsement(by=tim, post=post, on=True)
    actions.edit_post(by=noor, post=post, body="Edited")
    factories.make_thread(noor, "Something hidden", anonymity="all", tags=[factories.make_tag(world.course)])


def back_up(kind: Kind = "database", **more: Any) -> Manifest:
    return running.back_up(kind, say=silently, **more)


def failed(kind: Kind = "database") -> Operation:
    """Return what is noted of backups, after one that failed."""
    operation = Operation.objects.get(name=running.NAMES[kind])
    assert operation.failed_at is not None
    return operation


def gauges() -> dict[str, float]:
    """Return what the metrics tell of backups."""
    with connection.cursor() as cursor:
        return {f"{metric.name}{{{','.join(labels)}}}": value for metric, labels, value in measuring.operations(cursor)}


def manage(*arguments: str, **changes: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment(**PROGRAMS, **changes), capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def counted(name: str) -> Any:
    with psycopg.connect(libpq(name)) as database, database.cursor() as cursor:
        return tables(cursor)


# The database: there and back


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["disk", "s3", "encrypted"])
def test_a_backup_restores_every_table(
    where: str, tmp_path: Path, bucket_server: S3Server, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    monkeypatch.setenv("GNUPGHOME", str(keys))
    main = disk(tmp_path / "backups") if where == "disk" else bucket(bucket_server)
    with kept_in(tmp_path / "work", main, DBBACKUP_GPG_RECIPIENT=RECIPIENT if where == "encrypted" else None):
        place = places()[0]
        made = back_up()
        assert place.names("database")[0] == made.name
        manifest = place.manifest(made.name)
        assert manifest == made
        assert manifest.tables["forum_post"].rows == 1
        assert manifest.migrations["quokkaq"] >= "0003"
        with place.open(made.name) as stored:
            head = stored.read(5)
        assert (head == b"PGDMP") == (where != "encrypted")
        with decrypted(place, manifest) as dump, an_empty_database() as name:
            assert dump.stat().st_mode & 0o777 == 0o600
            restore(dump, name)
            found = counted(name)
            assert differences(manifest.tables, found) == []
            # The triggers came along: the counters still count.
            target = environment()["DATABASE_URL"].replace(connection.settings_dict["NAME"], name)
            manage("check_counters", DATABASE_URL=target)
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_the_commands_of_django_dbbackup_make_list_and_restore(tmp_path: Path) -> None:
    fill()
    changes = {"BACKUP_ROOT": str(tmp_path), "BACKUP_GPG_RECIPIENT": ""}
    said = manage("dbbackup", "--noinput", "--compress", "--clean", **changes)
    assert "verified in the main place" in said
    (name,) = (path.name for path in tmp_path.glob("*.psql.bin"))
    # What a run that died left isn't offered.
    (tmp_path / "default-quokkaq-2100-01-01-000000.psql.bin").write_bytes(b"PGDMP")
    listed = manage("listbackups", **changes)
    assert name in listed
    assert "2100-01-01" not in listed
    assert "manifest" not in listed
    with an_empty_database() as empty:
        target = environment()["DATABASE_URL"].replace(connection.settings_dict["NAME"], empty)
        manage("dbrestore", "--noinput", **changes, DATABASE_URL=target)
        manifest = Manifest.from_json((tmp_path / f"{name}.manifest").read_bytes())
        assert differences(manifest.tables, counted(empty)) == []


@pytest.mark.django_db(transaction=True)
def test_rows_are_counted_in_the_snapshot_that_is_dumped(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes between the dump and the counting."""
    fill()
    real = Contents.tables

    def late(self: Contents) -> set[str]:
        with psycopg.connect(libpq(connection.settings_dict["NAME"])) as elsewhere:
            elsewhere.execute("UPDATE forum_post SET body = 'written while it was dumped'")
        return real(self)

    monkeypatch.setattr(Contents, "tables", late)
    manifest = back_up()
    with decrypted(on_disk, manifest) as dump, an_empty_database() as name:
        restore(dump, name)
        assert differences(manifest.tables, counted(name)) == []
    assert len(differences(manifest.tables, counted(connection.settings_dict["NAME"]))) >= 1


def test_an_account_that_does_not_own_the_tables_makes_no_empty_backup(world: World) -> None:
    running.expect_owner()
    with tenancy.scope(world.institution.pk), pytest.raises(BackupFailed, match="OWNER_DATABASE_URL"):
        running.expect_owner()


# A backup that isn't whole


def corrupted(monkeypatch: pytest.MonkeyPatch, how: Callable[[bytes], bytes], only: str = "") -> None:
    """Let the disk change what is written to it, of names that hold `only`."""
    real = DiskStorage._save

    def save(self: DiskStorage, name: str, content: Any) -> str:
        if only in name and not name.endswith(".manifest"):
            content.seek(0)
            content = ContentFile(how(content.read()))
        return real(self, name, content)

    monkeypatch.setattr(DiskStorage, "_save", save)


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a flipped byte": (flipped, "other bytes"),
    "a cut": (lambda data: data[: len(data) // 2], "bytes instead of"),
    "nothing": (lambda data: b"", "bytes instead of"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_verification_is_no_backup_and_replaces_none(
    fault: str, on_disk: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = back_up()
    Operation.objects.update(ended_at=timezone.now() - timedelta(hours=20))
    how, says = FAULTS[fault]
    with monkeypatch.context() as broken:
        corrupted(broken, how)
        later(broken)
        with pytest.raises(BackupFailed, match=says):
            back_up(clean=True)
    # The good one is there and whole, nothing else is, and its age goes on.
    assert on_disk.names("database") == [good.name]
    assert sorted(one.name for one in on_disk.walk()) == [good.name, f"{good.name}.manifest"]
    with decrypted(on_disk, good):
        pass
    assert failed().failures == 1
    assert says in failed().error
    shown = gauges()
    assert shown["quokkaq_backup_failed{database}"] == 1
    assert shown["quokkaq_backup_age_seconds{database}"] == pytest.approx(20 * 3600, abs=60)
    assert shown["quokkaq_backup_size_bytes{database}"] == good.size
    assert "a backup failed" in caplog.text
    later(monkeypatch, 120)
    back_up()
    assert gauges()["quokkaq_backup_failed{database}"] == 0
    assert len(on_disk.names("database")) == 2


def later(monkeypatch: pytest.MonkeyPatch, seconds: int = 60) -> None:
    """Name backups as if so much time had passed: two within a second would have one name."""
    from quokkaq.backups import database

    real = database.name_of

    def name_of(extension: str, taken_at: Any, *rest: Any) -> str:
        return real(extension, taken_at + timedelta(seconds=seconds), *rest)

    for module in (database, media):
        monkeypatch.setattr(module, "name_of", name_of)


def test_a_first_backup_that_fails_is_told_too(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    corrupted(monkeypatch, flipped)
    with pytest.raises(BackupFailed):
        back_up()
    assert gauges() == {"quokkaq_backup_failed{database}": 1}
    assert failed().ended_at is None


def test_a_byte_that_flips_later_is_found_when_it_is_read(on_disk: Place, tmp_path: Path) -> None:
    manifest = back_up()
    file = tmp_path / "backups" / manifest.name
    file.write_bytes(flipped(file.read_bytes()))
    with pytest.raises(Damaged, match="other bytes"), decrypted(on_disk, manifest):
        pass
    file.unlink()
    with pytest.raises(Damaged, match="missing"), decrypted(on_disk, manifest):
        pass
    assert list((tmp_path / "work").iterdir()) == []


def test_a_dump_that_lacks_a_table_is_no_backup(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Contents, "tables", lambda self: set())
    with pytest.raises(BackupFailed, match="tables less"):
        back_up()
    assert on_disk.names("database") == []


def test_a_pg_dump_that_fails_is_told_in_its_words_without_a_secret(
    on_disk: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Any] = []
    real = subprocess.Popen

    def popen(command: Any, *args: Any, **more: Any) -> Any:
        seen.append(command)
        return real(command, *args, **more)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with override_settings(DATABASE_OWNER={**settings.DATABASE_OWNER, "PASSWORD": "s3cret-of-the-owner"}):
        broken = tmp_path / "pg_dump"
        broken.write_text("#!/bin/sh\nprintf PGDMP\necho 'pg_dump: error: no room for it' >&2\nexit 1\n")
        broken.chmod(0o755)
        from dbbackup import settings as dbbackup_settings

        monkeypatch.setitem(dbbackup_settings.CONNECTORS["default"], "DUMP_CMD", str(broken))
        monkeypatch.setitem(dbbackup_settings.CONNECTORS["default"], "PASSWORD", "s3cret-of-the-owner")
        with pytest.raises(BackupFailed, match="no room for it"):
            back_up()
    assert on_disk.names("database") == []
    assert any("--snapshot" in str(command) for command in seen)
    assert "s3cret" not in str(seen)


def test_a_program_that_is_missing_is_named(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbbackup import settings as dbbackup_settings

    monkeypatch.setitem(dbbackup_settings.CONNECTORS["default"], "DUMP_CMD", "/nowhere/pg_dump")
    with pytest.raises(BackupFailed, match="pg_dump is missing"):
        back_up()


def test_two_backups_of_a_kind_are_never_made_at_once(on_disk: Place) -> None:
    with as_owner(), only_one("database"):
        with pytest.raises(Busy, match="Another process"):
            back_up()
        with pytest.raises(CommandError, match="Another process"):
            call_command("dbbackup", verbosity=0)
        assert not Operation.objects.exists()
        # Files are another matter.
        back_up("media")
    back_up()


def test_what_runs_that_died_have_left_is_swept(on_disk: Place, tmp_path: Path) -> None:
    folder, work = tmp_path / "backups", tmp_path / "work"
    (work / "database-died").mkdir(parents=True)
    (work / "database-died" / "stored").write_bytes(b"half")
    (folder / ".partial").mkdir(parents=True)
    old = (timezone.now() - timedelta(days=2)).timestamp()
    for name in (
        "default-quokkaq-2026-01-01-021700.psql.bin", "default-quokkaq-2026-01-02-021700.psql.bin",
        "default-quokkaq-2026-01-02-021700.psql.bin.metadata", "notes.txt", ".partial/1",
    ):  # fmt: skip
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (old, old))
    (folder / "default-quokkaq-2026-01-03-021700.psql.bin").write_bytes(b"being written")
    made = back_up()
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left == {
        made.name, f"{made.name}.manifest", "notes.txt", "default-quokkaq-2026-01-03-021700.psql.bin",
        # One of an earlier release, which wrote no manifest.
        "default-quokkaq-2026-01-02-021700.psql.bin", "default-quokkaq-2026-01-02-021700.psql.bin.metadata",
    }  # fmt: skip
    assert list(work.iterdir()) == []


def test_a_backup_that_counts_is_never_written_over(on_disk: Place) -> None:
    made = back_up()
    with pytest.raises(PlaceError, match="already"):
        on_disk.save(made.name, io.BytesIO(b"other"))
    with decrypted(on_disk, made):
        pass


# Buckets in trouble


@pytest.fixture
def in_bucket(tmp_path: Path, transactional_db: None, bucket_server: S3Server) -> Iterator[Place]:
    with kept_in(tmp_path / "work", bucket(bucket_server)):
        yield places()[0]


def refusing(monkeypatch: pytest.MonkeyPatch, times: int, method: str = "PUT", after: int = 0) -> list[str]:
    """Let the bucket answer 503 so often, once it has answered `after` such requests well; return what it refused."""
    real = Gate.answer
    refused: list[str] = []
    passed: list[int] = []

    def answer(self: Gate, environ: Any, body: Any) -> Any:
        if environ["REQUEST_METHOD"] == method:
            passed.append(1)
            if len(passed) > after and len(refused) < times:
                refused.append(environ["PATH_INFO"])
                raise Refused(503, "SlowDown")
        return real(self, environ, body)

    monkeypatch.setattr(Gate, "answer", answer)
    return refused


def test_a_bucket_that_is_busy_for_a_moment_is_asked_again(in_bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = refusing(monkeypatch, 2)
    made = back_up()
    assert len(refused) == 2
    with decrypted(in_bucket, made):
        pass


@pytest.mark.parametrize(("method", "after"), [("PUT", 0), ("PUT", 1), ("GET", 0)])
def test_a_bucket_that_goes_away_in_the_middle_gets_no_backup(
    in_bucket: Place, monkeypatch: pytest.MonkeyPatch, method: str, after: int
) -> None:
    good = back_up()
    with monkeypatch.context() as broken:
        later(broken)
        refused = refusing(broken, 10_000, method, after)
        with pytest.raises(BackupFailed, match="SlowDown"):
            back_up()
        assert refused
    assert in_bucket.names("database") == [good.name]
    assert failed().failures == 1
    later(monkeypatch, 120)
    back_up()
    assert len(in_bucket.names("database")) == 2


def test_a_bucket_that_does_not_answer_is_told(tmp_path: Path, transactional_db: None, bucket_server: S3Server) -> None:
    away = kept_in(tmp_path, bucket(bucket_server, endpoint_url="http://127.0.0.1:9"))
    with away, pytest.raises(BackupFailed, match=r"can't be reached \(EndpointConnectionError\)"):
        back_up()


# Encryption


def test_the_server_needs_the_public_key_only(
    on_disk: Place, public_only: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with override_settings(DBBACKUP_GPG_RECIPIENT=RECIPIENT):
        made = back_up()
        assert made.name.endswith(".psql.bin.gpg")
        with pytest.raises(gpg.GpgError, match="private key isn't in GNUPGHOME"), decrypted(on_disk, made):
            pass
        with monkeypatch.context() as broken:
            later(broken)
            # Not what gpg made: the head names no key.
            broken.setattr(gpg, "key_ids", lambda head: set())
            with pytest.raises(BackupFailed, match="isn't encrypted for"):
                back_up()
    monkeypatch.setenv("GNUPGHOME", str(keys))
    with decrypted(on_disk, made) as dump:
        assert dump.read_bytes()[:5] == b"PGDMP"


def test_a_changed_encrypted_file_is_refused_by_itself(
    keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(keys))
    file = tmp_path / "x.gpg"
    with gpg.encrypting(RECIPIENT, file) as pipe:
        pipe.write(os.urandom(100_000))
    for changed in (flipped(file.read_bytes()), file.read_bytes()[:50_000]):
        with pytest.raises(gpg.GpgError, match="changed or cut"):
            gpg.decrypt(io.BytesIO(changed), (tmp_path / "out").open("wb"))
    with pytest.raises(gpg.GpgError, match="no file that gpg"):
        gpg.decrypt(io.BytesIO(b"something else"), (tmp_path / "out").open("wb"))


@pytest.mark.parametrize("state", ["missing", "expired", "signs only"])
def test_a_key_that_can_not_be_used_is_told_before_anything_is_dumped(
    state: str, on_disk: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keyring() as home, override_settings(DBBACKUP_GPG_RECIPIENT=RECIPIENT):
        monkeypatch.setenv("GNUPGHOME", str(home))
        if state == "expired":
            make_key(home, expires="seconds=1")
            import time

            time.sleep(2)
        elif state == "signs only":
            run_gpg(home, "--passphrase", "", "--quick-generate-key", RECIPIENT, "ed25519", "sign", "never")
        says = {"missing": "no public key", "expired": r"has expired on 20\d\d-", "signs only": "can only sign"}[state]
        with pytest.raises(BackupFailed, match=says):
            back_up()
    assert list(on_disk.walk()) == []
    assert failed().failures == 1


def test_a_passphrase_opens_what_needs_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with keyring() as home:
        monkeypatch.setenv("GNUPGHOME", str(home))
        make_key(home, passphrase="correct horse")
        run_gpg(home, "--version")
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
        file = tmp_path / "x.gpg"
        with gpg.encrypting(RECIPIENT, file) as pipe:
            pipe.write(b"something")
        with pytest.raises(gpg.GpgError, match="BACKUP_GPG_PASSPHRASE"), file.open("rb") as source:
            gpg.decrypt(source, (tmp_path / "out").open("wb"))
        assert not gpg.can_decrypt(RECIPIENT, tmp_path)
        with override_settings(BACKUP_GPG_PASSPHRASE="correct horse"), file.open("rb") as source:
            gpg.decrypt(source, (tmp_path / "out").open("wb"))
        assert (tmp_path / "out").read_bytes() == b"something"


# The second place


@pytest.fixture
def two_places(tmp_path: Path, transactional_db: None) -> Iterator[list[Place]]:
    with kept_in(tmp_path / "work", disk(tmp_path / "backups"), disk(tmp_path / "second")):
        yield places()


@pytest.mark.parametrize("kind", ["database", "media"])
def test_each_backup_is_in_both_places(kind: Kind, two_places: list[Place]) -> None:
    key = default_storage.save("avatars/a.webp", ContentFile(b"RIFF"))
    made = back_up(kind)
    assert [place.names(kind) for place in two_places] == [[made.name], [made.name]]
    assert Operation.objects.get().places == "main, second"
    for place in two_places:
        if kind == "media":
            assert open_file(place, made, key).read() == b"RIFF"
        else:
            with decrypted(place, made):
                pass


@pytest.mark.parametrize("kind", ["database", "media"])
def test_without_the_second_place_a_backup_counts_and_is_told_of(
    kind: Kind, two_places: list[Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_storage.save("avatars/a.webp", ContentFile(b"RIFF"))
    (tmp_path / "second").write_text("a file where the folder was")
    with pytest.raises(SecondPlaceFailed, match="Second place: "):
        back_up(kind)
    assert failed(kind).error.startswith("Second place: ")
    assert (failed(kind).places, failed(kind).succeeded) == ("main", True)
    assert gauges()[f"quokkaq_backup_failed{{{kind}}}"] == 1
    assert gauges()[f"quokkaq_backup_age_seconds{{{kind}}}"] < 60
    (tmp_path / "second").unlink()
    running.copy_to_second(kind, say=silently)
    assert two_places[1].names(kind) == two_places[0].names(kind)
    assert gauges()[f"quokkaq_backup_failed{{{kind}}}"] == 0
    assert Operation.objects.get().places == "main, second"


def test_what_arrives_damaged_in_the_second_place_does_not_count_there(
    two_places: list[Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DiskStorage._save

    def save(self: DiskStorage, name: str, content: Any) -> str:
        if "second" in str(self.location) and not name.endswith(".manifest"):
            content.seek(0)
            content = ContentFile(flipped(content.read()))
        return real(self, name, content)

    with monkeypatch.context() as broken:
        broken.setattr(DiskStorage, "_save", save)
        with pytest.raises(SecondPlaceFailed, match="other bytes"):
            back_up()
    assert two_places[1].names("database") == []
    assert len(two_places[0].names("database")) == 1


def test_the_task_tries_the_copy_again_and_makes_no_second_backup(two_places: list[Place], tmp_path: Path) -> None:
    from quokkaq import tasks

    (tmp_path / "second").write_text("a file where the folder was")
    tasks.back_up_database()
    assert len(two_places[0].names("database")) == 1
    (tmp_path / "second").unlink()
    assert run_tasks("quokkaq.copy_backups", even_later=True) == ["quokkaq.copy_backups"]
    assert two_places[1].names("database") == two_places[0].names("database")
    assert Operation.objects.get().failed_at is None


# Keeping


def test_what_is_no_longer_kept_goes_from_both_places(two_places: list[Place], monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    names = [f"default-quokkaq-{now - timedelta(days=days):%Y-%m-%d-%H%M%S}.psql.bin" for days in range(1, 60)]
    for place in two_places:
        for name in names:
            place.save(name, io.BytesIO(b"PGDMP"))
            taken = keeping.taken_at(name)
            place.save_manifest(Manifest(name=name, kind="database", taken_at=taken, size=5, sha256="x"))
    made = back_up(clean=True)
    left = two_places[0].names("database")
    assert left[0] == made.name
    assert left[1:7] == names[:6]
    assert 9 <= len(left) <= 13
    assert two_places[1].names("database") == left
    for place in two_places:
        assert {one.name for one in place.walk()} == {name + end for name in left for end in ("", ".manifest")}


def test_what_is_locked_stays_without_an_error(tmp_path: Path, transactional_db: None, bucket_server: S3Server) -> None:
    client = bucket_server.client()
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    storage_ = bucket(bucket_server, "locked", lock_mode="COMPLIANCE", lock_days=3)
    with kept_in(tmp_path, storage_, BACKUP_KEEP_WEEKLY=0, BACKUP_KEEP_MONTHLY=0, BACKUP_KEEP_DAILY=1):
        place = places()[0]
        taken = timezone.now() - timedelta(days=9)
        old = f"default-quokkaq-{taken:%Y-%m-%d-%H%M%S}.psql.bin"
        place.save(old, io.BytesIO(b"PGDMP"))
        place.save_manifest(Manifest(name=old, kind="database", taken_at=taken, size=5, sha256="x"))
        made = back_up(clean=True)
        assert place.names("database") == [made.name, old]
        until = client.head_object(Bucket="locked", Key=f"database/{made.name}")
        assert until["ObjectLockMode"] == "COMPLIANCE"
        assert abs(until["ObjectLockRetainUntilDate"] - timezone.now() - timedelta(days=3)) < timedelta(minutes=5)
        with pytest.raises(Locked, match="is locked until 20"):
            place.delete(old)
        assert Operation.objects.get().failed_at is None


def test_in_a_bucket_that_keeps_versions_what_is_deleted_is_gone(in_bucket: Place, bucket_server: S3Server) -> None:
    made = back_up()
    in_bucket.delete(made.name)
    assert in_bucket.names("database") == []
    found = bucket_server.client().list_object_versions(Bucket=bucket_server.bucket)
    assert found.get("Versions", []) == []
    assert found.get("DeleteMarkers", []) == []


# Files


def keep(key: str, data: bytes) -> str:
    store().put(key, io.BytesIO(data), content_type="text/plain", owner="")
    return key


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The copies of files that are written, in order."""
    names: list[str] = []
    real = Place.save

    def save(self: Place, name: str, file: Any) -> None:
        if name.startswith(OBJECTS):
            names.append(name)
        real(self, name, file)

    monkeypatch.setattr(Place, "save", save)
    return names


@pytest.mark.parametrize("where", ["disk", "s3"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_files_are_copied_once_and_come_back(
    where: str, encrypted: bool, tmp_path: Path, transactional_db: None, bucket_server: S3Server, keys: Path,
    monkeypatch: pytest.MonkeyPatch, written: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("GNUPGHOME", str(keys))
    with s3_server.running(bucket=f"files-{encrypted}".lower()) as server:
        of_files = server.settings() if where == "s3" else override_settings()
        recipient = RECIPIENT if encrypted else None
        with of_files, kept_in(tmp_path / "work", disk(tmp_path / "backups"), DBBACKUP_GPG_RECIPIENT=recipient):
            place = places()[0]
            contents = {
                "files/a": b"a" * 3_000_000, "files/b": b"", "files/c": b"same", "files/d": b"same", "avatars/x.webp": b"RIFF",
            }  # fmt: skip
            for key, data in contents.items():
                keep(key, data)
            for left_out in ("quarantine/e", "temporary/f"):
                keep(left_out, b"not yet")
            made = back_up("media")
            assert made.files.keys() == contents.keys()
            assert made.size == sum(map(len, contents.values()))
            assert place.manifest(made.name) == made
            for key, data in contents.items():
                with open_file(place, made, key) as file:
                    assert file.read() == data
            assert len(written) == 5
            assert (b"same" in (tmp_path / "backups" / written[-1]).read_bytes()) <= (not encrypted)
            # What is there isn't written again, nor read.
            written.clear()
            keep("files/g", b"new")
            store().delete("files/d")
            keep("files/c", b"else")
            later(monkeypatch)
            again = back_up("media")
            assert len(written) == 2
            assert again.files.keys() == contents.keys() - {"files/d"} | {"files/g"}
            # What was then is there still.
            for manifest, key, data in (
                (made, "files/c", b"same"),
                (again, "files/c", b"else"),
                (made, "files/d", b"same"),
            ):
                with open_file(place, manifest, key) as file:
                    assert file.read() == data
            assert list((tmp_path / "work").iterdir()) == []


def test_a_run_that_was_cut_short_goes_on_where_it_was(
    on_disk: Place, monkeypatch: pytest.MonkeyPatch, written: list[str]
) -> None:
    for number in range(6):
        keep(f"files/{number}", str(number).encode())
    with monkeypatch.context() as broken:
        real, calls = media._save, []

        def dies(*args: Any) -> None:
            calls.append(1)
            if len(calls) > 4:
                raise KeyboardInterrupt
            real(*args)

        broken.setattr(media, "_save", dies)
        with pytest.raises(KeyboardInterrupt):
            back_up("media")
    assert on_disk.names("media") == []
    assert len(written) == 4
    made = back_up("media")
    assert len(written) == 6
    assert len(made.files) == 6


def test_a_copy_that_is_not_the_file_makes_no_backup(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    keep("files/a", b"12345")
    good = back_up("media")
    keep("files/b", b"67890")
    later(monkeypatch)
    with monkeypatch.context() as broken:
        corrupted(broken, flipped, OBJECTS)
        with pytest.raises(BackupFailed, match="other bytes"):
            back_up("media")
    assert on_disk.names("media") == [good.name]
    assert len(list(on_disk.walk(OBJECTS))) == 1
    assert failed("media").failures == 1


def test_a_copy_that_goes_bad_or_missing_is_told(
    on_disk: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keep("files/a", b"12345")
    made = back_up("media")
    copy = tmp_path / "backups" / object_name(key, made.files[key].sha256, "")
    copy.write_bytes(b"12346")
    with pytest.raises(Damaged, match="other bytes"):
        open_file(on_disk, made, key)
    copy.unlink()
    with pytest.raises(Damaged, match="missing"):
        open_file(on_disk, made, key)
    with pytest.raises(Damaged, match="1 copies"):
        media.verify(on_disk, made)
    # The next backup has it again.
    later(monkeypatch)
    again = back_up("media")
    assert open_file(on_disk, again, key).read() == b"12345"


def test_copies_that_no_kept_backup_lists_go(on_disk: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep("files/a", b"a")
    gone = keep("files/b", b"b")
    first = back_up("media")
    store().delete(gone)
    old = (timezone.now() - timedelta(days=2)).timestamp()
    for one in on_disk.walk(OBJECTS):
        os.utime(tmp_path / "backups" / one.name, (old, old))
    later(monkeypatch)
    with override_settings(BACKUP_KEEP_WEEKLY=0, BACKUP_KEEP_MONTHLY=0, BACKUP_KEEP_DAILY=1):
        # A manifest nobody can read might list it.
        unreadable = tmp_path / "backups" / "quokkaq-2020-01-01-000000.media.manifest"
        unreadable.write_text("{")
        monkeypatch.setattr(keeping, "keep_to_retention", lambda place, kind: place.delete(first.name))
        second = back_up("media", clean=True)
        assert len(list(on_disk.walk(OBJECTS))) == 2
        unreadable.unlink()
        keeping.sweep(on_disk, "media")
    assert [one.name for one in on_disk.walk(OBJECTS)] == [object_name("files/a", second.files["files/a"].sha256, "")]
    assert open_file(on_disk, second, "files/a").read() == b"a"


def test_the_command_says_what_it_copied(on_disk: Place) -> None:
    keep("files/a", b"a")
    out = io.StringIO()
    call_command("mediabackup", stdout=out)
    assert "1 files copied, 0 unchanged" in out.getvalue()
    assert json.loads((Path(on_disk.storage.location) / f"{on_disk.names('media')[0]}.manifest").read_text())["files"]


# Uploaded files in the bucket they are kept in


def test_files_go_to_a_private_bucket_with_signed_links_that_end(s3: str) -> None:
    with override_settings(AWS_STORAGE_BUCKET_NAME="files", AWS_S3_ENDPOINT_URL=s3, AWS_S3_REGION_NAME="us-east-1"):
        bucket = PrivateS3Storage(bucket_name="files", endpoint_url=s3, region_name="us-east-1")
        name = bucket.save("avatars/x.webp", ContentFile(b"RIFF"))
        url = bucket.url(name)
        assert "X-Amz-Expires=300" in url
        assert "X-Amz-Signature=" in url
        assert bucket.save("avatars/x.webp", ContentFile(b"other")) != name
        assert storage.check_reachable()
    with override_settings(
        AWS_STORAGE_BUCKET_NAME="no-such-bucket", AWS_S3_ENDPOINT_URL=s3, AWS_S3_REGION_NAME="us-east-1"
    ):
        assert not storage.check_reachable()


@pytest.mark.parametrize(
    ("name", "download_as", "disposition"), [("a.webp", "", "inline"), ("a.pdf", "Grüße.pdf", "attachment")]
)
def test_a_file_in_the_bucket_is_answered_with_a_signed_link(
    s3: str, monkeypatch: pytest.MonkeyPatch, name: str, download_as: str, disposition: str
) -> None:
    bucket = PrivateS3Storage(bucket_name="files", endpoint_url=s3, region_name="us-east-1")
    monkeypatch.setattr(storage, "default_storage", bucket)
    with override_settings(AWS_STORAGE_BUCKET_NAME="files"):
        response = storage.serve(name, download_as=download_as)
    assert response.status_code == 302
    assert f"response-content-disposition={disposition}" in response["Location"]
    assert "private" in response["Cache-Control"]


def test_a_bucket_in_trouble_is_not_reachable() -> None:
    with override_settings(
        AWS_STORAGE_BUCKET_NAME="files", AWS_S3_ENDPOINT_URL="http://127.0.0.1:1", AWS_S3_REGION_NAME="us-east-1"
    ):
        assert not storage.check_reachable()
