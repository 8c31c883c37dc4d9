"""Materials in the background: files are read, passages embedded, endorsed threads followed."""

import uuid

from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app

from ai_answers import actions
from quokkaq.lib.jobs import for_every_institution, in_queue, of_institution

IMPORT_ATTEMPTS = 4
_RETRY = RetryStrategy(max_attempts=6, exponential_wait=4)


@app.task(
    name=actions.IMPORT_TASK,
    queue="materials",
    retry=RetryStrategy(max_attempts=IMPORT_ATTEMPTS, exponential_wait=4),
    pass_context=True,
)
@of_institution
def read_import(context: JobContext, import_id: str) -> None:
    """Read one file. Tried again after 4, 16, 64 seconds; then its page says that it failed."""
    try:
        actions.read_import(uuid.UUID(import_id))
    except Exception:
        if context.job.attempts + 1 >= IMPORT_ATTEMPTS:
            actions.fail_import(uuid.UUID(import_id))
        raise


@app.task(name=actions.INDEX_TASK, queue="materials", retry=_RETRY)
@of_institution
def index_version(version_id: str) -> None:
    """Embed the passages of a version."""
    actions.index_version(uuid.UUID(version_id))


@app.task(name=actions.REFRESH_TASK, queue="materials", retry=_RETRY)
@of_institution
def refresh_thread_source(thread_id: str) -> None:
    """Bring the source that a thread is in line with it."""
    actions.refresh_thread_source(uuid.UUID(thread_id))


@app.periodic(cron="*/10 * * * *")
@app.task(name="ai_answers.keep_materials_indexed", **in_queue("upkeep"), queueing_lock="keep_materials_indexed")
@for_every_institution
def keep_materials_indexed(timestamp: int) -> None:
    """Embed what has no vectors, and find endorsed threads that are no sources yet."""
    actions.refresh_missing_sources()
    actions.index_missing()
