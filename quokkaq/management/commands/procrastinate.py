"""`manage.py procrastinate …`: procrastinate's own command, whose worker shows its metrics and insists on ending jobs."""

from typing import Any

from django.conf import settings
from procrastinate.contrib.django import procrastinate_app
from procrastinate.contrib.django.management.commands.procrastinate import Command as ProcrastinateCommand

from quokkaq.lib.job_endings import PatientJobManager
from quokkaq.lib.metrics.page import serve_worker


class Command(ProcrastinateCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        if options.get("command") == "worker":
            app = (
                procrastinate_app.current_app
            )  # what others import stands in front of it, and takes no attributes along
            app.job_manager = PatientJobManager(app.connector)
            if settings.WORKER_METRICS_PORT:
                serve_worker(settings.WORKER_METRICS_HOST, settings.WORKER_METRICS_PORT)
        super().handle(*args, **options)
