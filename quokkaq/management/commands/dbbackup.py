"""`manage.py dbbackup`: django-dbbackup's command; the backup is of one snapshot, encrypted, verified, and has a manifest."""

from typing import Any

from dbbackup.management.commands.dbbackup import Command as DbBackupCommand
from django.core.management.base import CommandError

from quokkaq.backups.lock import Busy
from quokkaq.backups.places import Kind
from quokkaq.backups.running import BackupFailed, SecondPlaceFailed, back_up, copy_to_second

# A part of the database is no backup; where it goes and what it is called is in the settings. Dumps are compressed always,
# and encrypted whenever BACKUP_GPG_RECIPIENT is set; -z and -e are taken and change nothing.
_KEPT = {"-c", "-s", "-z", "-e"}
COPY_ONLY = (
    ("--copy-only",),
    {"action": "store_true", "default": False, "help": "Make none: copy to the second place what it lacks"},
)


class Command(DbBackupCommand):  # type: ignore[misc]
    help = (
        "Back up the database: dump, encrypt for BACKUP_GPG_RECIPIENT, store, read back, copy to the second place."
        " Ends with 1 when any of it fails; the last good backup is never touched by that."
    )
    kind: Kind = "database"
    option_list = (*(option for option in DbBackupCommand.option_list if _KEPT & set(option[0])), COPY_ONLY)

    def handle(self, **options: Any) -> None:
        run(self, self.kind, options)


def run(command: Any, kind: Kind, options: dict[str, Any]) -> None:
    """Make a backup as the options say; raise `CommandError` with a sentence for whoever reads it."""
    quiet = options["quiet"] or options["verbosity"] < 1

    def say(line: str) -> None:
        if not quiet:
            command.stdout.write(line)
            command.stdout.flush()

    try:
        if options["copy_only"]:
            copy_to_second(kind, say=say)
        else:
            back_up(kind, say=say, clean=options["clean"], servername=options["servername"])
    except (BackupFailed, SecondPlaceFailed, Busy) as error:
        raise CommandError(str(error)) from error
