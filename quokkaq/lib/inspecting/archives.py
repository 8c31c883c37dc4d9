"""ZIP archives, byte by byte: what the two directories say must be the same, and cover the whole file.

Source: PKWARE's APPNOTE 6.3.10. The bomb whose entries overlap: D. Fifield, “A better zip bomb”, WOOT 2019.
"""

import io
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from quokkaq.lib.inspecting.heads import is_program
from quokkaq.lib.inspecting.kinds import RefusedFile, Rejection, hides_something

MAX_ENTRIES = 5_000
# Bytes unpacked, of all entries together, and the ratio from which a size is taken for a bomb's.
MAX_UNPACKED = 200 * 1024 * 1024
MAX_RATIO = 100
LEAST_BOMB = 8 * 1024 * 1024
MAX_COMMENT = 256
# Of one entry that is kept in memory to look at.
MAX_KEPT = 48 * 1024 * 1024

_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")
_DESCRIPTORS = (0, 12, 16, 20, 24)
_FLAG_ENCRYPTED, _FLAG_DESCRIPTOR, _FLAG_STRONG, _FLAG_MASKED = 0x1, 0x8, 0x40, 0x2000
_ZIP64 = 0xFFFFFFFF

_ARCHIVES = re.compile(
    rb"PK\x03\x04|PK\x05\x06|PK\x07\x08|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|\x1f\x8b|\xfd7zXZ\0|BZh[1-9]1AY&SY|\x28\xb5\x2f\xfd|MSCF\0|"
    rb"\x04\x22\x4d\x18|LZIP|\x60\xea|\x1f[\x9d\xa0]|xar!|MSWIM\0|KDMV|QFI\xfb|.{2}-l[hz]\w-",
    re.S,
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ARCHIVE_NAMES = re.compile(
    r"\.(?:zip|jar|war|ear|apk|rar|7z|gz|tgz|bz2|tbz2?|xz|txz|lzma|zst|lz4?|cab|tar|cpio|ar|deb|rpm|iso|img|dmg|vhdx?|wim|z|ace|arj|"
    r"lzh|xar|pkg|whl|egg|nupkg|xpi|crx|odt|ods|odp|epub|msix|appx)\Z",
    re.I,
)
PROGRAM_NAMES = re.compile(
    r"\.(?:exe|dll|scr|com|pif|cpl|msi|msp|mst|bat|cmd|ps1|psm1|vbs|vbe|wsf|wsh|wsc|sct|hta|lnk|url|reg|inf|jse|chm|gadget|msc|"
    r"app|command|desktop|so|dylib|sys|ocx|drv|elf|class|dex|scf|library-ms|search-ms|settingcontent-ms|application|xll|wll|ppa|"
    r"iqy|slk|one|appref-ms|jnlp|website|diagcab|rdp|ade|adp|mde|accdb|mdb)\Z",
    re.I,
)
MACRO_NAMES = re.compile(
    r"\.(?:doc|dot|xls|xlt|xla|ppt|pot|pps|docm|dotm|xlsm|xltm|xlam|xlsb|pptm|potm|ppsm|ppam|sldm|rtf|mht|mhtml)\Z",
    re.I,
)


@dataclass(frozen=True)
class Entry:
    """A file of an archive: its name, sizes in bytes, and where its compressed bytes begin."""

    name: str
    method: int
    start: int
    packed: int
    unpacked: int
    crc: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


class Archive:
    """A ZIP archive whose structure has been checked; its entries can be read."""

    def __init__(self, data: bytes) -> None:
        """Check the structure. Raises `RefusedFile`."""
        self.data = data
        end = self._find_end()
        self.entries = self._entries(end)
        self._refuse_bomb()

    def read(self, entry: Entry, limit: int = MAX_KEPT) -> bytes:
        """Return an entry unpacked; raises `RefusedFile` when it has more bytes than `limit`, or others than declared."""
        if entry.unpacked > limit:
            raise RefusedFile(Rejection.BOMB)
        return b"".join(self.pieces(entry))

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """Yield an entry unpacked, in pieces, never more of it than declared. Raises `RefusedFile` at the first lie."""
        end = entry.start + entry.packed
        length = crc = 0
        if entry.method == zipfile.ZIP_STORED:
            source: Iterator[bytes] = (
                self.data[at : min(at + (1 << 18), end)] for at in range(entry.start, end, 1 << 18)
            )
        else:
            source = self._inflate(entry.start, end)
        for piece in source:
            length += len(piece)
            if length > entry.unpacked:
                raise RefusedFile(Rejection.BOMB)
            crc = zlib.crc32(piece, crc)
            yield piece
        if length != entry.unpacked or crc != entry.crc:
            raise RefusedFile(Rejection.DAMAGED)

    def _inflate(self, start: int, end: int) -> Iterator[bytes]:
        inflater = zlib.decompressobj(-15)
        at, waiting = start, b""
        try:
            while not inflater.eof:
                if not waiting:
                    waiting = self.data[at : min(at + (1 << 16), end)]
                    at += len(waiting)
                    if not waiting:
                        raise RefusedFile(Rejection.DAMAGED)
                yield inflater.decompress(waiting, 1 << 18)
                waiting = inflater.unconsumed_tail
        except zlib.error:
            raise RefusedFile(Rejection.DAMAGED) from None
        if inflater.unused_data or at < end:
            raise RefusedFile(Rejection.POLYGLOT)  # bytes behind the end of the stream

    def _find_end(self) -> tuple[int, int, int]:
        """Return offset and size of the central directory and the number of entries. It ends where the end record begins."""
        data = self.data
        at = data.rfind(b"PK\x05\x06", max(len(data) - _END.size - 0xFFFF, 0))
        if at < 0 or at + _END.size > len(data):
            raise RefusedFile(Rejection.DAMAGED)
        _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(data, at)
        if at + _END.size + comment != len(data):
            raise RefusedFile(Rejection.POLYGLOT)
        # GitHub puts the commit there.
        if comment > MAX_COMMENT or not re.fullmatch(rb"[\w .,:;/@()+-]*", data[at + _END.size :]):
            raise RefusedFile(Rejection.POLYGLOT)
        if disk or first_disk or here != count:
            raise RefusedFile(Rejection.DAMAGED)
        if not count and at == 0:
            raise RefusedFile(Rejection.EMPTY)
        # An archive within our limits needs no ZIP64 end record.
        if offset + size != at or data[:4] != b"PK\x03\x04":
            raise RefusedFile(Rejection.POLYGLOT if offset + size < at else Rejection.DAMAGED)
        if count > MAX_ENTRIES:
            raise RefusedFile(Rejection.DEEP)
        return offset, size, count

    def _entries(self, end: tuple[int, int, int]) -> list[Entry]:
        offset, _, count = end
        try:
            infos = zipfile.ZipFile(io.BytesIO(self.data)).infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError, UnicodeDecodeError):
            raise RefusedFile(Rejection.DAMAGED) from None
        if len(infos) != count:
            raise RefusedFile(Rejection.DAMAGED)
        entries = []
        seen: set[str] = set()
        at = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            name = info.orig_filename
            _refuse_name(name, info, seen)
            entry, local_end = self._local(info)
            # Entries stand one behind the other: a gap hides something, an overlap multiplies it.
            if info.header_offset < at:
                raise RefusedFile(Rejection.BOMB)
            if info.header_offset > at:
                raise RefusedFile(Rejection.POLYGLOT)
            at = self._behind_descriptor(info, local_end)
            entries.append(entry)
        if at != offset:
            raise RefusedFile(Rejection.BOMB if at > offset else Rejection.POLYGLOT)
        return entries

    def _local(self, info: zipfile.ZipInfo) -> tuple[Entry, int]:
        """Return an entry and where its bytes end; raises `RefusedFile` when its own header contradicts the directory."""
        start = info.header_offset
        if start < 0 or start + _LOCAL.size > len(self.data):
            raise RefusedFile(Rejection.DAMAGED)
        signature, _, flags, method, _, _, crc, packed, unpacked, name_length, extra_length = _LOCAL.unpack_from(
            self.data, start
        )
        if signature != b"PK\x03\x04":
            raise RefusedFile(Rejection.DAMAGED)
        if (flags | info.flag_bits) & (_FLAG_ENCRYPTED | _FLAG_STRONG | _FLAG_MASKED) or 99 in {
            method,
            info.compress_type,
        }:
            raise RefusedFile(Rejection.ENCRYPTED)
        if method != info.compress_type or method not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise RefusedFile(Rejection.DAMAGED)
        raw = self.data[start + _LOCAL.size : start + _LOCAL.size + name_length]
        if raw.decode("utf-8" if flags & 0x800 else "cp437", "replace") != info.orig_filename:
            raise RefusedFile(Rejection.DAMAGED)
        deferred = bool(flags & _FLAG_DESCRIPTOR)
        for told, known in ((crc, info.CRC), (packed, info.compress_size), (unpacked, info.file_size)):
            if told != known and not (deferred and told == 0) and told != _ZIP64:
                raise RefusedFile(Rejection.DAMAGED)
        begin = start + _LOCAL.size + name_length + extra_length
        end = begin + info.compress_size
        if end > len(self.data) or (method == zipfile.ZIP_STORED and info.compress_size != info.file_size):
            raise RefusedFile(Rejection.DAMAGED)
        return Entry(info.orig_filename, method, begin, info.compress_size, info.file_size, info.CRC), end

    def _behind_descriptor(self, info: zipfile.ZipInfo, at: int) -> int:
        """Return where the next entry begins: behind the data descriptor, if this one has any."""
        if not info.flag_bits & _FLAG_DESCRIPTOR:
            return at
        for length in _DESCRIPTORS:
            told = self.data[at : at + length]
            if self.data[at + length : at + length + 4] in {b"PK\x03\x04", b"PK\x01\x02"} and (
                not length or struct.pack("<I", info.CRC) in (told[:4], told[4:8])
            ):
                return at + length
        raise RefusedFile(Rejection.DAMAGED)

    def _refuse_bomb(self) -> None:
        packed = sum(entry.packed for entry in self.entries)
        unpacked = sum(entry.unpacked for entry in self.entries)
        if unpacked > MAX_UNPACKED or (unpacked > LEAST_BOMB and unpacked > MAX_RATIO * max(packed, 1)):
            raise RefusedFile(Rejection.BOMB)
        if any(
            entry.unpacked > LEAST_BOMB and entry.unpacked > 3 * MAX_RATIO * max(entry.packed, 1)
            for entry in self.entries
        ):
            raise RefusedFile(Rejection.BOMB)


def _refuse_name(name: str, info: zipfile.ZipInfo, seen: set[str]) -> None:
    parts = name.removesuffix("/").split("/")
    leads_out = any(part in {"", ".", ".."} or (part.endswith((".", " ")) and part.strip(". ") == "") for part in parts)
    if (
        leads_out
        or "\\" in name
        or "\0" in name
        or hides_something(name)
        or re.match(r"[A-Za-z]:", name)
        or len(name) > 500
    ):
        raise RefusedFile(Rejection.PATHS)
    folded = unicodedata.normalize("NFKC", name.removesuffix("/")).casefold()
    if folded in seen:
        raise RefusedFile(Rejection.PATHS)
    seen.add(folded)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if (info.create_system == 3 and kind not in {0, stat.S_IFREG, stat.S_IFDIR}) or kind == stat.S_IFLNK:
        raise RefusedFile(Rejection.PATHS)
    at = 0
    while at + 4 <= len(info.extra):
        number, length = struct.unpack_from("<HH", info.extra, at)
        field = info.extra[at + 4 : at + 4 + length]
        # Another name in the extra field, which some programs take instead.
        other = field[5:].decode("utf-8", "replace") if number == 0x7075 else ""
        if ".." in other or "\\" in other or other.startswith("/") or hides_something(other):
            raise RefusedFile(Rejection.PATHS)
        if number == 0x7075 and other.rsplit(".")[-1].lower() != name.rsplit(".", maxsplit=1)[-1].lower():
            raise RefusedFile(Rejection.PATHS)
        at += 4 + length


def is_archive(head: bytes) -> bool:
    """Say whether bytes begin as an archive or compressed file, or are a tar."""
    return _ARCHIVES.match(head) is not None or head[257:262] == b"ustar"


def is_ole(head: bytes) -> bool:
    """Say whether bytes begin as a compound file: Office before 2007, an OLE object, an installer."""
    return head.startswith(_OLE)


def inspect_zip(data: bytes) -> None:
    """Refuse an archive that isn't sound, or has in it what wouldn't be taken alone: programs, archives, macros.

    Files of Office and PDFs in it are looked into like any other. Raises `RefusedFile`.
    """
    from quokkaq.lib.inspecting import office, pdfs

    archive = Archive(data)
    names = {entry.name.lower() for entry in archive.entries}
    # A package of Office or Java under the name of a ZIP.
    if (
        "[content_types].xml" in names
        or "meta-inf/manifest.mf" in names
        or "androidmanifest.xml" in names
        or "mimetype" in names
    ):
        raise RefusedFile(Rejection.MISMATCH)
    if all(entry.is_folder for entry in archive.entries):
        raise RefusedFile(Rejection.EMPTY)
    for entry in archive.entries:
        if entry.is_folder:
            if entry.unpacked:
                raise RefusedFile(Rejection.DAMAGED)
            continue
        _refuse_entry_name(entry.name)
        kind = office.BY_EXTENSION.get(entry.name[entry.name.rfind(".") :].lower())
        is_resource_fork = entry.name.startswith("__MACOSX/")
        pieces = archive.pieces(entry)
        head = next(pieces, b"")
        if head.startswith(b"PK\x03\x04") and kind is not None and not is_resource_fork:
            office.inspect_office(archive.read(entry), kind, inside=True)
            continue
        if head.startswith(b"%PDF-") or (entry.name.lower().endswith(".pdf") and not is_resource_fork):
            pdfs.inspect_pdf(archive.read(entry))
            continue
        refuse_content(head)
        for _ in pieces:
            pass


def _refuse_entry_name(name: str) -> None:
    if PROGRAM_NAMES.search(name):
        raise RefusedFile(Rejection.EXECUTABLE)
    if MACRO_NAMES.search(name):
        raise RefusedFile(Rejection.MACROS)
    if ARCHIVE_NAMES.search(name):
        raise RefusedFile(Rejection.NESTED)


def refuse_content(head: bytes) -> None:
    """Refuse what begins as a program, an archive or an OLE file."""
    if is_program(head):
        raise RefusedFile(Rejection.EXECUTABLE)
    if is_ole(head):
        raise RefusedFile(Rejection.MACROS)
    if is_archive(head):
        raise RefusedFile(Rejection.NESTED)
