"""`manage.py receive_mail < message`: take one mail from a mail server's pipe."""

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error

from forum import actions
from forum.actions.incoming import MAX_MAIL_BYTES, NotAMailError


class Command(BaseCommand):
    help = "Post a reply that came by mail, read from standard input. Exit codes are those of sysexits.h, as Postfix expects."
    # The database may be away: then the mail server keeps the mail and tries again.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        raw = sys.stdin.buffer.read(MAX_MAIL_BYTES + 1)
        try:
            outcome = actions.receive_mail(raw)
        except NotAMailError as error:
            self.stderr.write(str(error))
            raise SystemExit(os.EX_DATAERR) from None
        except Error as error:
            self.stderr.write(f"The database can't be reached now ({type(error).__name__}).")
            raise SystemExit(os.EX_TEMPFAIL) from None
        self.stdout.write(str(outcome))
