"""Writing down how a job ended, for as long as it takes.

A worker tries that once. When the database is away or its disk full just then, the job would count as running for as long
as the worker lives, since it shows signs of life: nobody would rescue it, and its lock would keep others waiting.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

log = logging.getLogger(__name__)
PAUSE_SECONDS = 1.0
# After that the worker's signs of life have failed, too, and its jobs are put back by another.
PATIENCE_SECONDS = 300.0


class PatientJobManager(JobManager):
    """Tries again to write how a job ended, every second, while the database refuses."""

    async def finish_job_by_id_async(self, *args: Any, **kwargs: Any) -> None:
        await _insist(super().finish_job_by_id_async, *args, **kwargs)

    async def retry_job_by_id_async(self, job_id: int, *args: Any, **kwargs: Any) -> None:
        try:
            await _insist(super().retry_job_by_id_async, job_id, *args, **kwargs)
        except UniqueViolation:
            # Meanwhile another job was enqueued for the same: it does what is left.
            await self.finish_job_by_id_async(job_id=job_id, status=Status.ABORTED, delete_job=False)


async def _insist(write: Callable[..., Awaitable[None]], *args: Any, **kwargs: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            await write(*args, **kwargs)
        except UniqueViolation:
            raise
        except ConnectorException as error:
            if isinstance(error.__cause__, psycopg.errors.RaiseException):
                # The job isn't running: an earlier try, or whoever rescued it, was faster.
                log.warning("a job has ended already")
                return
            if time.monotonic() > deadline:
                raise
            log.warning("how a job ended can't be written now", exc_info=True)
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return
