"""Replies in private conversations, previews, and summaries of threads."""

import uuid

from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app

from ai_answers import actions
from quokkaq.lib.jobs import of_institution

# Tried again after 2 and 4 seconds: somebody waits.
REPLY_ATTEMPTS = 3


@app.task(
    name=actions.REPLY_TASK,
    queue="answers",
    retry=RetryStrategy(max_attempts=REPLY_ATTEMPTS, exponential_wait=2),
    pass_context=True,
)
@of_institution
def reply(context: JobContext, message_id: str) -> None:
    """Write one reply; after the last attempt it is shown as failed."""
    try:
        actions.write_reply(uuid.UUID(message_id))
    except Exception as error:
        if context.job.attempts + 1 >= REPLY_ATTEMPTS:
            actions.fail_reply(uuid.UUID(message_id), error)
        raise


@app.task(
    name=actions.SUMMARY_TASK,
    queue="answers",
    retry=RetryStrategy(max_attempts=REPLY_ATTEMPTS, exponential_wait=2),
    pass_context=True,
)
@of_institution
def summarise(context: JobContext, summary_id: str, user_id: str) -> None:
    """Sum up one thread; after the last attempt it is shown as failed."""
    try:
        actions.write_summary(uuid.UUID(summary_id), user_id=uuid.UUID(user_id))
    except Exception as error:
        if context.job.attempts + 1 >= REPLY_ATTEMPTS:
            actions.fail_summary(uuid.UUID(summary_id), error)
        raise
