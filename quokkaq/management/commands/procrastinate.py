"""`manage.py procrastinate …`: procrastinate's own command, whose worker shows its metrics and insists on ending jobs.

A worker that isn't told its queues takes all but `operations` (what is done there needs the rights of the tables' owner),
with slots for each lane (`TASK_LANES`): `--concurrency` (`TASK_CONCURRENCY`) is how many.
"""

import os
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from procrastinate.contrib.django import procrastinate_app
from procrastinate.contrib.django.management.commands.procrastinate import Command as ProcrastinateCommand

from quokkaq.lib.job_endings import PatientJobManager
from quokkaq.lib.metrics.page import serve_worker
from quokkaq.lib.workers import lanes_of, run_side_by_side


class Command(ProcrastinateCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        if options.get("command") == "worker":
            # The app itself: what others import stands in front of it, and takes no attributes along.
            app = procrastinate_app.current_app
            app.job_manager = PatientJobManager(app.connector)
            if not options.get("queues"):
                app.perform_import_paths()  # type: ignore[no-untyped-call]
                lanes = _mine(lanes_of({task.queue for task in app.tasks.values()}))
                app.run_worker_async = partial(_run_lanes, app.run_worker_async, lanes)  # type: ignore[method-assign]
            if settings.WORKER_METRICS_PORT:
                serve_worker(settings.WORKER_METRICS_HOST, settings.WORKER_METRICS_PORT)
        super().handle(*args, **options)


def _mine(lanes: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the lanes this process works off. One with `bulk` alone lets others on the machine go first."""
    unknown = set(settings.TASK_LANES) - set(lanes)
    if unknown:
        raise CommandError(f"TASK_LANES names {', '.join(sorted(unknown))}. There are: {', '.join(lanes)}.")
    mine = {lane: queues for lane, queues in lanes.items() if lane in (settings.TASK_LANES or lanes)}
    if set(mine) == {"bulk"}:
        os.nice(10)
    return mine


async def _run_lanes(run: Any, lanes: dict[str, list[str]], **options: Any) -> None:
    wait = options.pop("wait", True)
    concurrency = options.setdefault("concurrency", settings.PROCRASTINATE_WORKER_DEFAULTS["concurrency"])
    workers = [{**options, "name": lane, "queues": queues} for lane, queues in lanes.items()]
    await run_side_by_side(run, workers, slots=concurrency * len(lanes), wait=wait)
