"""`manage.py migrate`: one host at a time, patient with a site in use, and with the wall between institutions at the end."""

from typing import Any

from django.core.management.commands import migrate as django_migrate
from django.db import connections

from quokkaq.lib import tenancy
from quokkaq.migrating import Executor, at_work, patiently
from quokkaq.row_security import secure

# Django's command has no other door for it.
django_migrate.MigrationExecutor = Executor  # type: ignore[attr-defined]


class Command(django_migrate.Command):
    _doing = "migrate"

    def handle(self, *args: Any, **options: Any) -> None:
        with tenancy.scope(tenancy.EVERY) if tenancy.current() else tenancy.within(None):
            if options.get("plan") or options.get("check_unapplied"):
                super().handle(*args, **options)
                return
            connection = connections[options["database"]]

            def say(sentence: str) -> None:
                if options["verbosity"] > 0:
                    self.stdout.write(sentence)
                    self.stdout.flush()

            def run() -> list[str]:
                self._doing = "migrate"
                super(Command, self).handle(*args, **options)
                if "accounts_user" not in connection.introspection.table_names():
                    return []  # everything was taken back
                self._doing = "row-level security"
                return secure(connection)

            with at_work(connection, say):
                changed = patiently(connection, run, say=say, doing=lambda: self._doing)
            if changed:
                say(f"Row-level security was set for {len(changed)} tables.")

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        if action in ("apply_start", "unapply_start"):
            self._doing = f"{migration.app_label}.{migration.name}"
        super().migration_progress_callback(action, migration, fake)
