"""Places for backups, keys to encrypt them for, and databases to restore them into, for tests."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import connection
from django.test import override_settings

from tests.services.s3_server import S3Server

assert settings.EMBEDDED_POSTGRES is not None
BIN = settings.EMBEDDED_POSTGRES.bin
# The server's own programs: a pg_dump older than the server refuses to work.
PROGRAMS = {"PG_DUMP": str(BIN / "pg_dump"), "PG_RESTORE": str(BIN / "pg_restore")}
RECIPIENT = "backups@quokkaq.example"


def silently(line: str) -> None:
    pass


def gpg(home: Path, *arguments: str, given: bytes = b"") -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=True, timeout=60).stdout


@contextmanager
def keyring() -> Iterator[Path]:
    """Yield an empty GNUPGHOME. (Not below pytest's folder: the path of a socket is short.)"""
    home = Path(tempfile.mkdtemp(prefix="gnupg-"))
    home.chmod(0o700)
    try:
        yield home
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def make_key(home: Path, name: str = RECIPIENT, expires: str = "never", passphrase: str = "") -> None:
    gpg(home, "--passphrase", passphrase, "--quick-generate-key", name, "future-default", "default", expires)


def disk(folder: Path) -> dict[str, Any]:
    return {"BACKEND": "quokkaq.backups.storages.DiskStorage", "OPTIONS": {"location": folder}}


def bucket(server: S3Server, name: str = "", **options: Any) -> dict[str, Any]:
    return {
        "BACKEND": "quokkaq.backups.storages.S3Storage",
        "OPTIONS": {
            "bucket_name": name or server.bucket, "location": "database", "endpoint_url": server.endpoint,
            "region_name": server.region, "access_key": server.access_key, "secret_key": server.secret_key, **options,
        },
    }  # fmt: skip


@contextmanager
def kept_in(work: Path, main: dict[str, Any], second: dict[str, Any] | None = None, **more: Any) -> Iterator[None]:
    """Let this process keep its backups there; `more` are settings to override too."""
    storages = {name: one for name, one in settings.STORAGES.items() if name != "dbbackup-second"}
    storages["dbbackup"] = main
    files: Any = default_storage
    if isinstance(files._wrapped, FileSystemStorage):
        # Storages are made anew: this one where it is now.
        where = {"location": files.location}
        storages["default"] = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": where}
    if second:
        storages["dbbackup-second"] = second
    with override_settings(**{"STORAGES": storages, "BACKUP_WORK_ROOT": work, "DBBACKUP_GPG_RECIPIENT": None, **more}):
        yield


def libpq(name: str) -> str:
    address = connection.settings_dict
    return f"host={address['HOST']} user={address['USER']} dbname={name}" + (
        f" password={address['PASSWORD']}" if address["PASSWORD"] else ""
    )


@contextmanager
def an_empty_database() -> Iterator[str]:
    name = f"{connection.settings_dict['NAME']}_restored"
    with psycopg.connect(libpq("postgres"), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def restore(dump: Path, name: str) -> None:
    subprocess.run(
        [PROGRAMS["PG_RESTORE"], "--exit-on-error", "--dbname", libpq(name), str(dump)],
        check=True, capture_output=True, timeout=120, env={**os.environ},
    )  # fmt: skip
