"""Read a file in a child process that may crash, run out of memory or never end, without harm to anybody else."""

import json
from pathlib import Path
from typing import IO, Any

from ai_answers.parsing.base import MAX_SECTIONS, MAX_TEXT, Parsed, Problem, Section, Unreadable, clean
from quokkaq.lib import sandbox

CHILD = Path(__file__).with_name("child.py")
SECONDS = 90.0
MEMORY = 1024 * 1024 * 1024
# The text as JSON, each character escaped at worst as a pair, and the sections.
MAX_OUTPUT = MAX_TEXT * 12 + MAX_SECTIONS * 1300


def read_file(file: IO[bytes], format: str, *, seconds: float = SECONDS) -> Parsed:
    """Return the text and sections of a file; raise `Unreadable` when there is no getting at them.

    Args:
        file: one that the system knows (with a descriptor).
        format: a value of `MaterialFormat`.
        seconds: after so long the child is killed, with whatever it started.
    """
    try:
        output = sandbox.run(CHILD, [format], stdin=file, seconds=seconds, memory=MEMORY, output_limit=MAX_OUTPUT)
    except sandbox.Overran:
        raise Unreadable(Problem.TOO_SLOW) from None
    except sandbox.Crashed:
        raise Unreadable(Problem.CRASHED) from None
    return _parsed(output)


def _parsed(output: bytes) -> Parsed:
    """Return what the child said, believing none of it: a hostile file may have taken it over."""
    try:
        answer: Any = json.loads(output)
        if "problem" in answer:
            raise Unreadable(Problem(answer["problem"]))
        text = str(answer["text"])
        sections = [Section(*fields) for fields in answer["sections"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Unreadable(Problem.CRASHED) from None
    at = 0
    for section in sections:
        whole = type(section.start) is int and type(section.end) is int and at <= section.start < section.end
        known = isinstance(section.heading, str) and section.locator_kind in ("", "page", "slide", "cell")
        counted = (type(section.locator) is int and 1 <= section.locator < 2**31) == (section.locator_kind != "")
        if not (whole and known and counted) or section.end > len(text):
            raise Unreadable(Problem.CRASHED)
        at = section.end
    if not sections or len(text) > MAX_TEXT + 1 or clean(text) != text:
        raise Unreadable(Problem.CRASHED)
    return Parsed(text, sections)
