"""The instructions of remote engines, and how texts of people are put beside them as data.

The instructions are text files in `prompts/`. An answer, and each call in the ledger, keeps the version it was made
under; a test holds the digest of each version, so that nobody changes a text and keeps its number.
"""

import re
import secrets
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from ai_answers.engines.base import Request, Task

VERSIONS = {Task.ANSWER: 1, Task.HINT: 1, Task.CONVERSATION: 1, Task.SUMMARY: 1}
# Characters of one source, and of all of them: what is beyond isn't sent. About 15,000 tokens of English.
MAX_SOURCE = 8_000
MAX_SOURCES = 60_000
MAX_QUESTION = 12_000
MAX_TURN = 4_000
TURNS = 12
_RUN = 7
_BOUNDARY = re.compile(r"QUOKKAQ-(?=[0-9a-f])", re.IGNORECASE)
_FOLDER = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Prompt:
    """What is sent: instructions of ours, and one message that holds everything of others."""

    name: str
    instructions: str
    message: str

    @property
    def text(self) -> str:
        """Exactly the text that leaves this server, as the disclosure log keeps it."""
        return f"{self.instructions}\n\n{self.message}"

    def is_told_in(self, text: str) -> bool:
        """Tell whether a text repeats the instructions: their boundary, or so many of their words in a row.

        They are no secret, but no answer either; a model that recites them obeys somebody who asked for it.
        """
        return "quokkaq-" in text.casefold() or bool(_runs(text) & _runs(self.instructions))

    @property
    def most_tokens(self) -> int:
        """No tokeniser makes more tokens of a text than it has bytes; a few more mark who speaks."""
        return len(self.text.encode()) + 64


def version(task: Task) -> str:
    """Return the name and number of the instructions of a task: `answer-1`."""
    return f"{task}-{VERSIONS[task]}"


def digest(task: Task) -> str:
    """Return a digest of the instructions of a task as they are now."""
    return sha256(_instructions(task).encode()).hexdigest()[:16]


def compose(request: Request, *, boundary: str = "") -> Prompt:
    """Return what an engine is sent for a request. `boundary` is drawn anew for each when none is given.

    Nobody can write the boundary into a text, as it is random; what looks like one is broken up all the same.
    """
    boundary = boundary or f"QUOKKAQ-{secrets.token_hex(8)}"
    parts = []
    left = MAX_SOURCES
    for number, source in enumerate(request.sources, start=1):
        text = source.text[: min(MAX_SOURCE, left)]
        left -= len(text)
        if text:
            parts.append(_data(boundary, f"source {number}", f"{_line(source.title)}\n{text}"))
    for turn in request.history[-TURNS:]:
        parts.append(_data(boundary, "you said" if turn.by_machine else "the person said", turn.text[:MAX_TURN]))
    question = f"{_line(request.question.title)}\n{request.question.body}".strip()[:MAX_QUESTION]
    parts.append(_data(boundary, "question", question))
    instructions = _instructions(request.task).replace("{boundary}", boundary)
    return Prompt(version(request.task), instructions, "\n\n".join(parts))


def _data(boundary: str, label: str, text: str) -> str:
    return f"{boundary} BEGIN {label}\n{_BOUNDARY.sub('QUOKKAQ·', text)}\n{boundary} END"


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[place : place + _RUN]) for place in range(len(words) - _RUN + 1)}


def _line(text: str) -> str:
    return " ".join(text.split())


@cache
def _instructions(task: Task) -> str:
    return "".join((_FOLDER / f"{name}.txt").read_text(encoding="utf-8") for name in ("_frame", task)).strip()
