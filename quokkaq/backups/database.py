"""Backing up the database: one snapshot, dumped, encrypted, stored, read back, and only then said to be a backup."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from dbbackup import utils
from dbbackup.db.base import get_connector
from django.conf import settings
from django.db import connection, transaction

from quokkaq.backups import gpg
from quokkaq.backups.connector import Connector
from quokkaq.backups.manifest import Damaged, Manifest, Table, tables
from quokkaq.backups.places import Place, PlaceError
from quokkaq.backups.reading import Measured, copy, expect, fetch, private
from quokkaq.lib.version import commit

log = logging.getLogger("quokkaq.backups")
# So much of an encrypted file says for whom it is.
HEAD_BYTES = 1 << 16


def dump(folder: Path, servername: str | None = None) -> tuple[Manifest, Path]:
    """Dump the database into a folder; return what the dump is, and the file.

    Rows are counted in the snapshot that is dumped. Raises `Damaged` when a table isn't in it, `CommandConnectorError`,
    `gpg.GpgError`. Works as the owner of the tables: see `as_owner`.
    """
    connector = get_connector("default")
    recipient = settings.DBBACKUP_GPG_RECIPIENT or ""
    file = folder / "stored"
    with _snapshot() as (cursor, name, taken_at):
        with connector.dumping(name) as dumped, connector.contents() as contents:
            with gpg.encrypting(recipient, file) if recipient else private(file) as target:
                copy(dumped, target, contents)
            listed = contents.tables()
        counted = tables(cursor)
        cursor.execute("SELECT app, max(name) FROM django_migrations GROUP BY app ORDER BY app")
        migrations = dict(cursor.fetchall())
    expect_tables(counted, listed)
    with file.open("rb") as made:
        size, digest = copy(made)
    manifest = Manifest(
        name=name_of(connector.extension, taken_at, servername) + (".gpg" if recipient else ""),
        kind="database",
        taken_at=taken_at,
        size=size,
        sha256=digest,
        encrypted_for=recipient,
        release=settings.VERSION,
        commit=commit(),
        migrations=migrations,
        tables=counted,
    )
    return manifest, file


def name_of(extension: str, taken_at: datetime, servername: str | None, content_type: str = "db") -> str:
    """Return what django-dbbackup would call a backup of that instant (UTC)."""
    stamp = taken_at.strftime("%Y-%m-%d-%H%M%S")
    of = "default" if content_type == "db" else ""
    name: str = utils.filename_generate(extension, of, servername, content_type, wildcard=stamp)
    return name


def store(place: Place, manifest: Manifest, file: Path, folder: Path) -> None:
    """Bring a dump to a place, verify it there, and only then let it count. What fails is taken away again."""
    try:
        with file.open("rb") as opened:
            place.save(manifest.name, opened)
        verify(place, manifest, folder)
        place.save_manifest(manifest)
    except BaseException:
        withdraw(place, manifest.name)
        raise


def withdraw(place: Place, name: str) -> None:
    """Take away what isn't whole, if the place lets us; without a manifest it doesn't count and is swept later."""
    try:
        place.remove(name)
    except PlaceError as error:
        log.warning("what failed to become a backup stays for now", exc_info=error)


def verify(place: Place, manifest: Manifest, folder: Path) -> None:
    """Read a backup back from a place; raise `Damaged` when it isn't what was written, or couldn't be restored.

    Size and SHA-256 are compared; `pg_restore` must list every table. Of an encrypted one that is done where the private key
    is (then all of it is decrypted, too); elsewhere it was done while it was made, and its head must name the key.
    """
    if not manifest.encrypted_for:
        with place.open(manifest.name) as source, get_connector("default").contents() as contents:
            size, digest = copy(source, contents)
            listed = contents.tables()
        expect(manifest, size, digest)
        expect_tables(manifest.tables, listed)
    elif gpg.can_decrypt(manifest.encrypted_for, folder):
        _verify_decrypted(place, manifest)
    else:
        head = _Head()
        with place.open(manifest.name) as source:
            size, digest = copy(source, head)
        expect(manifest, size, digest)
        if not gpg.key_ids(bytes(head.bytes)) & gpg.check_recipient(manifest.encrypted_for):
            raise Damaged(f"{manifest.name} isn't encrypted for the key of BACKUP_GPG_RECIPIENT.")


def _verify_decrypted(place: Place, manifest: Manifest) -> None:
    reading, writing = os.pipe()
    connector: Connector = get_connector("default")
    with place.open(manifest.name) as opened, connector.contents() as contents:
        source = Measured(opened)

        def pass_on() -> None:
            with os.fdopen(reading, "rb") as plain:
                copy(plain, contents)

        thread = threading.Thread(target=pass_on)
        thread.start()
        wrong: gpg.GpgError | None = None
        try:
            gpg.decrypt(source, writing)
        except gpg.GpgError as error:
            wrong = error
        finally:
            os.close(writing)
            thread.join()
        # What other bytes are says more than what gpg made of them.
        copy(source)
        expect(manifest, source.size, source.sha256)
        if wrong:
            raise wrong
        expect_tables(manifest.tables, contents.tables())


def expect_tables(wanted: dict[str, Table] | Any, listed: set[str]) -> None:
    missing = sorted(wanted.keys() - listed)
    if missing:
        raise Damaged(f"The dump can't be restored: it lists {len(missing)} tables less than there are ({missing[0]}).")


def copy_to(source: Place, target: Place, name: str, folder: Path) -> None:
    """Copy a backup that counts to another place, verified on both sides."""
    manifest = source.manifest(name)
    file = folder / "copied"
    try:
        with private(file) as opened:
            fetch(source, manifest, opened)
        try:
            with file.open("rb") as opened:
                target.save(name, opened)
            fetch(target, manifest)
            target.save_manifest(manifest)
        except BaseException:
            withdraw(target, name)
            raise
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def _snapshot() -> Iterator[tuple[Any, str, datetime]]:
    """Yield a cursor (psycopg's: what takes minutes here isn't a slow query), the name and the instant of its snapshot."""
    connection.ensure_connection()
    server: psycopg.Connection[Any] = connection.connection
    server.isolation_level, server.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
    try:
        with transaction.atomic(), connection.cursor() as first:
            first.execute("SET LOCAL statement_timeout = 0")
            first.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            first.execute("SELECT pg_export_snapshot(), now()")
            name, taken_at = first.fetchone()
            with server.cursor() as cursor:
                yield cursor, name, taken_at
    finally:
        if not server.closed:
            server.isolation_level, server.read_only = None, None


class _Head:
    """Keeps the beginning of what is written."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    def write(self, piece: bytes) -> None:
        if len(self.bytes) < HEAD_BYTES:
            self.bytes += piece[:HEAD_BYTES]
