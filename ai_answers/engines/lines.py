"""What a model writes, read line by line: each whole JSON line is a statement at once, whatever comes after it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from ai_answers.engines.base import Abstention, Quote, Statement

# Characters of one line, of one text, of everything; statements; quotations of one statement.
MAX_LINE = 20_000
MAX_TEXT = 3_000
MAX_OUTPUT = 80_000
MAX_STATEMENTS = 30
MAX_QUOTES = 8
# Control characters (a NUL can't be stored), directions of writing that hide text, and private use.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ue000-\uf8ff\ud800-\udfff\ufeff]")
_REASON = re.compile(r"[a-z][a-z_]{0,39}\Z")


class LineReader:
    """Takes the pieces of a stream and gives back what their whole lines say.

    `dropped` counts lines that say nothing we know. `is_full` is true once no more is taken.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.said = 0
        self._taken = 0
        self._line = ""
        self._skips = False

    @property
    def is_full(self) -> bool:
        return self._taken >= MAX_OUTPUT or self.said >= MAX_STATEMENTS

    def take(self, piece: str) -> Iterator[Statement | Abstention]:
        """Yield what the lines that end in this piece say."""
        piece = piece[: MAX_OUTPUT - self._taken]
        self._taken += len(piece)
        *whole, rest = (self._line + piece).split("\n")
        for line in whole:
            if self._skips:
                self._skips = False
            else:
                yield from self._read(line)
            if self.is_full:
                return
        self._line = "" if self._skips else rest
        if len(self._line) > MAX_LINE:
            self.dropped += 1
            self._line, self._skips = "", True

    def end(self) -> Iterator[Statement | Abstention]:
        """Yield what the last line says, if it is whole without its end."""
        line, self._line = self._line, ""
        yield from self._read(line)

    def _read(self, line: str) -> Iterator[Statement | Abstention]:
        line = line.strip().rstrip(",")
        if not line or line.startswith("```") or line in ("[", "]"):
            return
        found = parse(line)
        if found is None:
            self.dropped += 1
        elif self.said < MAX_STATEMENTS:
            self.said += 1
            yield found


def parse(line: str) -> Statement | Abstention | None:
    """Return what one line says; None when it is no object of ours."""
    try:
        value = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if "abstain" in value:
        reason = str(value["abstain"])
        return Abstention(reason if _REASON.match(reason) else "model_abstained")
    text = clean(value.get("text"))
    if not text:
        return None
    given = value.get("quotes")
    quotes = [quote for quote in map(_quote, given[:MAX_QUOTES]) if quote] if isinstance(given, list) else []
    return Statement(text, quotes or ())


def clean(text: Any) -> str:
    """Return a text without what can't be stored or isn't seen, cut to its longest length; empty for anything else."""
    return _UNSEEN.sub("", text)[:MAX_TEXT].strip() if isinstance(text, str) else ""


def _quote(value: Any) -> Quote | None:
    if not isinstance(value, dict):
        return None
    source, text = value.get("source"), clean(value.get("quote"))
    return Quote(source, text) if isinstance(source, int) and not isinstance(source, bool) and text else None
