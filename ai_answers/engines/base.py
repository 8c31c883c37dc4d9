"""The interface every engine has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ai_answers.search import Question, Retrieval


class Task(StrEnum):
    """What an engine is to write; each has instructions of its own."""

    ANSWER = "answer"
    # Points at what to read and think about, and gives no solution: an assignment is under embargo.
    HINT = "hint"
    CONVERSATION = "conversation"
    SUMMARY = "summary"


@dataclass(frozen=True)
class Source:
    """A text an engine may quote; it is named by its place in `Request.sources`, counted from 1."""

    title: str
    text: str


@dataclass(frozen=True)
class Turn:
    """Something said before in the same conversation."""

    by_machine: bool
    text: str


@dataclass(frozen=True)
class Request:
    """All that an engine gets to know. `retrieval` holds the scores behind `sources`, where a search found them."""

    task: Task
    question: Question
    sources: Sequence[Source]
    history: Sequence[Turn] = ()
    retrieval: Retrieval | None = None


@dataclass(frozen=True)
class Quote:
    """Words an engine says stand in the source with this number. Nobody has checked yet."""

    source: int
    text: str


@dataclass(frozen=True)
class Statement:
    """One sentence or short paragraph of Markdown, without markers, and the quotations said to stand behind it."""

    text: str
    quotes: Sequence[Quote] = ()


@dataclass(frozen=True)
class Abstention:
    """The engine doesn't answer. `reason` is a short code for the ledger, without any text of the question."""

    reason: str


@dataclass(frozen=True)
class Usage:
    """Tokens read and written."""

    input_tokens: int = 0
    output_tokens: int = 0


class Unavailable(Exception):
    """The engine can't answer now: refused, too slow, out of order. The argument is a short code, never a text."""


class Engine(Protocol):
    """Turns a request into statements, one after the other, or abstains.

    It changes nothing and reads nothing but its arguments. What it says is checked by the caller before anybody sees it
    (`ai_answers.citations`), so a wrong engine can lose an answer but not publish a wrong quotation.
    """

    # Whose it is, and which one: `extractive`, ``; `openai`, `gpt-…`.
    name: str
    model: str
    # The version of its instructions; empty where it has none.
    prompt: str
    # What it is told leaves this server.
    is_remote: bool

    def most(self, request: Request) -> Usage:
        """Return how many tokens `write` can use at most."""
        ...

    def write(self, request: Request, *, deadline: float) -> Iterator[Statement | Abstention | Usage]:
        """Yield statements as they become known, or one abstention, then the usage.

        `deadline` is a time of `time.monotonic()` by which the last one is there. Raises `Unavailable` when it can't be.
        """
        ...
