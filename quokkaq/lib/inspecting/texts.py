"""Plain text, Markdown, tables of values, source code, JSON and notebooks."""

import codecs
import json
import re
from typing import Any

from quokkaq.lib.inspecting.kinds import CSV, HTML, MARKDOWN, NOTEBOOK, SOURCE, RefusedFile, Rejection

MAX_DEPTH = 100
# Values in a JSON file, and cells of a notebook.
MAX_VALUES = 2_000_000
MAX_CELLS = 5_000

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# All controls but tab, line ends and form feed; halves of pairs; non-characters.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# Marks that make code read otherwise than it runs (“Trojan Source”, CVE-2021-42574).
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")

# What may stand before the first tag without a browser minding: space, marks of byte order, comments, a declaration.
_LEAD = r"[\s\ufeff\u200b]*(?:<!--.*?(?:-->|\Z)[\s\ufeff]*)*"
_ANY_TAG = re.compile(_LEAD + r"<(?:[a-z!/%]|\?(?!$))", re.I | re.S)
_DOCUMENT_TAG = re.compile(
    _LEAD
    + r"<(?:!doctype|!entity|!\[cdata|\?xml|\?php|\?=|%|/?(?:html|head|body|script|svg|iframe|frameset|object|embed|applet"
    r"|meta|link|base|style|title|form|xml|xsl:\w+|job|package|scriptlet|component|hta:\w+|math|rss|feed|plist)\b)",
    re.I | re.S,
)
_SCRIPT = re.compile(r"[\s\ufeff]*(?:#!|@echo\s+off|<\?php|<%)", re.I)
_SOURCE_SCRIPT = re.compile(
    r"[\s\ufeff]*(?:@echo\s+off|<\?php|<%|#![ \t]*\S*/(?:sh|bash|zsh|ksh|csh|dash)\b|#![ \t]*/usr/bin/env[ \t]+(?:ba|z|k|c|da)?sh\b)",
    re.I,
)
# Formats that are text and act when opened.
_OTHER_FORMAT = re.compile(
    r"[\s\ufeff]*(?:%PDF-|%!PS|\{\\rt|GIF8[79]a|MIME-Version:|From: <?Saved by|\[InternetShortcut\]|\[\.ShellClassInfo\]|\[Desktop Entry\]"
    r"|Windows Registry Editor|REGEDIT4|BEGIN:V|ID;P|X5O!P%@AP|!<arch>|/\* XPM \*/)",
    re.I,
)
_MAIL = re.compile(
    r"\A(?:[A-Za-z-]+:[^\n]*\n(?:[ \t][^\n]*\n)*)*content-type:\s*(?:multipart/|text/html|message/)", re.I
)
# A formula that asks another program (“dynamic data exchange”) or the network.
_FORMULA = re.compile(
    r"(?:^|[,;\t\"'])\s*[=+@-][^,\n]{0,60}?(?:[A-Za-z][\w.]*\s*\|\s*['/\\]|(?:WEBSERVICE|HYPERLINK|IMPORT(?:XML|DATA|HTML|FEED|RANGE)|CALL|REGISTER|EXEC)\s*\()",
    re.I | re.M,
)


def encoding_of(head: bytes) -> str | None:
    """Return `utf-8`, or what a byte-order mark says; None when there are NULs that no mark explains."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return None
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8")
    return None if encoding != "utf-16" and b"\0" in head else encoding


def decode(data: bytes) -> str:
    """Return UTF-8, or what a byte-order mark says, as text without control characters; raise `RefusedFile` otherwise."""
    encoding = encoding_of(data)
    if encoding is None:
        raise RefusedFile(Rejection.NOT_TEXT)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise RefusedFile(Rejection.NOT_TEXT) from None
    if has_controls(text):
        raise RefusedFile(Rejection.NOT_TEXT)
    return text


def has_controls(text: str) -> bool:
    return _CONTROLS.search(text) is not None


def refuse_markup(text: str, claimed: str) -> None:
    """Raise `RefusedFile` when the beginning of a text makes some program take it for a page, drawing, script or document.

    Markdown may begin with a tag that Markdown knows (`<div align=…>`, `<details>`), and with comments; a program in Python or
    R may begin with `#!`, one for a shell may not.
    """
    start = text[:8192]
    if claimed == HTML:
        if re.match(_LEAD + r"(?:<\?xml[^>]*>\s*)?" + _LEAD + r"<(?:svg|\?php|%|xsl:|hta:)", start, re.I | re.S):
            raise RefusedFile(Rejection.MARKUP)
        if not re.search(r"<[a-z!]", start, re.I):
            raise RefusedFile(Rejection.MISMATCH)
        return
    if _OTHER_FORMAT.match(start) or _MAIL.match(start):
        raise RefusedFile(Rejection.MISMATCH)
    if (_SOURCE_SCRIPT if claimed == SOURCE else _SCRIPT).match(start):
        raise RefusedFile(Rejection.MARKUP)
    if (_DOCUMENT_TAG if claimed == MARKDOWN else _ANY_TAG).match(start):
        raise RefusedFile(Rejection.MARKUP)


def inspect_text(data: bytes, claimed: str) -> None:
    """Refuse what isn't the text it claims to be: plain, Markdown, values, source code or (as a material) HTML."""
    if claimed == HTML:
        if b"\0" in data and encoding_of(data) != "utf-16":
            raise RefusedFile(Rejection.NOT_TEXT)
        encoding = encoding_of(data) or "utf-8"
        refuse_markup(data[:16384].decode(encoding, "replace"), claimed)
        return
    text = decode(data)
    if not text.strip("\ufeff \t\r\n"):
        raise RefusedFile(Rejection.EMPTY)
    refuse_markup(text, claimed)
    if claimed == SOURCE and _DIRECTIONS.search(text):
        raise RefusedFile(Rejection.NOT_TEXT)
    if claimed == CSV and _FORMULA.search(text):
        raise RefusedFile(Rejection.ACTIVE)


def inspect_json(data: bytes, claimed: str) -> None:
    """Refuse what isn't JSON, or a notebook, or goes too deep or wide."""
    text = decode(data).lstrip("\ufeff")
    refuse_markup(text, claimed)
    try:
        value: Any = json.loads(
            text, parse_int=lambda digits: 0, parse_float=lambda digits: 0.0, parse_constant=_no_constant
        )
    except RecursionError:
        raise RefusedFile(Rejection.DEEP) from None
    except ValueError:
        raise RefusedFile(Rejection.MISMATCH) from None
    _refuse_depth(value)
    if claimed == NOTEBOOK:
        _inspect_notebook(value)
    elif isinstance(value, dict) and "nbformat" in value and "cells" in value:
        raise RefusedFile(Rejection.MISMATCH)


def _no_constant(name: str) -> float:
    # Notebooks and scientific programs write NaN and Infinity.
    return 0.0


def _refuse_depth(value: Any) -> None:
    level, depth, count = [value], 0, 0
    while level:
        depth += 1
        count += len(level)
        if depth > MAX_DEPTH or count > MAX_VALUES:
            raise RefusedFile(Rejection.DEEP)
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]


def _inspect_notebook(value: Any) -> None:
    """Refuse JSON without the shape of a notebook: nbformat 3 (worksheets) or 4 (cells)."""
    if not isinstance(value, dict) or not isinstance(value.get("nbformat"), int):
        raise RefusedFile(Rejection.MISMATCH)
    cells = value.get("cells")
    if cells is None and isinstance(value.get("worksheets"), list):
        cells = [cell for sheet in value["worksheets"] if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and "cell_type" in cell for cell in cells):
        raise RefusedFile(Rejection.MISMATCH)
    if len(cells) > MAX_CELLS:
        raise RefusedFile(Rejection.DEEP)
