"""`manage.py procrastinate …`: procrastinate's own command, whose worker shows its metrics and insists on ending jobs.

A worker that isn't told its queues takes all but `operations`: what is done there needs the rights of the tables' owner.
"""

from typing import Any

from django.conf import settings
from procrastinate.contrib.django import procrastinate_app
from procrastinate.contrib.django.management.commands.procrastinate import Command as ProcrastinateCommand

from quokkaq.lib.job_endings import PatientJobManager
from quokkaq.lib.metrics.page import serve_worker
from quokkaq.tasks import OPERATIONS


class Command(ProcrastinateCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        if options.get("command") == "worker":
            # The app itself: what others import stands in front of it, and takes no attributes along.
            app = procrastinate_app.current_app
            app.job_manager = PatientJobManager(app.connector)
            if not options.get("queues"):
                options["queues"] = sorted({task.queue for task in app.tasks.values()} - {OPERATIONS})
            if settings.WORKER_METRICS_PORT:
                serve_worker(settings.WORKER_METRICS_HOST, settings.WORKER_METRICS_PORT)
        super().handle(*args, **options)
