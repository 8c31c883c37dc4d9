"""What Prometheus is told of the engines. Labels are a handful of words: never a person, a course or a text."""

from prometheus_client import Counter, Histogram

CALLS = Counter("quokkaq_ai_calls_total", "Calls of an engine, by how they ended.", ["engine", "outcome"])
COST = Counter("quokkaq_ai_cost_micros_total", "What engines cost, in millionths of a US dollar.", ["engine"])
SECONDS = Histogram(
    "quokkaq_ai_call_seconds",
    "How long calls of an engine took.",
    ["engine"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60),
)


def count_call(engine: str, outcome: str, seconds: float, cost_micros: int = 0) -> None:
    """Count one call that ended."""
    CALLS.labels(engine, outcome).inc()
    SECONDS.labels(engine).observe(seconds)
    if cost_micros:
        COST.labels(engine).inc(cost_micros)
