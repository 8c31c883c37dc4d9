"""How sure an answer is: from its features to a probability that staff would endorse it. Pure functions.

Three steps. Features are numbers from 0 to 1 that are known when an answer is written. A score adds them up, by weights that
were chosen by hand and are stated below: the prior. A calibration, fitted on what people judged, turns scores into
probabilities that hold: of 100 answers with a probability of 0.8, about 80 are endorsed. Without judgements, the score
itself is the probability.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models

# The one definition of the three words; pages say it in `MEANING`.
HIGH_FROM = 0.75
MEDIUM_FROM = 0.5
# Logistic regression by hand, as nobody has judged anything in a new installation: probability = 1 / (1 + e^-score).
# A question that the passages answer with a probability of 0.5 (below that, the extractive engine says nothing) gives 0.52,
# one that they surely answer 0.75.
PRIOR: Mapping[str, float] = {
    "bias": -0.9, "answerable": 2.0, "margin": 0.3, "citations": 0.2, "unsupported": -1.5, "dropped": -1.0,
}  # fmt: skip
FEATURES: Mapping[str, str] = {
    "bias": "always, whatever the answer",
    "answerable": "how likely the best passages answer the question, by their words and their meaning",
    "margin": "how far the best passage stands out from the second",
    "citations": "quotations, four or more being 1",
    "unsupported": "the share of statements without a quotation",
    "dropped": "the share of statements left out, as their quotations weren’t in the source",
}
BINS = 10


class Level(models.TextChoices):
    HIGH = "high", "high"
    MEDIUM = "medium", "medium"
    LOW = "low", "low"


MEANING = {
    Level.HIGH: f"staff would endorse at least {HIGH_FROM:.0%} of answers like this",
    Level.MEDIUM: f"staff would endorse {MEDIUM_FROM:.0%} to {HIGH_FROM:.0%} of answers like this",
    Level.LOW: f"staff would endorse fewer than {MEDIUM_FROM:.0%} of answers like this",
}


def level(probability: float) -> Level:
    """Return the word for a probability."""
    if probability >= HIGH_FROM:
        return Level.HIGH
    return Level.MEDIUM if probability >= MEDIUM_FROM else Level.LOW


def features(
    *, answerable: float, scores: Sequence[float], statements: int, citations: int, unsupported: int, dropped: int
) -> dict[str, float]:
    """Return the features of an answer, each from 0 to 1.

    Args:
        answerable: probability that the best passages answer the question, 0-1 (`ai_answers.ranking.answerable`).
        scores: of the passages found, best first, 0 or more.
        statements: that stand in the answer.
        citations: its quotations.
        unsupported: statements among them without a quotation.
        dropped: statements that were left out.
    """
    best, second = [*scores[:2], 0.0, 0.0][:2]
    written = statements + dropped
    return {
        "answerable": round(min(max(answerable, 0.0), 1.0), 4),
        "margin": round((best - second) / best, 4) if best > 0 else 0.0,
        "citations": min(citations, 4) / 4,
        "unsupported": round(unsupported / statements, 4) if statements else 0.0,
        "dropped": round(dropped / written, 4) if written else 0.0,
    }


def score(found: Mapping[str, float]) -> float:
    """Return the score (log odds) of features; one that is missing counts as 0."""
    return PRIOR["bias"] + sum(PRIOR[name] * found.get(name, 0.0) for name in PRIOR if name != "bias")


def probability(value: float, method: str, parameters: Mapping[str, Any]) -> float:
    """Return the probability (0-1) that a calibration gives to a score.

    `platt`: 1 / (1 + e^-(slope * score + offset)) (Platt, 1999). `isotonic`: between the points of a rising step function,
    straight lines (Zadrozny and Elkan, 2002). Anything else: the prior.
    """
    if method == "platt":
        return _logistic(parameters["slope"] * value + parameters["offset"])
    if method == "isotonic":
        return _between(value, parameters["scores"], parameters["probabilities"])
    return _logistic(value)


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-min(max(value, -60.0), 60.0)))


def _between(value: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    place = bisect_right(xs, value)
    if place == 0:
        return ys[0]
    if place == len(xs):
        return ys[-1]
    left, right = xs[place - 1], xs[place]
    return ys[place - 1] + (ys[place] - ys[place - 1]) * (value - left) / (right - left)


@dataclass(frozen=True)
class Bin:
    """Answers whose probability was between `start` and `end`: how many, what was said on average, what came true."""

    start: float
    end: float
    count: int
    said: float
    true: float


def reliability(probabilities: Sequence[float], outcomes: Sequence[bool]) -> list[Bin]:
    """Return the bins of a reliability diagram that hold anything: ten of equal width."""
    held: dict[int, list[tuple[float, bool]]] = {}
    for said, outcome in zip(probabilities, outcomes, strict=True):
        held.setdefault(min(int(said * BINS), BINS - 1), []).append((said, outcome))
    return [
        Bin(
            number / BINS,
            (number + 1) / BINS,
            len(pairs),
            round(sum(said for said, _ in pairs) / len(pairs), 4),
            round(sum(outcome for _, outcome in pairs) / len(pairs), 4),
        )
        for number, pairs in sorted(held.items())
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error (0-1): how far what was said is from what came true, weighed by how many.

    Naeini, Cooper and Hauskrecht (2015).
    """
    total = sum(row.count for row in bins)
    return sum(row.count * abs(row.said - row.true) for row in bins) / total if total else 0.0


def brier(probabilities: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Return the mean squared distance of probabilities and outcomes (0-1; 0 is best). Brier (1950)."""
    pairs = list(zip(probabilities, outcomes, strict=True))
    return sum((said - outcome) ** 2 for said, outcome in pairs) / len(pairs) if pairs else 0.0
