"""`manage.py check_counters`: prove that no stored counter has drifted from what it counts."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from quokkaq.counters import COUNTERS, repair


class Command(BaseCommand):
    help = "Compare every stored counter with the rows it counts. Ends with an error when one is wrong; --fix sets it right."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fix", action="store_true", help="set wrong counters right")

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for counter in COUNTERS:
            found = counter.drifted()
            wrong += found
            self.stdout.write(f"{counter.name}: {found} wrong")
            if found and options["fix"]:
                repair(counter)
        if wrong and not options["fix"]:
            raise CommandError(
                f"{wrong} counters have drifted. Run again with --fix, and find out what wrote around them."
            )
        self.stdout.write("Set right." if wrong else "No counter has drifted.")
