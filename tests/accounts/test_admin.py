"""Django admin for people and courses: who sees what, who changes what."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import actions
from accounts.access import Member
from accounts.actions import audit
from accounts.models import AuditEvent, Course, CourseStatus, Enrollment, Institution, Role, User
from tests import factories
from tests.factories import browser

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough password"


class World:
    """Two institutions; ada runs course A, omar course B of the same one, ivan course C of the other."""

    def __init__(self) -> None:
        self.here = Institution.objects.create(name="Example University", slug="example")
        self.there = Institution.objects.create(name="Wombat College", slug="wombat")
        self.a, self.b = self.course(self.here, "AAA"), self.course(self.here, "BBB")
        self.c = self.course(self.there, "CCC")
        self.ada = self.person("ada", self.here, staff=True)
        self.omar = self.person("omar", self.here, staff=True)
        self.ivan = self.person("ivan", self.there, staff=True)
        self.sam, self.noor = self.person("sam", self.here), self.person("noor", self.here)
        self.eve = self.person("eve", self.there)
        self.root = User.objects.create_superuser("root@example.edu", PASSWORD, display_name="Root Operator")
        for user, course, role in (
            (self.ada, self.a, Role.INSTRUCTOR), (self.omar, self.b, Role.INSTRUCTOR), (self.ivan, self.c, Role.TA),
            (self.sam, self.a, Role.STUDENT), (self.noor, self.b, Role.STUDENT), (self.eve, self.c, Role.STUDENT),
        ):  # fmt: skip
            self.enroll(user, course, role)

    def course(self, institution: Institution, code: str) -> Course:
        return Course.objects.create(
            institution=institution, code=code, name=f"Course {code}", term="Autumn", slug=code.lower()
        )

    def person(self, key: str, institution: Institution, *, staff: bool = False) -> User:
        user = User.objects.create_user(
            f"{key}@mail.example", display_name=f"{key.title()} Person", institution=institution, is_staff=staff
        )
        if staff:
            # All of them: what an operator clicked too much mustn't open more than courses.
            user.user_permissions.set(
                Permission.objects.filter(content_type__app_label__in=("accounts", "forum", "ai_answers"))
            )
        return user

    def enroll(self, user: User, course: Course, role: Role = Role.STUDENT) -> Enrollment:
        return Enrollment.objects.create(institution=course.institution, user=user, course=course, role=role)


@pytest.fixture
def world() -> World:
    return World()


def list_url(model: type) -> str:
    return reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_changelist")  # type: ignore[attr-defined]


def row_url(row: Any, page: str = "change") -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_{page}", args=[row.pk])


def add_url(model: type) -> str:
    return list_url(model) + "add/"


def shown(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return response.content.decode()


def rows_of(world: World) -> list[Any]:
    audit("course.looked-at", world.a, by=world.ada, course=world.a)
    ada = Member(world.ada, world.a, Role.INSTRUCTOR)
    return [
        factories.make_invitation(ada), actions.make_join_code(by=ada), factories.make_roster_import(ada),
        world.here, world.ada, world.sam, world.a, Enrollment.objects.get(user=world.sam),
        AuditEvent.objects.get(verb="course.looked-at"),
    ]  # fmt: skip


def test_every_model_of_ours_is_in_the_admin() -> None:
    ours = [m for m in admin.site._registry if m._meta.app_label in ("accounts", "forum", "ai_answers")]
    assert len(ours) == 63
    for model in ours:
        page = admin.site.get_model_admin(model)
        assert not page.show_full_result_count
        assert page.list_filter
        assert page.search_fields or getattr(page, "sought_through", ())


@pytest.mark.parametrize("who", ["ada", "root"])
def test_every_list_and_row_opens(world: World, who: str) -> None:
    client = browser(getattr(world, who))
    for row in rows_of(world):
        assert str(row.pk) in shown(client, list_url(type(row)))
        shown(client, row_url(row))
        shown(client, row_url(row, "history"))
        shown(client, list_url(type(row)) + "?q=a")


def test_students_dont_get_in(world: World) -> None:
    assert browser(world.sam).get(list_url(User)).status_code == 302


def test_staff_see_only_their_course_and_its_people(world: World) -> None:
    client = browser(world.ada)
    assert set(client.get(list_url(User)).context["cl"].queryset) == {world.ada, world.sam}
    assert list(client.get(list_url(Course)).context["cl"].queryset) == [world.a]
    assert list(client.get(list_url(Institution)).context["cl"].queryset) == [world.here]
    assert {e.course_id for e in client.get(list_url(Enrollment)).context["cl"].queryset} == {world.a.pk}
    hidden = [
        world.there, world.b, world.c, world.noor, world.eve, world.omar,
        Enrollment.objects.get(user=world.noor), Enrollment.objects.get(user=world.eve),
    ]  # fmt: skip
    for row in hidden:
        assert client.get(row_url(row)).status_code == 302
        assert client.post(row_url(row), {"name": "Taken"}).status_code in (302, 403)
    for course in (world.b, world.c):
        audit("course.looked-at", course, by=world.root, course=course)
    audit("user.looked-at", world.ada, by=world.root)
    assert not client.get(list_url(AuditEvent)).context["cl"].queryset.exists()


def test_filters_offer_only_courses_one_runs(world: World) -> None:
    world.enroll(world.ada, second := world.course(world.here, "AA2"), Role.TA)
    page = shown(browser(world.ada), list_url(Enrollment))
    assert f"course__id__exact={second.pk}" in page
    assert str(world.b.pk) not in page
    assert str(world.c.pk) not in page


def test_autocomplete_offers_only_what_is_in_reach(world: World) -> None:
    query = "?app_label=accounts&model_name=enrollment&field_name="
    url = reverse("admin:autocomplete")
    courses = browser(world.ada).get(f"{url}{query}course&term=Course").json()["results"]
    people = browser(world.ada).get(f"{url}{query}user&term=Person").json()["results"]
    assert {c["id"] for c in courses} == {str(world.a.pk)}
    assert {p["id"] for p in people} == {str(world.ada.pk), str(world.sam.pk)}
    assert len(browser(world.root).get(f"{url}{query}course&term=Course").json()["results"]) == 2


def test_people_cant_be_filtered_by_what_isnt_offered(world: World) -> None:
    client = browser(world.ada)
    for lookup in ("threads__isnull=0", "password__startswith=a", "email__startswith=s", "enrollments__role=student"):
        assert client.get(f"{list_url(User)}?{lookup}").status_code == 400
    assert client.get(f"{list_url(User)}?is_active__exact=1").status_code == 200


def make_people(world: World, count: int) -> None:
    for number in range(count):
        person = world.person(f"p{count}-{number}", world.here)
        world.enroll(person, world.a)
        audit("user.looked-at", person, by=world.ada, course=world.a)


def make_courses(world: World, count: int) -> None:
    for _ in range(count):
        world.enroll(world.ada, world.course(world.here, f"M-{Course.objects.count()}"), Role.TA)


@pytest.mark.parametrize("who", ["ada", "root"])
@pytest.mark.parametrize(
    ("model", "make"),
    [(User, make_people), (Enrollment, make_people), (AuditEvent, make_people), (Course, make_courses)],
)
def test_a_list_costs_the_same_at_any_length(
    world: World, who: str, model: type, make: Callable[[World, int], None]
) -> None:
    client = browser(getattr(world, who))
    # Two at least: one course alone is no filter, and costs none.
    make_courses(world, 1)
    make(world, 1)
    shown(client, list_url(model))
    with CaptureQueriesContext(connection) as few:
        shown(client, list_url(model))
    make(world, 30)
    # Who has become staff of something gets a new key first.
    shown(client, list_url(model))
    with CaptureQueriesContext(connection) as many:
        shown(client, list_url(model))
    assert len(many) == len(few), [q["sql"][:200] for q in many]


def test_institutions_list_costs_the_same_at_any_length(world: World) -> None:
    client = browser(world.root)
    shown(client, list_url(Institution))
    with CaptureQueriesContext(connection) as few:
        shown(client, list_url(Institution))
    Institution.objects.bulk_create(Institution(name=f"I {n}", slug=f"i-{n}") for n in range(30))
    with CaptureQueriesContext(connection) as many:
        shown(client, list_url(Institution))
    assert len(many) == len(few)


def test_staff_cant_make_themselves_operators(world: World) -> None:
    client = browser(world.ada)
    before = User.objects.filter(pk=world.ada.pk).values().get()
    rights = {
        "email": "new@mail.example", "display_name": "Ada", "institution": str(world.there.pk), "is_superuser": "on",
        "is_staff": "on", "is_active": "on", "time_zone": "UTC", "theme": "auto",
        "user_permissions": [str(p.pk) for p in Permission.objects.all()[:5]],
    }  # fmt: skip
    for person in (world.ada, world.sam):
        assert client.post(row_url(person), rights).status_code == 403
        assert client.post(f"/admin/accounts/user/{person.pk}/password/", {}).status_code == 403
        assert client.post(row_url(person, "delete"), {"post": "yes"}).status_code == 403
    assert client.post(add_url(User), rights).status_code == 403
    assert User.objects.filter(pk=world.ada.pk).values().get() == before
    assert not User.objects.get(pk=world.sam.pk).is_superuser
    enrollment = Enrollment.objects.get(user=world.sam)
    assert client.post(row_url(enrollment), {"role": "instructor", "status": "active"}).status_code == 403
    assert client.post(row_url(world.here), {"name": "Ours", "slug": "ours"}).status_code == 403
    assert Enrollment.objects.get(user=world.sam).role == Role.STUDENT


def test_staff_see_no_password_and_no_rights(world: World) -> None:
    for person in (world.ada, world.sam):
        page = shown(browser(world.ada), row_url(person))
        assert "argon2" not in page
        assert person.password not in page
        assert "is_superuser" not in page
        assert "last_login" not in page


def test_staff_add_and_erase_nothing(world: World) -> None:
    client = browser(world.ada)
    for row in rows_of(world):
        assert client.get(add_url(type(row))).status_code == 403
        assert client.post(row_url(row, "delete"), {"post": "yes"}).status_code == 403
        client.post(list_url(type(row)), {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"})
        assert type(row).objects.filter(pk=row.pk).exists()


def test_staff_change_what_a_course_says_but_not_where_it_is(world: World) -> None:
    data = {
        "name": "Better name", "term": "Spring", "description": "", "code": "ZZZ", "slug": "zzz", "status": "archived",
        "institution": str(world.there.pk),
    }  # fmt: skip
    assert browser(world.ada).post(row_url(world.a), data).status_code == 302
    course = Course.objects.get(pk=world.a.pk)
    assert (course.name, course.term) == ("Better name", "Spring")
    assert (course.code, course.slug, course.status, course.institution) == ("AAA", "aaa", "active", world.here)
    event = AuditEvent.objects.get(verb="course.changed")
    assert (event.actor, event.course, event.data) == (world.ada, world.a, {"fields": ["name", "term"]})


def test_an_archived_course_changes_only_for_operators(world: World) -> None:
    Course.objects.filter(pk=world.a.pk).update(status=CourseStatus.ARCHIVED)
    data = {"name": "New", "term": "Spring", "description": "", "code": "AAA", "slug": "aaa", "status": "active"}
    assert browser(world.ada).post(row_url(world.a), data).status_code == 403
    assert browser(world.root).post(row_url(world.a), data).status_code == 302
    assert Course.objects.get(pk=world.a.pk).status == CourseStatus.ACTIVE


def test_a_taken_slug_is_a_message_not_a_crash(world: World) -> None:
    data = {"name": "New", "term": "Spring", "description": "", "code": "AAA", "slug": "bbb", "status": "active"}
    response = browser(world.root).post(row_url(world.a), data)
    assert response.status_code == 200
    assert response.context["errors"]


def test_operators_add_a_person(world: World) -> None:
    client = browser(world.root)
    shown(client, add_url(User))
    data = {
        "email": "New.Person@Mail.Example", "display_name": "New Person", "institution": str(world.here.pk),
        "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD,
    }  # fmt: skip
    assert client.post(add_url(User), data).status_code == 302
    person = User.objects.get(email="new.person@mail.example")
    assert person.check_password(PASSWORD)
    assert person.institution == world.here
    event = AuditEvent.objects.get(verb="user.added")
    assert event.institution == world.here
    assert PASSWORD not in str(event.data)
    again = client.post(add_url(User), data)
    assert again.status_code == 200
    assert "email" in again.context["adminform"].form.errors


def person_data(user: User, **other: Any) -> dict[str, Any]:
    return {
        "email": user.email, "display_name": user.display_name, "pronouns": "", "institution": str(user.institution_id),
        "time_zone": "UTC", "theme": "auto", "is_active": "on", "institution_role": "member", **other,
    }  # fmt: skip


@pytest.mark.ignore_template_errors  # Django's own password page names a field this form hasn't
def test_operators_change_a_person_but_not_across_institutions(world: World) -> None:
    client = browser(world.root)
    password = world.sam.password
    data = person_data(world.sam, is_staff="on", email="SAM@new.example", password="taken")
    assert client.post(row_url(world.sam), data).status_code == 302
    world.sam.refresh_from_db()
    assert world.sam.is_staff
    assert world.sam.email == "sam@new.example"
    assert world.sam.password == password
    moved = client.post(row_url(world.sam), person_data(world.sam, institution=str(world.there.pk)))
    assert "institution" in moved.context["adminform"].form.errors
    shown(client, f"/admin/accounts/user/{world.sam.pk}/password/")


def test_operators_add_a_course_and_an_enrollment(world: World) -> None:
    client = browser(world.root, into=world.there)
    course = {
        "institution": str(world.there.pk), "code": "NEW 1", "name": "New", "term": "Spring", "slug": "new-1",
        "description": "", "status": "active",
    }  # fmt: skip
    assert client.post(add_url(Course), course).status_code == 302
    made = Course.objects.get(slug="new-1")
    assert made.institution == world.there
    enrollment = {"user": str(world.eve.pk), "course": str(made.pk), "role": "ta", "status": "active", "section": ""}
    assert client.post(add_url(Enrollment), enrollment).status_code == 302
    assert Enrollment.objects.get(course=made).institution == world.there
    assert AuditEvent.objects.get(verb="enrollment.added").course == made
    stranger = client.post(add_url(Enrollment), {**enrollment, "user": str(world.sam.pk)})
    assert "user" in stranger.context["adminform"].form.errors
    assert client.post(add_url(Institution), {"name": "Third", "slug": "third"}).status_code == 302


def test_operators_erase_and_the_log_says_so(world: World) -> None:
    client = browser(world.root)
    asked = shown(client, row_url(world.noor, "delete"))
    assert "Enrollment" not in asked.split("<h2>Objects</h2>")[-1]
    assert client.post(row_url(world.noor, "delete"), {"post": "yes"}).status_code == 302
    assert AuditEvent.objects.get(verb="user.erased").target_id == world.noor.pk
    enrollment = Enrollment.objects.get(user=world.sam)
    client.post(
        list_url(Enrollment), {"action": "delete_selected", "_selected_action": str(enrollment.pk), "post": "yes"}
    )
    assert AuditEvent.objects.get(verb="enrollment.erased").target_id == enrollment.pk


@pytest.mark.parametrize("who", ["ada", "root"])
def test_nobody_touches_the_log(world: World, who: str) -> None:
    client = browser(getattr(world, who))
    audit("course.looked-at", world.a, by=world.ada, course=world.a)
    event = AuditEvent.objects.get()
    assert client.get(add_url(AuditEvent)).status_code == 403
    assert client.post(row_url(event), {"verb": "nothing"}).status_code == 403
    assert client.post(row_url(event, "delete"), {"post": "yes"}).status_code == 403
    client.post(list_url(AuditEvent), {"action": "delete_selected", "_selected_action": str(event.pk), "post": "yes"})
    assert AuditEvent.objects.get().verb == "course.looked-at"
    assert str(event.pk) in shown(client, f"{list_url(AuditEvent)}?verb=course.looked-at")
