"""PDF: a section per page, under the last bookmark before it."""

import re
from collections import Counter

import pypdfium2

from ai_answers.parsing.base import Builder, Parsed, Problem, Unreadable, clean

MAX_PAGES = 3000
MAX_BOOKMARKS = 5000
# So many lines at the top and at the bottom of a page may be repeated ones.
EDGE = 2
# A header stands on more than half of the pages, and there are enough of them to tell.
MIN_PAGES = 4
MAX_RUNNING_HEAD = 100
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
# pdfium writes one of the first two where it takes a hyphen at the end of a line for one that only divides the word.
_MARKED = re.compile("(?<=\\w)[\ufffe\x02]\\s*(?=\\w)")
_DIVIDED = re.compile(r"([^\W\d_]+)[-\u2010\u00ad]\n([^\W\d_]+)")
_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")


def parse(data: bytes) -> Parsed:
    """Return the text of each page, words whole again, without what is repeated at the edge of most pages."""
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower() or "security" in str(error).lower()
        raise Unreadable(Problem.ENCRYPTED if locked else Problem.DAMAGED) from None
    if len(document) > MAX_PAGES:
        raise Unreadable(Problem.TOO_MANY_PAGES)
    pages = [_page_text(document, number) for number in range(len(document))]
    pages = _without_repeated_edges(pages)
    known = Counter(word.lower() for page in pages for word in _WORD.findall(page))
    bookmarks = _bookmarks(document)
    builder = Builder()
    heading = ""
    for number, page in enumerate(pages):
        heading = bookmarks.get(number, heading)
        builder.add(_joined(page, known), heading, "page", number + 1)
    return builder.build(otherwise=Problem.SCAN)


def _page_text(document: pypdfium2.PdfDocument, number: int) -> str:
    try:
        text: str = document[number].get_textpage().get_text_bounded()
    except pypdfium2.PdfiumError:
        raise Unreadable(Problem.DAMAGED) from None
    lines = clean(_MARKED.sub("-\n", text.translate(_LIGATURES))).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _bookmarks(document: pypdfium2.PdfDocument) -> dict[int, str]:
    """Return the title of the last bookmark that leads to each page, by its index."""
    found: dict[int, str] = {}
    try:
        for count, mark in enumerate(document.get_toc(max_depth=6)):
            if count >= MAX_BOOKMARKS:
                break
            target = mark.get_dest()
            page = target.get_index() if target is not None else None
            if page is not None and (title := mark.get_title().strip()):
                found[page] = title
    except pypdfium2.PdfiumError:
        return {}
    return found


def _without_repeated_edges(pages: list[str]) -> list[str]:
    """Return the pages without first and last lines that, numbers aside, stand at that edge of more than half of them."""
    split = [page.split("\n") for page in pages]
    full = sum(bool(page.strip()) for page in pages)
    if full < MIN_PAGES:
        return pages
    tops = Counter(key for lines in split for key in set(map(_key, lines[:EDGE])) if len(key) <= MAX_RUNNING_HEAD)
    ends = Counter(key for lines in split for key in set(map(_key, lines[-EDGE:])) if len(key) <= MAX_RUNNING_HEAD)
    kept: list[str] = []
    for lines in split:
        first, last = 0, len(lines)
        while first < min(EDGE, last) and tops[_key(lines[first])] > full / 2:
            first += 1
        while last > max(len(lines) - EDGE, first) and ends[_key(lines[last - 1])] > full / 2:
            last -= 1
        kept.append("\n".join(lines[first:last]).strip("\n"))
    return kept


def _key(line: str) -> str:
    return re.sub(r"\d+", "#", " ".join(line.split()))


def _joined(page: str, known: Counter[str]) -> str:
    """Return the page with words divided at a line end whole again.

    A word that the document writes with its hyphen elsewhere keeps it; so does one that begins with a capital after it.
    """

    def join(match: re.Match[str]) -> str:
        first, second = match.groups()
        if known[f"{first}-{second}".lower()] and not known[f"{first}{second}".lower()]:
            return f"{first}-{second}"
        return f"{first}{second}" if second[0].islower() else f"{first}-{second}"

    return _DIVIDED.sub(join, page)
