"""The machine's work in the background, a file per concept."""

from ai_answers.tasks.answers import MAX_ATTEMPTS, generate_answer

__all__ = ["MAX_ATTEMPTS", "generate_answer"]
