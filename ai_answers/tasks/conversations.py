"""Replies in private conversations, previews, and summaries of threads."""

import uuid

from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app

from ai_answers import actions
from quokkaq.lib.request_id import working_on

# Tried again after 2 and 4 seconds: somebody waits.
REPLY_ATTEMPTS = 3


@app.task(
    name=actions.REPLY_TASK,
    queue="answers",
    retry=RetryStrategy(max_attempts=REPLY_ATTEMPTS, exponential_wait=2),
    pass_context=True,
)
def reply(context: JobContext, message_id: str, request_id: str | None = None) -> None:
    """Write one reply; after the last attempt it is shown as failed."""
    with working_on(request_id):
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
def summarise(context: JobContext, summary_id: str, user_id: str, request_id: str | None = None) -> None:
    """Sum up one thread; after the last attempt it is shown as failed."""
    with working_on(request_id):
        try:
            actions.write_summary(uuid.UUID(summary_id), user_id=uuid.UUID(user_id))
        except Exception as error:
            if context.job.attempts + 1 >= REPLY_ATTEMPTS:
                actions.fail_summary(uuid.UUID(summary_id), error)
            raise


@app.periodic(cron="23 * * * *")
@app.task(name="ai_answers.forget_previews", queue="upkeep", queueing_lock="forget_previews")
def forget_previews(timestamp: int) -> None:
    """Delete what was said to questions that were being written a day ago."""
    actions.forget_previews()
