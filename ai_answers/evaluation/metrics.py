"""What came of each question, and the numbers that sum it up. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan

from ai_answers.evaluation.sets import Kind

RECALL = (1, 5, 10)
BINS = 10


@dataclass(frozen=True)
class Outcome:
    """What came of one question.

    `rank` of the first right passage, from 1, or None; `probability` (0-1) that the materials answer, as the retrieval has
    it; `quotations`: how many, of which `exact` stand where they say; `holds_gold`: one of them holds the right words
    (None where those aren't known). `seconds` from the question to a checked answer.
    """

    kind: Kind
    rank: int | None
    probability: float
    answered: bool
    quotations: int
    exact: int
    holds_gold: bool | None
    seconds: float
    cost_micros: int = 0
    # Of the retrieval (`ranking.evidence`).
    features: Mapping[str, float] = field(default_factory=dict)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the metrics that docs/evaluation.md defines; one that nothing was asked for is left out."""
    right = [outcome for outcome in outcomes if outcome.kind == Kind.ANSWER]
    beside = [outcome for outcome in outcomes if outcome.kind == Kind.ABSTAIN]
    off = [outcome for outcome in outcomes if outcome.kind == Kind.OFF_TOPIC]
    found: dict[str, float] = {}
    for depth in RECALL:
        found[f"recall_{depth}"] = _mean([outcome.rank is not None and outcome.rank <= depth for outcome in right])
    found["mrr"] = _mean([1 / outcome.rank if outcome.rank else 0.0 for outcome in right])
    found["answered"] = _mean([outcome.answered for outcome in right])
    found["gold_in_quotes"] = _mean(
        [bool(outcome.holds_gold) for outcome in right if outcome.answered and outcome.holds_gold is not None]
    )
    quotations = sum(outcome.quotations for outcome in outcomes)
    found["citations_exact"] = sum(outcome.exact for outcome in outcomes) / quotations if quotations else nan
    found["refused_unanswerable"] = _mean([not outcome.answered for outcome in beside])
    found["refused_off_topic"] = _mean([not outcome.answered for outcome in off])
    answerable = [outcome.probability for outcome in right]
    found["auroc_unanswerable"] = auroc(answerable, [outcome.probability for outcome in beside])
    found["auroc_off_topic"] = auroc(answerable, [outcome.probability for outcome in off])
    found["refused_off_topic_at_95"] = _refused_at(answerable, [outcome.probability for outcome in off], 0.95)
    if beside or off:
        found["calibration_error"] = calibration_error(
            [outcome.probability for outcome in outcomes], [outcome.kind == Kind.ANSWER for outcome in outcomes]
        )
    times = sorted(outcome.seconds for outcome in outcomes)
    for share in (50, 95):
        found[f"p{share}_ms"] = 1000 * times[min(len(times) - 1, share * len(times) // 100)] if times else nan
    found["cost_micros"] = _mean([outcome.cost_micros for outcome in outcomes])
    return {name: round(value, 4) for name, value in found.items() if not isnan(value)}


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Return how likely a positive scores above a negative (Mann & Whitney 1947), ties counting half; NaN without both."""
    if not positives or not negatives:
        return nan
    ordered = sorted([(score, True) for score in positives] + [(score, False) for score in negatives])
    above, place, below = 0.0, 0, 0
    while place < len(ordered):
        end = place
        while end < len(ordered) and ordered[end][0] == ordered[place][0]:
            end += 1
        same = [is_positive for _, is_positive in ordered[place:end]]
        above += sum(same) * (below + (len(same) - sum(same)) / 2)
        below += len(same) - sum(same)
        place = end
    return above / (len(positives) * len(negatives))


def calibration_error(probabilities: Sequence[float], truths: Sequence[bool]) -> float:
    """Return the expected calibration error over ten bins of equal width (Naeini et al. 2015)."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for probability, truth in zip(probabilities, truths, strict=True):
        bins[min(BINS - 1, int(probability * BINS))].append((probability, truth))
    gaps = (abs(sum(p for p, _ in members) - sum(truth for _, truth in members)) for members in bins)
    return sum(gaps) / len(probabilities) if probabilities else nan


def _refused_at(answerable: Sequence[float], others: Sequence[float], kept: float) -> float:
    """Return the share of others below the threshold that keeps this share of the answerable ones."""
    if not answerable or not others:
        return nan
    ordered = sorted(answerable)
    threshold = ordered[int((1 - kept) * len(ordered))]
    return sum(score < threshold for score in others) / len(others)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else nan
