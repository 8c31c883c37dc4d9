"""Check a picture somebody uploaded, and make it again from its pixels."""

import io
import warnings
from collections.abc import Callable
from typing import IO

from PIL import Image, ImageOps

MAX_AVATAR_BYTES = 5 * 1024 * 1024
MAX_PIXELS = 40_000_000
AVATAR_SIDE = 256

_MAGIC: dict[str, Callable[[bytes], bool]] = {
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "WEBP": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
}


class RefusedImage(ValueError):
    """The upload is not a picture we take; the message is for the person who sent it."""


def make_avatar(upload: IO[bytes], size: int) -> bytes:
    """Return a square WebP of `AVATAR_SIDE` pixels made from the pixels of an uploaded PNG, JPEG or WebP.

    Nothing else of the file survives: no metadata (EXIF, GPS), no appended data, no second format.

    Args:
        upload: the file, at its start.
        size: its length in bytes.

    Raises `RefusedImage`: too large, another type, a name that lies about its content, too many pixels, broken.
    """
    if size > MAX_AVATAR_BYTES:
        raise RefusedImage("This picture is larger than 5 MB. Choose a smaller one.")
    head = upload.read(16)
    upload.seek(0)
    kinds = [kind for kind, matches in _MAGIC.items() if matches(head)]
    if not kinds:
        raise RefusedImage("This file isn't a PNG, JPEG or WebP picture. Choose one of those.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(upload, formats=kinds) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise RefusedImage("This picture has too many pixels (more than 40 million). Choose a smaller one.")
                picture.load()
                upright = ImageOps.exif_transpose(picture)
                square = ImageOps.fit(upright.convert("RGBA"), (AVATAR_SIDE, AVATAR_SIDE), Image.Resampling.LANCZOS)
    except RefusedImage:
        raise
    except Exception as error:  # decoders of damaged files raise nearly everything
        raise RefusedImage("This picture can't be read: it may be damaged. Choose another one.") from error
    # A new image from the pixels alone: `info` with EXIF or profiles stays behind.
    clean = Image.frombytes("RGBA", square.size, square.tobytes())
    output = io.BytesIO()
    clean.save(output, "WEBP", quality=82, method=4)
    return output.getvalue()
