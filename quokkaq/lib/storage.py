"""Where uploaded files go: a private S3 bucket with short signed URLs, or the local disk, by settings."""

import mimetypes
import os
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, HttpResponseBase, HttpResponseRedirect
from storages.backends.s3 import S3Storage

SIGNED_URL_SECONDS = 300
# Shown inside a page; everything else is a download.
INLINE_TYPES = frozenset({"image/webp", "image/png", "image/jpeg"})


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
            "object_parameters": {"ServerSideEncryption": "AES256"},
        }


def serve(name: str, *, download_as: str = "") -> HttpResponseBase:
    """Answer with a stored file: a redirect to a signed URL on S3, the bytes themselves from the local disk.

    Args:
        name: the storage key.
        download_as: offer the file under this name; empty shows an image (`INLINE_TYPES`) in the page.

    The caller has checked that the reader may have it.
    """
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    inline = not download_as and content_type in INLINE_TYPES
    if settings.AWS_STORAGE_BUCKET_NAME:
        disposition = "inline" if inline else f'attachment; filename="{_ascii(download_as or "file")}"'
        parameters = {"ResponseContentDisposition": disposition, "ResponseContentType": content_type}
        response: HttpResponseBase = HttpResponseRedirect(default_storage.url(name, parameters=parameters))  # type: ignore[call-arg]
        response["Cache-Control"] = f"private, max-age={SIGNED_URL_SECONDS // 2}"
        return response
    response = FileResponse(
        default_storage.open(name), as_attachment=not inline, filename=download_as, content_type=content_type
    )
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, max-age=300"
    return response


def check_reachable() -> bool:
    """Tell whether files can be stored now. One HeadBucket with short time-outs, or one look at the folder."""
    if settings.AWS_STORAGE_BUCKET_NAME:
        from boto3 import client
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        probe = client(
            "s3",
            endpoint_url=settings.AWS_S3_ENDPOINT_URL or None,
            region_name=settings.AWS_S3_REGION_NAME or None,
            config=Config(connect_timeout=0.5, read_timeout=0.5, retries={"max_attempts": 0}),
        )
        try:
            probe.head_bucket(Bucket=settings.AWS_STORAGE_BUCKET_NAME)
        except (BotoCoreError, ClientError):
            return False
        return True
    root = str(settings.MEDIA_ROOT)
    os.makedirs(root, exist_ok=True)
    return os.access(root, os.W_OK)


def _ascii(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
