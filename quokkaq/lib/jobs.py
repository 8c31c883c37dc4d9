"""Work that is enqueued in the transaction that makes it due, for the institution it belongs to."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from procrastinate import PsycopgConnector
from procrastinate.contrib.django import app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.types import JSONDict

from quokkaq.lib import tenancy, tracing
from quokkaq.lib.request_id import current, working_on

Task = Callable[..., None]
log = logging.getLogger("quokkaq.tasks")


def connect_workers_directly(tasks: Any) -> None:
    """Have workers wait for jobs at `TASKS_DATABASE_URL`, where there is one; everything else goes by `DATABASE_URL`."""
    if settings.TASKS_DATABASE:
        tasks.connector.get_worker_connector = lambda: PsycopgConnector(
            kwargs={**connector_params(), **settings.TASKS_DATABASE}
        )


def enqueue(
    task: str, *, of: UUID | None, queue: str, priority: int = 0, lock: str | None = None,
    queueing_lock: str | None = None, **arguments: Any,
) -> None:  # fmt: skip
    """Have a task run, if the transaction commits that this is called in.

    Args:
        task: its name; the module that holds it stands above those that enqueue it.
        of: the institution it works for; None: the one in scope.
        arguments: ids and codes only: operators see them.

    Raises `procrastinate.exceptions.AlreadyEnqueued` for a taken `queueing_lock`.
    """
    scope = tenancy.current()
    institution = of or (scope.institution if scope else None)
    app.configure_task(task, queue=queue, priority=priority, lock=lock, queueing_lock=queueing_lock).defer(
        institution_id=str(institution) if isinstance(institution, UUID) else None,
        request_id=current(),
        **tracing.carried(),
        **arguments,
    )


def enqueue_each(task: str, jobs: Sequence[dict[str, str]], *, of: UUID, queue: str) -> None:
    """Have a task run once with each of `jobs` as its arguments, like `enqueue`, in one statement."""
    traced = tracing.carried()
    given: list[JSONDict] = [{"institution_id": str(of), "request_id": current(), **traced, **job} for job in jobs]
    app.configure_task(task, queue=queue).batch_defer(*given)


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
