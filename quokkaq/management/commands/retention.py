"""`manage.py retention`: delete what is older than `RETENTION_DAYS` allows, or (`--dry-run`) say what would go."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.actions import count_old, forget_old
from accounts.models import Institution
from accounts.retention import rules
from quokkaq.lib import tenancy


class Command(BaseCommand):
    help = (
        "Delete what is older than its time (RETENTION_DAYS). A task does the same every hour; --dry-run only counts."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count what would go, and delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        work = count_old if options["dry_run"] else forget_old
        said = "would go" if options["dry_run"] else "gone"
        ages = {rule.name: (rule.days, rule.what) for rule in rules()}
        for institution_id in (*tenancy.institutions(), None):
            with tenancy.scope(institution_id):
                name = Institution.objects.get(pk=institution_id).name if institution_id else "Shared by all"
                self.stdout.write(f"{name}:")
                for rule, count in work(institution_id).items():
                    days, what = ages[rule]
                    self.stdout.write(f"  {rule} (older than {days} days): {count} {said}. {what}")
