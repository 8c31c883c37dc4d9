"""The machine's work in the background, a file per concept."""

from ai_answers.tasks.answers import MAX_ATTEMPTS, generate_answer
from ai_answers.tasks.conversations import REPLY_ATTEMPTS, forget_previews, reply, summarise

__all__ = ["MAX_ATTEMPTS", "REPLY_ATTEMPTS", "forget_previews", "generate_answer", "reply", "summarise"]
