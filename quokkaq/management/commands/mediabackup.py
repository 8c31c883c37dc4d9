"""`manage.py mediabackup`: django-dbbackup's command; each uploaded file is copied once, and a manifest lists them all."""

from typing import Any

from dbbackup.management.commands.mediabackup import Command as MediaBackupCommand

from quokkaq.backups.places import Kind
from quokkaq.management.commands.dbbackup import COPY_ONLY, run

_KEPT = {"-c", "-s", "-z", "-e"}


class Command(MediaBackupCommand):  # type: ignore[misc]
    help = (
        "Back up uploaded files: copy those that are new, encrypted for BACKUP_GPG_RECIPIENT, read each back, and list"
        " them all. Begun again after a crash it goes on where it was."
    )
    kind: Kind = "media"
    option_list = (*(option for option in MediaBackupCommand.option_list if _KEPT & set(option[0])), COPY_ONLY)

    def handle(self, **options: Any) -> None:
        run(self, self.kind, options)
