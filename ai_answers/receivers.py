"""What the AI does when something happens in the forum."""

from typing import Any

from django.dispatch import receiver

from ai_answers import actions
from forum.models import Kind, Thread
from forum.signals import thread_started


@receiver(thread_started, dispatch_uid="ai_answers.answer_new_question")
def answer_new_question(sender: type[Thread], thread: Thread, **kwargs: Any) -> None:
    """Ask for an answer in the transaction that posts the question."""
    if thread.kind == Kind.QUESTION:
        actions.request_answer(thread=thread)
