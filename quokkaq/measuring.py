"""Gauges that the database tells: over all institutions, of the queue, and of what operators did."""

from collections.abc import Iterator
from typing import Any

from procrastinate.contrib.django import app

from ai_answers.models import InstitutionAI
from quokkaq.lib.metrics.definitions import (
    ACTIVE_USERS,
    BACKUP_AGE,
    BACKUP_FAILED,
    BACKUP_SIZE,
    BUDGET_USED,
    DATABASE_SIZE,
    DRILL_AGE,
    DRILL_SUCCEEDED,
    REPLICA_LAG,
    SESSIONS,
    TASKS_FAILING,
    TASKS_OLDEST,
    TASKS_WAITING,
    THREADS,
    THREADS_UNANSWERED,
    WORKER_HEARTBEAT,
)
from quokkaq.lib.metrics.state import Reading, register_query
from quokkaq.models import OperationName

_OF_STATE = {
    "threads": THREADS, "threads_unanswered": THREADS_UNANSWERED, "sessions": SESSIONS, "active_users": ACTIVE_USERS,
    "budget": BUDGET_USED, "replica_lag": REPLICA_LAG, "size": DATABASE_SIZE,
}  # fmt: skip

# Of jobs that are due: how many there are, and how long the first has waited, since it was enqueued or to be run. All
# three look-ups go by partial indexes over jobs that wait, which are few.
_WAITING = """
WITH due AS (
    SELECT queue_name, count(*) AS waiting, min(scheduled_at) AS scheduled, min(id) FILTER (WHERE scheduled_at IS NULL) AS first
    FROM procrastinate_jobs WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now()) GROUP BY queue_name
)
SELECT queue_name, waiting, greatest(0, extract(epoch FROM now() - least(scheduled, (
    SELECT min(at) FROM procrastinate_events WHERE job_id = first
))))::double precision FROM due
"""
_FAILED = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'failed'"
_HEARTBEAT = "SELECT extract(epoch FROM now() - max(last_heartbeat))::double precision FROM procrastinate_workers"
_OPERATIONS = (
    "SELECT name, extract(epoch FROM now() - ended_at)::double precision, succeeded, size, failed_at IS NOT NULL"
    " FROM quokkaq_operation"
)


def state(cursor: Any) -> Iterator[Reading]:
    """What is counted over all institutions by a function of the database, as row-level security shows us nobody's rows."""
    without_a_row = InstitutionAI()
    caps = [without_a_row.course_daily_cap_micros, without_a_row.daily_cap_micros]
    cursor.execute("SELECT gauge, label, reading FROM quokkaq_state(%s, %s)", caps)
    for gauge, label, reading in cursor.fetchall():
        yield _OF_STATE[gauge], (label,) if label else (), reading


def queue(cursor: Any) -> Iterator[Reading]:
    cursor.execute(_WAITING)
    found = {name: (waiting, oldest) for name, waiting, oldest in cursor.fetchall()}
    for name in {task.queue for task in app.tasks.values()} | set(found):
        waiting, oldest = found.get(name, (0, 0))
        yield TASKS_WAITING, (name,), waiting
        yield TASKS_OLDEST, (name,), oldest or 0
    cursor.execute(_FAILED)
    yield TASKS_FAILING, (), cursor.fetchone()[0]
    cursor.execute(_HEARTBEAT)
    age = cursor.fetchone()[0]
    yield WORKER_HEARTBEAT, (), float("inf") if age is None else max(0, age)


def operations(cursor: Any) -> Iterator[Reading]:
    cursor.execute(_OPERATIONS)
    kinds = {OperationName.BACKUP_DATABASE: "database", OperationName.BACKUP_MEDIA: "media"}
    for name, age, succeeded, size, has_failed in cursor.fetchall():
        if name == OperationName.RESTORE_DRILL:
            yield DRILL_AGE, (), age
            yield DRILL_SUCCEEDED, (), float(succeeded)
            continue
        yield BACKUP_FAILED, (kinds[name],), float(has_failed)
        if age is not None:
            yield BACKUP_AGE, (kinds[name],), age
        if size is not None:
            yield BACKUP_SIZE, (kinds[name],), size


for name, read in (("state", state), ("queue", queue), ("operations", operations)):
    register_query(name, read)
