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

import numpy as np

from quokkaq.lib.embedding.minilm import Tokens, Vectors

# Weight of the words, where they single nothing out and where they do.
LEAST_LEXICAL, MOST_LEXICAL = 0.15, 0.5
# How far the best passage by words must stand out from the second, as a share of its score, to get all of that weight.
CLEAR_MARGIN = 0.3
# A passage means what the whole of it means, and what the sentence nearest to the question does.
SENTENCE_SHARE = 0.5
# So many of the best passages are read again, token by token; it takes most of the time of an answer.
RERANKED = 10
# What that reading counts, beside a fused score of 1.
TOKENS_WEIGHT = 2.0
# What a token counts that says little about a subject (“how”, “the”, a question mark); others count by their idf.
COMMON_TOKEN = 0.5
# A title of few and common words (sum of idf below this) says too little to tell one topic from another.
MIN_EVIDENCE = 4.5
# By words alone, the best passage must be about this share of what is asked (docs/adr/0004).
MIN_COVERAGE = 0.6

Key = TypeVar("Key")

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<=[^\s.!?:] )[A-Z][\w’'-]+|\b\w*[a-z]\w*[A-Z_]\w*\b|`[^`]+`")
# `list.append` is one word, as it is in the index; what ends a sentence is none.
_WORD = re.compile(r"\w+(?:[^\w\s]+\w+)*")
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


def words_of(question: str) -> list[tuple[int, str]]:
    """Return the words of a question with where they start, in characters."""
    return [(match.start(), match.group()) for match in _WORD.finditer(question)]


def token_weights(question: Tokens, words: Sequence[tuple[int, str, float]]) -> Vectors:
    """Return what each of the n tokens of a question counts (n): the idf of the word that it is part of.

    Args:
        question: its tokens.
        words: of the question, with where they start and their idf; 0 for a stop word.
    """
    weights = np.full(len(question.ids), COMMON_TOKEN, np.float32)
    for start, word, idf in words:
        if idf > 0:
            begins = question.spans[:, 0]
            weights[(begins >= start) & (begins < start + len(word))] = idf
    return weights


def late_interaction(question: Tokens, weights: Vectors, passage: Tokens) -> float:
    """Return how alike (-1 to 1) a question and a passage are, token by token; 0 when one of them has none.

    Each token of the question is compared with the one of the passage that is nearest to it (MaxSim: Khattab & Zaharia,
    "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT", 2020); here their mean
    is weighed.

    Args:
        question: n tokens.
        weights: what each of them counts (n), above 0.
        passage: m tokens.
    """
    if not len(question.ids) or not len(passage.ids):
        return 0.0
    nearest = (question.vectors @ passage.vectors.T).max(axis=1)
    return float(nearest @ weights / weights.sum())


def rerank(scores: Mapping[Key, float], likeness: Mapping[Key, float]) -> dict[Key, float]:
    """Return new scores (0-1) of the passages that were read token by token.

    Args:
        scores: of `fuse`.
        likeness: of `late_interaction`, for some of those passages.
    """
    return {key: max(0.0, scores[key] + TOKENS_WEIGHT * alike) / (1 + TOKENS_WEIGHT) for key, alike in likeness.items()}


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
