"""How well passages fit a question, and how likely they answer it: pure functions of numbers and texts.

Two rankings are fused: by words (Okapi BM25) and by meaning (the cosine of vectors). Linear fusion of scores stretched to
0-1 beats reciprocal ranks (Bruch, Gai & Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", 2023; measured in
docs/adr/0004). Words weigh more where they single a passage out, meaning where many passages share the words.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

# Weight of the words, where they single nothing out and where they do.
LEAST_LEXICAL, MOST_LEXICAL = 0.15, 0.5
# How far the best passage by words must stand out from the second, as a share of its score, to get all of that weight.
CLEAR_MARGIN = 0.3
# A passage means what the whole of it means, and what the sentence nearest to the question does.
SENTENCE_SHARE = 0.5
# A title of few and common words (sum of idf below this) says too little to tell one topic from another.
MIN_EVIDENCE = 4.5
# By words alone, the best passage must be about this share of what is asked (docs/adr/0004).
MIN_COVERAGE = 0.6

Key = TypeVar("Key")

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<=[^\s.!?:] )[A-Z][\w’'-]+|\b\w*[a-z]\w*[A-Z_]\w*\b|`[^`]+`")
_NEGATION = re.compile(r"\b(?:not|never|no|without|cannot|neither|nor|unable)\b|n['’]t\b", re.IGNORECASE)


@dataclass(frozen=True)
class Nearness:
    """Cosines (-1 to 1) of a question with a passage as a whole and with its nearest sentence."""

    whole: float
    sentence: float

    @property
    def both(self) -> float:
        return (1 - SENTENCE_SHARE) * self.whole + SENTENCE_SHARE * self.sentence


def lexical_margin(scores: Sequence[float]) -> float:
    """Return how far the best of some scores stands out from the second, as a share of it (0-1); 0 without any."""
    ordered = sorted(scores, reverse=True)[:2]
    if not ordered or ordered[0] <= 0:
        return 0.0
    return (ordered[0] - (ordered[1] if len(ordered) > 1 else 0.0)) / ordered[0]


def lexical_weight(margin: float) -> float:
    """Return the weight of the words in a fusion (0-1), from `lexical_margin`."""
    return LEAST_LEXICAL + (MOST_LEXICAL - LEAST_LEXICAL) * min(1.0, max(0.0, margin / CLEAR_MARGIN))


def fuse(lexical: Mapping[Key, float], semantic: Mapping[Key, Nearness]) -> dict[Key, float]:
    """Return a score from 0 to 1 for each passage in either ranking.

    Args:
        lexical: BM25 scores of the passages that share a word with the question; all others have 0.
        semantic: of every passage that has vectors. One without (it isn't indexed yet) is judged by its words.
    """
    top = max(lexical.values(), default=0.0) or 1.0
    by_words = {key: score / top for key, score in lexical.items()}
    if not semantic:
        return by_words
    nearness = {key: near.both for key, near in semantic.items()}
    low, high = min(nearness.values()), max(nearness.values())
    spread = (high - low) or 1.0
    weight = lexical_weight(lexical_margin(list(lexical.values())))
    return {
        key: weight * by_words.get(key, 0.0) + (1 - weight) * (nearness[key] - low) / spread
        if key in nearness
        else by_words[key]
        for key in {**lexical, **semantic}
    }


def coverage(asked: Mapping[str, float], held: Sequence[Mapping[str, int]]) -> float:
    """Return the idf-weighted share (0-1) of what is asked that one of some passages holds, for the best of them.

    Args:
        asked: lexemes of the title with their idf.
        held: for each passage, the lexemes of the question in it.
    """
    total = max(sum(asked.values()), MIN_EVIDENCE)
    return max((sum(idf for word, idf in asked.items() if word in words) for words in held), default=0.0) / total


def evidence(
    *,
    question: str,
    text: str,
    coverage: float,
    margin: float,
    nearest: Nearness | None,
) -> dict[str, float]:
    """Return the features of a retrieval, each from 0 to 1 (cosines from -1), for confidence and abstention.

    `coverage`: share of the title's words, by idf, in one of the best passages. `margin`: how far the best passage by words
    stands out. `cosine`, `sentence`: of the passage, and of the sentence, that is nearest in meaning; left out without
    vectors. `numbers`, `names`: share of those in the question that the best passage has; 1 when it asks for none.
    `negation`: 1 when question and best passage agree in whether something is denied.

    Args:
        question: title of the question.
        text: the best passage with its heading.
        coverage: see above.
        margin: see above.
        nearest: the largest cosines in the course; None without vectors.
    """
    words = text.casefold()
    numbers = _NUMBER.findall(question)
    names = [name.strip("`").casefold() for name in _NAME.findall(question)]
    features = {
        "coverage": min(1.0, coverage),
        "margin": margin,
        "numbers": _share(number in text for number in numbers),
        "names": _share(name in words for name in names),
        "negation": float(bool(_NEGATION.search(text)) or not _NEGATION.search(question)),
    }
    if nearest is not None:
        features |= {"cosine": nearest.whole, "sentence": nearest.sentence}
    return {name: round(value, 4) for name, value in features.items()}


def _share(found: Iterable[bool]) -> float:
    flags = list(found)
    return sum(flags) / len(flags) if flags else 1.0


# Log odds that the materials answer a question, chosen by hand: nearness in meaning counts most, then the words. The scale
# is such that an even chance keeps 95 % of answerable questions of half of SQuAD 2.0 (docs/evaluation.md).
# `python -m tests.benchmarks.answers --fit` says what a logistic regression on the project's own set would choose.
ANSWERABLE: Mapping[str, float] = {
    "bias": -9.3,
    "coverage": 3.0,
    "sentence": 11.0,
    "cosine": 3.0,
    "names": 0.6,
    "numbers": 0.2,
}
# Below this probability nothing is said.
ANSWER_FROM = 0.5


def answerable(features: Mapping[str, float]) -> float:
    """Return the probability (0-1) that the best passages answer the question.

    Without vectors only coverage is known: the probability is then 0.5 at `MIN_COVERAGE`.
    """
    if "sentence" not in features:
        return _logistic(8 * (features.get("coverage", 0.0) - MIN_COVERAGE))
    odds = ANSWERABLE["bias"]
    odds += sum(weight * features.get(name, 0.0) for name, weight in ANSWERABLE.items() if name != "bias")
    return _logistic(odds)


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))
