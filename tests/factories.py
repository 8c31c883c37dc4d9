"""Make rows for tests, through the same actions people use."""

import io
import time
import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.test import Client
from django.utils import timezone
from PIL import Image

from accounts import actions as account_actions
from accounts.access import Member
from accounts.middleware import GLASS_KEY
from accounts.models import (
    EXPORT_LIFE,
    Course,
    CourseStatus,
    DataExport,
    Enrollment,
    EnrollmentStatus,
    Institution,
    Invitation,
    Purpose,
    Role,
    RosterImport,
    Upload,
    User,
)
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


def new_user(institution: Institution, name: str, **fields: Any) -> User:
    defaults = {"display_name": f"{name.title()} Surname-{name}", "password": hashed_password()}
    return User(institution=institution, email=f"{name}@example.edu", **(defaults | fields))


def verified_address(user: User) -> EmailAddress:
    return EmailAddress(user=user, email=user.email, verified=True, primary=True)


def make_user(institution: Institution, name: str, **fields: Any) -> User:
    user = new_user(institution, name, **fields)
    user.save(force_insert=True)
    verified_address(user).save(force_insert=True)
    return user


def new_course(institution: Institution, slug: str, **fields: Any) -> Course:
    defaults = {"code": slug.upper(), "name": f"Course {slug}", "term": "Autumn 2026"}
    return Course(institution=institution, slug=slug, **(defaults | fields))


def make_course(institution: Institution, slug: str, **fields: Any) -> Course:
    course = new_course(institution, slug, **fields)
    course.save(force_insert=True)
    return course


def new_enrollment(user: User, course: Course, role: Role = Role.STUDENT, **fields: Any) -> Enrollment:
    return Enrollment(institution=course.institution, user=user, course=course, role=role, **fields)


def enroll(user: User, course: Course, role: Role = Role.STUDENT, **fields: Any) -> Enrollment:
    enrollment = new_enrollment(user, course, role, **fields)
    enrollment.save(force_insert=True)
    return enrollment


def make_world() -> World:
    """ada teaches, tim assists, sam and noor study, pat studies another course, dana has dropped, carl has completed, eve is elsewhere.

    Most tests begin here, so it takes one statement per table.
    """
    home, away = Institution.objects.bulk_create(
        [Institution(name="Home University", slug="home"), Institution(name="Away College", slug="away")]
    )
    people = {name: new_user(home, name) for name in ("ada", "tim", "sam", "noor", "pat", "dana", "carl")}
    people["eve"] = new_user(away, "eve")
    User.objects.bulk_create(people.values())
    EmailAddress.objects.bulk_create([verified_address(user) for user in people.values()])
    course, other, foreign = Course.objects.bulk_create(
        [new_course(home, "cs-101"), new_course(home, "math-221"), new_course(away, "cs-101")]
    )
    Enrollment.objects.bulk_create(
        [
            new_enrollment(people["ada"], course, Role.INSTRUCTOR),
            new_enrollment(people["tim"], course, Role.TA),
            *(new_enrollment(people[name], course) for name in ("sam", "noor")),
            new_enrollment(people["dana"], course, status=EnrollmentStatus.DROPPED),
            new_enrollment(people["carl"], course, status=EnrollmentStatus.COMPLETED),
            new_enrollment(people["pat"], other, Role.INSTRUCTOR),
            new_enrollment(people["eve"], foreign, Role.INSTRUCTOR),
        ]
    )
    return World(home, away, course, other, foreign, people)


def browser(user: User, into: Institution | None = None) -> Client:
    """A client signed in as somebody; an operator has entered an institution, the one that was made first if none is named."""
    client = Client()
    client.force_login(user)
    if user.is_superuser:
        institution = into or Institution.objects.order_by("created_at").first()
        assert institution is not None
        session = client.session
        session[GLASS_KEY] = {"institution": str(institution.pk), "name": institution.name, "until": time.time() + 3600}
        session.save()
    return client


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


def sent_file(
    by: Member, name: str = "notes.txt", data: bytes = b"Some notes.", purpose: Purpose = Purpose.ATTACHMENT
) -> Upload:
    """A file that has arrived and waits to be checked."""
    member = None if purpose == Purpose.AVATAR else by
    started = account_actions.start_upload(by=by.user, purpose=purpose, name=name, size=len(data), member=member)
    return account_actions.receive_upload(by=by.user, upload=started.upload, file=io.BytesIO(data))


def checked_file(
    by: Member, name: str = "notes.txt", data: bytes = b"Some notes.", purpose: Purpose = Purpose.ATTACHMENT
) -> Upload:
    """A file that was looked into: released, or refused."""
    upload = sent_file(by, name, data, purpose)
    account_actions.check_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def picture(format: str = "PNG", size: tuple[int, int] = (300, 200), color: str = "green", **options: Any) -> bytes:
    """The bytes of a picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format, **options)
    return buffer.getvalue()


def make_roster_import(by: Member, text: str = "email,name\nlena@example.edu,Lena L", **options: Any) -> RosterImport:
    """A roster file that waits to be applied."""
    return account_actions.start_roster_import(by=by, files=[("people.csv", text.encode())], **options)


def make_invitation(by: Member, email: str = "lena@example.edu", **fields: Any) -> Invitation:
    (invitation,) = account_actions.invite_people(by=by, wishes=[account_actions.Wish(email, **fields)])
    return invitation


def make_import(by: Member, version: MaterialVersion | None = None, **fields: Any) -> MaterialImport:
    """A file as staff upload it; with `version`, the one that was read from it."""
    file = checked_file(by, "lecture.md", fields.pop("data", LECTURE.encode()), Purpose.MATERIAL)
    values = {"title": "Uploaded", "kind": MaterialKind.LECTURE, "format": MaterialFormat.MARKDOWN}
    started = ai_actions.start_import(by=by, upload=file.pk, **(values | fields))
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


def make_data_export(person: User) -> DataExport:
    """A copy of somebody's data that is ready; what is in it is tested where it is built."""
    now = timezone.now()
    upload = account_actions.store_export(
        by=person, course=None, name="data.zip", content_type="application/zip", data=b"A copy."
    )
    return DataExport.objects.create(
        institution_id=person.institution_id, user=person, state="ready", upload=upload, finished_at=now, expires_at=now + EXPORT_LIFE
    )  # fmt: skip


def archive(course: Course) -> None:
    Course.objects.filter(pk=course.pk).update(status=CourseStatus.ARCHIVED)
    course.refresh_from_db()
