"""`manage.py backup_set`: back up the database and the files of one instant."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from quokkaq.backups import sets
from quokkaq.backups.databases import RestoreError
from quokkaq.backups.gpg import GpgError
from quokkaq.backups.lock import Busy
from quokkaq.backups.manifest import Damaged
from quokkaq.backups.places import PlaceError
from quokkaq.backups.running import BackupFailed
from quokkaq.lib.storage import StoreError, store


class Command(BaseCommand):
    help = (
        "Back up the database, then the files, and write a set that names both for one instant (and the bucket's versions,"
        " where it keeps them). `restore_set` brings them back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--versions-only", action="store_true",
            help="copy no files: name the versions in the bucket, which must keep them and is lost with them",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made, missing = sets.take(store(), say=self.stdout.write, media=not options["versions_only"])
        except (BackupFailed, Busy, Damaged, GpgError, PlaceError, RestoreError, StoreError) as error:
            raise CommandError(str(error)) from error
        for key in missing:
            self.stderr.write(f"Missing, and not in the set: {key}")
        self.stdout.write(f"The set is {made.name}. Bring it back with: manage.py restore_set {made.name}")
