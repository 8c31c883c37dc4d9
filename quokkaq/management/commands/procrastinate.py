"""`manage.py procrastinate …`: procrastinate's own command, whose worker shows its metrics at a port."""

from typing import Any

from django.conf import settings
from procrastinate.contrib.django.management.commands.procrastinate import Command as ProcrastinateCommand

from quokkaq.lib.metrics.page import serve_worker


class Command(ProcrastinateCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        if options.get("command") == "worker" and settings.WORKER_METRICS_PORT:
            serve_worker(settings.WORKER_METRICS_HOST, settings.WORKER_METRICS_PORT)
        super().handle(*args, **options)
