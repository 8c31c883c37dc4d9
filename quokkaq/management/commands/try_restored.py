"""`manage.py try_restored`: migrate a restored copy and look at its pages as its people do. Run by `restore_drill`."""

import json
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand

from quokkaq.backups import trying


class Command(BaseCommand):
    help = "Migrate this database, check its walls and counters, and open pages as some of its people. Meant for a restored copy: `restore_drill` runs it."

    def handle(self, *args: Any, **options: Any) -> None:
        steps: tuple[tuple[str, Callable[[], list[str]]], ...] = (
            ("migrate", trying.migrated), ("walls", trying.walls), ("counters", trying.counters), ("pages", trying.pages),
        )  # fmt: skip
        for name, run in steps:
            started = time.perf_counter()
            wrong = run()
            line = {"step": name, "seconds": round(time.perf_counter() - started, 3), "wrong": wrong}
            self.stdout.write(json.dumps(line))
            self.stdout.flush()
