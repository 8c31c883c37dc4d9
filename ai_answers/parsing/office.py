"""What PowerPoint and Word files have in common: they are ZIP archives of XML, and may be bombs."""

import io
import zipfile

from ai_answers.parsing.base import Problem, Unreadable

MAX_MEMBERS = 10_000
MAX_UNPACKED = 400 * 1024 * 1024
# Of XML alone: the rest are pictures, which nobody parses.
MAX_XML = 60 * 1024 * 1024
_MARKUP = (".xml", ".rels", ".vml")


def open_package(data: bytes, main: str) -> io.BytesIO:
    """Return the archive for a parser to read; raise `Unreadable` unless it holds the part `main` and unpacks to a sane size.

    `zipfile` never reads more of a member than its header declares, so what is declared can be believed as a bound.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise Unreadable(Problem.DAMAGED) from None
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED:
        raise Unreadable(Problem.BOMB)
    markup = [member for member in members if member.filename.lower().endswith(_MARKUP)]
    if sum(member.file_size for member in markup) > MAX_XML:
        raise Unreadable(Problem.BOMB)
    if any(member.flag_bits & 1 for member in members):
        raise Unreadable(Problem.ENCRYPTED)
    if main not in {member.filename for member in members}:
        raise Unreadable(Problem.DAMAGED)
    for member in markup:
        with archive.open(member) as part:
            if b"<!DOCTYPE" in part.read(4096).upper():
                raise Unreadable(Problem.BOMB)  # the format forbids it; it is how entities come in
    return io.BytesIO(data)


def table(rows: list[list[str]]) -> str:
    """Return a table as lines, cells apart by a bar; empty rows are left out."""
    lines = [" | ".join(" ".join(cell.split()) for cell in row) for row in rows]
    return "\n".join(line for line in lines if line.strip(" |"))
