"""The places that backups are kept in: the main one, and a second where one is configured.

At the top of a place lie, for each backup, `NAME.manifest` and, of the database, `NAME` itself. The manifest is written
last, when all else was verified: what has none is no backup. Copies of files lie under `media/objects/`, each once, however
many manifests list it.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Literal

from dbbackup import utils
from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import storages

from quokkaq.backups.manifest import SUFFIX, Damaged, Manifest
from quokkaq.backups.storages import OLD_SUFFIX, Found, Locked, Missing, PlaceError, trouble

__all__ = ["OBJECTS", "Found", "Kind", "Locked", "Missing", "Place", "PlaceError", "object_name", "places"]

Kind = Literal["database", "media"]
OBJECTS = "media/objects/"
# What a backup of files is called ends so; of the database: in the extension of its connector.
MEDIA_ENDING = ".media"


@dataclass(frozen=True)
class Place:
    """One place. Every method raises `PlaceError` while it is in trouble, `Missing` for what isn't there."""

    name: Literal["main", "second"]
    storage: Any

    def names(self, kind: Kind) -> list[str]:
        """Return the names of all backups (those with a manifest), newest first."""
        with trouble():
            found = [one.name.removesuffix(SUFFIX) for one in self.storage.walk("") if one.name.endswith(SUFFIX)]
        return sorted((name for name in found if kind_of(name) == kind), key=_by_date, reverse=True)

    def manifest(self, name: str) -> Manifest:
        """Read what a backup says of itself; raise `Damaged` when that can't be read, or is another's."""
        with self.open(name + SUFFIX) as file:
            manifest = Manifest.from_json(file.read())
        if manifest.name != name:
            raise Damaged(f"The manifest of {name} is of another backup.")
        return manifest

    def open(self, name: str) -> IO[bytes]:
        """Open a file as it is stored, to be read once from its beginning."""
        with trouble():
            opened: IO[bytes] = self.storage.stream(name)
        return opened

    def save(self, name: str, file: IO[bytes]) -> None:
        """Store a file from its beginning. A backup that counts is never replaced: that raises `PlaceError`."""
        if not name.startswith(OBJECTS) and self.has(name + SUFFIX):
            raise PlaceError(f"There is a backup {name} already.")
        with trouble():
            self.storage.save(name, File(file, name=name))

    def save_manifest(self, manifest: Manifest) -> None:
        """Make a backup one that counts, once all it lists is there and was verified."""
        self.save(manifest.name + SUFFIX, io.BytesIO(manifest.to_json().encode()))

    def has(self, name: str) -> bool:
        with trouble():
            return bool(self.storage.exists(name))

    def delete(self, name: str) -> None:
        """Delete a backup: it no longer counts, then it is gone. Raises `Locked` while the place's object lock holds.

        Copies of files stay until no manifest lists them (`quokkaq.backups.keeping`).
        """
        with trouble():
            self.storage.remove(name + SUFFIX)
            self.storage.remove(name)

    def remove(self, name: str) -> None:
        """Delete one file; nothing happens when there is none. Raises `Locked` while the place's object lock holds."""
        with trouble():
            self.storage.remove(name)

    def walk(self, folder: str = "") -> Iterator[Found]:
        """Yield the files at the top, or all of them in a folder."""
        with trouble():
            yield from self.storage.walk(folder)

    def sweep(self, before: datetime) -> None:
        """Delete what was left half written before a moment (aware)."""
        with trouble():
            self.storage.sweep(before)


def places() -> list[Place]:
    """Return the main place, then the second one if the settings name one."""
    found = [Place("main", storages["dbbackup"])]
    if "dbbackup-second" in settings.STORAGES:
        found.append(Place("second", storages["dbbackup-second"]))
    return found


def kind_of(name: str) -> Kind | None:
    """Return what a file's name says it is a backup of; None for no backup's name."""
    if not utils.filename_to_datestring(name) or name.endswith((OLD_SUFFIX, SUFFIX)):
        return None
    if name.endswith(MEDIA_ENDING):
        return "media"
    return "database" if ".psql" in name else None


def object_name(key: str, sha256: str, encrypted_for: str) -> str:
    """Return where the copy of a file lies: another place for another key, other bytes, or for who else can read it."""
    digest = hashlib.sha256("\0".join((key, sha256, encrypted_for)).encode()).hexdigest()
    return f"{OBJECTS}{digest[:2]}/{digest}"


def _by_date(name: str) -> tuple[str, str]:
    return utils.filename_to_datestring(name) or "", name
