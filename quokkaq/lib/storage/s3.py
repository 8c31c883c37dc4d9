"""Files in a private S3 bucket, reached by links that end."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpResponseBase, HttpResponseRedirect
from storages.backends.s3 import S3Storage

from quokkaq.lib.storage.base import (
    CHUNK_BYTES,
    SIGNED_URL_SECONDS,
    TICKET_SECONDS,
    Changed,
    Missing,
    Stored,
    StoreError,
    Ticket,
    checked_key,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# S3 takes parts of five MiB or more; one is in memory at a time.
PART_BYTES = 5 << 20
_GONE = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
_OTHER = {"412", "PreconditionFailed"}


def encryption() -> dict[str, str]:
    """Return the two parameters of S3 that say how an object is encrypted at rest."""
    if settings.AWS_S3_KMS_KEY_ID:
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.AWS_S3_KMS_KEY_ID}
    return {"ServerSideEncryption": "AES256"}


class PrivateS3Storage(S3Storage):
    """S3 objects nobody can list or read without a signed URL that ends after five minutes."""

    def get_default_settings(self) -> dict[str, Any]:
        return {
            **super().get_default_settings(),
            "default_acl": None,  # buckets of today refuse ACLs; private is the bucket's own setting
            "querystring_auth": True,
            "querystring_expire": SIGNED_URL_SECONDS,
            "file_overwrite": False,
            "signature_version": "s3v4",
            "object_parameters": encryption(),
        }


@cache
def client(endpoint: str | None, region: str | None, *, connect: float, read: float, attempts: int) -> "S3Client":
    """Return a client that gives up: time-outs in seconds, `attempts` in all."""
    from boto3.session import Session
    from botocore.config import Config

    # A session of its own: the default one isn't safe between threads.
    return Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        config=Config(
            signature_version="s3v4",
            connect_timeout=connect,
            read_timeout=read,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": "path" if endpoint else "virtual"},
        ),
    )


@dataclass(frozen=True)
class Version:
    """One of the contents that a key of a versioned bucket had, or (`is_marker`) that it was deleted."""

    key: str
    id: str
    etag: str
    size: int
    written_at: datetime
    is_current: bool
    is_marker: bool


class S3Store:
    """One bucket. A version is S3's version id and ETag; without versioning of the bucket the ETag alone."""

    def __init__(self, bucket: str, endpoint: str | None, region: str | None) -> None:
        self.bucket = bucket
        self.client = client(endpoint, region, connect=2, read=10, attempts=2)

    def ticket(self, key: str, *, content_type: str, size: int, owner: str) -> Ticket | None:
        fields = {
            "Content-Type": content_type,
            "x-amz-meta-owner": owner,
            "success_action_status": "201",
            "x-amz-server-side-encryption": encryption()["ServerSideEncryption"],
        }
        if settings.AWS_S3_KMS_KEY_ID:
            fields["x-amz-server-side-encryption-aws-kms-key-id"] = settings.AWS_S3_KMS_KEY_ID
        expires_at = datetime.now(UTC) + timedelta(seconds=TICKET_SECONDS)
        with _trouble(key):
            signed = self.client.generate_presigned_post(
                self.bucket,
                checked_key(key),
                Fields=fields,
                Conditions=[*({name: value} for name, value in fields.items()), ["content-length-range", size, size]],
                ExpiresIn=TICKET_SECONDS,
            )
        return Ticket(signed["url"], signed["fields"], expires_at)

    def head(self, key: str) -> Stored | None:
        return self._head(key, "")

    def read(self, key: str, start: int, length: int, *, version: str = "") -> bytes:
        if length <= 0:
            return b""
        with _trouble(key):
            try:
                found = self.client.get_object(
                    Bucket=self.bucket,
                    Key=checked_key(key),
                    Range=f"bytes={start}-{start + length - 1}",
                    **_pinned(version),
                )
                return bytes(_body(found).read())
            except self.client.exceptions.ClientError as error:
                if _code(error) == "InvalidRange":  # begins at the end or behind it
                    return b""
                raise

    def chunks(self, key: str, size: int = CHUNK_BYTES, *, version: str = "") -> Iterator[bytes]:
        with _trouble(key):
            found = self.client.get_object(Bucket=self.bucket, Key=checked_key(key), **_pinned(version))
            with closing(_body(found)) as body:
                yield from body.iter_chunks(size)

    def put(self, key: str, file: IO[bytes] | Path, *, content_type: str, owner: str) -> None:
        from boto3.s3.transfer import TransferConfig

        checked_key(key)
        if isinstance(file, Path):
            try:
                with file.open("rb") as opened:
                    self.put(key, opened, content_type=content_type, owner=owner)
            except OSError as error:
                raise StoreError(f"{file.name}: {error.strerror}") from error
            return
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        about: dict[str, Any] = {"ContentType": content_type, "Metadata": {"owner": owner}, **encryption()}
        with _trouble(key):
            if size < PART_BYTES:  # `upload_fileobj` would close the file
                self.client.put_object(Bucket=self.bucket, Key=key, Body=file, **about)
                return
            self.client.upload_fileobj(
                file,
                self.bucket,
                key,
                ExtraArgs=about,
                Config=TransferConfig(
                    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False
                ),
            )

    def promote(self, source: str, target: str, *, content_type: str, version: str) -> None:
        checked_key(target)
        found = self._head(source, version)
        if found is None:
            # The copy was made and the source removed, before this was done again.
            if self.head(target) is None:
                raise Missing(f"There is no file {source}.")
            return
        version_id, etag = _parts(version)
        place: dict[str, str] = {"Bucket": self.bucket, "Key": checked_key(source)}
        if version_id:
            place["VersionId"] = version_id
        with _trouble(source):
            self.client.copy_object(
                Bucket=self.bucket,
                Key=target,
                CopySource=place,  # type: ignore[arg-type]
                CopySourceIfMatch=etag,
                MetadataDirective="REPLACE",
                Metadata={"owner": found.owner},
                ContentType=content_type,
                **encryption(),  # type: ignore[arg-type]
            )

    def delete(self, key: str) -> None:
        with _trouble(key):
            self.client.delete_object(Bucket=self.bucket, Key=checked_key(key))

    def listing(self, prefix: str, older_than: datetime) -> Iterator[str]:
        with _trouble(prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    if found["LastModified"] < older_than:
                        yield found["Key"]

    def is_versioned(self) -> bool:
        with _trouble(self.bucket):
            return self.client.get_bucket_versioning(Bucket=self.bucket).get("Status") == "Enabled"

    def versions(self, prefix: str = "") -> Iterator[Version]:
        """Yield all that was ever under a prefix and isn't forgotten yet, each key's newest first."""
        with _trouble(prefix or self.bucket):
            for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
                found = [
                    Version(
                        one["Key"],
                        one["VersionId"],
                        one["ETag"],
                        one["Size"],
                        one["LastModified"],
                        one["IsLatest"],
                        is_marker=False,
                    )
                    for one in page.get("Versions", [])
                ] + [
                    Version(one["Key"], one["VersionId"], "", 0, one["LastModified"], one["IsLatest"], is_marker=True)
                    for one in page.get("DeleteMarkers", [])
                ]
                yield from sorted(found, key=lambda one: (one.key, not one.is_current, -one.written_at.timestamp()))

    def bring_back(self, version: Version) -> None:
        """Let a key have again what it had in an earlier version, with its owner and type. What it has now stays a version."""
        with _trouble(version.key):
            self.client.copy_object(
                Bucket=self.bucket,
                Key=checked_key(version.key),
                CopySource={"Bucket": self.bucket, "Key": version.key, "VersionId": version.id},
                **encryption(),  # type: ignore[arg-type]
            )

    def response(self, key: str, *, content_type: str, disposition: str) -> HttpResponseBase:
        with _trouble(key):
            url = self.client.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.bucket,
                    "Key": checked_key(key),
                    "ResponseContentType": content_type,
                    "ResponseContentDisposition": disposition,
                },
                ExpiresIn=SIGNED_URL_SECONDS,
            )
        response = HttpResponseRedirect(url)
        response["Cache-Control"] = f"private, max-age={SIGNED_URL_SECONDS // 2}"
        return response

    def _head(self, key: str, version: str) -> Stored | None:
        wanted: dict[str, Any] = {"Bucket": self.bucket, "Key": checked_key(key), **_pinned(version)}
        found: Any
        try:
            with _trouble(key):
                try:
                    # With its first byte: that one has come means that all of the answer's head has.
                    found = self.client.get_object(**wanted, Range="bytes=0-0")
                    _body(found).read()
                    size = int(found.get("ContentRange", "").rpartition("/")[2])
                except self.client.exceptions.ClientError as error:
                    if _code(error) != "InvalidRange":
                        raise
                    found, size = self.client.head_object(**wanted), 0
        except Missing:
            return None
        return Stored(
            size,
            found["ContentType"],
            found["Metadata"].get("owner", ""),
            f"{found.get('VersionId', '')} {found['ETag']}",
        )


def _body(found: Any) -> Any:
    """Return the body of an answer whose end will be noticed, or raise `ValueError`.

    An answer that was cut off in its head looks whole to Python's HTTP client: without a length, all there is is what came.
    """
    if "ContentLength" not in found:
        raise ValueError("the answer of the bucket was cut off")
    return found["Body"]


def _parts(version: str) -> tuple[str, str]:
    version_id, _, etag = version.partition(" ")
    return ("" if version_id == "null" else version_id), etag


def _pinned(version: str) -> dict[str, Any]:
    """Return the parameters that read this version of an object and no other."""
    version_id, etag = _parts(version)
    return {**({"VersionId": version_id} if version_id else {}), **({"IfMatch": etag} if etag else {})}


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _trouble(key: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _GONE:
            raise Missing(f"There is no file {key}.") from error
        if code in _OTHER:
            raise Changed(f"{key} was written again.") from error
        raise StoreError(f"{key}: the bucket answered {code}.") from error
    except (
        Boto3Error,
        BotoCoreError,
        ResponseParserError,
        ValueError,
    ) as error:  # the latter for what was cut off
        raise StoreError(f"{key}: {error}") from error
