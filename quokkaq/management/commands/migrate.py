"""`manage.py migrate`, which ends with the wall between institutions standing around every table."""

from typing import Any

from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connections

from quokkaq.lib import tenancy
from quokkaq.row_security import secure


class Command(DjangoMigrate):
    def handle(self, *args: Any, **options: Any) -> None:
        with tenancy.scope(tenancy.EVERY) if tenancy.current() else tenancy.within(None):
            super().handle(*args, **options)
            if options.get("plan") or options.get("check_unapplied"):
                return
            connection = connections[options["database"]]
            if "accounts_user" not in connection.introspection.table_names():
                return  # everything was taken back
            changed = secure(connection)
        if changed and options["verbosity"] > 0:
            self.stdout.write(f"Row-level security was set for {len(changed)} tables.")
