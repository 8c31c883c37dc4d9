"""Work that is enqueued in the transaction that makes it due, for the institution it belongs to.

What waits in which queue, and what goes first, stands in `LANES` and nowhere else (ADR 33).
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypedDict
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from procrastinate import PsycopgConnector
from procrastinate.contrib.django import app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.types import JSONDict

from quokkaq.lib import tenancy, tracing
from quokkaq.lib.request_id import current, working_on

Task = Callable[..., None]
log = logging.getLogger("quokkaq.tasks")

# Served in every lane, before all else: short, and nothing goes on for the jobs of a dead worker without it.
RESCUE = "rescue"
# Served by a worker of its own (`procrastinate worker --queues operations`), the only one with the rights of the tables'
# owner. Without such a worker its jobs wait.
OPERATIONS = "operations"
# Lane → queue → priority, the higher the sooner. A worker has slots for each lane, so that no lane waits for another; in
# a lane the priority decides, then the age.
LANES: Mapping[str, Mapping[str, int]] = {
    # Somebody looks at the page, and a model may take its time.
    "answers": {"answers": 90},
    # Short jobs only: a slot is free again within a second or two.
    "prompt": {
        "uploads": 80,  # a check of a file that somebody wants to post
        "account_mail": 70,  # a link somebody needs in order to sign in
        "upkeep": 60,  # every few minutes; of each task at most one waits, so it can't hold up the next
        "telling": 50,  # into the inboxes: one job for all that one text has to tell
    },
    # Many, or long: nobody looks at a page until one of these is done.
    "bulk": {
        "rechecking": 38,  # answers whose source has gone are withdrawn before more people read them
        "lti": 36,  # a list of members that staff asked for
        "exports": 34,  # copies of their data that people asked for
        "mail": 30,  # ten thousand for one announcement
        "indexing": 20,  # threads by meaning
        "materials": 15,  # files are read, passages embedded
        "sweeping": 10,  # what is over is forgotten, what was judged is learnt from
    },
}
PRIORITIES: Mapping[str, int] = {
    RESCUE: 100, OPERATIONS: 0, **{queue: priority for lane in LANES.values() for queue, priority in lane.items()},
}  # fmt: skip
# What has waited too long in `bulk` goes before all else there (`quokkaq.let_the_oldest_go_first`).
LIFTED = 40


class _Queued(TypedDict):
    queue: str
    priority: int


def in_queue(name: str) -> _Queued:
    """Return a queue and its priority, as `app.task` and `app.configure_task` take them."""
    return {"queue": name, "priority": PRIORITIES[name]}


def connect_workers_directly(tasks: Any) -> None:
    """Have workers wait for jobs at `TASKS_DATABASE_URL`, where there is one; everything else goes by `DATABASE_URL`."""
    if settings.TASKS_DATABASE:
        tasks.connector.get_worker_connector = lambda: PsycopgConnector(
            kwargs={**connector_params(), **settings.TASKS_DATABASE}
        )


def enqueue(
    task: str, *, of: UUID | None, queue: str, lock: str | None = None, queueing_lock: str | None = None,
    **arguments: Any,
) -> None:  # fmt: skip
    """Have a task run, if the transaction commits that this is called in.

    Args:
        task: its name; the module that holds it stands above those that enqueue it.
        of: the institution it works for; None: the one in scope.
        queue: one of `LANES`; its priority comes with it.
        arguments: ids and codes only: operators see them.

    Raises `procrastinate.exceptions.AlreadyEnqueued` for a taken `queueing_lock`.
    """
    app.configure_task(task, **in_queue(queue), lock=lock, queueing_lock=queueing_lock).defer(
        **_origin(of), **tracing.carried(), **arguments
    )


def enqueue_once(task: str, *, of: UUID | None, queue: str, key: str, **arguments: Any) -> bool:
    """Enqueue a job, like `enqueue`, unless one with the same `key` waits; return whether it did.

    Of those with the same key one runs at a time.
    """
    try:
        with transaction.atomic():
            enqueue(task, of=of, queue=queue, lock=key, queueing_lock=key, **arguments)
    except AlreadyEnqueued:
        return False
    return True


def enqueue_each_once(task: str, jobs: Mapping[str, dict[str, str]], *, of: UUID | None, queue: str) -> int:
    """Enqueue, like `enqueue_once`, a job for each key for which none waits or runs, in one statement; return how many.

    None when somebody enqueues one of them just now: who looks again finds the rest.
    """
    there = under_way(jobs)
    deferrer = app.configure_task(task, **in_queue(queue))
    common = {**_origin(of), **tracing.carried()}
    new = [
        deferrer.job.evolve(lock=key, queueing_lock=key, task_kwargs={**common, **job})
        for key, job in jobs.items()
        if key not in there
    ]
    if not new:
        return 0
    try:
        with transaction.atomic():
            app.job_manager.batch_defer_jobs(new)
    except AlreadyEnqueued:
        return 0
    return len(new)


def _origin(of: UUID | None) -> dict[str, str | None]:
    scope = tenancy.current()
    institution = of or (scope.institution if scope else None)
    return {
        "institution_id": str(institution) if isinstance(institution, UUID) else None, "request_id": current(),
    }  # fmt: skip


def under_way(keys: Collection[str]) -> set[str]:
    """Return those keys of `enqueue_once` for which a job waits or runs. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lock FROM procrastinate_jobs"
            " WHERE (status = 'todo' AND queueing_lock = ANY(%(keys)s)) OR (status = 'doing' AND lock = ANY(%(keys)s))",
            {"keys": list(keys)},
        )
        return {row[0] for row in cursor.fetchall()}


def enqueue_each(task: str, jobs: Sequence[dict[str, str]], *, of: UUID, queue: str) -> None:
    """Have a task run once with each of `jobs` as its arguments, like `enqueue`, in one statement."""
    traced = tracing.carried()
    given: list[JSONDict] = [{"institution_id": str(of), "request_id": current(), **traced, **job} for job in jobs]
    app.configure_task(task, **in_queue(queue)).batch_defer(*given)


def name_of(task: Task) -> str:
    """Return what a task is called: by the app it stands in and its function."""
    return f"{task.__module__.partition('.')[0]}.{task.__name__}"


@contextmanager
def running(task: str, request_id: str | None = None, *, of: UUID | None = None) -> Iterator[None]:
    """Put a task's name, request id and institution on all that is logged inside; write a line when it has ended."""
    started = time.perf_counter()
    with working_on(request_id, route=task, institution=of):
        try:
            yield
        except Exception:
            log.warning("task failed", exc_info=True, extra=_ended("failed", started))
            raise
        log.info("task succeeded", extra=_ended("succeeded", started))


def _ended(status: str, started: float) -> dict[str, Any]:
    return {"status": status, "duration_ms": round((time.perf_counter() - started) * 1000, 1)}


def of_institution(task: Task) -> Task:
    """Run a task for the institution, and under the request id, that its job names.

    A job that names no institution was enqueued by an older release: it is tried with each, and finds its row in one.
    """

    @wraps(task)
    def run(
        *args: Any,
        institution_id: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,  # read by `tracing.around_task`
        **kwargs: Any,
    ) -> None:
        of = UUID(institution_id) if institution_id else None
        with running(name_of(task), request_id, of=of):
            for institution in [of] if of else tenancy.institutions():
                with tenancy.scope(institution):
                    task(*args, **kwargs)

    return run


def for_every_institution(task: Task) -> Task:
    """Run a periodic task once for each institution. What fails at one doesn't keep it from the others."""

    @wraps(task)
    def run(*args: Any, **kwargs: Any) -> None:
        failures: list[Exception] = []
        with running(name_of(task)):
            for institution in tenancy.institutions():
                try:
                    with tenancy.scope(institution):
                        task(*args, **kwargs)
                except Exception as error:  # raised below
                    failures.append(error)
            if failures:
                raise failures[0] if len(failures) == 1 else ExceptionGroup("at some institutions", failures)

    return run
