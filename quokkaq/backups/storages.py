"""Where backups lie: a folder, or a bucket of S3. Both are storages of Django, so that django-dbbackup works on them, too."""

import io
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from django.core.files.storage import FileSystemStorage

from quokkaq.backups.manifest import SUFFIX
from quokkaq.lib.storage import CHUNK_BYTES, PrivateS3Storage
from quokkaq.lib.storage.s3 import encryption

# What releases that wrote no manifest put beside a backup.
OLD_SUFFIX = ".metadata"
PARTIAL = ".partial"
FILE_MODE = 0o640
FOLDER_MODE = 0o750
# Of a file that is opened at once as Django does it, S3's storage keeps so much in memory.
SPOOL_BYTES = 16 << 20


class PlaceError(Exception):
    """A place for backups can't be reached, is full, or refused; the message says what it answered."""


class Missing(PlaceError):
    """There is no such file in the place."""


class Locked(PlaceError):
    """The place keeps a file until its object lock ends."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a place: `size` in bytes, and when it was written (aware)."""

    name: str
    size: int
    written_at: datetime


class _Counting:
    """Lists what counts as a backup: what `listbackups` shows, and `dbrestore` takes the newest of."""

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        folders, files = super().listdir(path)  # type: ignore[misc]
        there = set(files)
        return folders, [name for name in files if {name + SUFFIX, name + OLD_SUFFIX} & there]


class DiskStorage(_Counting, FileSystemStorage):
    """A folder in which a file is there whole or not at all."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        target = Path(self.path(name))
        partial = Path(self.location, PARTIAL, str(uuid.uuid4()))
        for folder in (partial.parent, target.parent):
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        try:
            with open(partial, "xb", opener=lambda path, flags: os.open(path, flags, FILE_MODE)) as file:
                content.seek(0)
                shutil.copyfileobj(content, file, CHUNK_BYTES)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        folder_descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder_descriptor)
        finally:
            os.close(folder_descriptor)
        return name

    def stream(self, name: str) -> IO[bytes]:
        return open(self.path(name), "rb")

    def remove(self, name: str) -> None:
        Path(self.path(name)).unlink(missing_ok=True)

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield every file in a folder (`""`: only what lies at the top; else also in folders below)."""
        root = Path(self.location)
        for path in root.joinpath(folder).rglob("*") if folder else root.glob("*"):
            try:
                found = path.stat()
            except FileNotFoundError:  # removed while it was listed
                continue
            if path.is_file():
                yield Found(
                    path.relative_to(root).as_posix(), found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)
                )

    def sweep(self, before: datetime) -> None:
        """Delete what writers left that died."""
        for path in Path(self.location, PARTIAL).glob("*"):
            if path.stat().st_mtime < before.timestamp():
                path.unlink(missing_ok=True)


class S3Storage(_Counting, PrivateS3Storage):
    """A private bucket. With `lock_days` each object is locked for so many days when it is written.

    Options: those of django-storages, and `lock_mode` (`COMPLIANCE`, `GOVERNANCE`) and `lock_days`.
    """

    lock_mode: str
    lock_days: int

    def get_default_settings(self) -> dict[str, Any]:
        return {
            **super().get_default_settings(),
            "file_overwrite": True,  # a name is asked for before it is taken (`Place.save`)
            "max_memory_size": SPOOL_BYTES,
            "object_parameters": encryption(),
            "lock_mode": "",
            "lock_days": 0,
        }

    def __init__(self, **options: Any) -> None:
        from botocore.config import Config

        endpoint = options.get("endpoint_url", self.get_default_settings()["endpoint_url"])
        options.setdefault(
            "client_config",
            Config(
                signature_version="s3v4",
                connect_timeout=3,
                read_timeout=60,
                retries={"total_max_attempts": 3, "mode": "standard"},
                s3={"addressing_style": "path" if endpoint else "virtual"},
            ),
        )
        super().__init__(**options)

    def get_object_parameters(self, name: str) -> dict[str, Any]:
        parameters = dict(super().get_object_parameters(name))
        if self.lock_days:
            parameters["ObjectLockMode"] = self.lock_mode
            parameters["ObjectLockRetainUntilDate"] = datetime.now(UTC) + timedelta(days=self.lock_days)
        return parameters

    def stream(self, name: str) -> IO[bytes]:
        found = self.bucket.Object(self._normalize_name(name)).get()
        return io.BufferedReader(_Body(found["Body"]), CHUNK_BYTES)

    def remove(self, name: str) -> None:
        """Delete every version of an object, so that its bytes are gone; raise `Locked` while one may not go."""
        from botocore.exceptions import ClientError

        key = self._normalize_name(name)
        client = self.connection.meta.client
        pages = client.get_paginator("list_object_versions").paginate(Bucket=self.bucket_name, Prefix=key)
        for page in pages:
            for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                if one["Key"] != key:
                    continue
                version = {"VersionId": one["VersionId"]}
                try:
                    client.delete_object(Bucket=self.bucket_name, Key=key, **version)
                except ClientError as error:
                    head = client.head_object(Bucket=self.bucket_name, Key=key, **version)
                    until = head.get("ObjectLockRetainUntilDate")
                    if until and until > datetime.now(UTC):
                        raise Locked(f"{name} is locked until {until:%Y-%m-%d}.") from error
                    raise

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield every object under a folder (`""`: only what lies at the top; else also in folders below)."""
        top = self.location.rstrip("/")
        prefix = f"{top}/{folder}".strip("/")
        prefix = f"{prefix}/" if prefix else ""
        pages = self.connection.meta.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket_name, Prefix=prefix, **({} if folder else {"Delimiter": "/"})
        )
        for page in pages:
            for one in page.get("Contents", []):
                yield Found(one["Key"][len(top) :].lstrip("/"), one["Size"], one["LastModified"])

    def sweep(self, before: datetime) -> None:
        """Drop uploads in parts whose writers died."""
        client = self.connection.meta.client
        prefix = f"{self.location.rstrip('/')}/".lstrip("/")
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket_name, Prefix=prefix)
        for page in pages:
            for upload in page.get("Uploads", []):
                if upload["Initiated"] < before:
                    client.abort_multipart_upload(
                        Bucket=self.bucket_name, Key=upload["Key"], UploadId=upload["UploadId"]
                    )


class _Body(io.RawIOBase):
    """The body of an answer of S3, whose errors are a place's."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with trouble():
            piece: bytes = self._body.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._body.close()
        super().close()


@contextmanager
def trouble() -> Iterator[None]:
    """Raise what a disk or bucket answers as `PlaceError`. The message holds codes and names of files, no secrets."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except FileNotFoundError as error:
        raise Missing("There is no such file.") from error
    except OSError as error:
        raise PlaceError(error.strerror or type(error).__name__) from error
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in {"404", "NoSuchKey", "NotFound"}:
            raise Missing("There is no such file.") from error
        raise PlaceError(f"The bucket answered {code}.") from error
    except (Boto3Error, BotoCoreError) as error:
        raise PlaceError(f"The bucket can't be reached ({type(error).__name__}).") from error
