"""`manage.py restore_set`: bring the database and its files back to one instant, and tell what doesn't fit."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils.dateparse import parse_datetime

from quokkaq.backups import files, sets
from quokkaq.backups.databases import Database, RestoreError
from quokkaq.backups.files import Copies, Match
from quokkaq.backups.gpg import GpgError
from quokkaq.backups.manifest import Damaged
from quokkaq.backups.places import PlaceError
from quokkaq.lib.storage import DiskStore, S3Store, Store, StoreError, store

# So many of what doesn't fit are shown; --json shows all.
SHOWN = 50
DOES_NOT_FIT = 2


class Command(BaseCommand):
    help = (
        "Restore a backup set: the database, then its files, both of one instant. What is restored is compared before it takes"
        " the place of what is there; the database before it is kept under another name. Run it again after a crash: it does"
        " what is left. Ends with code 2 when a row's file is missing or another one, and lists them."
    )
    # The database may be gone.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", default="latest", help="the set's name; the newest without it")
        parser.add_argument("--at", default="", metavar="INSTANT", help="2026-11-27T14:00:00+00:00: the newest set of then or before; with --files-only the instant itself")  # fmt: skip
        parser.add_argument("--files-only", action="store_true", help="leave the database: bring the files back to where it is, after a recovery to a point in time")  # fmt: skip
        parser.add_argument("--prune", action="store_true", help="delete the files that came later (a bucket keeps them under a delete marker)")  # fmt: skip
        parser.add_argument("--database-url-file", default="", metavar="FILE", help="a file with the address of another database, as its owner")  # fmt: skip
        parser.add_argument("--database-url", default="", metavar="URL", help="the same on the command line, for an address without a password")  # fmt: skip
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--media-root", default="", metavar="DIR", help="another folder for the files")
        where.add_argument("--bucket", default="", metavar="NAME", help="another bucket for the files")
        parser.add_argument("--yes", action="store_true", help="don't ask")
        parser.add_argument("--force", action="store_true", help="end the sessions of who uses the database")
        parser.add_argument("--json", action="store_true", help="say what came of it as JSON, on the last line")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            match = self._files_only(options) if options["files_only"] else self._set(options)
        except (Damaged, GpgError, PlaceError, RestoreError, StoreError, OSError) as error:
            raise CommandError(str(error)) from error
        self._tell(match, as_json=options["json"])
        if not match.fits:
            wrong = len(match.missing) + len(match.different)
            raise CommandError(f"{wrong} files that rows need couldn't be brought back.", returncode=DOES_NOT_FIT)

    def _set(self, options: dict[str, Any]) -> Match:
        target, live = self._database(options)
        place, found = sets.find(options["name"], at=_instant(options["at"]))
        # Whoever asks must not count as somebody who uses it.
        connection.close()
        where, manifest = sets.backup_of(place, found)
        said = self.stdout.write
        said(
            f"Set {found.name} from {place.name}: the database {target.name} and {len(found.files)} files as of {found.taken_at:%Y-%m-%d %H:%M:%S %Z}."
        )
        if not options["yes"]:
            self._ask(target, live=live)
        kept = sets.restore_database(target, where, manifest, say=said, force=options["force"])
        if kept:
            said(f"The database before it is kept as {kept}. Drop it when nobody needs it any more.")
        place_of_files = _store(options)
        versioned = isinstance(place_of_files, S3Store) and place_of_files.bucket == found.bucket
        match = files.bring_back(
            files.wanted(target), place_of_files, say=said, instant=found.taken_at,
            named=found.files if versioned else {key: _unversioned(file) for key, file in found.files.items()},
            copies=Copies(found.media),
        )  # fmt: skip
        if options["prune"]:
            match.later = [key for key in match.unknown if key not in found.files]
            for key in match.later:
                place_of_files.delete(key)
            match.unknown = [key for key in match.unknown if key in found.files]
        if live:
            said("Now: manage.py migrate, then start web and worker.")
        return match

    def _files_only(self, options: dict[str, Any]) -> Match:
        instant = _instant(options["at"])
        if instant is None:
            raise CommandError("Say to which instant: --at 2026-11-27T14:00:00+00:00, the one the database is at.")
        target, _ = self._database(options)
        place_of_files = _store(options)
        later: list[str] = []
        if isinstance(place_of_files, S3Store):
            later = files.back_to(place_of_files, instant, prune=options["prune"], say=self.stdout.write)
        elif options["prune"]:
            raise CommandError("Files on a disk have no versions, so what is deleted stays deleted: leave --prune out.")
        match = files.bring_back(
            files.wanted(target), place_of_files, say=self.stdout.write, instant=instant, copies=Copies()
        )
        match.later = later
        return match

    def _database(self, options: dict[str, Any]) -> tuple[Database, bool]:
        url = options["database_url"]
        if options["database_url_file"]:
            url = Path(options["database_url_file"]).read_text(encoding="utf-8").strip()
        return (Database.at(url), False) if url else (Database.live(), True)

    def _ask(self, target: Database, *, live: bool) -> None:
        what = "This is the database QuokkaQ works on. " if live else ""
        answer = input(f"{what}Type its name, {target.name}, to have it replaced: ")
        if answer.strip() != target.name:
            raise CommandError("Nothing was done.")

    def _tell(self, match: Match, *, as_json: bool) -> None:
        said = self.stdout.write
        if as_json:
            said(json.dumps(match.as_json()))
            return
        said(f"Files: {match.whole} were there, {match.brought_back} were brought back.")
        for sentence, found in (
            ("whose file is missing", match.missing),
            ("whose file is another one", match.different),
        ):
            rows = [(table, row, one.key) for one in found for table, row in one.rows]
            said(f"Rows {sentence}: {len(rows)}")
            for table, row, key in rows[:SHOWN]:
                said(f"  {table:26} {row:36} {key}")
            if len(rows) > SHOWN:
                said(f"  and {len(rows) - SHOWN} more: --json lists all")
        for sentence, keys in (("Files no row knows", match.unknown), ("Files that came later", match.later)):
            said(f"{sentence}: {len(keys)}")
            for key in keys[:SHOWN]:
                said(f"  {key}")
            if len(keys) > SHOWN:
                said(f"  and {len(keys) - SHOWN} more: --json lists all")


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"{text!r} is no instant. Write it so: 2026-11-27T14:00:00+00:00")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _store(options: dict[str, Any]) -> Store:
    if options["media_root"]:
        return DiskStore(Path(options["media_root"]))
    if options["bucket"]:
        return S3Store(options["bucket"], settings.AWS_S3_ENDPOINT_URL, settings.AWS_S3_REGION_NAME)
    return store()


def _unversioned(file: Any) -> Any:
    """What a set says of a file, for a target that has none of its versions."""
    return type(file)(file.size, file.sha256)
