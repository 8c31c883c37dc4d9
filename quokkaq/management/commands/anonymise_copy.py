"""`manage.py anonymise_copy`: make a restored copy of production safe to test with."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from quokkaq.anonymising import NotAnonymousError, anonymise


class Command(BaseCommand):
    help = (
        "Replace every name, address, text, token and trace of people in this database. For a restored copy only: there"
        " is no way back. Runs as the owner of the tables."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--yes-this-is-a-copy", action="store_true", help="say that it is one")
        parser.add_argument("--database-name", default="", help="type the name of the database that is to be changed")

    def handle(self, *args: Any, **options: Any) -> None:
        name = str(connection.settings_dict["NAME"])
        if settings.PRODUCTION:
            raise CommandError(
                "This is production (QUOKKAQ_MODE). Restore a copy elsewhere, and run it there in another mode."
            )
        if not options["yes_this_is_a_copy"]:
            raise CommandError("This destroys what is in the database. If it is a copy, add --yes-this-is-a-copy.")
        if options["database_name"] != name:
            raise CommandError(f"The database is called {name!r}. If that is the copy, add --database-name {name}.")
        try:
            anonymise(self.stdout.write)
        except NotAnonymousError as error:
            raise CommandError(str(error)) from error
        self.stdout.write("Done. Nobody has a password: give yourself one with `manage.py changepassword`.")
