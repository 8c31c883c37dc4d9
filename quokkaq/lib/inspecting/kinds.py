"""Which files are taken for what, how large they may be, and what is said of one that isn't taken."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Rejection(StrEnum):
    """Why a file isn't taken. `sentence` is for the person who chose it."""

    NAME = "name"
    TYPE = "type"
    EMPTY = "empty"
    SIZE = "size"
    INCOMPLETE = "incomplete"
    MISMATCH = "mismatch"
    POLYGLOT = "polyglot"
    DAMAGED = "damaged"
    ENCRYPTED = "encrypted"
    EXECUTABLE = "executable"
    MACROS = "macros"
    ACTIVE = "active"
    REMOTE = "remote"
    NESTED = "nested"
    PATHS = "paths"
    BOMB = "bomb"
    PIXELS = "pixels"
    MARKUP = "markup"
    NOT_TEXT = "not_text"
    DEEP = "deep"
    SLOW = "slow"
    MEMORY = "memory"
    INFECTED = "infected"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES: Mapping[Rejection, str] = {
    Rejection.NAME: "The name of this file has characters that hide what it is. Rename it, with letters, digits and dots.",
    Rejection.TYPE: "We don’t take files of this type. Save it as one of the types listed beside the button.",
    Rejection.EMPTY: "This file is empty. Look whether it was saved, and choose it again.",
    Rejection.SIZE: "This file is too large. Make it smaller or split it, and choose it again.",
    Rejection.INCOMPLETE: "This file didn’t arrive whole. Upload it again.",
    Rejection.MISMATCH: "The content of this file isn’t what its name says. Save it anew in the type you mean.",
    Rejection.POLYGLOT: "This file has something else hidden in it. Open it, save it anew and upload that.",
    Rejection.DAMAGED: "This file is damaged. Open it, save it anew and upload that.",
    Rejection.ENCRYPTED: "This file is locked with a password. Save it without one and upload it again.",
    Rejection.EXECUTABLE: "This is a program, or has one in it. Take the program out; source code as text is fine.",
    Rejection.MACROS: "This file has macros. Save it without them, as .docx, .xlsx or .pptx.",
    Rejection.ACTIVE: "This file has scripts, attachments or embedded objects in it. Print it to PDF and upload that.",
    Rejection.REMOTE: "This file loads things from elsewhere when it is opened. Break these links and save it anew.",
    Rejection.NESTED: "This archive has archives in it. Unpack them, and pack everything into one ZIP.",
    Rejection.PATHS: "This archive has links, or names that lead out of it or occur twice. Pack the files anew.",
    Rejection.BOMB: "This file unpacks to far more than we take. Put less in it.",
    Rejection.PIXELS: "This picture has too many pixels. Make it 4,000 by 3,000 or smaller and upload that.",
    Rejection.MARKUP: "This is a web page, drawing or script under another name. Save its text as .txt or .md.",
    Rejection.NOT_TEXT: "This file isn’t plain UTF-8 text. Save it as UTF-8 and upload it again.",
    Rejection.DEEP: "This file is nested too deep or has too many parts. Split it, or save it in a simpler form.",
    Rejection.SLOW: "Looking into this file takes too long. Split it, or save it in a simpler form.",
    Rejection.MEMORY: "Looking into this file takes more memory than we allow. Split it, or save it in a simpler form.",
    Rejection.INFECTED: "The virus scanner found something in this file. Don’t open it; have your computer checked.",
}


def sentence(code: str) -> str:
    """Return the sentence for a stored code; a general one for a code of another version."""
    known = {rejection.value: rejection for rejection in Rejection}
    return known.get(code, Rejection.DAMAGED).sentence


class RefusedFile(Exception):
    """A file isn't taken. `code` says why; its `sentence` is for the person, and never quotes the file."""

    def __init__(self, code: Rejection) -> None:
        super().__init__(code.value)
        self.code = code

    @property
    def sentence(self) -> str:
        return self.code.sentence


@dataclass(frozen=True)
class FileType:
    """A type that is taken.

    `extensions` are lower case with their dot, `extension` is the canonical one. `inline`: a browser may show it on a page of
    ours; all others are downloads. `served_as` is the Content-Type that goes out with it.
    """

    extensions: tuple[str, ...]
    extension: str
    label: str
    inline: bool = False
    served_as: str = "application/octet-stream"


@dataclass(frozen=True)
class Findings:
    """What a file turned out to be. Width and height in pixels, of pictures; pages, of PDFs; size in bytes."""

    content_type: str
    sha256: str = ""
    size: int = 0
    width: int | None = None
    height: int | None = None
    pages: int | None = None


PNG, JPEG, WEBP, GIF = "image/png", "image/jpeg", "image/webp", "image/gif"
PDF, ZIP = "application/pdf", "application/zip"
_OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX, PPTX = f"{_OFFICE}wordprocessingml.document", f"{_OFFICE}presentationml.presentation"
XLSX = f"{_OFFICE}spreadsheetml.sheet"
TEXT, MARKDOWN, CSV, HTML, JSON = "text/plain", "text/markdown", "text/csv", "text/html", "application/json"
NOTEBOOK, SOURCE = "application/x-ipynb+json", "text/x-source"
IMAGES, OFFICE = frozenset({PNG, JPEG, WEBP, GIF}), frozenset({DOCX, PPTX, XLSX})
TEXTS = frozenset({TEXT, MARKDOWN, CSV, SOURCE})

_SOURCES = (
    ".py", ".java", ".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".cs", ".js", ".mjs", ".ts", ".jsx", ".tsx",
    ".r", ".rmd", ".jl", ".m", ".sql", ".tex", ".bib", ".hs", ".ml", ".scala", ".kt", ".swift", ".rs", ".go", ".rb",
    ".lua", ".pl", ".pro", ".lisp", ".scm", ".clj", ".erl", ".ex", ".f90", ".f", ".pas", ".asm", ".s", ".v", ".vhd",
    ".css", ".yaml", ".yml", ".toml", ".ini", ".diff", ".patch", ".dot", ".mod",
)  # fmt: skip
_AS_TEXT = "text/plain; charset=utf-8"
TYPES: Mapping[str, FileType] = {
    PNG: FileType((".png",), ".png", "PNG picture", True, PNG),
    JPEG: FileType((".jpg", ".jpeg", ".jpe"), ".jpg", "JPEG picture", True, JPEG),
    WEBP: FileType((".webp",), ".webp", "WebP picture", True, WEBP),
    GIF: FileType((".gif",), ".gif", "GIF picture", True, GIF),
    PDF: FileType((".pdf",), ".pdf", "PDF", False, PDF),
    DOCX: FileType((".docx",), ".docx", "Word document", False, DOCX),
    PPTX: FileType((".pptx",), ".pptx", "PowerPoint presentation", False, PPTX),
    XLSX: FileType((".xlsx",), ".xlsx", "Excel workbook", False, XLSX),
    TEXT: FileType((".txt", ".text", ".log"), ".txt", "Text", False, _AS_TEXT),
    MARKDOWN: FileType((".md", ".markdown"), ".md", "Markdown", False, _AS_TEXT),
    CSV: FileType((".csv", ".tsv"), ".csv", "Table of values", False, _AS_TEXT),
    JSON: FileType((".json",), ".json", "JSON", False, _AS_TEXT),
    NOTEBOOK: FileType((".ipynb",), ".ipynb", "Jupyter notebook", False, "application/octet-stream"),
    SOURCE: FileType(_SOURCES, ".txt", "Source code", False, _AS_TEXT),
    ZIP: FileType((".zip",), ".zip", "ZIP archive", False, ZIP),
    HTML: FileType((".html", ".htm"), ".html", "Web page", False, "application/octet-stream"),
}  # fmt: skip

# Bytes a file may have.
LIMITS: dict[str, int] = {
    "attachment": 20 * 1024 * 1024,
    "avatar": 5 * 1024 * 1024,
    "material": 100 * 1024 * 1024,
}
_ALLOWED: Mapping[str, frozenset[str]] = {
    "attachment": frozenset(TYPES) - {HTML},
    "avatar": frozenset({PNG, JPEG, WEBP}),
    "material": frozenset({PDF, PPTX, DOCX, NOTEBOOK, MARKDOWN, TEXT, HTML}),
}
_BY_EXTENSION = {extension: name for name, kind in TYPES.items() for extension in kind.extensions}
MAX_NAME = 255
# Ways to make a server or a system see another extension than a person does.
_TRICKS = re.compile(r"[/\\]|[:;]\.|%00|%0[ad]|%2[ef]|%5c", re.I)


def allowed(purpose: str) -> frozenset[str]:
    """Return the content types taken for `attachment`, `avatar` or `material`; raise `KeyError` for another purpose."""
    return _ALLOWED[purpose]


def extensions(purpose: str) -> list[str]:
    """Return the extensions of the files taken for a purpose, in lower case with their dot."""
    return sorted(extension for kind in allowed(purpose) for extension in TYPES[kind].extensions)


def hides_something(name: str) -> bool:
    """Say whether a name has control, direction or invisible characters, half a pair, or line ends."""
    return any(unicodedata.category(c) in {"Cc", "Cs", "Co", "Zl", "Zp"} or _is_invisible(c) for c in name)


def _is_invisible(character: str) -> bool:
    # Joiners belong to words of Persian and Indic scripts, and to emoji.
    return unicodedata.category(character) == "Cf" and character not in "\u200c\u200d"


def claimed_type(name: str, purpose: str) -> str:
    """Return the content type that a file's last extension claims.

    Args:
        name: as the person's system calls the file, without folders.
        purpose: `attachment`, `avatar` or `material`.

    Raises `RefusedFile`: the name hides what it is, or its type isn't taken for this purpose.
    """
    name = name.strip(" ")
    if not name or len(name.encode("utf-8", "replace")) > MAX_NAME or hides_something(name) or _TRICKS.search(name):
        raise RefusedFile(Rejection.NAME)
    found = _BY_EXTENSION.get(PurePosixPath(name).suffix.lower())
    if found is None or found not in allowed(purpose):
        raise RefusedFile(Rejection.TYPE)
    return found
