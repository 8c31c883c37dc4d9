"""Tasks that keep the task engine itself healthy, and those that back up what there is."""

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection
from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued

from quokkaq.backups.drill import drill
from quokkaq.backups.places import Kind
from quokkaq.backups.running import SecondPlaceFailed, back_up, copy_to_second
from quokkaq.backups.sets import pair
from quokkaq.lib.database.owner import as_owner
from quokkaq.lib.jobs import LANES, LIFTED, OPERATIONS, RESCUE, in_queue, running
from quokkaq.lib.request_id import working_on
from quokkaq.lib.storage import store

log = logging.getLogger("quokkaq.backups")
# How long a job waits before it goes before all others of its lane, one of each queue a minute.
PATIENCE_SECONDS = 300
_LIFT = """
UPDATE procrastinate_jobs SET priority = %(priority)s WHERE status = 'todo' AND id IN (
    SELECT min(id) FROM procrastinate_jobs
    WHERE status = 'todo' AND queue_name = ANY(%(queues)s) AND priority < %(priority)s
    AND (scheduled_at IS NULL OR scheduled_at <= now())
    GROUP BY queue_name
) AND coalesce(scheduled_at, (SELECT min(at) FROM procrastinate_events WHERE job_id = procrastinate_jobs.id))
    < now() - make_interval(secs => %(seconds)s)
"""
# After 6 s, 36 s, 4 min, 22 min and 2 h.
_RETRY = RetryStrategy(max_attempts=5, exponential_wait=6)
# A place that is away for longer gets its copies with the next night's.
_COPY_RETRY = RetryStrategy(max_attempts=5, exponential_wait=6)


@app.periodic(cron="* * * * * */5")
@app.task(
    name="quokkaq.rescue_stalled_jobs", **in_queue(RESCUE), queueing_lock="rescue_stalled_jobs", pass_context=True
)
async def rescue_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """Put jobs of workers that died (no heartbeat) back in the queue. Every task may therefore run twice, and must not mind."""
    manager = context.app.job_manager
    with working_on(None, route="quokkaq.rescue_stalled_jobs"):
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=settings.TASK_STALLED_AFTER_SECONDS):
            await manager.retry_job(job)


@app.periodic(cron="* * * * *")
@app.task(name="quokkaq.let_the_oldest_go_first", **in_queue("upkeep"), queueing_lock="let_the_oldest_go_first")
def let_the_oldest_go_first(timestamp: int) -> None:
    """Of each queue in which nobody waits for a page, let the oldest job go before the others if it waits for too long.

    However many mails there are: one of each other kind begins within a minute or two of that.
    """
    with running("quokkaq.let_the_oldest_go_first"), connection.cursor() as cursor:
        cursor.execute(_LIFT, {"queues": list(LANES["bulk"]), "priority": LIFTED, "seconds": PATIENCE_SECONDS})


@app.periodic(cron="17 3 * * *")
@app.task(name="quokkaq.delete_old_jobs", **in_queue("sweeping"), queueing_lock="delete_old_jobs", pass_context=True)
async def delete_old_jobs(context: JobContext, timestamp: int) -> None:
    """Forget jobs that ended well, after a day; failed ones stay 30 days for whoever looks into them."""
    manager = context.app.job_manager
    with running("quokkaq.delete_old_jobs"):
        await manager.delete_old_jobs(nb_hours=24, include_failed=False)
        await manager.delete_old_jobs(nb_hours=24 * 30, include_failed=True)


def _nightly(task: Any) -> Any:
    return task if settings.BACKUP_SCHEDULE == "off" else app.periodic(cron=settings.BACKUP_SCHEDULE)(task)


@_nightly
@app.task(
    name="quokkaq.back_up_database",
    queue=OPERATIONS,
    lock="back_up",
    priority=1,
    queueing_lock="back_up_database",
    retry=_RETRY,
)
def back_up_database(timestamp: int = 0) -> None:
    """Make a backup of the database, and let go of old ones."""
    _back_up("database")


@_nightly
@app.task(name="quokkaq.back_up_files", queue=OPERATIONS, lock="back_up", queueing_lock="back_up_files", retry=_RETRY)
def back_up_files(timestamp: int = 0) -> None:
    """Make a backup of uploaded files, let go of old ones, and note the set that it makes with the database's."""
    _back_up("media")
    with as_owner():
        pair(store(), say=_silently)


@app.task(name="quokkaq.copy_backups", queue=OPERATIONS, lock="back_up", retry=_COPY_RETRY)
def copy_backups(kind: Kind) -> None:
    """Bring to the second place what it refused when the backup was made."""
    with running("quokkaq.copy_backups"):
        copy_to_second(kind, say=_silently)


@app.periodic(cron="37 4 2 * *")
@app.task(name="quokkaq.drill_restoring", queue=OPERATIONS, queueing_lock="drill_restoring")
def drill_restoring(timestamp: int = 0) -> None:
    """Restore the newest backup into a scratch database, and prove it. What is wrong, the alert RestoreDrillFailed tells."""
    with running("quokkaq.drill_restoring"), as_owner():
        drill(say=_silently)


def _back_up(kind: Kind) -> None:
    with running(f"quokkaq.back_up_{'database' if kind == 'database' else 'files'}"):
        try:
            back_up(kind, say=_silently, clean=True)
        except SecondPlaceFailed:
            # It was noted, and the backup is good: only the copy is tried again.
            again: Callable[..., Any] = copy_backups.configure(
                queueing_lock=f"copy_{kind}", schedule_in={"minutes": 5}
            ).defer
            try:
                again(kind=kind)
            except AlreadyEnqueued:
                log.info("the copy is due already", extra={"kind": kind})


def _silently(line: str) -> None:
    """Logs tell that the task ran, and the operators' page what it made."""
