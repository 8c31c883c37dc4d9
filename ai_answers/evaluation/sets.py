"""Frozen sets of questions, with the texts that answer them, or don't."""

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from ai_answers.passages import normalise, split_passages

FOLDER = Path(__file__).parent / "sets"
_QUOTES = str.maketrans("“”‘’", "\"\"''")


class Kind(StrEnum):
    """What is right to do with a question."""

    ANSWER = "answer"
    # It is about what the materials are about, but they don't say.
    ABSTAIN = "abstain"
    OFF_TOPIC = "off_topic"


@dataclass(frozen=True)
class Document:
    """One material: its title, and its passages as (heading, text)."""

    title: str
    passages: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Case:
    """A question. `golds`: words one of which a right quotation holds; `passages`: the places, from 0 over all documents,
    of the right passages, where they are known otherwise than by those words."""

    question: str
    kind: Kind
    golds: Sequence[str] = ()
    passages: frozenset[int] = frozenset()
    body: str = ""

    def is_in(self, text: str) -> bool:
        """Tell whether a text holds one of the golds, white space and kinds of quotes aside."""
        plain_text = plain(text)
        return any(plain(gold) in plain_text for gold in self.golds)


@dataclass(frozen=True)
class QuestionSet:
    """A name, which stands with its results, and what is asked of what."""

    name: str
    documents: Sequence[Document]
    cases: Sequence[Case]


def plain(text: str) -> str:
    """Return a text as golds are compared: one blank for any white space, straight quotes, no case."""
    return re.sub(r"\s+", " ", text.translate(_QUOTES).replace("-\n", "-")).casefold()


def packaged_sets() -> list[QuestionSet]:
    """Return the sets that come with QuokkaQ: questions about the reference of the Python that runs it.

    Questions whose words another version of the reference words otherwise are left out.
    """
    return [_python_reference(path) for path in sorted(FOLDER.glob("*.toml"))]


def _python_reference(path: Path) -> QuestionSet:
    asked = tomllib.loads(path.read_text(encoding="utf-8"))
    documents = []
    for topic, source in sorted(topics.items()):
        text = normalise(source)
        spans = split_passages(text)
        title = text.split("\n", 1)[0].strip() or topic
        heads = [title if span.heading in ("", title) else f"{title} · {span.heading}" for span in spans]
        documents.append(
            Document(title, [(head, text[span.start : span.end]) for head, span in zip(heads, spans, strict=True)])
        )
    everything = [plain(text) for document in documents for _, text in document.passages]
    cases = []
    for question, gold in asked["answerable"]:
        right = frozenset(place for place, text in enumerate(everything) if plain(gold) in text)
        if right:
            cases.append(Case(question, Kind.ANSWER, [gold], right))
    cases += [Case(question, Kind.ABSTAIN) for question in asked["unanswerable"]]
    cases += [Case(question, Kind.OFF_TOPIC) for question in asked["off_topic"]]
    return QuestionSet(asked["name"], documents, cases)


def shared_sets(folder: Path, most: int = 0) -> list[QuestionSet]:
    """Return the sets that lie in a folder as docs/evaluation.md describes it; none where there are none.

    Args:
        folder: holds `squad2_half.json`, `mlquestions_passages.jsonl` and `mlquestions_dev.jsonl`, or some of them.
        most: take so many questions of a set, evenly over it; 0 takes all.
    """
    found = []
    squad, passages, questions = (
        folder / name for name in ("squad2_half.json", "mlquestions_passages.jsonl", "mlquestions_dev.jsonl")
    )
    foreign = _lines(questions) if questions.exists() else []
    if squad.exists():
        found.append(_squad(json.loads(squad.read_text(encoding="utf-8")), foreign, most))
    if foreign and passages.exists():
        texts = _lines(passages)
        cases = [Case(row["question"], Kind.ANSWER, (), frozenset(row["passages"])) for row in foreign]
        documents = [Document(f"Passage {number}", [("", text)]) for number, text in enumerate(texts)]
        found.append(QuestionSet("mlquestions-dev", documents, _some(cases, most)))
    return found


def _squad(data: dict[str, list[dict[str, object]]], foreign: Sequence[dict[str, str]], most: int) -> QuestionSet:
    """Return half of SQuAD 2.0's questions, and as many about machine learning as a tenth of those: off topic."""
    documents = [Document(f"Passage {n}", [("", str(row["passage"]))]) for n, row in enumerate(data["passages"])]
    cases = _some([_squad_case(row) for row in data["questions"]], most)
    off_topic = [Case(row["question"], Kind.OFF_TOPIC) for row in foreign]
    return QuestionSet("squad2-half", documents, [*cases, *_some(off_topic, max(1, len(cases) // 10))])


def _squad_case(row: dict[str, object]) -> Case:
    golds, place = row["answers"], row["passage"]
    if not isinstance(golds, list) or not isinstance(place, int):
        raise ValueError("This isn't the file that docs/evaluation.md describes.")
    if row["answerable"]:
        return Case(str(row["question"]), Kind.ANSWER, golds, frozenset([place]))
    return Case(str(row["question"]), Kind.ABSTAIN)


def _some(cases: Sequence[Case], most: int) -> list[Case]:
    if not most or len(cases) <= most:
        return list(cases)
    return [cases[place * len(cases) // most] for place in range(most)]


def _lines(path: Path) -> list[Any]:
    lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
