"""`manage.py logs`: the lines of a request, a person, a page."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from quokkaq.lib.log_search import BadQuestion, Question, files_of, moment, opened, readable, search


class Command(BaseCommand):
    help = (
        "Find lines in logs by request, user, route, status, stream and time. They are read from the files or folders named, "
        "from standard input (-), or from LOG_DIRECTORY. Works with the database down."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("places", nargs="*", metavar="FILE", help="log files (also .gz), folders of them, or -")
        parser.add_argument("--request", default="", help="the id on the error page, or in X-Request-ID")
        parser.add_argument("--user", default="", help="a person's id")
        parser.add_argument("--route", default="", help="a page such as forum:thread, or a task")
        parser.add_argument("--status", default="", help="404, 5xx; of tasks succeeded, failed")
        parser.add_argument("--stream", default="", help="access, application or security")
        parser.add_argument("--since", default="", help="30m, 1h, 7d, or a time such as 2026-11-27T03:00 (UTC)")
        parser.add_argument("--json", action="store_true", help="print the lines as they are")

    def handle(self, *args: Any, places: list[str], since: str, json: bool, **options: Any) -> None:
        wanted = {name: options[name].strip() for name in ("request", "user", "route", "status", "stream")}
        try:
            question = Question(**wanted, since=moment(since, datetime.now(UTC)) if since else None)
            found = 0
            for line in search(self._lines(places, question), question):
                found += 1
                self.stdout.write(as_json(line) if json else readable(line))
        except BadQuestion as problem:
            raise CommandError(str(problem)) from None
        except BrokenPipeError:  # `| head` has seen enough
            sys.stderr.close()
            return
        if not found:
            raise CommandError("No line matches.", returncode=1)

    def _lines(self, places: list[str], question: Question) -> Iterator[bytes]:
        if "-" in places:
            yield from sys.stdin.buffer
            return
        if not places and settings.LOG_DIRECTORY:
            places = [settings.LOG_DIRECTORY]
        if not places:
            raise BadQuestion("Name log files or folders, or - for standard input: LOG_DIRECTORY isn't set.")
        for file in files_of(places, question):
            with opened(file) as lines:
                yield from lines


def as_json(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False)
