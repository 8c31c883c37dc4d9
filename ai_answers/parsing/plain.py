"""Markdown and plain text."""

import codecs

from ai_answers.parsing.base import Builder, Parsed, Problem, Unreadable

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def parse(data: bytes) -> Parsed:
    """Return the text as one section, whose own headings cut it."""
    builder = Builder()
    builder.add(decode(data), markup=True)
    return builder.build()


def decode(data: bytes) -> str:
    """Return UTF-8 (or what a byte-order mark says) as text; raise `Unreadable` for anything else, and for NUL."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise Unreadable(Problem.NOT_UTF8) from None
    if "\x00" in text:
        raise Unreadable(Problem.NOT_UTF8)
    return text
