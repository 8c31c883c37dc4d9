"""Pictures: one whole file of one format, within limits; and made again from their pixels."""

import io
import re
import warnings
from typing import IO, Any

from PIL import Image, ImageCms, ImageOps

from quokkaq.lib.inspecting.kinds import GIF, JPEG, PNG, WEBP, RefusedFile, Rejection

# A JPEG can be unpacked at a half or a quarter of its size; all pixels of the others are held at once, 4 bytes each.
MAX_PIXELS = {JPEG: 40_000_000, PNG: 16_000_000, GIF: 16_000_000, WEBP: 12_500_000}
MAX_SIDE = 4_000
# A larger JPEG is unpacked at the least size of half, quarter or eighth that is no smaller than this.
DRAFT_SIDE = 3_000
MAX_DIMENSION = 30_000
AVATAR_SIDE = 256
_FORMATS = {PNG: ["PNG"], JPEG: ["JPEG"], WEBP: ["WEBP"], GIF: ["GIF"]}
# Of a GIF the first frame is kept.
WRITTEN = {PNG: "PNG", JPEG: "JPEG", WEBP: "WEBP", GIF: "PNG"}
_WRITTEN_TYPE = {"PNG": PNG, "JPEG": JPEG, "WEBP": WEBP}

_MARKUP = re.compile(
    rb"<\?php[\s]|<script[\s>/]|<html[\s>]|<!doctype\s|<iframe[\s>]|<body[\s>]|<svg[\s>]|%PDF-[12]\.\d|<\?=\s*[`$@\w(]{4}",
    re.I,
)
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_PADDING = b"\0\r\n "


def inspect_picture(data: bytes, claimed: str) -> tuple[int, int]:
    """Return width and height in pixels of a sound picture with nothing hidden in it; raises `RefusedFile`."""
    end = _END[claimed](data)
    if end > len(data):
        raise RefusedFile(Rejection.INCOMPLETE)
    if data[end:].strip(_PADDING):
        raise RefusedFile(Rejection.POLYGLOT)
    if _MARKUP.search(data) or all(signature in data for signature in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06")):
        raise RefusedFile(Rejection.POLYGLOT)
    if b"Rar!\x1a\x07" in data or b"7z\xbc\xaf\x27\x1c" in data or b"!This program cannot be run" in data:
        raise RefusedFile(Rejection.POLYGLOT)
    with _opened(io.BytesIO(data), claimed) as picture:
        size = picture.size
        if claimed == JPEG:
            _draft(picture, DRAFT_SIDE)
        _load(picture)
    return size


def reencode_picture(source: IO[bytes], claimed: str, purpose: str) -> tuple[bytes, str, int, int]:
    """Return a picture made from the pixels of another, its content type, width and height in pixels.

    Args:
        source: the file, at its start.
        claimed: its content type.
        purpose: `avatar` for a square WebP of 256 pixels; else the size stays, up to `MAX_SIDE` a side.

    Raises `RefusedFile`.
    """
    avatar = purpose == "avatar"
    bound = (8 * AVATAR_SIDE, 8 * AVATAR_SIDE) if avatar else (MAX_SIDE, MAX_SIDE)
    with _opened(source, claimed) as opened:
        turned = opened.getexif().get(0x0112, 1) if claimed == JPEG else 1
        if claimed == JPEG and max(opened.size) > bound[0]:
            _draft(opened, bound[0] if avatar else DRAFT_SIDE)
        _load(opened)
        profile = opened.info.get("icc_profile")
        picture: Image.Image = opened.copy() if claimed == GIF else opened
        orientation = turned if claimed == JPEG else picture.getexif().get(0x0112, 1)
        # Smaller first where the mode can be scaled: a copy at full size costs memory.
        if picture.mode in {"L", "RGB", "CMYK"} and "transparency" not in picture.info:
            picture = _shrunk(picture, bound)
        picture = _shrunk(_plain(picture), bound)
        picture = _upright(picture, orientation)
        picture = _in_srgb(picture, profile)
        if avatar:
            picture = ImageOps.fit(picture.convert("RGBA"), (AVATAR_SIDE, AVATAR_SIDE), Image.Resampling.LANCZOS)
        # A new image from the pixels alone: `info` with metadata and profiles stays behind.
        clean = Image.new(picture.mode, picture.size)
        clean.paste(picture)
    del picture, opened
    written = "WEBP" if avatar else WRITTEN[claimed]
    options: dict[str, Any] = {
        "PNG": {"compress_level": 4},
        "JPEG": {"quality": 88, "progressive": False},
        "WEBP": {"quality": 82, "method": 4 if avatar else 2},
    }[written]
    output = io.BytesIO()
    clean.save(output, written, **options)
    # Pixels can be chosen so that their compressed bytes spell a script.
    if _MARKUP.search(output.getbuffer()):
        raise RefusedFile(Rejection.POLYGLOT)
    return output.getvalue(), _WRITTEN_TYPE[written], *clean.size


def _opened(source: IO[bytes], claimed: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(source, formats=[*_FORMATS[claimed], *(["MPO"] if claimed == JPEG else [])])
    except Image.DecompressionBombError:
        raise RefusedFile(Rejection.PIXELS) from None
    except MemoryError:
        raise
    except Exception:  # decoders of damaged files raise nearly everything
        raise RefusedFile(Rejection.DAMAGED) from None
    width, height = picture.size
    if width * height > MAX_PIXELS[claimed] or max(width, height) > MAX_DIMENSION:
        raise RefusedFile(Rejection.PIXELS)
    return picture


def _load(picture: Image.Image) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.load()
    except MemoryError:
        raise
    except Exception:
        raise RefusedFile(Rejection.DAMAGED) from None


def _draft(picture: Image.Image, side: int) -> None:
    """Let a JPEG be unpacked at a half, a quarter or an eighth, while its longer side stays at `side` pixels or more."""
    times = max(picture.size) // side
    if times > 1:
        picture.draft(None, (max(picture.width // times, 1), max(picture.height // times, 1)))


def _shrunk(picture: Image.Image, bound: tuple[int, int]) -> Image.Image:
    """Return a picture no larger than `bound`, in pixels. Channel by channel: with transparency Pillow copies it twice."""
    if picture.width <= bound[0] and picture.height <= bound[1]:
        return picture
    scale = min(bound[0] / picture.width, bound[1] / picture.height)
    size = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
    bands = [picture.getchannel(band).resize(size, Image.Resampling.BICUBIC) for band in range(len(picture.getbands()))]
    return Image.merge(picture.mode, bands)


def _plain(picture: Image.Image) -> Image.Image:
    """Return the picture in one of the modes that every format here can hold: L, RGB or RGBA."""
    if picture.mode.startswith("I;16"):
        return picture.point(lambda value: value / 256).convert("L")
    if picture.mode in {"I", "F"}:
        return picture.point(lambda value: value / 256).convert("L")
    if "transparency" in picture.info or picture.mode in {"PA", "LA", "RGBA", "La", "RGBa"}:
        return picture.convert("RGBA")
    return picture if picture.mode in {"L", "RGB"} else picture.convert("L" if picture.mode == "1" else "RGB")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def _upright(picture: Image.Image, orientation: object) -> Image.Image:
    """Return the picture turned as its metadata (EXIF 2.32, tag Orientation) say, which will be gone."""
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def _in_srgb(picture: Image.Image, profile: object) -> Image.Image:
    """Return the colours of a profile as sRGB, which is what a picture without profile means; broken ones are passed over."""
    if not isinstance(profile, bytes) or picture.mode not in {"RGB", "RGBA"} or len(profile) > 4_000_000:
        return picture
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(own):
            return picture
        done = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode=picture.mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return done or picture


# Where a file of each format ends


def _png_end(data: bytes) -> int:
    """Return the offset behind IEND. Source: PNG (Third Edition), section 5."""
    at = 8
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if length > len(data) - at - 12:
            raise RefusedFile(Rejection.INCOMPLETE)
        if not kind.isalpha():
            raise RefusedFile(Rejection.DAMAGED)
        at += length + 12
        if kind == b"IEND":
            if length:
                raise RefusedFile(Rejection.POLYGLOT)
            return at
    raise RefusedFile(Rejection.INCOMPLETE)


def _jpeg_end(data: bytes) -> int:
    """Return the offset behind the last picture. Source: ITU-T T.81, annex B; several in one file: CIPA DC-007 (MPF)."""
    at = _one_jpeg_end(data, 0)
    # Cameras put depth maps and previews behind the picture, which then says so.
    several = b"MPF\0" in data[:at]
    while several:
        rest = data[at : at + 4096]
        gap = len(rest) - len(rest.lstrip(b"\0"))
        if data[at + gap : at + gap + 3] != b"\xff\xd8\xff":
            break
        at = _one_jpeg_end(data, at + gap)
    return at


def _one_jpeg_end(data: bytes, start: int) -> int:
    at = start + 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise RefusedFile(Rejection.DAMAGED)
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0xD9:
            return at + 2
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
            if marker == 0xDA:
                found = _JPEG_MARKER.search(data, at)
                if found is None:
                    raise RefusedFile(Rejection.INCOMPLETE)
                at = found.start()
    if data[at : at + 2] == b"\xff\xd9":
        return at + 2
    raise RefusedFile(Rejection.INCOMPLETE)


def _webp_end(data: bytes) -> int:
    """Return the offset behind the RIFF chunk, its padding included. Source: RFC 9649, section 2."""
    length = int.from_bytes(data[4:8], "little")
    return 8 + length + length % 2


def _gif_end(data: bytes) -> int:
    """Return the offset behind the trailer. Source: GIF89a specification, appendix B."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0) if len(data) > 13 else len(data)
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            return at + 1
        if kind == 0x21:
            at += 2
        elif kind == 0x2C and at + 10 < len(data):
            at += 11 + (3 << ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0)
        else:
            raise RefusedFile(Rejection.DAMAGED)
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    raise RefusedFile(Rejection.INCOMPLETE)


_END = {PNG: _png_end, JPEG: _jpeg_end, WEBP: _webp_end, GIF: _gif_end}
