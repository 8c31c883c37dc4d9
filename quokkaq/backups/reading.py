"""Reading backups back: fetched, compared with what their manifest says, decrypted."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from django.conf import settings

from quokkaq.backups import gpg
from quokkaq.backups.manifest import Damaged, Manifest
from quokkaq.backups.places import Missing, Place, object_name

CHUNK_BYTES = 1 << 20


class Reader(Protocol):
    def read(self, most: int, /) -> bytes: ...


class Writer(Protocol):
    def write(self, piece: bytes, /) -> object: ...


@contextmanager
def workspace(prefix: str) -> Iterator[Path]:
    """Yield a private folder (0700) in `BACKUP_WORK_ROOT`, which goes when the block ends."""
    root = Path(settings.BACKUP_WORK_ROOT)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def decrypted(place: Place, manifest: Manifest) -> Iterator[Path]:
    """Fetch a backup of the database and yield a private file (0600) of pg_dump's custom format; it goes with the block.

    The file as stored is compared with the manifest before anything of it is used. Raises `Damaged`, `PlaceError`, and
    `gpg.GpgError` when the private key isn't here. Needs room for the backup, twice where it is encrypted.
    """
    with workspace("read") as folder:
        stored = folder / "stored"
        with private(stored) as file:
            fetch(place, manifest, file)
        if not manifest.encrypted_for:
            yield stored
            return
        dump = folder / "dump"
        with stored.open("rb") as source, private(dump) as target:
            gpg.decrypt(source, target)
        stored.unlink()
        yield dump


def fetch(place: Place, manifest: Manifest, target: IO[bytes] | None = None) -> None:
    """Read a backup as it is stored (into `target`, if given); raise `Damaged` when it isn't what its manifest says."""
    try:
        with place.open(manifest.name) as source:
            size, digest = copy(source, target)
    except Missing as error:
        raise Damaged(f"{manifest.name} is missing, and its manifest is there.") from error
    expect(manifest, size, digest)


def expect(manifest: Manifest, size: int, digest: str) -> None:
    """Raise `Damaged` when a stored file has another size, or SHA-256, than its manifest says."""
    if size != manifest.size:
        raise Damaged(f"{manifest.name} has {size} bytes instead of {manifest.size}.")
    if digest != manifest.sha256:
        raise Damaged(f"{manifest.name} has other bytes than were written.")


def open_file(place: Place, manifest: Manifest, key: str) -> IO[bytes]:
    """Return an uploaded file as it was, from its beginning; closing it leaves nothing behind.

    Args:
        manifest: of kind "media".
        key: one of `manifest.files`.

    Raises `Damaged` when its copy isn't what the manifest says, `KeyError` for another key, `PlaceError`, `gpg.GpgError`.
    """
    wanted = manifest.files[key]
    root = Path(settings.BACKUP_WORK_ROOT)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = tempfile.TemporaryFile(dir=root)  # noqa: SIM115 (its reader closes it)
    try:
        try:
            with place.open(object_name(key, wanted.sha256, manifest.encrypted_for)) as source:
                if manifest.encrypted_for:
                    gpg.decrypt(source, opened)
                else:
                    shutil.copyfileobj(source, opened, CHUNK_BYTES)
        except Missing as error:
            raise Damaged(f"The copy of {key} is missing.") from error
        opened.seek(0)
        size, digest = copy(opened, None)
        if (size, digest) != (wanted.size, wanted.sha256):
            raise Damaged(f"The copy of {key} has other bytes than the file had.")
        opened.seek(0)
    except BaseException:
        opened.close()
        raise
    return opened


class Measured:
    """A file that is read once, and what was read of it: `size` in bytes, and `sha256`."""

    def __init__(self, source: Reader) -> None:
        self._source, self._digest, self.size = source, hashlib.sha256(), 0

    def read(self, most: int) -> bytes:
        piece = self._source.read(most)
        self.size += len(piece)
        self._digest.update(piece)
        return piece

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def copy(source: Reader, *targets: Writer | None) -> tuple[int, str]:
    """Copy in pieces to all targets; return how many bytes there were and their SHA-256."""
    measured = Measured(source)
    while piece := measured.read(CHUNK_BYTES):
        for target in targets:
            if target is not None:
                target.write(piece)
    return measured.size, measured.sha256


def private(path: Path) -> IO[bytes]:
    """Open a new file that only this account may read."""
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))
