"""Files in a folder of this machine, under the same rules as in a bucket."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from django.conf import settings
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase

from quokkaq.lib.storage.base import CHUNK_BYTES, Changed, Missing, Stored, StoreError, Ticket, checked_key

# No key begins with a dot, so no key leads into these.
ABOUT = ".about"
PARTIAL = ".partial"
FILE_MODE = 0o640
FOLDER_MODE = 0o750


class DiskStore:
    """A folder. What S3 keeps as an object's metadata lies beside it, in `.about/KEY`, as JSON."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ticket(self, key: str, *, content_type: str, size: int, owner: str) -> Ticket | None:
        checked_key(key)
        return None

    def head(self, key: str) -> Stored | None:
        try:
            with _trouble(key), self._path(key).open("rb") as file:
                found = os.fstat(file.fileno())
        except Missing:
            return None
        about = self._about(key)
        return Stored(found.st_size, about["content_type"], about["owner"], _version(found))

    def read(self, key: str, start: int, length: int, *, version: str = "") -> bytes:
        with _trouble(key), self._path(key).open("rb") as file:
            _expect(key, file, version)
            file.seek(start)
            return file.read(length)

    def chunks(self, key: str, size: int = CHUNK_BYTES, *, version: str = "") -> Iterator[bytes]:
        with _trouble(key):
            file = self._path(key).open("rb")
        with file:
            _expect(key, file, version)
            while True:
                with _trouble(key):
                    piece = file.read(size)
                if not piece:
                    return
                yield piece

    def put(self, key: str, file: IO[bytes] | Path, *, content_type: str, owner: str) -> None:
        target = self._path(key)
        with _trouble(key):
            self._write(self._path(key, ABOUT), json.dumps({"content_type": content_type, "owner": owner}).encode())
            if isinstance(file, Path):
                with file.open("rb") as opened:
                    self._write(target, opened)
            else:
                file.seek(0)
                self._write(target, file)

    def promote(self, source: str, target: str, *, content_type: str, version: str) -> None:
        self._path(target)
        try:
            with _trouble(source):
                file = self._path(source).open("rb")
        except Missing:
            if self.head(target) is None:
                raise
            return
        with file:
            # From here on it is this file that is copied, whatever takes its place under the key.
            _expect(source, file, version)
            self.put(target, file, content_type=content_type, owner=self._about(source)["owner"])
            # Writing into the file itself, which nothing here does, shows now.
            try:
                _expect(source, file, version)
            except Changed:
                self.delete(target)
                raise

    def delete(self, key: str) -> None:
        with _trouble(key):
            self._path(key).unlink(missing_ok=True)
            self._path(key, ABOUT).unlink(missing_ok=True)

    def listing(self, prefix: str, older_than: datetime) -> Iterator[str]:
        folder = self._path(prefix.rstrip("/"))
        with _trouble(prefix):
            for path in sorted(folder.rglob("*")):
                try:
                    if path.is_file() and path.stat().st_mtime < older_than.timestamp():
                        yield path.relative_to(self.root).as_posix()
                except FileNotFoundError:  # removed while it was listed
                    continue

    def response(self, key: str, *, content_type: str, disposition: str) -> HttpResponseBase:
        path = self._path(key)
        if not path.is_file():
            raise Http404("There is no file under this key.")
        response: HttpResponseBase
        if settings.ACCEL_REDIRECT_PREFIX:
            response = HttpResponse(content_type=content_type)
            response["X-Accel-Redirect"] = settings.ACCEL_REDIRECT_PREFIX + quote(key)
        else:
            response = FileResponse(path.open("rb"), content_type=content_type)
        response["Content-Disposition"] = disposition
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "sandbox; default-src 'none'"
        response["Cache-Control"] = "private, max-age=300"
        return response

    def _path(self, key: str, *inside: str) -> Path:
        return self.root.joinpath(*inside, checked_key(key))

    def _about(self, key: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._path(key, ABOUT).read_bytes())
        except FileNotFoundError:  # stored by Django's own storage, as avatars are
            return {"content_type": "application/octet-stream", "owner": ""}
        except (OSError, ValueError) as error:
            raise StoreError(f"What is known of {key} can't be read.") from error
        return found

    def _write(self, target: Path, content: IO[bytes] | bytes) -> None:
        """Put a file in its place at once: written and synchronised beside it, then renamed, then the folder too."""
        partial = self.root / PARTIAL / str(uuid.uuid4())
        for folder in (partial.parent, target.parent):
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        try:
            with open(partial, "xb", opener=lambda path, flags: os.open(path, flags, FILE_MODE)) as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    shutil.copyfileobj(content, file, CHUNK_BYTES)
                file.flush()
                os.fchmod(file.fileno(), FILE_MODE)
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        folder_descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder_descriptor)
        finally:
            os.close(folder_descriptor)


def _version(found: os.stat_result) -> str:
    return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"


def _expect(key: str, file: IO[bytes], version: str) -> None:
    if version and _version(os.fstat(file.fileno())) != version:
        raise Changed(f"{key} was written again.")


@contextmanager
def _trouble(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"There is no file {key}.") from error
    except OSError as error:
        raise StoreError(f"{key}: {error.strerror or error}") from error
