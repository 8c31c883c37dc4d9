"""Uploaded files and the rows that know them: what should be there, what is, and where to bring it back from."""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import psycopg

from quokkaq.backups.databases import Database, RestoreError, Say
from quokkaq.backups.manifest import Damaged, Manifest, StoredFile
from quokkaq.backups.places import Place, places
from quokkaq.backups.reading import open_file
from quokkaq.lib.storage import CHUNK_BYTES, FILES, QUARANTINE, Missing, S3Store, Store, StoreError
from quokkaq.lib.storage.s3 import Version

# How often it is said how far it has come, in files.
_EVERY = 500
_SPOOL_BYTES = 8 << 20

# (table, id, key, size, SHA-256, type, owner): nothing where a row doesn't say.
_ROWS = """
SELECT 'accounts_upload', id::text, storage_key, size, sha256, content_type, coalesce(owner_id::text, '')
    FROM accounts_upload WHERE storage_key <> ''
UNION ALL SELECT 'accounts_upload', id::text, 'quarantine/' || id, size, '', content_type, coalesce(owner_id::text, '')
    FROM accounts_upload WHERE state IN ('uploaded', 'scanning')
UNION ALL SELECT 'accounts_user', id::text, avatar, NULL, '', '', '' FROM accounts_user WHERE avatar <> ''
UNION ALL SELECT 'ai_answers_materialimport', id::text, storage_key, NULL, '', '', ''
    FROM ai_answers_materialimport WHERE storage_key <> ''
ORDER BY 3, 5 DESC
"""


@dataclass(frozen=True)
class Wanted:
    """A file that rows (table, id) need. `sha256` is empty where no row says it: before a file was checked."""

    key: str
    size: int | None
    sha256: str
    content_type: str
    owner: str
    rows: tuple[tuple[str, str], ...]


@dataclass
class Match:
    """How rows and files fit: counts, and by id what doesn't."""

    whole: int = 0
    brought_back: int = 0
    missing: list[Wanted] = field(default_factory=list)
    different: list[Wanted] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    # What came after the instant that was restored, and was left or (with `prune`) deleted.
    later: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return not (self.missing or self.different)

    def as_json(self) -> dict[str, Any]:
        def listed(found: list[Wanted]) -> list[dict[str, str]]:
            return [{"key": one.key, "table": table, "id": row} for one in found for table, row in one.rows]

        return {
            "whole": self.whole, "brought_back": self.brought_back, "rows_without_file": listed(self.missing),
            "rows_with_another_file": listed(self.different), "files_without_row": self.unknown, "later_files": self.later,
        }  # fmt: skip


def wanted(database: Database) -> dict[str, Wanted]:
    """Return what the rows of a database need, by key. Raises `RestoreError`."""
    found: dict[str, Wanted] = {}
    try:
        with database.connect() as link:
            for table, row, key, size, sha256, content_type, owner in link.execute(_ROWS):
                known = found.get(key)
                found[key] = (
                    replace(known, rows=(*known.rows, (table, row)))
                    if known
                    else Wanted(key, size, sha256, content_type, owner, ((table, row),))
                )
    except psycopg.Error as error:
        raise RestoreError(f"The rows of {database.name} can't be read (SQLSTATE {error.sqlstate}).") from error
    return found


def digest(store: Store, key: str, *, version: str = "") -> str | None:
    """Return the SHA-256 of a stored file's bytes; None when there is no such file."""
    found = hashlib.sha256()
    try:
        for piece in store.chunks(key, version=version):
            found.update(piece)
    except Missing:
        return None
    return found.hexdigest()


class Versions:
    """What a versioned bucket still has, by key."""

    def __init__(self, store: S3Store) -> None:
        self.store = store
        self.of: dict[str, list[Version]] = defaultdict(list)
        for one in store.versions():
            self.of[one.key].append(one)

    def at(self, instant: datetime) -> dict[str, Version]:
        """Return what each key had at an instant; S3 keeps times by the second, and that second counts as before."""
        end = instant.replace(microsecond=999_999)
        found = {}
        for key, versions in self.of.items():
            then = next((one for one in versions if one.written_at <= end), None)
            if then and not then.is_marker:
                found[key] = then
        return found

    def now(self) -> dict[str, Version]:
        return {
            key: one for key, versions in self.of.items() for one in versions if one.is_current and not one.is_marker
        }

    def bring_back(self, file: Wanted, instant: datetime | None, named: str) -> bool:
        """Find the version whose bytes are the file's and make it the current one.

        The version a set names comes first, then the one of the instant, then all others. Without a known digest the
        first of these is taken.
        """
        versions = [one for one in self.of.get(file.key, []) if not one.is_marker]
        end = instant or datetime.now(UTC)
        versions.sort(
            key=lambda one: (one.id != named.partition(" ")[0], one.written_at > end.replace(microsecond=999_999))
        )
        for one in versions:
            if not file.sha256 or digest(self.store, file.key, version=f"{one.id} ") == file.sha256:
                self.store.bring_back(one)
                return True
        return False


class Copies:
    """What lies in the backups of files, newest first."""

    def __init__(self, name: str = "", place: str = "") -> None:
        self.known: list[tuple[Place, Manifest]] = []
        for one in places():
            if place and one.name != place:
                continue
            for media in one.names("media"):
                try:
                    self.known.append((one, one.manifest(media)))
                except Damaged:
                    continue
        self.known.sort(key=lambda found: (found[1].name != name, -found[1].taken_at.timestamp()))

    def bring_back(self, file: Wanted, target: Store) -> bool:
        for place, manifest in self.known:
            stored = manifest.files.get(file.key)
            if stored is None or (file.sha256 and stored.sha256 != file.sha256):
                continue
            try:
                with open_file(place, manifest, file.key) as opened, _checked(opened, stored) as copy:
                    target.put(
                        file.key, copy, content_type=file.content_type or "application/octet-stream", owner=file.owner
                    )
            except (Damaged, OSError, StoreError):
                continue
            return True
        return False


def _checked(opened: IO[bytes], stored: StoredFile) -> Any:
    """Return a copy of an opened file, from its beginning. Raises `Damaged` when its bytes aren't those of the manifest."""
    copy = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 (the caller closes it)
    found = hashlib.sha256()
    while piece := opened.read(CHUNK_BYTES):
        found.update(piece)
        copy.write(piece)
    if found.hexdigest() != stored.sha256:
        copy.close()
        raise Damaged("A file isn't what its manifest says.")
    copy.seek(0)
    return copy


def bring_back(
    files: Mapping[str, Wanted], store: Store, *, say: Say, instant: datetime | None = None,
    named: Mapping[str, StoredFile] | None = None, copies: Copies | None = None,
) -> Match:  # fmt: skip
    """Have every wanted file in the store, and tell what couldn't be. Doing it again does what is left.

    Args:
        files: what rows need.
        instant: which of a bucket's versions come first.
        named: what a backup set says of each key: its digest, where no row says one, and its version.
        copies: backups to take files from that the store itself doesn't have any more.
    """
    named = named or {}
    versions = Versions(store) if isinstance(store, S3Store) and store.is_versioned() else None
    match = Match()
    for number, (key, needed) in enumerate(files.items(), 1):
        said = named.get(key)
        file = needed if needed.sha256 or not said else replace(needed, sha256=said.sha256)
        there = digest(store, key)
        if there is not None and (not file.sha256 or there == file.sha256):
            match.whole += 1
        elif (versions and versions.bring_back(file, instant, said.version if said else "")) or (
            copies and copies.bring_back(file, store)
        ):
            match.brought_back += 1
        else:
            (match.missing if there is None else match.different).append(file)
        if number % _EVERY == 0:
            say(f"  {number} of {len(files)} files")
    match.unknown = sorted(set(_all_keys(store)) - set(files))
    return match


def back_to(store: S3Store, instant: datetime, *, prune: bool, say: Say) -> list[str]:
    """Let a versioned bucket have again what it had at an instant. Return the keys that came later.

    What was deleted or overwritten since comes back as a copy of the version of then. What came later stays; with
    `prune` it gets a delete marker, under which it stays too.
    """
    if not store.is_versioned():
        raise RestoreError(f"The bucket {store.bucket} keeps no versions, so it can't go back. Restore a backup set.")
    versions = Versions(store)
    then, now = versions.at(instant), versions.now()
    # A copy of a version has another id and the same ETag.
    changed = [one for key, one in then.items() if key not in now or now[key].etag != one.etag]
    for number, one in enumerate(changed, 1):
        store.bring_back(one)
        if number % _EVERY == 0:
            say(f"  {number} of {len(changed)} objects")
    later = sorted(now.keys() - then.keys())
    if prune:
        for key in later:
            store.delete(key)
    say(
        f"{len(changed)} objects are again what they were; {len(later)} came later{' and were deleted' if prune else ''}."
    )
    return later


def _all_keys(store: Store) -> Iterator[str]:
    for prefix in (FILES, QUARANTINE):
        yield from store.listing(prefix, datetime.now(UTC) + timedelta(days=1))
