"""Read a file in a child process that may crash, run out of memory or never end, without harm to anybody else."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ai_answers.parsing.base import MAX_SECTIONS, MAX_TEXT, Parsed, Problem, Section, Unreadable, clean

CHILD = Path(__file__).with_name("child.py")
SECONDS = 90.0
# The text as JSON, each character escaped at worst as a pair, and the sections.
MAX_OUTPUT = MAX_TEXT * 12 + MAX_SECTIONS * 1300


def read_file(data: bytes, format: str, *, seconds: float = SECONDS) -> Parsed:
    """Return the text and sections of a file; raise `Unreadable` when there is no getting at them.

    Args:
        data: the file.
        format: a value of `MaterialFormat`.
        seconds: after so long the child is killed, with whatever it started.
    """
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CHILD), format],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            close_fds=True,
        )
        try:
            output = _output(child, time.monotonic() + seconds)
        finally:
            _end(child)
    return _parsed(output)


def _output(child: subprocess.Popen[bytes], deadline: float) -> bytes:
    """Return all the child says, if it says it in time and in measure."""
    if child.stdout is None:
        raise ValueError("the child has no output")
    pieces: list[bytes] = []
    length = 0
    with selectors.DefaultSelector() as selector, child.stdout:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise Unreadable(Problem.TOO_SLOW)
            piece = os.read(child.stdout.fileno(), 1 << 16)
            if not piece:
                break
            length += len(piece)
            if length > MAX_OUTPUT:
                raise Unreadable(Problem.CRASHED)
            pieces.append(piece)
    try:
        code = child.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        raise Unreadable(Problem.TOO_SLOW) from None
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise Unreadable(Problem.TOO_SLOW)
    if code:
        raise Unreadable(Problem.CRASHED)
    return b"".join(pieces)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and all it started: it leads a process group of its own."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()


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
