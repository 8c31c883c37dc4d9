"""The machine's work in the background, a file per concept."""

from ai_answers.tasks.answers import MAX_ATTEMPTS, generate_answer
from ai_answers.tasks.calls import settle_lost_calls

__all__ = ["MAX_ATTEMPTS", "generate_answer", "settle_lost_calls"]
