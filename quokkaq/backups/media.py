"""Backing up uploaded files: each is copied once, then a manifest lists all there are."""

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from django.conf import settings
from django.core.files.storage import default_storage
from django.utils import timezone

from quokkaq.backups import gpg
from quokkaq.backups.database import name_of, withdraw
from quokkaq.backups.manifest import Damaged, Manifest, StoredFile
from quokkaq.backups.places import OBJECTS, Missing, Place, object_name
from quokkaq.backups.reading import copy
from quokkaq.backups.storages import trouble
from quokkaq.lib import storage
from quokkaq.lib.storage.base import checked_key
from quokkaq.lib.version import commit

log = logging.getLogger("quokkaq.backups")
# Uploads that weren't looked at yet, and what is gone within a week anyway.
LEFT_OUT = (storage.QUARANTINE, storage.TEMPORARY)
SPOOL_BYTES = 16 << 20
PROGRESS_SECONDS = 10
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Listed:
    """A stored file as its store lists it: `version` is another one once the bytes are, in the store's own words."""

    key: str
    size: int
    version: str


def copy_files(place: Place, folder: Path, say: Say, servername: str | None = None) -> Manifest:
    """Copy what the place doesn't have yet, each copy read back; return a manifest of all files, to be saved.

    A file is known by its key, size and version in the newest manifest, and isn't read again then; one whose copy is there
    already, from a run that was cut short, is read and not written. What is deleted meanwhile is left out.

    Raises `Damaged` when a copy isn't what was written, `PlaceError`, `StoreError` and `gpg.GpgError`.
    """
    taken_at = timezone.now()
    recipient = settings.DBBACKUP_GPG_RECIPIENT or ""
    if recipient:
        gpg.check_recipient(recipient)
    before = _newest(place)
    there = {_digest(one.name) for one in place.walk(OBJECTS)}
    files: dict[str, StoredFile] = {}
    copied = unchanged = 0
    said_at = time.monotonic()
    for one in listed():
        known = before.files.get(one.key) if before and before.encrypted_for == recipient else None
        if (
            known
            and (known.size, known.version) == (one.size, one.version)
            and _digest(object_name(one.key, known.sha256, recipient)) in there
        ):
            files[one.key] = known
            unchanged += 1
        else:
            found = _copy(place, one, recipient, there, folder)
            if found is None:
                continue
            files[one.key] = found
            copied += 1
        if time.monotonic() - said_at > PROGRESS_SECONDS:
            said_at = time.monotonic()
            say(f"{copied} files copied, {unchanged} unchanged so far")
    say(f"{copied} files copied, {unchanged} unchanged")
    return Manifest(
        name=name_of("media", taken_at, servername, "media"),
        kind="media",
        taken_at=taken_at,
        size=sum(file.size for file in files.values()),
        sha256=digest_of(files),
        encrypted_for=recipient,
        release=settings.VERSION,
        commit=commit(),
        files=files,
    )


def digest_of(files: dict[str, StoredFile]) -> str:
    """Return the SHA-256 over keys and digests of all files, in the order of keys: of what a manifest of files lists."""
    digest = hashlib.sha256()
    for key in sorted(files):
        digest.update(f"{key}\0{files[key].sha256}\n".encode())
    return digest.hexdigest()


def verify(place: Place, manifest: Manifest) -> None:
    """Raise `Damaged` when a copy that a manifest lists isn't in the place. (Each was read back when it was written.)"""
    there = {_digest(one.name) for one in place.walk(OBJECTS) if one.size or not manifest.encrypted_for}
    missing = sum(
        _digest(object_name(key, file.sha256, manifest.encrypted_for)) not in there
        for key, file in manifest.files.items()
    )
    if missing:
        raise Damaged(f"{missing} copies of files are missing.")


def copy_to(source: Place, target: Place, name: str, folder: Path) -> None:
    """Copy a backup of files to another place: the copies it doesn't have, each read back, then the manifest."""
    manifest = source.manifest(name)
    there = {_digest(one.name) for one in target.walk(OBJECTS)}
    for key, file in manifest.files.items():
        lies_in = object_name(key, file.sha256, manifest.encrypted_for)
        if _digest(lies_in) in there:
            continue
        with source.open(lies_in) as opened, tempfile.TemporaryFile(dir=folder) as between:
            copy(opened, between)
            _save(target, lies_in, cast("IO[bytes]", between))
        there.add(_digest(lies_in))
    verify(target, manifest)
    target.save_manifest(manifest)


def listed() -> Iterator[Listed]:
    """Yield every uploaded file; those whose keys QuokkaQ itself couldn't read are left out."""
    if settings.AWS_STORAGE_BUCKET_NAME:
        yield from _in_bucket()
        return
    store = storage.store()
    root = Path(default_storage.location)  # type: ignore[attr-defined]
    for path in root.rglob("*"):
        key = path.relative_to(root).as_posix()
        if key.startswith((*LEFT_OUT, ".")) or path.is_symlink() or not path.is_file() or not _is_key(key):
            continue
        found = store.head(key)
        if found:
            yield Listed(key, found.size, found.version)


def _in_bucket() -> Iterator[Listed]:
    """Yield the newest version of each object, by listing versions: a thousand at a time, without asking for each."""
    store = cast("storage.S3Store", storage.store())
    with trouble():
        for page in store.client.get_paginator("list_object_versions").paginate(Bucket=store.bucket):
            for one in page.get("Versions", []):
                key = one["Key"]
                if not one["IsLatest"] or key.startswith((*LEFT_OUT, ".")) or key.endswith("/") or not _is_key(key):
                    continue
                version = "" if one["VersionId"] == "null" else one["VersionId"]
                yield Listed(key, one["Size"], f"{version} {one['ETag']}")


def _is_key(key: str) -> bool:
    try:
        checked_key(key)
    except storage.StoreError:
        log.warning("a file whose name is no key is not backed up")
        return False
    return True


def _copy(place: Place, one: Listed, recipient: str, there: set[bytes], folder: Path) -> StoredFile | None:
    """Copy one file; return None when it is gone, or was written again, which the next run sees."""
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(folder)) as plain:
        digest, size = hashlib.sha256(), 0
        try:
            for piece in storage.store().chunks(one.key, version=one.version):
                plain.write(piece)
                digest.update(piece)
                size += len(piece)
        except (storage.Missing, storage.Changed):
            return None
        found = StoredFile(size, digest.hexdigest(), one.version)
        lies_in = object_name(one.key, found.sha256, recipient)
        if _digest(lies_in) not in there:
            plain.seek(0)
            if recipient:
                encrypted = folder / "encrypted"
                try:
                    with gpg.encrypting(recipient, encrypted, compress=True) as pipe:
                        copy(plain, pipe)
                    with encrypted.open("rb") as file:
                        _save(place, lies_in, file)
                finally:
                    encrypted.unlink(missing_ok=True)
            else:
                _save(place, lies_in, cast("IO[bytes]", plain))
            there.add(_digest(lies_in))
    return found


def _save(place: Place, name: str, file: IO[bytes]) -> None:
    """Store a copy, and read it back."""
    file.seek(0)
    written = copy(file)
    try:
        place.save(name, file)
        with place.open(name) as stored:
            if copy(stored) != written:
                raise Damaged("A copy of a file has other bytes than were written.")
    except BaseException:
        withdraw(place, name)
        raise


def _newest(place: Place) -> Manifest | None:
    for name in place.names("media"):
        try:
            return place.manifest(name)
        except (Damaged, Missing) as error:
            log.warning("a manifest can't be read", exc_info=error)
    return None


def _digest(name: str) -> bytes:
    """Return the last part of a copy's name in half the room: there may be millions."""
    try:
        return bytes.fromhex(name.rpartition("/")[2])
    except ValueError:
        return b""
