"""`dbbackup`, then `dbrestore` into an empty database: every table comes back the same, from disk and from S3."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import psycopg
import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import connection
from django.test import override_settings
from moto.server import ThreadedMotoServer

from forum import actions
from quokkaq.lib import storage
from quokkaq.lib.storage import PrivateS3Storage
from tests import factories
from tests.processes import ROOT, environment

assert settings.EMBEDDED_POSTGRES is not None
# The server's own programs: a pg_dump older than the server refuses to work.
PROGRAMS = {
    "PG_DUMP": str(settings.EMBEDDED_POSTGRES.bin / "pg_dump"),
    "PG_RESTORE": str(settings.EMBEDDED_POSTGRES.bin / "pg_restore"),
}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 endpoint on this machine with the buckets `files` and `backups`."""
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
    client = boto3.client("s3", endpoint_url=url)
    for bucket in ("files", "backups"):
        client.create_bucket(Bucket=bucket)
    yield url
    server.stop()


def fill() -> None:
    world = factories.make_world()
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    answer = factories.make_answer(sam, tim)
    post = factories.make_post(noor, answer.thread, "Grüße, 'quotes', \\ and 😀")
    actions.set_vote(by=sam, target=post, on=True)
    actions.set_endorsement(by=tim, post=post, on=True)
    actions.edit_post(by=noor, post=post, body="Edited")
    factories.make_thread(noor, "Something hidden", anonymity="all", tags=[factories.make_tag(world.course)])


def contents(url: str) -> dict[str, tuple[int, str]]:
    """Return for every table of a database how many rows it has and a hash over all of them."""
    with psycopg.connect(url) as database:
        tables = database.execute(
            "SELECT format('%I', relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        found = {}
        for (table,) in tables:
            row = database.execute(
                f"SELECT count(*), coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t"
            ).fetchone()
            assert row is not None
            found[table] = (row[0], row[1])
        return found


def libpq(name: str) -> str:
    address = connection.settings_dict
    return f"host={address['HOST']} user={address['USER']} dbname={name}" + (
        f" password={address['PASSWORD']}" if address["PASSWORD"] else ""
    )


@pytest.fixture
def empty_database() -> Iterator[str]:
    name = f"{connection.settings_dict['NAME']}_restored"
    with psycopg.connect(libpq("postgres"), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name}")
        admin.execute(f"CREATE DATABASE {name}")
        yield name
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def manage(*arguments: str, **changes: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment(**PROGRAMS, **changes), capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_backup_restores_every_table(where: str, tmp_path: Path, s3: str, empty_database: str) -> None:
    fill()
    before = contents(libpq(connection.settings_dict["NAME"]))
    assert before["forum_post"][0] == 1
    changes = (
        {"BACKUP_ROOT": str(tmp_path)}
        if where == "disk"
        else {"BACKUP_BUCKET_NAME": "backups", "AWS_S3_ENDPOINT_URL": s3}
    )
    manage("dbbackup", "--noinput", "--compress", **changes)
    if where == "disk":
        assert any(path.suffix == ".gz" for path in tmp_path.iterdir())
    target = environment()["DATABASE_URL"].replace(connection.settings_dict["NAME"], empty_database)
    manage("dbrestore", "--noinput", "--uncompress", **changes, DATABASE_URL=target)
    assert contents(libpq(empty_database)) == before
    # The triggers came along: the counters still count.
    manage("check_counters", DATABASE_URL=target)


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
