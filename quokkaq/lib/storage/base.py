"""What every place for files can do, and the words it is said in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

from django.http import HttpResponseBase

# A key is one of these and a UUID, never a name that somebody chose.
QUARANTINE = "quarantine/"
FILES = "files/"
TEMPORARY = "temporary/"

TICKET_SECONDS = 600
SIGNED_URL_SECONDS = 300
CHUNK_BYTES = 1 << 20

_SAFE_KEY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")


class StoreError(Exception):
    """The place for files can't be reached, refused, or was asked for something it can't do."""


class Missing(StoreError):
    """There is no file under this key."""


class Changed(StoreError):
    """The file under this key is no longer the one that was looked at."""


@dataclass(frozen=True)
class Ticket:
    """Leave for a browser to send one file straight to the bucket: a form's address and its hidden fields.

    The file goes last, in the field `file`.
    """

    url: str
    fields: dict[str, str]
    expires_at: datetime


@dataclass(frozen=True)
class Stored:
    """What is known of a stored file: `size` in bytes, and a `version` that is another one once the bytes are."""

    size: int
    content_type: str
    owner: str
    version: str


class Store(Protocol):
    """A place for files. Every method raises `StoreError` when the place is in trouble."""

    def ticket(self, key: str, *, content_type: str, size: int, owner: str) -> Ticket | None:
        """Let a browser send exactly this file within `TICKET_SECONDS`; None where Django takes the file itself."""
        ...

    def head(self, key: str) -> Stored | None:
        """Return what is known of a file, None when there is none."""
        ...

    def read(self, key: str, start: int, length: int, *, version: str = "") -> bytes:
        """Return up to `length` bytes from `start`; fewer, or none, at the end.

        Raises `Missing`, and `Changed` when `version` is given and is no longer the file's.
        """
        ...

    def chunks(self, key: str, size: int = CHUNK_BYTES, *, version: str = "") -> Iterator[bytes]:
        """Yield a file in pieces of at most `size` bytes. Raises like `read`, when the first piece is asked for."""
        ...

    def put(self, key: str, file: IO[bytes] | Path, *, content_type: str, owner: str) -> None:
        """Store a file from its beginning, in pieces; there is all of it or nothing."""
        ...

    def promote(self, source: str, target: str, *, content_type: str, version: str) -> None:
        """Copy a file inside the store, with its owner and a new type. The source stays. Doing it again is harmless.

        Raises `Changed` when the source is no longer what `head` called `version`, `Missing` when neither is there.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove a file; nothing happens when there is none."""
        ...

    def listing(self, prefix: str, older_than: datetime) -> Iterator[str]:
        """Yield the keys under a prefix that were last written before a moment (aware)."""
        ...

    def response(self, key: str, *, content_type: str, disposition: str) -> HttpResponseBase:
        """Answer with a file under these two headers. The caller has checked that the reader may have it."""
        ...


def checked_key(key: str) -> str:
    """Return `key`; raise `StoreError` when it could leave the store's folder or isn't plain ASCII."""
    if not _SAFE_KEY.fullmatch(key):
        raise StoreError(f"{key!r} is no key of a file.")
    return key
