"""The AI's work in the background."""

import uuid

from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app

from ai_answers import actions
from quokkaq.lib.jobs import of_institution

MAX_ATTEMPTS = 4


@app.task(
    name=actions.GENERATE_TASK,
    queue="answers",
    retry=RetryStrategy(max_attempts=MAX_ATTEMPTS, exponential_wait=3),
    pass_context=True,
)
@of_institution
def generate_answer(context: JobContext, answer_id: str) -> None:
    """Write one answer. Tried again after 3, 9, 27 seconds; then the answer is shown as failed."""
    try:
        actions.generate_answer(uuid.UUID(answer_id))
    except Exception as error:
        if context.job.attempts + 1 >= MAX_ATTEMPTS:
            actions.fail_answer(uuid.UUID(answer_id), error)
        raise
