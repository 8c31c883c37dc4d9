"""`manage.py list_metrics`: every metric with its labels, as the table of docs/operating.md."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from quokkaq.lib.metrics.documentation import table, written_into


class Command(BaseCommand):
    help = "Print the table of metrics, or write it into docs/operating.md."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--write", action="store_true", help="Write it into docs/operating.md.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["write"]:
            self.stdout.write(table())
            return
        document = settings.BASE_DIR / "docs" / "operating.md"
        document.write_text(written_into(document.read_text(encoding="utf-8")), encoding="utf-8")
