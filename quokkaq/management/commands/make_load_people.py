"""`manage.py make_load_people`: people for a load test of a staging server (ops/load)."""

import os
import secrets
import sys
import uuid
from pathlib import Path
from typing import IO, Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.access import Member
from accounts.models import Course, Enrollment, Institution, Role, User
from forum import actions
from forum.models import Anonymity, Kind, Visibility
from quokkaq.lib.spreadsheet import write_csv

INSTITUTION = "load-test"
# No mail ever gets there (RFC 2606).
DOMAIN = "load-test.invalid"
FIELDS = ("email", "password", "name", "role", "course")
# In each course, for so many students one of the staff.
STUDENTS_PER_STAFF = 30
FIRST_THREADS = 20


class Command(BaseCommand):
    help = (
        "Make an institution “Load test” with courses, people and a few threads, and write who they are into a CSV file"
        " for ops/load. For a staging server; again: new passwords, and what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--people", type=int, default=200)
        parser.add_argument("--courses", type=int, default=5)
        parser.add_argument("--out", required=True, help="the CSV file; it holds passwords and is made for you alone")
        parser.add_argument(
            "--this-is-staging",
            metavar="HOST",
            default="",
            help="where QUOKKAQ_MODE is production: one of ALLOWED_HOSTS",
        )
        parser.add_argument("--close", action="store_true", help="instead: nobody of them may sign in any more")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PRODUCTION and options["this_is_staging"] not in settings.ALLOWED_HOSTS:
            raise CommandError(
                "This server says that it is production (QUOKKAQ_MODE). If it is a staging server all the same, say which:"
                " --this-is-staging HOST, one of its ALLOWED_HOSTS."
            )
        if options["close"]:
            with transaction.atomic():
                people = User.objects.filter(institution__slug=INSTITUTION)
                closed = people.update(is_active=False, password=make_password(None))
            self.stdout.write(f"{closed} accounts of the load test are closed.")
            return
        if not 1 <= options["courses"] <= options["people"] <= 100_000:
            raise CommandError("--people must be from 1 to 100,000, and --courses no more than that.")
        password = secrets.token_urlsafe(18)
        with transaction.atomic():
            rows = make(people=options["people"], courses=options["courses"], password=password)
        with _private(options["out"]) as file:
            write_csv(file, FIELDS, rows)
        self.stdout.write(f"{len(rows)} people in {options['courses']} courses.")


def make(*, people: int, courses: int, password: str) -> list[tuple[str, str, str, str, str]]:
    """Bring the load test's people up to these numbers; return a row of `FIELDS` for each."""
    institution, _ = Institution.objects.get_or_create(
        slug=INSTITUTION, defaults={"name": "Load test", "staff_second_factor": False}
    )
    places = [_course(institution, number) for number in range(1, courses + 1)]
    # Argon2 is slow on purpose: they share one hash.
    hashed = make_password(password)
    known = {user.email: user for user in User.objects.filter(institution=institution)}
    rows, new, mails, enrolled = [], [], [], []
    there = set(Enrollment.objects.filter(institution=institution).values_list("user", "course"))
    staff = max(courses, people // STUDENTS_PER_STAFF)
    for number in range(1, people + 1):
        email, role = f"person-{number}@{DOMAIN}", Role.INSTRUCTOR if number <= staff else Role.STUDENT
        place, user = places[number % courses], known.get(email)
        if user is None:
            user = User(institution=institution, email=email, display_name=f"Load Tester {number}", password=hashed)
            new.append(user)
            mails.append(EmailAddress(user=user, email=email, verified=True, primary=True))
        if (user.pk, place.pk) not in there:
            enrolled.append(Enrollment(institution=institution, user=user, course=place, role=role))
        rows.append((email, password, user.display_name, role.value, place.slug))
    User.objects.filter(institution=institution).update(password=hashed, is_active=True)
    User.objects.bulk_create(new, batch_size=1000)
    EmailAddress.objects.bulk_create(mails, batch_size=1000)
    Enrollment.objects.bulk_create(enrolled, batch_size=1000)
    for place in places:
        _first_threads(place)
    return rows


def _course(institution: Institution, number: int) -> Course:
    course, _ = Course.objects.get_or_create(
        institution=institution, slug=f"load-{number}",
        defaults={"code": f"LOAD {number}", "name": f"Load test {number}", "term": "Staging"},
    )  # fmt: skip
    return course


def _first_threads(course: Course) -> None:
    """Begin with something to read."""
    if course.last_thread_number:
        return
    teacher = Enrollment.objects.filter(course=course, role=Role.INSTRUCTOR).select_related("user").first()
    if teacher is None:
        return
    member = Member(teacher.user, course, Role.INSTRUCTOR)
    for number in range(1, FIRST_THREADS + 1):
        draft = actions.ThreadDraft(
            title=f"Question {number}: what does the example of week {number} show?",
            body="It was said in the lecture, and I couldn't follow. Can somebody explain it in other words?",
            kind=Kind.DISCUSSION,
            visibility=Visibility.COURSE,
            anonymity=Anonymity.NAMED,
        )
        actions.start_thread(by=member, draft=draft, form_key=uuid.uuid4())


def _private(path: str) -> IO[str]:
    """Open a file that nobody else may read; `-` is standard output."""
    if path == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "w")
    Path(path).unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="")
