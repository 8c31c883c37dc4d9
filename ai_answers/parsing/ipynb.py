"""Jupyter notebooks: a section per cell."""

import re
from typing import Any

import nbformat

from ai_answers.parsing import plain
from ai_answers.parsing.base import Builder, Parsed, Problem, Unreadable

MAX_CELLS = 5000
# Of the output of one cell: what is longer is a table nobody reads, let alone quotes.
MAX_OUTPUT = 4000
_REMOVED = frozenset({"remove_cell", "remove-cell", "hide_cell", "hide-cell"})
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?(?:^\1|\Z)", re.MULTILINE | re.DOTALL)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def parse(data: bytes) -> Parsed:
    """Return Markdown and code cells with their text outputs; code stands under the last heading before it."""
    try:
        notebook = nbformat.reads(plain.decode(data), as_version=4)
        cells = list(notebook.cells)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, nbformat.ValidationError):
        raise Unreadable(Problem.DAMAGED) from None
    if len(cells) > MAX_CELLS:
        raise Unreadable(Problem.TOO_MANY_PAGES)
    builder = Builder()
    heading = ""
    for number, cell in enumerate(cells, start=1):
        if _REMOVED.intersection(cell.get("metadata", {}).get("tags", ())):
            continue
        source = _text(cell.get("source", ""))
        if cell.get("cell_type") == "markdown":
            builder.add(source, heading, "cell", number, markup=True)
            heading = ([heading, *_HEADING.findall(_FENCE.sub("", source))])[-1]
        elif cell.get("cell_type") == "code":
            outputs = "\n".join(filter(None, map(_output, cell.get("outputs", ()))))[:MAX_OUTPUT]
            builder.add(f"{source}\n\n{outputs}" if outputs else source, heading, "cell", number)
    return builder.build()


def _output(output: Any) -> str:
    """Return what an output says in plain text; pictures, HTML and errors say nothing."""
    kind = output.get("output_type")
    if kind == "stream":
        return _ESCAPES.sub("", _text(output.get("text", ""))).rstrip()
    if kind in ("execute_result", "display_data") and "text/html" not in output.get("data", {}):
        said = _text(output.get("data", {}).get("text/plain", "")).rstrip()
        return "" if said.startswith("<Figure ") else said
    return ""


def _text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
