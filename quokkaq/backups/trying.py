"""Using a restored copy as people use the real one: its migrations, its walls, its counters, its pages.

Each function returns a sentence for what is wrong. They run as the owner, in a process that reaches nothing but the copy.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.core.management import call_command
from django.db import connection, connections
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse

from accounts.models import Course, Enrollment, EnrollmentStatus, Role, User
from accounts.signing_in import note_second_factor
from ai_answers.models import SHOWN, Answer
from forum.models import Thread, Visibility
from quokkaq.counters import COUNTERS
from quokkaq.lib import tenancy
from quokkaq.row_security import fallen, walled

# So many courses are looked at, those that are asked most in.
COURSES = 3


def migrated() -> list[str]:
    call_command("migrate", interactive=False, verbosity=0)
    return []


def walls() -> list[str]:
    """Look for walls between institutions that don't stand, or let somebody through who works for nobody."""
    with connection.cursor() as cursor:
        wrong = [f"{table}: its wall doesn't stand" for table in fallen(cursor)]
        known = walled(cursor)
    return wrong + [f"{table}: shows rows to nobody" for table in _as_the_web(lambda: _seen(known))]


def _seen(known: list[str]) -> list[str]:
    found = []
    with tenancy.scope(None), connection.cursor() as cursor:
        for table in known:
            # rule: raw-sql (the name of a table, quoted)
            cursor.execute(f"SELECT EXISTS (SELECT FROM {connection.ops.quote_name(table)})")  # noqa: S608
            if cursor.fetchone()[0]:
                found.append(table)
    return found


def counters() -> list[str]:
    return [f"{counter.name}: {wrong} wrong" for counter in COUNTERS if (wrong := counter.drifted())]


@dataclass(frozen=True)
class Look:
    """Somebody, and the pages that they should be able to open."""

    person: User
    paths: tuple[str, ...]


def pages() -> list[str]:
    """Open pages of the courses that are asked most in, as one of their students and one of their staff."""
    looks = list(_looks())
    if not looks and Enrollment.objects.exists():
        return ["no course has a member to look as"]
    before = _tasks()
    wrong: list[str] = _as_the_web(lambda: [sentence for look in looks for sentence in _open(look)] + _sign_in_page())
    if _tasks() != before:
        wrong.append("tasks of the copy were run")
    return wrong


def _looks() -> Iterator[Look]:
    for course in Course.objects.order_by("-last_thread_number", "id").select_related("institution")[:COURSES]:
        of_course = {"slug": course.slug}
        paths = [
            reverse("accounts:courses"), reverse("forum:list", kwargs=of_course),
            f"{reverse('forum:search', kwargs=of_course)}?q=question",
        ]  # fmt: skip
        threads = Thread.objects.filter(
            course=course, visibility=Visibility.COURSE, deleted_at=None, merged_into=None, moderation="shown"
        ).order_by("-number")
        answered = Answer.objects.filter(thread__in=threads, is_current=True, status__in=SHOWN)
        number = (
            answered.values_list("thread__number", flat=True).first()
            or threads.values_list("number", flat=True).first()
        )
        if number:
            paths.append(reverse("forum:thread", kwargs={**of_course, "number": number}))
        for staff in (False, True):
            roles = (Role.INSTRUCTOR, Role.TA) if staff else (Role.STUDENT,)
            enrollments = Enrollment.objects.filter(
                course=course, role__in=roles, status=EnrollmentStatus.ACTIVE, user__is_active=True
            ).select_related("user__institution")
            found = enrollments.order_by("id").first()
            if found:
                own = (*paths, reverse("forum:queue", kwargs=of_course)) if staff else tuple(paths)
                yield Look(found.user, own)


def _open(look: Look) -> list[str]:
    client = _browser()
    with tenancy.scope(look.person.institution_id, look.person.pk), _proved_twice():
        client.force_login(look.person)
    return [
        f"{_route(path)} answered {status} to {look.person.pk}"
        for path in look.paths
        if (status := client.get(path, secure=settings.SECURE_SSL_REDIRECT).status_code) != 200
    ]


def _sign_in_page() -> list[str]:
    """Admin brings who isn't signed in to our page."""
    found = _browser().get(reverse("admin:index"), follow=True, secure=settings.SECURE_SSL_REDIRECT)
    return [] if found.status_code == 200 else [f"admin answered {found.status_code} to somebody who isn't signed in"]


def _browser() -> Client:
    host = settings.ALLOWED_HOSTS[0].lstrip(".") if settings.ALLOWED_HOSTS[0] != "*" else "localhost"
    return Client(raise_request_exception=False, HTTP_HOST=host)


def _route(path: str) -> str:
    return path.partition("?")[0]


@contextmanager
def _proved_twice() -> Iterator[None]:
    """Nobody here has the second factor of somebody else: the session says that it was proved."""

    def prove(request: HttpRequest, user: User, **signal: Any) -> None:
        note_second_factor(request, user)

    user_logged_in.connect(prove)
    try:
        yield
    finally:
        user_logged_in.disconnect(prove)


def _tasks() -> list[Any]:
    """Return how many jobs were begun or ended, ever."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(attempts), 0), count(*) FILTER (WHERE status <> 'todo') FROM procrastinate_jobs"
        )
        return list(cursor.fetchall())


def _as_the_web(work: Callable[[], list[str]]) -> list[str]:
    """Do it in a thread of its own, whose connections are the web role's."""

    def run() -> list[str]:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()
