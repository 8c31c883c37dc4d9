"""The forum's work in the background."""

import uuid
from datetime import datetime

from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app

from forum import actions
from forum.actions.indexing import INDEX_MISSING_TASK, INDEX_TASK
from forum.actions.mailing import COMPOSE_TASK, SEND_TASK
from forum.actions.telling import TELL_TASK
from forum.insights import facts
from forum.models import NotificationKind
from quokkaq.lib.jobs import for_every_institution, in_queue, of_institution

# Tried again after 5 s, 25 s, 2 min, 10 min, 52 min, 4 h and 22 h.
MAIL_ATTEMPTS = 8


@app.periodic(cron="* * * * *")
@app.task(name="forum.count_readers", **in_queue("upkeep"), queueing_lock="count_readers")
@for_every_institution
def count_readers(timestamp: int) -> None:
    """Bring the reader counts of threads up to date."""
    actions.count_readers()


@app.periodic(cron="* * * * * */20")
@app.task(name="forum.refresh_facts", **in_queue("upkeep"), queueing_lock="refresh_facts")
@for_every_institution
def refresh_facts(timestamp: int) -> None:
    """Bring what the insights add up in line with the threads that changed."""
    while facts.refresh_facts() == facts.BATCH:
        pass


@app.periodic(cron="40 3 * * *")
@app.task(name="forum.forget_old_facts", **in_queue("upkeep"), queueing_lock="forget_old_facts")
@for_every_institution
def forget_old_facts(timestamp: int) -> None:
    """Delete what no period of the insights reaches any more."""
    facts.forget_old_facts()


@app.task(name=TELL_TASK, queue="telling", retry=RetryStrategy(max_attempts=5, exponential_wait=3))
@of_institution
def tell(
    kind: str,
    thread_id: str,
    post_id: str | None,
    actor_id: str | None,
    to_id: str | None,
    at: str,
) -> None:
    """Write what happened into the inbox of everybody concerned."""
    actions.tell(
        NotificationKind(kind),
        thread_id=uuid.UUID(thread_id),
        post_id=uuid.UUID(post_id) if post_id else None,
        actor_id=uuid.UUID(actor_id) if actor_id else None,
        to_id=uuid.UUID(to_id) if to_id else None,
        at=datetime.fromisoformat(at),
    )


@app.task(name=INDEX_TASK, queue="indexing", retry=RetryStrategy(max_attempts=5, exponential_wait=3))
@of_institution
def index_thread(thread_id: str) -> None:
    """Make the vectors of a new thread, so that the next person who asks the same hears of it."""
    actions.index_thread(uuid.UUID(thread_id))


@app.periodic(cron="* * * * * */30")
@app.task(name="forum.index_threads", **in_queue("upkeep"), queueing_lock="index_threads")
@for_every_institution
def index_threads(timestamp: int) -> None:
    """Look whether vectors are missing or older than their text."""
    actions.enqueue_missing_threads()


@app.task(name=INDEX_MISSING_TASK, queue="indexing", retry=RetryStrategy(max_attempts=5, exponential_wait=3))
@of_institution
def index_missing_threads() -> None:
    """Make some of the vectors that are missing or older than their text."""
    actions.index_threads()


@app.periodic(cron="* * * * * */20")
@app.task(name="forum.enqueue_mail", **in_queue("upkeep"), queueing_lock="enqueue_mail")
@for_every_institution
def enqueue_mail(timestamp: int) -> None:
    """Find people whom mail is due, and mails whose sending was cut off."""
    actions.enqueue_due_mail()
    actions.enqueue_unsent_mail()


@app.task(name=COMPOSE_TASK, queue="mail", retry=RetryStrategy(max_attempts=5, exponential_wait=3))
@of_institution
def compose_mail(notification_id: str) -> None:
    """Put all that is due to one person into one mail."""
    actions.compose_mail(uuid.UUID(notification_id))


@app.task(
    name=SEND_TASK,
    queue="mail",
    retry=RetryStrategy(max_attempts=MAIL_ATTEMPTS, exponential_wait=5),
    pass_context=True,
)
@of_institution
def send_mail(context: JobContext, mail_id: str) -> None:
    """Send one mail; after the last attempt it counts as failed."""
    try:
        actions.send_mail(uuid.UUID(mail_id))
    except Exception as error:
        if context.job.attempts + 1 >= MAIL_ATTEMPTS:
            actions.fail_mail(uuid.UUID(mail_id), error)
        raise
