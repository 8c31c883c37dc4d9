"""`manage.py restore_drill`: prove that a backup can be restored."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from quokkaq.backups.drill import drill


class Command(BaseCommand):
    help = (
        "Restore the newest backup into a scratch database, compare it with its manifest, migrate it, use it, time it and"
        " drop it. The real database is never touched. Ends with code 1 when anything is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--backup", default="", metavar="NAME", help="this one instead of the newest")
        parser.add_argument("--place", default="", metavar="main|second", help="from this place only")
        parser.add_argument("--keep", action="store_true", help="leave the scratch database for a look")
        parser.add_argument("--json", action="store_true", help="say what came of it as JSON, and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        def say(sentence: str) -> None:
            if not options["json"]:
                self.stdout.write(sentence)
                self.stdout.flush()

        row = drill(say=say, backup=options["backup"], place=options["place"], keep=options["keep"])
        if options["json"]:
            self.stdout.write(
                json.dumps(
                    {
                        "succeeded": row.succeeded, "backup": row.backup, "place": row.place, "size": row.size, "rows": row.rows,
                        "taken_at": row.taken_at.isoformat() if row.taken_at else None, "seconds": row.seconds,
                        "steps": row.steps, "differences": row.differences, "problem": row.problem,
                    }
                )
            )  # fmt: skip
        if not row.succeeded:
            raise CommandError(f"The drill failed: {row.problem}")
        say(f"Restored, compared and used {row.rows} rows in {row.seconds:.0f} s.")
