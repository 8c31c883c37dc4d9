"""`manage.py procrastinate …`: procrastinate's own command, whose worker shows its metrics at a port.

A worker that isn't told its queues takes all but `operations`: what is done there needs the rights of the tables' owner.
"""

from typing import Any

from django.conf import settings
from procrastinate.contrib.django import app
from procrastinate.contrib.django.management.commands.procrastinate import Command as ProcrastinateCommand

from quokkaq.lib.metrics.page import serve_worker
from quokkaq.tasks import OPERATIONS


class Command(ProcrastinateCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        if options.get("command") == "worker" and settings.WORKER_METRICS_PORT:
            serve_worker(settings.WORKER_METRICS_HOST, settings.WORKER_METRICS_PORT)
        if options.get("command") == "worker" and not options.get("queues"):
            options["queues"] = sorted({task.queue for task in app.tasks.values()} - {OPERATIONS})
        super().handle(*args, **options)
