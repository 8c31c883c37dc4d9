"""Runs of tasks. procrastinate's worker calls this around each job, also around those of asynchronous tasks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from procrastinate.exceptions import JobAborted

from quokkaq.lib.metrics.definitions import TASK_SECONDS, TASKS


async def measure_job(call_next: Callable[[], Awaitable[Any]], context: Any, worker: Any) -> Any:
    """Count a run of a task, and how long it took. One that a worker which stops cuts off is run again, and counts then."""
    started, outcome = time.perf_counter(), "failed"
    try:
        result = await call_next()
        outcome = "succeeded"
        return result
    except (asyncio.CancelledError, JobAborted):
        outcome = ""
        raise
    finally:
        if outcome:
            # Only tasks that exist come here: procrastinate refuses the others before.
            TASKS.inc(context.job.task_name, outcome)
            TASK_SECONDS.observe(time.perf_counter() - started, context.job.task_name)
