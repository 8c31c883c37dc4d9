"""What was reached before: a drop beyond its tolerance is a fault."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

BASELINE = Path(__file__).parent / "baseline.json"
# Less is better of these.
_COSTS = frozenset(["calibration_error", "cost_micros", "p50_ms", "p95_ms"])

Baseline = Mapping[str, Mapping[str, Sequence[float]]]


def read_baseline(path: Path = BASELINE) -> Baseline:
    """Return, by set and metric, the value reached and how far a later one may fall behind it."""
    found: Baseline = json.loads(path.read_text(encoding="utf-8"))
    return found


def drops(name: str, metrics: Mapping[str, float], baseline: Baseline) -> list[str]:
    """Return a sentence for each metric of a set that has fallen behind its baseline by more than its tolerance."""
    found = []
    for metric, (value, tolerance) in baseline.get(name, {}).items():
        now = metrics.get(metric)
        if now is None:
            found.append(f"{name}: {metric} wasn't measured; it was {value:g}.")
        elif (now - value if metric in _COSTS else value - now) > tolerance:
            found.append(f"{name}: {metric} is {now:g}; it was {value:g}, and {tolerance:g} is tolerated.")
    return found
