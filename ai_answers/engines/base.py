"""The interface every engine has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ai_answers.models import Passage
from ai_answers.search import Question, Retrieval


@dataclass(frozen=True)
class Claim:
    """One quotation an engine wants to show: characters `start` to `end` of the version that `passage` belongs to."""

    passage: Passage
    start: int
    end: int
    quote: str


@dataclass(frozen=True)
class Composition:
    """An answer: Markdown in which `[n]` stands for the n-th claim, counted from 1."""

    body: str
    claims: Sequence[Claim]


@dataclass(frozen=True)
class Abstention:
    """The engine doesn't answer. `reason` is a short code for the ledger, without any text of the question."""

    reason: str


class Engine(Protocol):
    """Turns a question and the passages found for it into an answer, or abstains.

    It changes nothing and reads nothing but its arguments. What it returns is checked by the caller before anybody
    sees it, so a wrong engine can lose an answer but not publish a wrong quotation.
    """

    name: str

    def compose(self, question: Question, retrieval: Retrieval) -> Composition | Abstention:
        """Return an answer of at least one claim, or an abstention. May raise anything: the task is then retried."""
        ...
