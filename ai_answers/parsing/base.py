"""What a parser returns, and what it says when it can't."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# Bytes of an uploaded file, and characters of what is read out of it.
MAX_TEXT = 2_000_000
MAX_SECTIONS = 50_000
MAX_HEADING = 200
# Ends the heading of what isn't on a slide itself.
NOTES = " · notes"

# Characters no text needs: controls other than tab and line end, halves of pairs, non-characters, marks of byte order.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufeff\ufffe\uffff]")


class Problem(StrEnum):
    NO_TEXT = "no_text"
    SCAN = "scan"
    ENCRYPTED = "encrypted"
    DAMAGED = "damaged"
    NOT_UTF8 = "not_utf8"
    TOO_LONG = "too_long"
    TOO_MANY_PAGES = "too_many_pages"
    BOMB = "bomb"
    TOO_SLOW = "too_slow"
    CRASHED = "crashed"


SENTENCES = {
    Problem.NO_TEXT: "This file has no text; there is nothing to quote from it.",
    Problem.SCAN: "This PDF has no text, only pictures of it. Run text recognition (OCR) over it and upload the result.",
    Problem.ENCRYPTED: "This file is locked with a password. Save it without one and upload it again.",
    Problem.DAMAGED: "This file is damaged, or not what its name says. Open it, save it anew and upload that.",
    Problem.NOT_UTF8: "This file isn’t UTF-8 text. Save it as UTF-8 and upload it again.",
    Problem.TOO_LONG: f"This file has more than {MAX_TEXT:,} characters of text. Split it into parts.",
    Problem.TOO_MANY_PAGES: "This file has more pages, slides or cells than we read at once. Split it into parts.",
    Problem.BOMB: "This file unpacks to far more than its size. We don’t read such files; save it anew with less in it.",
    Problem.TOO_SLOW: "Reading this file takes too long. Split it into parts, or save it in a simpler format.",
    Problem.CRASHED: "This file can’t be read: it needs more memory than we allow, or breaks the program that reads it.",
}


class Unreadable(Exception):
    """A file can't be read; `problem` has a sentence for staff in `SENTENCES`. It never quotes the file."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem

    @property
    def sentence(self) -> str:
        return SENTENCES[self.problem]


@dataclass(frozen=True)
class Section:
    """Characters `start` to `end` (exclusive) of the text, below `heading`, on a page, slide or in a cell.

    `locator` counts from 1 and is None where `locator_kind` is empty. `is_markup`: it is Markdown, whose own headings
    cut it further.
    """

    start: int
    end: int
    heading: str = ""
    locator_kind: str = ""
    locator: int | None = None
    is_markup: bool = False


@dataclass(frozen=True)
class Parsed:
    """The text of a file, and its sections in order, which don't overlap."""

    text: str
    sections: Sequence[Section]


def clean(text: str) -> str:
    """Return `text` with one kind of line end and no characters that can't be stored or seen."""
    return _UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0b", "\n").replace("\x0c", "\n"))


class Builder:
    """Puts a text together, piece by piece, and counts where each stands."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self.sections: list[Section] = []

    def add(
        self, text: str, heading: str = "", locator_kind: str = "", locator: int | None = None, *, markup: bool = False
    ) -> None:
        """Add a section; one without text is left out. Sections stand an empty line apart."""
        text = clean(text).strip("\n").rstrip()
        if not text.strip():
            return
        if self._pieces:
            self._pieces.append("\n\n")
            self._length += 2
        start = self._length
        self._pieces.append(text)
        self._length += len(text)
        if self._length > MAX_TEXT:
            raise Unreadable(Problem.TOO_LONG)
        if len(self.sections) >= MAX_SECTIONS:
            raise Unreadable(Problem.TOO_MANY_PAGES)
        heading = " ".join(clean(heading).split())[:MAX_HEADING]
        self.sections.append(Section(start, self._length, heading, locator_kind, locator, markup))

    def build(self, otherwise: Problem = Problem.NO_TEXT) -> Parsed:
        """Return what was added; raise `Unreadable` with `otherwise` when that is nothing."""
        if not self.sections:
            raise Unreadable(otherwise)
        return Parsed("".join(self._pieces) + "\n", self.sections)
