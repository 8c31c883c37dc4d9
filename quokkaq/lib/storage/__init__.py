"""Where uploaded files go: a private S3 bucket with short signed URLs, or the local disk, by settings.

A file somebody sends lies under `QUARANTINE` until its bytes were looked at; `Store.promote` copies it to `FILES`, and
only what lies there is served. `TEMPORARY` is for what may be gone after a week.
"""

import mimetypes
import os
import tempfile
from functools import cache
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import HttpResponseBase
from django.utils.http import content_disposition_header

from quokkaq.lib.storage.base import (
    CHUNK_BYTES,
    FILES,
    QUARANTINE,
    SIGNED_URL_SECONDS,
    TEMPORARY,
    TICKET_SECONDS,
    Changed,
    Missing,
    Store,
    Stored,
    StoreError,
    Ticket,
)
from quokkaq.lib.storage.disk import DiskStore
from quokkaq.lib.storage.s3 import PrivateS3Storage, S3Store, client

__all__ = [
    "CHUNK_BYTES",
    "FILES",
    "INLINE_TYPES",
    "QUARANTINE",
    "SIGNED_URL_SECONDS",
    "TEMPORARY",
    "TICKET_SECONDS",
    "Changed",
    "DiskStore",
    "Missing",
    "PrivateS3Storage",
    "S3Store",
    "Store",
    "StoreError",
    "Stored",
    "Ticket",
    "check_reachable",
    "serve",
    "store",
]

# Shown inside a page; everything else is a download.
INLINE_TYPES = frozenset({"image/webp", "image/png", "image/jpeg"})


def store() -> Store:
    """Return where files lie by the settings of now; one per process and settings."""
    if settings.AWS_STORAGE_BUCKET_NAME:
        return _bucket(settings.AWS_STORAGE_BUCKET_NAME, settings.AWS_S3_ENDPOINT_URL, settings.AWS_S3_REGION_NAME)
    return DiskStore(Path(default_storage.location))  # type: ignore[attr-defined]


@cache
def _bucket(name: str, endpoint: str | None, region: str | None) -> S3Store:
    return S3Store(name, endpoint, region)


def serve(key: str, *, content_type: str = "", download_as: str = "", inline: bool = False) -> HttpResponseBase:
    """Answer with a stored file: a redirect to a signed URL on S3; from the disk by the web server, or the bytes.

    Args:
        key: where the file lies.
        content_type: what its bytes were found to be. When empty it is guessed from the key's ending, and a picture
            without `download_as` is shown, as avatars are.
        download_as: the name to save it under; any letters (RFC 6266).
        inline: show it in the page when it is one of `INLINE_TYPES`; all else is a download whatever is asked.

    The caller has checked that the reader may have it.
    """
    shown = inline or not (content_type or download_as)
    content_type = content_type or mimetypes.guess_type(key)[0] or "application/octet-stream"
    attachment = not (shown and content_type in INLINE_TYPES)
    name = "".join(letter for letter in download_as if letter.isprintable())
    disposition = content_disposition_header(attachment, name) or "inline"
    return store().response(key, content_type=content_type, disposition=disposition)


def check_reachable() -> bool:
    """Tell whether files can be stored now: one HeadBucket with short time-outs, or one byte in a file without a name."""
    if settings.AWS_STORAGE_BUCKET_NAME:
        from botocore.exceptions import BotoCoreError, ClientError

        probe = client(settings.AWS_S3_ENDPOINT_URL, settings.AWS_S3_REGION_NAME, connect=0.4, read=0.4, attempts=1)
        try:
            probe.head_bucket(Bucket=settings.AWS_STORAGE_BUCKET_NAME)
        except (BotoCoreError, ClientError):
            return False
        return True
    root = str(settings.MEDIA_ROOT)
    try:
        os.makedirs(root, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"0")
    except OSError:
        return False
    return True
