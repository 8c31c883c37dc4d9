"""PDFs (ISO 32000-2): nothing before, behind or inside that acts by itself, and no streams that blow up.

The objects are walked as a reader resolves them, those packed into object streams as well. What no reference leads to, or
what a repaired file would bring back, is searched for by name in the raw bytes.
"""

import io
import re
import zlib
from collections.abc import Iterator
from typing import Any

from pypdf import PdfReader
from pypdf.errors import PdfReadError, PyPdfError
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, NameObject, NullObject, StreamObject

from quokkaq.lib.inspecting.kinds import RefusedFile, Rejection

MAX_PAGES = 3_000
MAX_OBJECTS = 150_000
MAX_DEPTH = 60
# Bytes that all Flate streams of a file unpack to, and one of them beyond `MAX_RATIO`.
MAX_UNPACKED = 400 * 1024 * 1024
LEAST_BOMB = 24 * 1024 * 1024
MAX_RATIO = 150
# Of an object stream, which is kept in memory.
MAX_OBJECT_STREAM = 32 * 1024 * 1024
_END_SPACE = b"\0\t\n\x0c\r "

_SCRIPT_KEYS = frozenset({"/JS", "/JavaScript", "/XFA"})
_FILE_KEYS = frozenset({"/EmbeddedFiles", "/EF", "/RichMediaContent", "/RichMediaSettings"})
_ACTIONS = frozenset(
    {
        "/JavaScript",
        "/Launch",
        "/SubmitForm",
        "/ImportData",
        "/GoToE",
        "/Rendition",
        "/Movie",
        "/Sound",
        "/RichMediaExecute",
        "/Trans3D",
        "/GoTo3DView",
    }
)
_TYPES = frozenset({"/EmbeddedFile", "/RichMedia", "/Screen", "/Movie", "/Sound", "/FileAttachment", "/3D"})
_HARMLESS_OPEN = frozenset({"/GoTo", "/Named", None})
# Long enough never to come about by chance in compressed bytes.
_NAMES = re.compile(
    rb"/(?:JavaScript|EmbeddedFiles?|RichMedia|FileAttachment|Launch|SubmitForm|ImportData|XFA\s*(?:\[|\d))(?![A-Za-z0-9])"
)
_SHORT_NAMES = re.compile(rb"/(?:JS\s*[(<\d]|AA\s*<<[^>]*/S\s*/(?:URI|JavaScript|Launch))")
_ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
_STREAM = re.compile(rb"stream\r?\n")
_HEAD_MARKUP = re.compile(rb"<!doctype\s+html|<(?:html|head|body|script|svg|iframe)[\s>/]|<\?php\s", re.I)


def inspect_pdf(data: bytes) -> int:
    """Return the number of pages; raises `RefusedFile`."""
    _inspect_ends(data)
    _inspect_raw(data)
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted or "/Encrypt" in reader.trailer:
            raise RefusedFile(Rejection.ENCRYPTED)
        _walk(reader)
        pages = len(reader.pages)
        if pages and reader.pages[0] is None:
            raise RefusedFile(Rejection.DAMAGED)
    except (
        PyPdfError,
        PdfReadError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        zlib.error,
    ):
        raise RefusedFile(Rejection.DAMAGED) from None
    except RecursionError:
        raise RefusedFile(Rejection.DEEP) from None
    if not pages:
        raise RefusedFile(Rejection.DAMAGED)
    if pages > MAX_PAGES:
        raise RefusedFile(Rejection.DEEP)
    return pages


def _inspect_ends(data: bytes) -> None:
    if not re.match(rb"%PDF-[12]\.\d[\s%]", data):
        raise RefusedFile(Rejection.POLYGLOT if b"%PDF-" in data[:1024] else Rejection.MISMATCH)
    end = data.rfind(b"%%EOF")
    if end < 0:
        raise RefusedFile(Rejection.INCOMPLETE)
    if data[end + 5 :].strip(_END_SPACE):
        raise RefusedFile(Rejection.POLYGLOT)
    if _HEAD_MARKUP.search(data[:8192]) or re.search(rb"<\?php\s|<script[\s>]", data, re.I):
        raise RefusedFile(Rejection.POLYGLOT)
    # RAR and 7-Zip begin anywhere; tar, DICOM and ISO 9660 have their marks at fixed places.
    fixed = data[257:262] == b"ustar" or data[128:132] == b"DICM" or data[0x8001:0x8006] == b"CD001"
    if fixed or b"Rar!\x1a\x07" in data or b"7z\xbc\xaf\x27\x1c" in data:
        raise RefusedFile(Rejection.POLYGLOT)
    if b"PK\x03\x04" in data and b"PK\x01\x02" in data and b"PK\x05\x06" in data:
        raise RefusedFile(Rejection.POLYGLOT)
    if data.find(b"%PDF-", 8) > 0 and re.search(rb"(?:\A|[\r\n])%PDF-[12]\.\d[\r\n]", data[8:]):
        raise RefusedFile(Rejection.POLYGLOT)


def _inspect_raw(data: bytes) -> None:
    """Search all bytes for names of what acts, with their escapes undone, outside streams also for short names.

    Object streams are searched unpacked, whether or not anything refers to them.
    """
    if _NAMES.search(data):
        raise RefusedFile(Rejection.ACTIVE)
    texts = [*_outside_streams(data), *_object_streams(data)]
    for text in texts:
        unescaped = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text)
        if _NAMES.search(unescaped) or _SHORT_NAMES.search(unescaped):
            raise RefusedFile(Rejection.ACTIVE)
        if re.search(rb"/Encrypt\s+\d+\s+\d+\s+R", unescaped):
            raise RefusedFile(Rejection.ENCRYPTED)


def _object_streams(data: bytes) -> Iterator[bytes]:
    """Yield each object stream unpacked, as far as it can be."""
    left = MAX_OBJECT_STREAM
    for found in _STREAM.finditer(data):
        keys = data[max(found.start() - 512, 0) : found.start()]
        if b"ObjStm" not in _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), keys[keys.rfind(b" obj") :]):
            continue
        try:
            unpacked = zlib.decompressobj().decompress(data[found.end() : found.end() + 8 * 1024 * 1024], left)
        except zlib.error:
            continue
        left -= len(unpacked)
        if left <= 0:
            raise RefusedFile(Rejection.BOMB)
        yield unpacked


def _outside_streams(data: bytes) -> Iterator[bytes]:
    at = 0
    while found := _STREAM.search(data, at):
        yield data[at : found.start()]
        end = data.find(b"endstream", found.end())
        if end < 0:
            at = found.end()
            break
        at = end + 9
    yield data[at:]


def _walk(reader: PdfReader) -> None:
    """Look at every object there is: those in the tables, those in object streams, and the trailer."""
    numbers = {(number, generation) for generation, table in reader.xref.items() for number in table}
    numbers |= {(number, 0) for number in reader.xref_objStm}
    if len(numbers) > MAX_OBJECTS:
        raise RefusedFile(Rejection.DEEP)
    budget = [MAX_UNPACKED]
    # Object streams first: pypdf unpacks them to resolve what is in them.
    for number in {stream for stream, _ in reader.xref_objStm.values()}:
        stream = reader.get_object(IndirectObject(number, 0, reader))
        if isinstance(stream, StreamObject):
            _inspect_stream(stream, budget, MAX_OBJECT_STREAM)
    _inspect_value(reader.trailer, 0)
    for number, generation in sorted(numbers):
        try:
            value = reader.get_object(IndirectObject(number, generation, reader))
        except PdfReadError:
            continue  # a free or lost object; names in it were searched for in the raw bytes
        if isinstance(value, StreamObject):
            _inspect_stream(value, budget, MAX_UNPACKED)
        _inspect_value(value, 0)


def _inspect_value(value: Any, depth: int) -> None:
    """Look at an object and what it holds; references are left, because each object is looked at on its own."""
    if depth > MAX_DEPTH:
        raise RefusedFile(Rejection.DEEP)
    if isinstance(value, DictionaryObject):
        _inspect_dictionary(value)
        for inner in value.values():
            _inspect_value(inner, depth + 1)
    elif isinstance(value, ArrayObject):
        for inner in value:
            _inspect_value(inner, depth + 1)


def _inspect_dictionary(value: DictionaryObject) -> None:
    keys = {str(key) for key in value}
    if keys & _SCRIPT_KEYS:
        raise RefusedFile(Rejection.ACTIVE)
    if any(not isinstance(_resolved(value, key), NullObject) and _resolved(value, key) for key in keys & _FILE_KEYS):
        raise RefusedFile(Rejection.ACTIVE)
    if _name(value, "/S") in _ACTIONS or _name(value, "/Type") in _TYPES or _name(value, "/Subtype") in _TYPES:
        raise RefusedFile(Rejection.ACTIVE)
    if "/OpenAction" in keys:
        action = _resolved(value, "/OpenAction")
        if isinstance(action, DictionaryObject) and _name(action, "/S") not in _HARMLESS_OPEN:
            raise RefusedFile(Rejection.ACTIVE)
    if _name(value, "/S") in {"/GoToR", "/URI"}:
        target = _resolved(value, "/F") or _resolved(value, "/URI")
        if isinstance(target, DictionaryObject):
            target = _resolved(target, "/UF") or _resolved(target, "/F")
        if re.match(r"\s*(?:\\\\|//[^/]|file:/*\\\\|file://[^/]|smb:|javascript:|data:|vbscript:)", str(target), re.I):
            raise RefusedFile(Rejection.REMOTE)
    # An action by itself, when a page or a field is opened, closed or touched.
    if "/AA" in keys:
        for trigger in (_resolved(value, "/AA") or {}).values():
            action = trigger.get_object() if isinstance(trigger, IndirectObject) else trigger
            if isinstance(action, DictionaryObject) and _name(action, "/S") not in _HARMLESS_OPEN:
                raise RefusedFile(Rejection.ACTIVE)
    # A stream whose bytes are in another file.
    if isinstance(value, StreamObject) and "/F" in keys:
        raise RefusedFile(Rejection.REMOTE)


def _resolved(value: DictionaryObject, key: str) -> Any:
    found = value.raw_get(NameObject(key)) if key in value else None
    return found.get_object() if isinstance(found, IndirectObject) else found


def _name(value: DictionaryObject, key: str) -> str | None:
    found = _resolved(value, key)
    return str(found) if isinstance(found, NameObject) else None


def _inspect_stream(stream: StreamObject, budget: list[int], limit: int) -> None:
    """Count what a stream unpacks to, without keeping it; take it from the budget (bytes). Raises `RefusedFile`."""
    filters = _resolved(stream, "/Filter")
    names = [str(filters)] if isinstance(filters, NameObject) else [str(item) for item in filters or []]
    if (
        len(names) > 3
        or sum(name in {"/FlateDecode", "/Fl", "/LZWDecode", "/LZW", "/RunLengthDecode"} for name in names) > 1
    ):
        raise RefusedFile(Rejection.BOMB)
    if "/FlateDecode" not in names[:1] and "/Fl" not in names[:1]:
        return
    data = bytes(stream._data)
    unpacked = 0
    inflater = zlib.decompressobj()
    waiting = data
    try:
        while waiting and not inflater.eof:
            unpacked += len(inflater.decompress(waiting, 1 << 20))
            waiting = inflater.unconsumed_tail
            if unpacked > min(limit, budget[0]):
                raise RefusedFile(Rejection.BOMB)
            if unpacked > LEAST_BOMB and unpacked > MAX_RATIO * len(data) and unpacked > 2 * _picture_bytes(stream):
                raise RefusedFile(Rejection.BOMB)
    except zlib.error:
        return  # readers repair these, and so does pypdf within its own limits
    finally:
        budget[0] -= unpacked


def _picture_bytes(stream: StreamObject) -> int:
    """Return how many bytes a picture of the stream's declared size has: blank pages of a scan pack very well."""
    width, height = _resolved(stream, "/Width"), _resolved(stream, "/Height")
    if _name(stream, "/Subtype") != "/Image" or not isinstance(width, int) or not isinstance(height, int):
        return 0
    pixels = max(int(width), 0) * max(int(height), 0)
    return pixels * 4 if pixels <= 60_000_000 else 0
