"""Django admin for materials and answers: it keeps to courses, changes no text, and endorses by the same rules."""

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.access import Member
from accounts.models import AuditEvent, Course, CourseStatus, Enrollment, Institution, Role, User
from ai_answers.actions import import_material, set_answer_endorsement
from ai_answers.models import (
    Answer,
    AnswerEndorsement,
    AnswerFeedback,
    AnswerStatus,
    Calibration,
    CallOutcome,
    Citation,
    CourseAI,
    Material,
    MaterialFormat,
    MaterialKind,
    MaterialVersion,
    ModelCall,
    Passage,
)
from forum import actions as forum_actions
from forum.models import Anonymity, Thread
from tests import factories

pytestmark = pytest.mark.django_db
MODELS = (
    Material, MaterialVersion, Passage, Answer, AnswerEndorsement, AnswerFeedback, Calibration, Citation, CourseAI,
    ModelCall,
)  # fmt: skip
TEXT = "A closure remembers the variables of the function around it. It keeps them alive after that function returned."


class World:
    """Ada runs course A and omar course B of one institution, ivan course C of another; sam is a student of A."""

    def __init__(self) -> None:
        self.here = Institution.objects.create(name="Example University", slug="example")
        self.there = Institution.objects.create(name="Wombat College", slug="wombat")
        self.ada = self.member("ada", self.course(self.here, "AAA"), Role.INSTRUCTOR)
        self.omar = self.member("omar", self.course(self.here, "BBB"), Role.INSTRUCTOR)
        self.ivan = self.member("ivan", self.course(self.there, "CCC"), Role.TA)
        self.sam = self.member("sam", self.ada.course, Role.STUDENT)
        self.root = User.objects.create_superuser("root@example.edu", display_name="Root Operator")

    def course(self, institution: Institution, code: str) -> Course:
        return Course.objects.create(institution=institution, code=code, name=code, term="Autumn", slug=code.lower())

    def member(self, key: str, course: Course, role: Role) -> Member:
        user = User.objects.create_user(
            f"{key}@mail.example",
            display_name=f"{key.title()} Person",
            institution=course.institution,
            is_staff=role != Role.STUDENT,
        )
        if role != Role.STUDENT:
            user.user_permissions.set(
                Permission.objects.filter(content_type__app_label__in=("accounts", "forum", "ai_answers"))
            )
        Enrollment.objects.create(institution=course.institution, user=user, course=course, role=role)
        return Member(user, course, role)

    def answer(
        self, staff: Member, status: AnswerStatus = AnswerStatus.PUBLISHED, asker: Member | None = None
    ) -> Answer:
        draft = forum_actions.ThreadDraft(
            title=f"What is a closure? {uuid.uuid4().hex}",
            body="I don't see it.",
            anonymity=Anonymity.ALL if asker else Anonymity.NAMED,
        )
        thread = forum_actions.start_thread(by=asker or staff, draft=draft, form_key=uuid.uuid4())
        answer = factories.put_answer(thread, status, body="A closure remembers [1]", engine="extractive")
        version = import_material(
            by=staff, title=f"Reading {uuid.uuid4().hex}", kind=MaterialKind.READING, format=MaterialFormat.TEXT,
            text=TEXT,
        )  # fmt: skip
        Citation.objects.create(
            institution=answer.institution, answer=answer, number=1, version=version,
            passage=version.passages.all()[0], start=0, end=9, quote=TEXT[:9],
        )  # fmt: skip
        return answer

    def fill(self, staff: Member, count: int = 1, asker: Member | None = None) -> None:
        """Make `count` rows of every model in the course of `staff`."""
        for _ in range(count):
            answer = self.answer(staff, asker=asker)
            ModelCall.objects.create(
                institution=answer.institution, answer=answer, course=answer.thread.course, engine="extractive",
                outcome=CallOutcome.ANSWERED,
            )  # fmt: skip
            set_answer_endorsement(by=staff, answer=answer, on=True)
            AnswerFeedback.objects.create(
                institution=answer.institution, answer=answer, reader=self.sam.user, is_helpful=True, comment="a"
            )
            CourseAI.objects.get_or_create(institution=answer.institution, course=staff.course)
            Calibration.objects.create(institution=answer.institution, course=staff.course, method="platt", judged=50)


@pytest.fixture
def world() -> World:
    return World()


def browser(who: Member | User) -> Client:
    return factories.browser(who.user if isinstance(who, Member) else who)


def list_url(model: Any) -> str:
    return reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_changelist")


def row_url(row: Any, page: str = "change") -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_{page}", args=[row.pk])


def shown(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return response.content.decode()


def bulk(client: Client, action: str, *rows: Any) -> str:
    """Do a bulk action; return what the page says after it."""
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    response = client.post(list_url(type(rows[0])), data, follow=True)
    return " ".join(str(message) for message in response.context["messages"])


@pytest.mark.parametrize("who", ["ada", "root"])
def test_every_list_and_row_opens_and_hides_the_asker(world: World, who: str) -> None:
    world.fill(world.ada, asker=world.sam)
    client = browser(getattr(world, who))
    for model in MODELS:
        row = model._default_manager.all()[0]
        pages = [shown(client, list_url(model)), shown(client, row_url(row)), shown(client, f"{list_url(model)}?q=a")]
        assert str(row.pk) in pages[0]
        for page in pages:
            assert "Sam Person" not in page
            assert "sam@mail.example" not in page
            assert str(world.sam.user.pk) not in page
    assert TEXT[:9] in shown(client, row_url(Answer.objects.get()))


@pytest.mark.parametrize("model", MODELS)
def test_staff_see_nothing_of_other_courses(world: World, model: Any) -> None:
    client = browser(world.ada)
    for staff in (world.omar, world.ivan):
        world.fill(staff)
    assert not client.get(list_url(model)).context["cl"].queryset.exists()
    for row in model._default_manager.all():
        assert client.get(row_url(row)).status_code == 302


@pytest.mark.parametrize("who", ["ada", "root"])
@pytest.mark.parametrize("model", MODELS)
def test_a_list_costs_the_same_at_any_length(world: World, who: str, model: Any) -> None:
    client = browser(getattr(world, who))
    world.fill(world.ada)
    shown(client, list_url(model))
    with CaptureQueriesContext(connection) as few:
        shown(client, list_url(model))
    world.fill(world.ada, 29)
    with CaptureQueriesContext(connection) as many:
        shown(client, list_url(model))
    assert len(many) == len(few), [q["sql"][:300] for q in many]


def test_lists_of_texts_leave_the_texts_in_the_database(world: World) -> None:
    world.fill(world.ada)
    client = browser(world.ada)
    for model in (Material, MaterialVersion, Passage, Citation):
        with CaptureQueriesContext(connection) as queries:
            shown(client, list_url(model))
        assert not any('"ai_answers_materialversion"."text"' in query["sql"] for query in queries)


@pytest.mark.parametrize("who", ["ada", "root"])
def test_no_text_is_written_here(world: World, who: str) -> None:
    world.fill(world.ada)
    client = browser(getattr(world, who))
    for model in MODELS:
        row = model._default_manager.all()[0]
        before = model._default_manager.filter(pk=row.pk).values().get()
        assert client.get(f"{list_url(model)}add/").status_code == 403
        if model is not Material:
            assert client.post(row_url(row), {"text": "Other", "quote": "Other", "body": "Other"}).status_code == 403
        assert model._default_manager.filter(pk=row.pk).values().get() == before


def test_staff_sort_materials_but_dont_move_or_rename_them(world: World) -> None:
    world.fill(world.ada)
    material = Material.objects.get()
    data = {"kind": "lab", "title": "Other", "course": str(world.omar.course.pk)}
    assert browser(world.ada).post(row_url(material), data).status_code == 302
    changed = Material.objects.get()
    assert (changed.kind, changed.title, changed.course) == ("lab", material.title, material.course)
    assert AuditEvent.objects.get(verb="material.changed").course == world.ada.course


def test_the_ledger_stays(world: World) -> None:
    world.fill(world.ada)
    call = ModelCall.objects.get()
    assert browser(world.root).post(row_url(call, "delete"), {"post": "yes"}).status_code == 403
    assert ModelCall.objects.exists()


@pytest.mark.parametrize("who", ["ada", "root"])
def test_answers_are_endorsed_in_bulk(world: World, who: str) -> None:
    answers = [world.answer(world.ada) for _ in range(3)]
    client = browser(getattr(world, who))
    assert bulk(client, "endorse", *answers) == "3 answers endorsed."
    user = world.root if who == "root" else world.ada.user
    assert AnswerEndorsement.objects.filter(endorser=user, role=Role.INSTRUCTOR).count() == 3
    assert AuditEvent.objects.filter(verb="answer.endorsed", actor=user, course=world.ada.course).count() == 3
    assert bulk(client, "unendorse", *answers) == "3 answers unendorsed."
    assert not AnswerEndorsement.objects.exists()
    assert AuditEvent.objects.filter(verb="answer.unendorsed").count() == 3


def test_one_refused_answer_undoes_the_others(world: World) -> None:
    good, failed = world.answer(world.ada), world.answer(world.ada, AnswerStatus.FAILED)
    said = bulk(browser(world.ada), "endorse", good, failed)
    assert said.startswith("Nothing was changed. The answer to #2 ")
    assert "it isn't published, nor a draft" in said
    assert not AnswerEndorsement.objects.exists()
    assert not AuditEvent.objects.filter(verb="answer.endorsed").exists()


def test_an_archived_course_stays_as_it_is(world: World) -> None:
    answer = world.answer(world.ada)
    Course.objects.update(status=CourseStatus.ARCHIVED)
    for who in (world.ada, world.root):
        assert "archived" in bulk(browser(who), "endorse", answer)
    assert not AnswerEndorsement.objects.exists()


def test_answers_of_other_courses_arent_touched(world: World) -> None:
    answer = world.answer(world.omar)
    bulk(browser(world.ada), "endorse", answer)
    assert not AnswerEndorsement.objects.exists()


def test_askers_cant_be_found_by_filtering(world: World) -> None:
    client = browser(world.ada)
    for lookup in ("thread__author=1", "thread__course__threads__author=1", "body__startswith=A"):
        assert client.get(f"{list_url(Answer)}?{lookup}").status_code == 400
    assert client.get(f"{list_url(Answer)}?status__exact=published&engine=extractive").status_code == 200
    assert not Thread.objects.exists()


def test_drafts_are_published_withdrawn_and_written_anew_in_bulk(world: World) -> None:
    client = browser(world.ada)
    answers = [world.answer(world.ada, AnswerStatus.DRAFT) for _ in range(2)]
    assert bulk(client, "publish", *answers) == "2 answers published."
    assert "it isn't a draft" in bulk(client, "publish", *answers)
    assert bulk(client, "withdraw", *answers) == "2 answers withdrawn."
    assert set(Answer.objects.values_list("status", "withdrawal_reason")) == {("withdrawn", "staff")}
    assert bulk(client, "regenerate", *answers) == "2 answers asked for again."
    assert sorted(Answer.objects.values_list("status", flat=True)) == ["queued", "queued", "superseded", "superseded"]
