"""The files in which an installation keeps its secrets, replaced so that a crash leaves the old or the new one, whole."""

import configparser
import contextlib
import fcntl
import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from quokkaq.rotation.catalogue import BY_VARIABLE

# Where boto3 reads the pair of keys from; kept as one secret, for they change together.
CREDENTIALS = "AWS_CREDENTIALS"
_STAGED = ".next"
# Files in which others on the machine find the bare password of a URL (docs/operating.md).
_PASSWORD_FILES = {
    "DATABASE_URL": "web_password",
    "OWNER_DATABASE_URL": "postgres_password",
    "REDIS_URL": "redis_password",
}


class NoPlace(Exception):
    """A secret can't be written. The sentence says what to do."""


class Vault:
    """Where each secret comes from, and where its successor goes.

    Args:
        folder: where the files lie as whoever runs this reaches them; empty: where `NAME_FILE` says.
        environ: the environment of the installation.
    """

    def __init__(self, folder: Path | None, environ: Mapping[str, str]) -> None:
        self.folder, self.environ = folder, environ
        # Secrets whose successor was staged: once that is in its place, the place is right, whatever the environment says.
        self.replaced: list[str] = []

    def source(self, name: str) -> str:
        """Say where a secret comes from: `environment`, a path, or nothing when there is none."""
        if self.in_environment(name):
            return "environment"
        place = self._named(name)
        return str(place) if place and place.exists() else ""

    def in_environment(self, name: str) -> bool:
        return bool(self.environ.get("AWS_ACCESS_KEY_ID" if name == CREDENTIALS else name, "").strip())

    def place(self, name: str) -> Path:
        """Return the file of a secret, also one that isn't there yet. Raises `NoPlace`."""
        named = self._named(name)
        if named:
            return named
        if self.folder:
            return self.folder / name.lower()
        raise NoPlace(f"{name} comes from the environment. Say with --folder where its new value is to be written.")

    def variable(self, name: str) -> str:
        """Return the variable that names the secret's file."""
        return "AWS_SHARED_CREDENTIALS_FILE" if name == CREDENTIALS else f"{name}_FILE"

    def _named(self, name: str) -> Path | None:
        file = self.environ.get(self.variable(name), "").strip()
        if not file:
            return None
        return self.folder / Path(file).name if self.folder else Path(file)

    def read(self, name: str) -> str:
        """Return a secret as it is now; empty when there is none."""
        if name in self.replaced and not self._next(name).exists():
            return self.place(name).read_text(encoding="utf-8").strip()
        if self.in_environment(name):
            if name == CREDENTIALS:
                return credentials(self.environ["AWS_ACCESS_KEY_ID"], self.environ.get("AWS_SECRET_ACCESS_KEY", ""))
            return self.environ[name].strip()
        place = self._named(name)
        return place.read_text(encoding="utf-8").strip() if place and place.exists() else ""

    def staged(self, name: str) -> str:
        """Return what is to replace a secret; empty when nothing is."""
        try:
            file = self._next(name)
        except NoPlace:
            return ""
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    def stage(self, name: str, value: str) -> None:
        """Write what is to replace a secret beside it."""
        write(self._next(name), value, like=self.place(name))

    def publish(self, name: str) -> None:
        """Put what is staged in the secret's place, with the bare password beside it where others read that."""
        value = self.staged(name)
        if not value:
            return
        place = self.place(name)
        beside = place.parent / _PASSWORD_FILES[name] if name in _PASSWORD_FILES else None
        if beside and beside.exists():
            write(beside, password_of(value))
        self._next(name).replace(place)
        _settle(place.parent)

    def forget(self, name: str) -> None:
        """Remove what is staged for a secret."""
        if self.staged(name):
            self._next(name).unlink()

    def _next(self, name: str) -> Path:
        place = self.place(name)
        return place.with_name(place.name + _STAGED)

    @property
    def home(self) -> Path:
        """Return the folder in which the journal is kept: that of the first secret with a file. Raises `NoPlace`."""
        if self.folder:
            return self.folder
        for name in BY_VARIABLE:
            if place := self._named(name):
                return place.parent
        return self.place("SECRET_KEY").parent


def password_of(url: str) -> str:
    """Return the password of a URL as it is, without its encoding."""
    return unquote(urlsplit(url).password or "")


def credentials(key: str, secret: str) -> str:
    """Return a pair of keys as boto3 reads it from a file."""
    file = configparser.RawConfigParser()
    file["default"] = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    text = io.StringIO()
    file.write(text)
    return text.getvalue()


def key_pair(text: str) -> tuple[str, str]:
    """Return the pair of keys of a credentials file; raise `NoPlace` for one that holds none."""
    file = configparser.RawConfigParser()
    try:
        file.read_string(text)
        return file["default"]["aws_access_key_id"], file["default"]["aws_secret_access_key"]
    except (configparser.Error, KeyError):
        raise NoPlace("The credentials file holds no pair of keys below [default].") from None


def write(place: Path, text: str, *, like: Path | None = None) -> None:
    """Replace a file in one step. It keeps owner and mode, those of `like` when it is new; else only we may read it."""
    model = next((path.stat() for path in (place, like) if path and path.exists()), None)
    new = place.with_name(f"{place.name}.writing")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if model:
            with contextlib.suppress(PermissionError):  # the owner is somebody else: the mode decides who reads it
                os.fchown(descriptor, model.st_uid, model.st_gid)
            os.fchmod(descriptor, model.st_mode & 0o777)
        file.write(text if text.endswith("\n") else f"{text}\n")
        file.flush()
        os.fsync(descriptor)
    new.replace(place)
    _settle(place.parent)


def _settle(folder: Path) -> None:
    """Have the disk keep what names the folder holds."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass
class Journal:
    """How far a rotation has come. It holds no secret."""

    place: Path
    rotation: uuid.UUID = field(default_factory=uuid.uuid4)
    begun: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    chosen: list[str] = field(default_factory=list)
    # What providers issued, by variable.
    given: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    # The name of the key at S3 that is to end.
    ended_key: str = ""

    @classmethod
    def read(cls, home: Path) -> "Journal | None":
        place = home / "rotation.json"
        if not place.exists():
            return None
        try:
            kept = json.loads(place.read_text(encoding="utf-8"))
            return cls(place, uuid.UUID(kept.pop("rotation")), **kept)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NoPlace(f"{place} can't be read. Look what it was, remove it, and run this again.") from None

    @classmethod
    def begin(cls, home: Path, chosen: list[str], given: list[str]) -> "Journal":
        journal = cls(home / "rotation.json", chosen=chosen, given=given)
        journal.save()
        return journal

    def save(self) -> None:
        kept = {
            "rotation": str(self.rotation), "begun": self.begun, "chosen": self.chosen, "given": self.given, "changed": self.changed,
            "done": self.done, "ended_key": self.ended_key,
        }  # fmt: skip
        write(self.place, json.dumps(kept))

    def note(self, step: str) -> None:
        self.done.append(step)
        self.save()

    def end(self) -> None:
        self.place.unlink()
        _settle(self.place.parent)


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Be the only one who rotates the secrets of a folder. Raises `NoPlace`."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise NoPlace("Another rotation of these secrets is running.") from None
    finally:
        os.close(descriptor)
