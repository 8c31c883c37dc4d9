"""PowerPoint: a section per slide, and one for its notes."""

from collections.abc import Iterable, Iterator
from typing import Any

from pptx import Presentation
from pptx.enum.shapes import PP_PLACEHOLDER

from ai_answers.parsing.base import NOTES, Builder, Parsed, Problem, Unreadable
from ai_answers.parsing.office import open_package, table

MAX_SLIDES = 2000
MAX_DEPTH = 30
_FURNITURE = {PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.HEADER, PP_PLACEHOLDER.SLIDE_NUMBER}


def parse(data: bytes) -> Parsed:
    """Return text, tables and notes of each slide. A slide the lecturer hid stays hidden."""
    presentation = Presentation(open_package(data, "ppt/presentation.xml"))
    if len(presentation.slides) > MAX_SLIDES:
        raise Unreadable(Problem.TOO_MANY_PAGES)
    builder = Builder()
    for number, slide in enumerate(presentation.slides, start=1):
        if slide._element.get("show") in ("0", "false"):  # python-pptx has no name for it
            continue
        title = slide.shapes.title
        heading = " ".join(title.text_frame.text.split()) if title is not None and title.has_text_frame else ""
        texts = [text for text in _texts(slide.shapes, 0) if text.strip()]
        builder.add("\n\n".join(texts), heading, "slide", number)
        if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None:
            builder.add(notes.text, (heading or f"Slide {number}") + NOTES, "slide", number)
    return builder.build()


def _texts(shapes: Iterable[Any], depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise Unreadable(Problem.BOMB)
    for shape in shapes:
        if shape.is_placeholder and shape.placeholder_format.type in _FURNITURE:
            continue
        if shape._element.xpath("./*/p:cNvPr[@hidden='1' or @hidden='true']"):
            continue
        if hasattr(shape, "shapes"):
            yield from _texts(shape.shapes, depth + 1)
        elif getattr(shape, "has_table", False):
            yield table([[cell.text for cell in row.cells] for row in shape.table.rows])
        elif shape.has_text_frame:
            yield shape.text_frame.text
