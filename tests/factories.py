"""Make rows for tests, through the same actions people use."""

import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.contrib.auth.hashers import make_password
from django.core.files.base import ContentFile

from accounts.access import Member
from accounts.models import Course, CourseStatus, Enrollment, EnrollmentStatus, Institution, Role, User
from ai_answers import actions as ai_actions
from ai_answers.models import Answer, Material, MaterialFormat, MaterialImport, MaterialKind, MaterialVersion
from forum import actions
from forum.models import Anonymity, Kind, Post, Tag, Thread, Visibility

PASSWORD = "correct horse battery"
LECTURE = """# Functions

## Default values

A default parameter value is evaluated once, when the function definition is executed. It is not evaluated at each call.
The same object is used for each call. A mutable default such as a list therefore keeps what earlier calls added to it.

## Scope

A name that is assigned in a function is local to the function, unless a global or nonlocal statement says otherwise.
"""


@dataclass
class World:
    """Everybody and everything a test may need, by name."""

    institution: Institution
    other_institution: Institution
    course: Course
    other_course: Course
    foreign_course: Course
    people: dict[str, User]

    def user(self, name: str) -> User:
        return self.people[name]

    def member(self, name: str, course: Course | None = None) -> Member:
        course = course or self.course
        enrollment = Enrollment.objects.get(user=self.people[name], course=course)
        active = enrollment.status == EnrollmentStatus.ACTIVE
        return Member(self.people[name], course, Role(enrollment.role), active=active)


@cache
def hashed_password() -> str:
    """Argon2 is slow on purpose: everybody in the tests shares one hash."""
    return make_password(PASSWORD)


def make_user(institution: Institution, name: str, **fields: Any) -> User:
    defaults = {"display_name": f"{name.title()} Surname-{name}", "password": hashed_password()}
    return User.objects.create(institution=institution, email=f"{name}@example.edu", **(defaults | fields))


def make_course(institution: Institution, slug: str, **fields: Any) -> Course:
    defaults = {"code": slug.upper(), "name": f"Course {slug}", "term": "Autumn 2026"}
    return Course.objects.create(institution=institution, slug=slug, **(defaults | fields))


def enroll(user: User, course: Course, role: Role = Role.STUDENT, **fields: Any) -> Enrollment:
    return Enrollment.objects.create(institution=course.institution, user=user, course=course, role=role, **fields)


def make_world() -> World:
    """ada teaches, tim assists, sam and noor study, pat studies another course, dana has dropped, carl has completed, eve is elsewhere."""
    home = Institution.objects.create(name="Home University", slug="home")
    away = Institution.objects.create(name="Away College", slug="away")
    people = {name: make_user(home, name) for name in ("ada", "tim", "sam", "noor", "pat", "dana", "carl")}
    people["eve"] = make_user(away, "eve")
    course, other = make_course(home, "cs-101"), make_course(home, "math-221")
    foreign = make_course(away, "cs-101")
    enroll(people["ada"], course, Role.INSTRUCTOR)
    enroll(people["tim"], course, Role.TA)
    for name in ("sam", "noor"):
        enroll(people[name], course)
    enroll(people["dana"], course, status=EnrollmentStatus.DROPPED)
    enroll(people["carl"], course, status=EnrollmentStatus.COMPLETED)
    enroll(people["pat"], other, Role.INSTRUCTOR)
    enroll(people["eve"], foreign, Role.INSTRUCTOR)
    return World(home, away, course, other, foreign, people)


def make_tag(course: Course, slug: str = "homework") -> Tag:
    return Tag.objects.create(institution=course.institution, course=course, slug=slug, name=slug.title())


def make_thread(by: Member, title: str = "Why does this happen?", body: str = "It does.", **fields: Any) -> Thread:
    choices = {"kind": Kind, "visibility": Visibility, "anonymity": Anonymity}
    values = {name: choices[name](value) if name in choices else value for name, value in fields.items()}
    draft = actions.ThreadDraft(title=title, body=body, **values)
    return actions.start_thread(by=by, draft=draft, form_key=uuid.uuid4())


def make_post(by: Member, thread: Thread, body: str = "Because of that.", **fields: Any) -> Post:
    return actions.add_reply(by=by, thread=thread, body=body, form_key=uuid.uuid4(), **fields)


def make_material(
    by: Member,
    text: str = LECTURE,
    title: str = "Lecture on functions",
    format: MaterialFormat = MaterialFormat.MARKDOWN,
) -> MaterialVersion:
    return ai_actions.import_material(by=by, title=title, kind=MaterialKind.LECTURE, format=format, text=text)


def make_import(by: Member, version: MaterialVersion | None = None, **fields: Any) -> MaterialImport:
    """A file as staff upload it; with `version`, the one that was read from it."""
    content = ContentFile(fields.pop("data", LECTURE.encode()), name="lecture.md")
    values = {
        "title": "Uploaded",
        "kind": MaterialKind.LECTURE,
        "format": MaterialFormat.MARKDOWN,
        "name": "lecture.md",
    }
    started = ai_actions.start_import(by=by, file=content, **(values | fields))
    if version is not None:
        MaterialImport.objects.filter(pk=started.pk).update(version=version, material=version.material, state="ready")
    return started


def make_answer(by: Member, staff: Member) -> Answer:
    """A published answer, from a question the lecture above answers."""
    if not Material.objects.filter(course=staff.course).exists():
        make_material(staff)
    thread = make_thread(by, "When is a default parameter value evaluated?", "Once or at each call?")
    answer = Answer.objects.get(thread=thread)
    ai_actions.generate_answer(answer.pk)
    answer.refresh_from_db()
    return answer


def put_answer(thread: Thread, status: str, **fields: Any) -> Answer:
    """Let a thread's current answer be in a status, however an answer would come to it."""
    Answer.objects.current().filter(thread=thread).delete()
    if status == "withdrawn":
        fields.setdefault("withdrawal_reason", "staff")
    return Answer.objects.create(institution_id=thread.institution_id, thread=thread, status=status, **fields)


def archive(course: Course) -> None:
    Course.objects.filter(pk=course.pk).update(status=CourseStatus.ARCHIVED)
    course.refresh_from_db()
