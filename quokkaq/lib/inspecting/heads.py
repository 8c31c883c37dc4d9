"""A cheap first look at the two ends of a file, before anybody fetches the rest.

Two independent detectors name what the first bytes are; both must agree with the claim.
"""

import codecs
import re
from collections.abc import Mapping

import filetype
import puremagic

from quokkaq.lib.inspecting import texts
from quokkaq.lib.inspecting.kinds import (
    CSV,
    GIF,
    HTML,
    IMAGES,
    JPEG,
    JSON,
    MARKDOWN,
    NOTEBOOK,
    OFFICE,
    PDF,
    PNG,
    SOURCE,
    TEXT,
    WEBP,
    ZIP,
    RefusedFile,
    Rejection,
)

# Bytes looked at from the start and from the end.
HEAD = 8 * 1024
TAIL = 64 * 1024

_MAGIC: Mapping[str, re.Pattern[bytes]] = {
    PNG: re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    JPEG: re.compile(rb"\xff\xd8\xff[\xc0-\xfe]"),
    WEBP: re.compile(rb"RIFF....WEBPVP8[ LX]", re.S),
    GIF: re.compile(rb"GIF8[79]a"),
    PDF: re.compile(rb"%PDF-[12]\.\d"),
    **{kind: re.compile(rb"PK\x03\x04") for kind in (ZIP, *OFFICE)},
}
# What the detectors may say of each: MIME types. A package of Office shows as itself or as the ZIP it is.
_ZIPPED = frozenset({ZIP, "application/x-zip-compressed"})
_MAY_SAY: Mapping[str, frozenset[str]] = {
    PNG: frozenset({PNG, "image/apng"}),
    JPEG: frozenset({JPEG, "image/jpg", "image/jp2"}),
    WEBP: frozenset({WEBP}),
    GIF: frozenset({GIF}),
    PDF: frozenset({PDF}),
    ZIP: _ZIPPED,
    **{kind: _ZIPPED | {kind} for kind in OFFICE},
}
_PROGRAMS = re.compile(
    rb"MZ|\x7fELF|\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe|\xfe\xed\xfa[\xce\xcf]|dex\n|\0asm|BC\xc0\xde|L\0\0\0\x01\x14\x02\0"
)


def first_look(head: bytes, tail: bytes, size: int, *, claimed: str) -> None:
    """Refuse a file whose ends can't be what it claims to be; raises `RefusedFile`.

    Args:
        head: its first `HEAD` bytes, or all.
        tail: its last `TAIL` bytes, or all.
        size: its length in bytes.
        claimed: a content type of `TYPES`.
    """
    if not size:
        raise RefusedFile(Rejection.EMPTY)
    if len(head) != min(size, HEAD) or len(tail) != min(size, TAIL):
        raise RefusedFile(Rejection.INCOMPLETE)
    if is_program(head) and claimed not in {TEXT, MARKDOWN, CSV, SOURCE}:
        raise RefusedFile(Rejection.EXECUTABLE)
    if claimed in _MAGIC:
        _look_at_binary(head, tail, size, claimed)
    else:
        _look_at_text(head, tail, size, claimed)


def is_program(head: bytes) -> bool:
    """Say whether bytes begin as something a system runs (PE, ELF, Mach-O, Java class, shortcut, …)."""
    return _PROGRAMS.match(head) is not None


def detect_with_puremagic(head: bytes) -> set[str]:
    """Return the MIME types that puremagic finds possible for the first bytes of a file; none when it knows none."""
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError, IndexError):
        return set()
    return {match.mime_type for match in found if match.mime_type}


def detect_with_filetype(head: bytes) -> str:
    """Return the MIME type that filetype finds for the first bytes of a file, or nothing."""
    found = filetype.guess(bytearray(head))
    return str(found.mime) if found else ""


def _look_at_binary(head: bytes, tail: bytes, size: int, claimed: str) -> None:
    other = next((kind for kind, magic in _MAGIC.items() if kind != claimed and magic.match(head)), None)
    if not _MAGIC[claimed].match(head):
        locked = head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") and claimed in OFFICE
        if head[:4] == b"PK\x05\x06":
            raise RefusedFile(Rejection.EMPTY)
        raise RefusedFile(Rejection.ENCRYPTED if locked else Rejection.MISMATCH)
    accepted = _MAY_SAY[claimed]
    by_filetype, by_puremagic = detect_with_filetype(head), detect_with_puremagic(head)
    if by_filetype not in accepted or not by_puremagic & accepted:
        raise RefusedFile(Rejection.MISMATCH)
    if other is not None and not {claimed, other} <= {ZIP, *OFFICE}:
        raise RefusedFile(Rejection.MISMATCH)
    if claimed in IMAGES:
        _look_at_picture_end(tail, size, head, claimed)
    if claimed == PDF and b"%%EOF" not in tail[-1100:]:
        raise RefusedFile(Rejection.POLYGLOT if b"%%EOF" in tail else Rejection.INCOMPLETE)
    if claimed in {ZIP, *OFFICE} and b"PK\x05\x06" not in tail:
        raise RefusedFile(Rejection.DAMAGED)


def _look_at_picture_end(tail: bytes, size: int, head: bytes, claimed: str) -> None:
    end = tail.rstrip(b"\0\r\n ")
    if claimed == PNG and not end.endswith(b"IEND\xaeB`\x82"):
        raise RefusedFile(Rejection.POLYGLOT if b"IEND\xaeB`\x82" in tail else Rejection.INCOMPLETE)
    if claimed == JPEG and not end.endswith(b"\xff\xd9"):
        raise RefusedFile(Rejection.POLYGLOT if b"\xff\xd9" in tail else Rejection.INCOMPLETE)
    if claimed == GIF and not end.endswith(b";"):
        raise RefusedFile(Rejection.POLYGLOT if b"\0;" in tail else Rejection.INCOMPLETE)
    if claimed == WEBP:
        length = int.from_bytes(head[4:8], "little") + 8
        if length > size:
            raise RefusedFile(Rejection.INCOMPLETE)
        if length + length % 2 < size:
            raise RefusedFile(Rejection.POLYGLOT)


def _look_at_text(head: bytes, tail: bytes, size: int, claimed: str) -> None:
    encoding = texts.encoding_of(head)
    try:
        if encoding is None:
            raise RefusedFile(Rejection.NOT_TEXT)
        text = codecs.getincrementaldecoder(encoding)().decode(head, size <= len(head))
    except (UnicodeDecodeError, RefusedFile):
        _explain_binary(head)
        # A web page may declare another encoding than UTF-8; whatever it says, it has no NUL.
        if claimed != HTML or b"\0" in head:
            raise RefusedFile(Rejection.NOT_TEXT) from None
        text = head.decode("latin-1")
    if b"PK\x05\x06" in tail:
        raise RefusedFile(Rejection.POLYGLOT)
    if texts.has_controls(text) and (claimed != HTML or "\0" in text):
        _explain_binary(head)
        raise RefusedFile(Rejection.NOT_TEXT)
    texts.refuse_markup(text, claimed)
    if claimed == NOTEBOOK and not re.match(r"\s*\{", text):
        raise RefusedFile(Rejection.MISMATCH)
    if claimed == JSON and not re.match(r'\s*(?:[\[{"\d-]|true|false|null)', text):
        raise RefusedFile(Rejection.MISMATCH)
    # Words can look like the first bytes of a bitmap (“BM”) or a program (“MZ”); with more than two letters it is no chance.
    found = detect_with_filetype(head)
    if found and found not in {
        "image/bmp",
        "application/x-msdownload",
        "application/x-executable",
        "text/html",
        "application/xml",
    }:
        raise RefusedFile(Rejection.MISMATCH)


def _explain_binary(head: bytes) -> None:
    """Say better than “not text” what a binary is, where that helps; raises `RefusedFile`."""
    if is_program(head):
        raise RefusedFile(Rejection.EXECUTABLE)
    if detect_with_filetype(head):
        raise RefusedFile(Rejection.MISMATCH)
