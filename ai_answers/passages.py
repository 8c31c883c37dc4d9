"""Cut a text into passages along its structure, with exact offsets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ai_answers.parsing import Parsed

# A passage is about as long as what one would read out: BM25 and readers both do badly with a page at once.
TARGET_CHARACTERS = 900
MAX_CHARACTERS = 1600

_BLOCK = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+")
_MARKDOWN_HEADING = re.compile(r"#{1,6}[ \t]+(.+?)[ \t#]*$")
_UNDERLINE = re.compile(r"([*=\-~^\"#+])\1{2,}$")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]*_]*\s+(?=[\"'“‘(\[*_$]*[A-Z0-9])")
# Where a long block is cut, best first: where a sentence ends with its line, where one ends, at a line end, between words.
_PLACES_TO_CUT = [
    re.compile(r"[.!?:;][\"'”’)\]]*\n"),
    re.compile(r"[.!?][\"'”’)\]]*\s"),
    re.compile(r"\n"),
    re.compile(r"\s"),
]
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|cf|vs|Dr|Prof|Fig|No|Sec|Eq)\.|\b[A-Z]\.)$")


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` (exclusive) of a text, below `heading`."""

    start: int
    end: int
    heading: str = ""
    locator_kind: str = ""
    locator: int | None = None


def normalise(text: str) -> str:
    """Return `text` as it is stored: line ends as `\\n`, no NUL, no byte-order mark, no trailing blanks at the end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").removeprefix("\ufeff").rstrip() + "\n"


def split_passages(text: str) -> list[Span]:
    """Return the passages of `text` in order: blocks between blank lines, packed up to `TARGET_CHARACTERS`.

    A heading (`# Title`, or a line underlined as in reStructuredText) starts a new passage and names those after it.
    A block longer than `MAX_CHARACTERS` is cut at line ends. Passages don't overlap and never span two headings.
    """
    spans: list[Span] = []
    heading = ""
    start = end = -1
    for block_start, block_end, title in _blocks(text):
        if title is not None or (start >= 0 and block_end - start > TARGET_CHARACTERS):
            if start >= 0:
                spans.append(Span(start, end, heading))
            start = -1
        if title is not None:
            heading = title
        if start < 0:
            start = block_start
        end = block_end
    if start >= 0:
        spans.append(Span(start, end, heading))
    return spans


def cut(parsed: Parsed) -> list[Span]:
    """Return the passages of a file that was read: none spans two sections, and each knows its page, slide or cell.

    Markdown is cut along its own headings as well. Other texts are packed like it, and a block that is too long (a page
    of a PDF is often one) is cut where a sentence ends with its line, if it can be.
    """
    spans: list[Span] = []
    for section in parsed.sections:
        text = parsed.text[section.start : section.end]
        pieces = split_passages(text) if section.is_markup else _packed(text)
        spans += [
            Span(
                section.start + piece.start,
                section.start + piece.end,
                piece.heading or section.heading,
                section.locator_kind,
                section.locator,
            )
            for piece in pieces
        ]
    return spans


def _packed(text: str) -> list[Span]:
    """Return the blocks of a text without markup, packed up to `TARGET_CHARACTERS`."""
    spans: list[Span] = []
    start = end = -1
    for match in _BLOCK.finditer(text):
        for block_start, block_end in _cut_block(text, match.start(), match.start() + len(match.group().rstrip())):
            if start >= 0 and block_end - start > TARGET_CHARACTERS:
                spans.append(Span(start, end))
                start = -1
            if start < 0:
                start = block_start
            end = block_end
    if start >= 0:
        spans.append(Span(start, end))
    return spans


def _cut_block(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > MAX_CHARACTERS:
        window = text[start : start + MAX_CHARACTERS]
        ends = [match.end() for pattern in _PLACES_TO_CUT if (match := _last(pattern, window))]
        to = start + (ends[0] if ends else MAX_CHARACTERS)
        yield start, start + len(text[start:to].rstrip())
        start = to
    if text[start:end].strip():
        yield start, end


def _last(pattern: re.Pattern[str], window: str) -> re.Match[str] | None:
    """Return the last match in the second half of the window."""
    return max(pattern.finditer(window, len(window) // 2), key=lambda match: match.end(), default=None)


def _blocks(text: str) -> Iterator[tuple[int, int, str | None]]:
    """Yield (start, end, heading or None) of each block of lines; offsets leave out the line end at its end."""
    for match in _BLOCK.finditer(text):
        start, end = match.start(), match.start() + len(match.group().rstrip())
        title = _heading(text[start:end])
        while end - start > MAX_CHARACTERS:
            cut = text.rfind("\n", start, start + MAX_CHARACTERS)
            cut = cut if cut > start else start + MAX_CHARACTERS
            yield start, cut, title
            title = None
            start = cut + 1 if text[cut] == "\n" else cut
        yield start, end, title


def _heading(block: str) -> str | None:
    lines = block.split("\n", 2)
    match = _MARKDOWN_HEADING.match(lines[0])
    if match:
        return match.group(1)
    if len(lines) > 1 and _UNDERLINE.match(lines[1].strip()) and not lines[0].startswith(" "):
        return lines[0].strip()
    return None


def split_sentences(text: str) -> list[Span]:
    """Return the sentences of a passage, as offsets into it. Indented and fenced code, formulas and list items stay whole."""
    spans: list[Span] = []
    for match in _BLOCK.finditer(text):
        start, end = match.start(), match.start() + len(match.group().rstrip())
        block = text[start:end]
        if _heading(block) is not None:
            rest = block.split("\n", 2 if _UNDERLINE.match([*block.split("\n", 2), ""][1].strip()) else 1)
            start = (
                end - len(rest[-1]) if len(rest) > 1 and rest[-1].strip() and not _UNDERLINE.match(rest[-1]) else end
            )
            if start == end:
                continue
            block = text[start:end]
        if block.startswith(("   ", "\t", "```", "$$", "|")):
            spans.append(Span(start, end))
            continue
        from_ = 0
        for boundary in _SENTENCE_END.finditer(block):
            if _ABBREVIATION.search(block[from_ : boundary.start()].rstrip()):
                continue
            spans.append(Span(start + from_, start + boundary.start() + len(boundary.group().rstrip())))
            from_ = boundary.end()
        spans.append(Span(start + from_, end))
    return [_trim(text, span) for span in spans if text[span.start : span.end].strip()]


def _trim(text: str, span: Span) -> Span:
    piece = text[span.start : span.end]
    lead = len(piece) - len(piece.lstrip("\n"))
    return Span(span.start + lead, span.start + len(piece.rstrip()), span.heading)
