"""`manage.py rotate_secrets`: replace the secrets of this installation, with one command and within minutes."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from quokkaq.rotation import steps
from quokkaq.rotation.catalogue import BY_KEY, BY_VARIABLE
from quokkaq.rotation.providers import NotTaken
from quokkaq.rotation.vault import Journal, NoPlace, Vault, alone


class Command(BaseCommand):
    help = (
        "Replace SECRET_KEY, the database's passwords, keys of S3 and of providers, and tokens; sign everybody out and end "
        "mailed links. By itself it only tells what there is and what replacing it does. Run it as the owner of the tables. "
        "Cut off, it goes on when it is run again. No secret is ever printed."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--plan", action="store_true", help="tell what there is and change nothing (the default)")
        what.add_argument("--now", action="store_true", help="replace them, or go on with what was begun")
        what.add_argument(
            "--finish", action="store_true", help="web and worker run with the new secrets: forget the former key"
        )
        parser.add_argument("--only", default="", help=f"some of: {','.join(BY_KEY)}")
        parser.add_argument("--folder", default="", help="where the files of NAME_FILE lie for whoever runs this")
        parser.add_argument(
            "--new", action="append", default=[], metavar="NAME=FILE",
            help="a provider's new secret; it is tried before it replaces the old; FILE - is standard input",
        )  # fmt: skip
        parser.add_argument("--untried", action="store_true", help="also take new secrets that can't be tried")
        parser.add_argument("--restart", default="", metavar="COMMAND", help="start web and worker again with this")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(options["folder"]) if options["folder"] else None
        if folder and not folder.is_dir():
            raise CommandError(f"{folder} is no folder.")
        vault = Vault(folder, os.environ)
        try:
            if not (options["now"] or options["finish"]):
                self.plan(vault)
                return
            home = vault.home
            with alone(home):
                self.rotate(vault, Journal.read(home), home, options)
        except (NoPlace, NotTaken) as problem:
            raise CommandError(str(problem)) from None
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}. Nothing is lost: run this again.") from None
        except psycopg.OperationalError as error:
            raise CommandError(
                f"The database can't be reached ({error.sqlstate or 'no answer'}). Run this again."
            ) from None

    def rotate(self, vault: Vault, journal: Journal | None, home: Path, options: dict[str, Any]) -> None:
        started = time.monotonic()
        if journal is None and options["finish"]:
            steps.adopt_keys(vault)
            steps.finish_sealing(vault, self.stdout.write)
            return
        given = _given(options["new"])
        # Before anything is changed: with one that doesn't work, all stays as it was.
        steps.try_given(given, untried=options["untried"])
        if journal is None:
            journal = self.begin(vault, home, given, options)
        else:
            if strange := sorted(set(given) - set(journal.given)):
                raise CommandError(f"A rotation was begun without {', '.join(strange)}. Run this without --new first.")
            self.stdout.write(f"Going on with what was begun at {journal.begun}.")
        if options["finish"]:
            if "people" not in journal.done:
                raise CommandError("The rotation isn't that far yet: run this with --now again.")
            if "restart" not in journal.done:
                journal.note("restart")
        rotation = steps.Rotation(vault, journal, self.stdout.write, given=given, restart=options["restart"])
        try:
            done = rotation.run()
        except NotTaken as problem:
            if "stage" in journal.done:
                raise
            rotation.abandon()
            raise CommandError(
                f"{problem} Nothing was replaced. --only and --new can leave this out, or bring it."
            ) from None
        for name in journal.changed:
            self.stdout.write(f"New: {name}, in {vault.place(name)}")
            if vault.in_environment(name):
                self.stdout.write(f"  Set {vault.variable(name)} to that path, and take {name} out of the environment.")
        self.remaining(vault, journal)
        if not done:
            again = " ".join(["manage.py rotate_secrets --finish", *_folder(options)])
            self.stdout.write(f"Now start web, worker and Redis again (until then pages answer 503), then run: {again}")
            return
        self.stdout.write(f"Done in {time.monotonic() - started:.1f} s.")

    def begin(self, vault: Vault, home: Path, given: dict[str, str], options: dict[str, Any]) -> Journal:
        only = [key.strip() for key in options["only"].split(",") if key.strip()]
        if unknown := sorted(set(only) - set(BY_KEY)):
            raise CommandError(f"--only knows no {', '.join(unknown)}. There are: {', '.join(BY_KEY)}")
        if settings.SECRET_KEY_FALLBACKS and (not only or "secret_key" in only):
            raise CommandError(
                "SECRET_KEY_FALLBACKS is set: what those keys signed would stay valid. Rename it to SEALING_KEY_FALLBACKS, "
                "here and for web and worker, then run this again."
            )
        wanted = steps.chosen(vault, only, given)
        if not wanted:
            raise CommandError("There is nothing to replace here. --plan tells what there is.")
        names = [name for key in wanted for name in BY_KEY[key].variables if vault.read(name)]
        for name in names:
            place = vault.place(name).parent
            if not os.access(place, os.W_OK | os.X_OK):
                raise CommandError(
                    f"{place} can't be written to, where {name} is kept. Run this as whoever may, or say --folder."
                )
            if options["restart"] and vault.in_environment(name):
                raise CommandError(
                    f"{name} comes from the environment, which a restart doesn't change. Leave --restart out."
                )
        return Journal.begin(home, wanted, list(given))

    def remaining(self, vault: Vault, journal: Journal) -> None:
        """Name what this command can't replace by itself, with the command that does it once there is a new one."""
        for secret in steps.here(vault):
            if secret.key not in journal.chosen and not steps.made_without_help(secret, vault):
                name = secret.variables[0]
                self.stdout.write(
                    f"Not replaced: {name}. Have a new one made where it comes from, then: "
                    f"manage.py rotate_secrets --now --only {secret.key} --new {name}=FILE"
                )

    def plan(self, vault: Vault) -> None:
        there = {secret.key for secret in steps.here(vault)}
        for secret in BY_KEY.values():
            if secret.key not in there:
                self.stdout.write(f"{secret.key}: not used here.")
                continue
            self.stdout.write(f"{secret.key}:")
            for name in secret.variables:
                if vault.read(name):
                    self.stdout.write(f"  {name}, from {vault.source(name)}")
            self.stdout.write(f"  opens: {secret.opens}")
            self.stdout.write(f"  when it is replaced: {secret.effect}")
            ours = steps.made_without_help(secret, vault)
            self.stdout.write(
                "  a new one is made here"
                if ours
                else f"  a new one comes from its provider: --new {secret.variables[0]}=FILE"
            )
        self.stdout.write("Nothing was changed. --now replaces what is made here, and what --new brings.")


def _given(wishes: list[str]) -> dict[str, str]:
    """Return new secrets by variable, read from where they were said to be."""
    found = {}
    for wish in wishes:
        name, mark, file = wish.partition("=")
        if not mark or name not in BY_VARIABLE or name in ("SECRET_KEY", "DATABASE_URL", "OWNER_DATABASE_URL"):
            others = ", ".join(
                name for name in BY_VARIABLE if not name.endswith("DATABASE_URL") and name != "SECRET_KEY"
            )
            raise CommandError(f"--new takes NAME=FILE, for one of: {others}")
        try:
            found[name] = (sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")).strip()
        except (OSError, UnicodeError):
            raise CommandError(f"--new {name}: {file} can't be read.") from None
        if not found[name]:
            raise CommandError(f"--new {name}: {file} is empty.")
    return found


def _folder(options: dict[str, Any]) -> list[str]:
    return ["--folder", shlex.quote(options["folder"])] if options["folder"] else []
