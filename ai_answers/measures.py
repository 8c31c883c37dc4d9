"""What metrics are told of engines and their answers."""

from ai_answers.engines import Usage
from ai_answers.models import Answer
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import AI_ANSWERS, MODEL_CALLS, MODEL_COST, MODEL_SECONDS, MODEL_TOKENS

_MILLION = 1_000_000


def count_call(
    engine: str, outcome: str, seconds: float | None, usage: Usage | None = None, cost_micros: int = 0
) -> None:
    """Count one call that ended. Of one whose process died nobody knows how long it took."""
    MODEL_CALLS.inc(engine, outcome)
    if seconds is not None:
        MODEL_SECONDS.observe(seconds, engine)
    if usage is not None:
        MODEL_TOKENS.inc(engine, "input", by=usage.input_tokens)
        MODEL_TOKENS.inc(engine, "output", by=usage.output_tokens)
    if cost_micros:
        MODEL_COST.inc(engine, by=cost_micros / _MILLION)


def count_answer(answer: Answer) -> None:
    """Count what became of an answer, once that is committed."""
    count(AI_ANSWERS, answer.status, answer.level or "none")
