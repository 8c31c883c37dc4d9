"""Word: a section per heading, with lists and tables."""

import re
from typing import Any

from docx import Document
from docx.oxml.ns import qn
from docx.table import Table
from docx.text.paragraph import Paragraph

from ai_answers.parsing.base import Builder, Parsed
from ai_answers.parsing.office import open_package, table

_HEADING = re.compile(r"(?:Heading [1-9]|Title)$")
_LEFT_OUT = {qn("w:del"), qn("w:moveFrom"), qn("w:instrText"), qn("w:pPr"), "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}  # fmt: skip
_RUN, _TEXT, _TAB = qn("w:r"), {qn("w:t"), qn("m:t")}, qn("w:tab")
_BREAKS = {qn("w:br"), qn("w:cr")}
_HYPHEN = qn("w:noBreakHyphen")


def parse(data: bytes) -> Parsed:
    """Return paragraphs and tables in order; what is deleted in tracked changes or formatted as hidden isn't read."""
    document = Document(open_package(data, "word/document.xml"))
    builder = Builder()
    heading = ""
    parts: list[str] = []
    was_list = False
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            parts += ["\n\n", table(_rows(block))]
            was_list = False
            continue
        text = _text(block).strip()
        if not text:
            continue
        if _is_heading(block):
            builder.add("".join(parts), heading)
            heading, parts = text, []
        is_list = block._p.pPr is not None and block._p.pPr.numPr is not None
        parts += ["\n" if is_list and was_list else "\n\n", text]
        was_list = is_list
    builder.add("".join(parts), heading)
    return builder.build()


def _is_heading(paragraph: Paragraph) -> bool:
    style = paragraph.style
    return style is not None and bool(_HEADING.match(style.name or ""))


def _rows(block: Table) -> list[list[str]]:
    """Return the texts of a table's cells; a merged cell is one."""
    return [
        ["\n".join(_text(Paragraph(p, block)) for p in cell.iter(qn("w:p"))) for cell in row.tc_lst]
        for row in block._tbl.tr_lst
    ]


def _text(paragraph: Paragraph) -> str:
    """Return what a reader sees of a paragraph, also in inserted runs and links, which python-docx leaves out."""
    found: list[str] = []
    waiting: list[Any] = [paragraph._p]
    while waiting:
        element = waiting.pop()
        if element.tag in _LEFT_OUT or (element.tag == _RUN and _is_hidden(element)):
            continue
        if element.tag in _TEXT:
            found.append(element.text or "")
        elif element.tag == _TAB:
            found.append("\t")
        elif element.tag in _BREAKS:
            found.append("\n")
        elif element.tag == _HYPHEN:
            found.append("\u2011")
        waiting += reversed(element)
    return "".join(found)


def _is_hidden(run: Any) -> bool:
    properties = run.find(qn("w:rPr"))
    vanish = properties.find(qn("w:vanish")) if properties is not None else None
    return vanish is not None and vanish.get(qn("w:val")) not in ("0", "false", "off")
