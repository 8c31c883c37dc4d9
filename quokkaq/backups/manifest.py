"""What a backup says of itself, in a file of its own beside it: what is in it, and how to tell that it is whole.

The manifest of `NAME` is `NAME.manifest`. It holds counts and digests, never what people wrote.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

SUFFIX = ".manifest"
FORMAT = 1


class Damaged(Exception):
    """A backup isn't what its manifest says, or its manifest can't be read; the message says in what."""


@dataclass(frozen=True, slots=True)
class Table:
    """How many rows a table had, and a digest over all of them that doesn't depend on their order."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One uploaded file: how large it was in bytes, the SHA-256 of its bytes, and the bucket's version of it (or nothing)."""

    size: int
    sha256: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`taken_at` (aware) is the instant a backup shows; `size` in bytes and `sha256` are of the file as it was stored."""

    name: str
    kind: Literal["database", "media"]
    taken_at: datetime
    size: int
    sha256: str
    encrypted_for: str = ""
    release: str = ""
    commit: str = ""
    # The last migration of each app that was applied.
    migrations: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    files: Mapping[str, StoredFile] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self), "taken_at": self.taken_at.isoformat()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Read a manifest; raise `Damaged` when it is none, or one of a later release."""
        try:
            read: dict[str, Any] = json.loads(text)
            if read.pop("format") != FORMAT:
                raise Damaged("The manifest is in a form that this release doesn't know.")
            read["taken_at"] = datetime.fromisoformat(read["taken_at"])
            read["tables"] = {name: Table(**table) for name, table in read["tables"].items()}
            read["files"] = {key: StoredFile(**file) for key, file in read["files"].items()}
            return cls(**read)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged("The manifest can't be read.") from error


def tables(cursor: Any) -> dict[str, Table]:
    """Count and digest every table of the schema `public`, as the cursor's transaction sees it.

    The digest adds up a 64-bit hash of each row's text (`hashtextextended`): no sorting, so the time is linear.
    """
    cursor.execute(
        "SELECT relname, format('%I', relname) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"
    )
    found = {}
    for name, quoted in cursor.fetchall():
        # rule: raw-sql (a table's name, quoted by the server)
        cursor.execute(f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {quoted} t")  # noqa: S608
        found[name] = Table(*cursor.fetchone())
    return found


def differences(wanted: Mapping[str, Table], found: Mapping[str, Table]) -> list[str]:
    """Return a sentence for each table that is missing, too many, or has other rows."""
    said = []
    for name in sorted({*wanted, *found}):
        was, now = wanted.get(name), found.get(name)
        if was is None or now is None:
            said.append(f"{name}: {'not in the manifest' if was is None else 'missing'}")
        elif was.rows != now.rows:
            said.append(f"{name}: {now.rows} rows instead of {was.rows}")
        elif was.digest != now.digest:
            said.append(f"{name}: the {was.rows} rows hold something else")
    return said
