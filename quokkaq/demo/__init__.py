"""The demo: two courses at one institution, one at another, and the people in them.

Materials come in through the same action a lecturer's upload uses; threads and replies through the same actions as
people's clicks, then they are given the age the files say.
"""

import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from accounts.access import Member
from accounts.models import Course, Enrollment, Institution, InstitutionDomain, Role, User
from ai_answers import actions as ai_actions
from ai_answers.models import Answer, Material, MaterialFormat, MaterialKind
from forum import actions
from forum.models import (
    Anonymity,
    Assignment,
    Endorsement,
    Kind,
    Mention,
    Notification,
    NotificationKind,
    Post,
    Revision,
    Status,
    Tag,
    Thread,
    ThreadRead,
    Visibility,
)
from quokkaq.context import DEMO_PASSWORD
from quokkaq.demo.running import run_the_course
from quokkaq.lib.uuid7 import uuid7

HERE = Path(__file__).parent
INSTITUTION = "example-university"
# How long after a question its machine answer is dated.
ANSWER_DELAY = timedelta(seconds=4)


@dataclass(frozen=True)
class Person:
    """Somebody of the demo; signs in as KEY@example.edu."""

    key: str
    name: str
    pronouns: str = ""
    admin: bool = False


PEOPLE = (
    Person("ada", "Ada Okafor", "she/her", admin=True),
    Person("tim", "Tim Lindqvist", "he/him", admin=True),
    Person("rosa", "Rosa Medina", "she/her"),
    Person("omar", "Omar Haddad", "he/him", admin=True),
    Person("sam", "Sam Whitlock", "they/them"),
    Person("noor", "Noor Rahimi", "she/her"),
    Person("lena", "Lena Brandt"),
    Person("marco", "Marco Ferri"),
    Person("priya", "Priya Nair", "she/her"),
    Person("jonas", "Jonas Weber"),
    Person("aisha", "Aisha Diallo", "she/her"),
    Person("diego", "Diego Ramos"),
    Person("mei", "Mei Tanaka"),
    Person("kofi", "Kofi Mensah", "he/him"),
    Person("hana", "Hana Novak"),
)
OUTSIDERS = (Person("eve", "Eve Carmichael"), Person("ivan", "Ivan Petrov", admin=True))

CS_101 = {
    "ada": Role.INSTRUCTOR, "tim": Role.TA, "rosa": Role.TA,
    **dict.fromkeys(("sam", "noor", "lena", "marco", "priya", "jonas", "aisha", "diego", "mei", "kofi"), Role.STUDENT),
}  # fmt: skip
MATH_221 = {
    "omar": Role.INSTRUCTOR, "rosa": Role.TA,
    **dict.fromkeys(("noor", "lena", "marco", "jonas", "tim", "hana"), Role.STUDENT),
}  # fmt: skip


def is_seeded() -> bool:
    """Tell whether the demo is in this database."""
    return Institution.objects.filter(slug=INSTITUTION).exists()


@transaction.atomic
def seed() -> None:
    """Put the whole demo into the database, or nothing of it. It only adds rows."""
    now = timezone.now()
    # Everybody here signs in with a password alone; the README says how to try the second factor.
    example = Institution.objects.create(name="Example University", slug=INSTITUTION, staff_second_factor=False)
    other = Institution.objects.create(name="Wombat College", slug="wombat-college", staff_second_factor=False)
    InstitutionDomain.objects.create(institution=example, domain="example.edu")
    people = _people(example, PEOPLE) | _people(other, OUTSIDERS)
    python = _course(example, people, CS_101, "CS 101", "Programming in Python", "cs-101")
    algebra = _course(example, people, MATH_221, "MATH 221", "Linear Algebra", "math-221")
    biology = _course(
        other, people, {"ivan": Role.INSTRUCTOR, "eve": Role.STUDENT}, "BIO 110", "Australian Mammals", "bio-110"
    )
    _import_python_reference(python["ada"])
    _import_lectures(algebra["omar"])
    for members, file in ((python, "cs-101.toml"), (algebra, "math-221.toml")):
        _threads(members, tomllib.loads((HERE / file).read_text(encoding="utf-8")), now)
    _other_institution(biology, now)
    run_the_course(python, now)
    _tell_what_happened(now)


def _tell_what_happened(now: datetime) -> None:
    """Fill the inboxes as if everybody had been told in time; what is older than two days was read, and mailed."""

    def tell(
        kind: NotificationKind, thread_id: UUID, post_id: UUID | None, at: datetime, by: UUID | None = None
    ) -> None:
        actions.tell(kind, thread_id=thread_id, post_id=post_id, actor_id=by, at=min(at, now))

    for thread in Thread.objects.filter(kind=Kind.ANNOUNCEMENT):
        tell(NotificationKind.ANNOUNCEMENT, thread.pk, None, thread.created_at)
    for post in Post.objects.select_related("thread"):
        tell(NotificationKind.REPLY, post.thread_id, post.pk, post.created_at)
        if post.thread.accepted_post_id == post.pk:
            tell(NotificationKind.ACCEPTED, post.thread_id, post.pk, post.created_at + timedelta(hours=1))
    for mention in Mention.objects.select_related("thread", "post"):
        text = mention.post or mention.thread
        tell(NotificationKind.MENTION, mention.thread_id, mention.post_id, text.created_at)
    for one in Endorsement.objects.select_related("post"):
        later = one.post.created_at + timedelta(minutes=30)
        tell(NotificationKind.ENDORSEMENT, one.post.thread_id, one.post_id, later, one.endorser_id)
    for answer in Answer.objects.shown():
        tell(NotificationKind.AI_ANSWER, answer.thread_id, None, answer.finished_at or now)
    Notification.objects.update(mailed_at=now)
    Notification.objects.filter(created_at__lt=now - timedelta(days=2)).update(read_at=now)


def _people(institution: Institution, people: tuple[Person, ...]) -> dict[str, User]:
    password = make_password(DEMO_PASSWORD)
    # Staff moderate in Django admin, limited to the courses they run; deleting for good is left to operators.
    granted = Permission.objects.filter(content_type__app_label__in=("accounts", "forum", "ai_answers")).filter(
        codename__regex="^(view|change)_"
    )
    made = {}
    for person in people:
        user = User.objects.create(
            institution=institution,
            email=f"{person.key}@example.edu",
            display_name=person.name,
            pronouns=person.pronouns,
            password=password,
            is_staff=person.admin,
        )
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        if person.admin:
            user.user_permissions.set(granted)
        made[person.key] = user
    return made


def _course(
    institution: Institution, people: dict[str, User], roles: dict[str, Role], code: str, name: str, slug: str
) -> dict[str, Member]:
    course = Course.objects.create(institution=institution, code=code, name=name, term="Autumn 2026", slug=slug)
    Enrollment.objects.bulk_create(
        Enrollment(institution=institution, user=people[key], course=course, role=role) for key, role in roles.items()
    )
    return {key: Member(people[key], course, role) for key, role in roles.items()}


def _import_python_reference(by: Member) -> None:
    """Import the language-reference topics that every CPython carries."""
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    titles: set[str] = set()
    for name, text in sorted(topics.items()):
        title = text.strip().split("\n", 1)[0].replace('"', "").strip("* ")[:180] or name
        if title in titles:
            title = f"{title} ({name})"
        titles.add(title)
        ai_actions.import_material(
            by=by, title=title, kind=MaterialKind.READING, format=MaterialFormat.TEXT, text=text.strip("\n")
        )


def _import_lectures(by: Member) -> None:
    for file in sorted((HERE / "math-221").glob("*.md")):
        text = file.read_text(encoding="utf-8")
        title = f"Lecture {int(file.stem[:2])}: {text.split(chr(10), 1)[0].lstrip('# ').strip()}"
        ai_actions.import_material(
            by=by, title=title, kind=MaterialKind.LECTURE, format=MaterialFormat.MARKDOWN, text=text
        )


def _threads(members: dict[str, Member], content: dict[str, Any], now: datetime) -> None:
    course = next(iter(members.values())).course
    tags = {
        row["slug"]: Tag.objects.create(institution_id=course.institution_id, course=course, **row)
        for row in content["tags"]
    }
    assignments = {
        row["slug"]: _assignment(course, row["slug"], row["title"], now + timedelta(days=row["due_in_days"]))
        for row in content.get("assignments", [])
    }
    for section, keys in content.get("sections", {}).items():
        Enrollment.objects.filter(course=course, user__in=[members[key].user for key in keys]).update(section=section)
    # Oldest first, so that numbers rise with time.
    for row in sorted(content["thread"], key=lambda row: -float(row["hours_ago"])):
        _thread(members, row, tags, assignments, now - timedelta(hours=float(row["hours_ago"])))


def _assignment(course: Course, slug: str, title: str, due_at: datetime) -> Assignment:
    due_at = due_at.replace(hour=22, minute=0, second=0, microsecond=0)
    return Assignment.objects.create(
        institution_id=course.institution_id, course=course, slug=slug, title=title, due_at=due_at, embargo_until=due_at
    )


def _thread(
    members: dict[str, Member],
    row: dict[str, Any],
    tags: dict[str, Tag],
    assignments: dict[str, Assignment],
    asked_at: datetime,
) -> None:
    author = members[row["author"]]
    anonymity = Anonymity(row.get("anonymity", "named"))
    draft = actions.ThreadDraft(
        title=row["title"],
        body=row["body"].strip(),
        kind=Kind(row["kind"]),
        visibility=Visibility(row.get("visibility", "course")),
        anonymity=anonymity,
        tags=[tags[slug] for slug in row.get("tags", [])],
        assignment=assignments.get(row.get("assignment", "")),
    )
    thread = actions.start_thread(by=author, draft=draft, form_key=uuid7())
    Thread.objects.filter(pk=thread.pk).update(created_at=asked_at)
    for answer in row.get("post", []):
        post = _post(members, thread, None, answer, asked_at)
        for comment in answer.get("comment", []):
            _post(members, thread, post, comment, asked_at)
        for key in answer.get("endorsed_by", []):
            actions.set_endorsement(by=members[key], post=post, on=True)
        if answer.get("accepted"):
            actions.accept_answer(by=author, post=post, accepted=True)
        if answer.get("deleted"):
            actions.delete_post(by=members[answer["author"]], post=post)
    for key in row.get("votes", []):
        actions.set_vote(by=members[key], target=thread, on=True)
    thread.refresh_from_db()
    if row["status"] == Status.RESOLVED and thread.status != Status.RESOLVED and thread.kind != Kind.ANNOUNCEMENT:
        actions.set_resolved(by=author, thread=thread, resolved=True)
    staff = next(member for member in members.values() if member.is_staff)
    if row.get("pinned"):
        actions.set_pinned(by=staff, thread=thread, pinned=True)
    if row.get("locked"):
        actions.set_locked(by=staff, thread=thread, locked=True)
    last = Post.objects.filter(thread=thread).aggregate(last=Max("created_at"))["last"] or asked_at
    Thread.objects.filter(pk=thread.pk).update(last_activity_at=last)
    # Posting marks as read; here only those the file names have read everything.
    ThreadRead.objects.filter(thread=thread).exclude(user=author.user).delete()
    for key in {row["author"], *row.get("read_by", [])}:
        actions.mark_read(by=members[key], thread=thread, up_to=last)
    _answer(thread, row, members, asked_at)


def _post(
    members: dict[str, Member], thread: Thread, parent: Post | None, row: dict[str, Any], asked_at: datetime
) -> Post:
    written_at = asked_at + timedelta(hours=float(row["hours_after"]))
    post = actions.add_reply(
        by=members[row["author"]],
        thread=thread,
        parent=parent,
        body=row["body"].strip(),
        anonymity=Anonymity(row.get("anonymity", "named")),
        form_key=uuid7(),
    )
    for key in row.get("votes", []):
        actions.set_vote(by=members[key], target=post, on=True)
    Post.objects.filter(pk=post.pk).update(created_at=written_at)
    if row.get("edited_body", "").strip():
        edited_at = written_at + timedelta(minutes=20)
        actions.edit_post(by=members[row["author"]], post=post, body=row["edited_body"].strip())
        Post.objects.filter(pk=post.pk).update(edited_at=edited_at)
        Revision.objects.filter(post=post).update(created_at=edited_at)
    return post


def _answer(thread: Thread, row: dict[str, Any], members: dict[str, Member], asked_at: datetime) -> None:
    """Let the engine answer now what it would have answered then."""
    answer = Answer.objects.filter(thread=thread).first()
    if answer is None:
        return
    ai_actions.generate_answer(answer.pk)
    Answer.objects.filter(pk=answer.pk).update(queued_at=asked_at, finished_at=asked_at + ANSWER_DELAY)
    answer.refresh_from_db()
    if answer.is_shown:
        for key in row.get("ai_endorsed_by", []):
            ai_actions.set_answer_endorsement(by=members[key], answer=answer, on=True)


def _other_institution(members: dict[str, Member], now: datetime) -> None:
    ai_actions.import_material(
        by=members["ivan"],
        title="Lecture 1: Monotremes and marsupials",
        kind=MaterialKind.LECTURE,
        format=MaterialFormat.MARKDOWN,
        text=(HERE / "bio-110.md").read_text(encoding="utf-8"),
    )
    _threads(members, tomllib.loads((HERE / "bio-110.toml").read_text(encoding="utf-8")), now)


def counts() -> dict[str, int]:
    """Return how much the demo holds, for the line that says so."""
    return {
        "threads": Thread.objects.count(),
        "replies": Post.objects.count(),
        "materials": Material.objects.count(),
        "answers": Answer.objects.shown().count(),
    }
