"""Response templates: kept by staff, filled in, put into a reply, counted."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client

from accounts.access import Member
from accounts.models import AuditEvent, User
from forum import access, actions
from forum.models import Anonymity, Assignment, Post, ResponseTemplate, Thread
from forum.responses import fill, left_over, unknown_variables, values_for
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
PAGE = "/c/cs-101/templates/"


def make(by: Member, title: str = "Read the FAQ", body: str = "Dear {student}, see {title}.") -> ResponseTemplate:
    return actions.save_template(by=by, template=None, title=title, category="Common", body=body)


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("tim"))


# Filling in


def test_variables_are_filled_in_and_nothing_else_is(sam: Member, tim: Member, world: World) -> None:
    homework = Assignment.objects.create(
        institution_id=tim.course.institution_id, course=tim.course, slug="h", title="Homework 1",
        due_at=datetime(2026, 3, 20, 17, 0, tzinfo=UTC),
    )  # fmt: skip
    thread = factories.make_thread(sam, "Why {me}?", assignment=None)
    thread.assignment = homework
    text = "{student} {title} {number} {course} {assignment} {due} {me} {unknown} {0} {} {me!r} {student.pk} {{me}}"
    assert fill(text, values_for(tim, thread)) == (
        f"Sam Surname-sam Why {{me}}? #{thread.number} Course cs-101 Homework 1 20 March, 17:00 UTC Tim Surname-tim "
        "{unknown} {0} {} {me!r} {student.pk} {Tim Surname-tim}"
    )


def test_what_a_thread_does_not_have_is_left_for_the_writer(sam: Member, tim: Member) -> None:
    values = values_for(tim, factories.make_thread(sam))
    assert list(left_over("{due} {assignment} {due} {me}", values)) == ["{due}", "{assignment}"]
    homework = Assignment(title="No date", course=tim.course)
    thread = factories.make_thread(sam, "Another one")
    thread.assignment = homework
    assert list(left_over("{due} {assignment}", values_for(tim, thread))) == ["{due}"]
    assert unknown_variables("{stduent} {me} {stduent} {x}") == ["stduent", "x"]


@pytest.mark.parametrize("anonymity", [Anonymity.CLASSMATES, Anonymity.ALL])
def test_the_student_of_a_template_is_who_classmates_see(sam: Member, tim: Member, anonymity: Anonymity) -> None:
    thread = factories.make_thread(sam, anonymity=anonymity)
    assert thread.pseudonym is not None
    assert fill("{student}", values_for(tim, thread)) == thread.pseudonym.name


# Keeping them


def test_staff_keep_templates(client: Client, tim: Member) -> None:
    assert "No templates yet" in client.get(PAGE).content.decode()
    fields = {"title": "  Read   the FAQ ", "category": "Common", "body": "Dear {student}"}
    assert client.post(PAGE + "add/", fields)["Location"] == PAGE
    template = ResponseTemplate.objects.get()
    assert (template.title, template.created_by) == ("Read the FAQ", tim.user)
    url = f"{PAGE}{template.pk}/"
    assert "Dear {student}" in client.get(url).content.decode()
    client.post(url, fields | {"body": "Hello {student}"})
    template.refresh_from_db()
    assert template.body == "Hello {student}"
    page = client.get(PAGE).content.decode()
    assert "Common" in page
    assert "not used yet" in page
    assert "Dear" not in client.get(f"{PAGE}add/").content.decode()
    client.post(f"{url}delete/")
    assert not ResponseTemplate.objects.exists()
    verbs = set(AuditEvent.objects.filter(verb__startswith="template.").values_list("verb", flat=True))
    assert verbs == {"template.added", "template.edited", "template.deleted"}


def test_a_title_is_taken_once_per_course(client: Client, tim: Member, world: World) -> None:
    first, second = make(tim), make(tim, "Other")
    refused = client.post(f"{PAGE}add/", {"title": "read the faq", "body": "Typed text"})
    assert refused.status_code == 422
    assert "There is a template “read the faq” already" in refused.content.decode()
    assert "Typed text" in refused.content.decode()
    assert client.post(f"{PAGE}{second.pk}/", {"title": "Read the FAQ", "body": "x"}).status_code == 422
    assert client.post(f"{PAGE}{first.pk}/", {"title": "Read the FAQ", "body": "x"}).status_code == 302
    make(world.member("pat", world.other_course))


def test_a_template_without_text_or_title_is_refused(client: Client) -> None:
    refused = client.post(f"{PAGE}add/", {"title": "", "body": ""})
    assert refused.status_code == 422
    assert "Give it a title" in refused.content.decode()


def test_an_unknown_variable_is_pointed_out_once_and_may_stay(client: Client) -> None:
    fields = {"title": "A title", "category": "", "body": "Use {x} and {stduent}, {me}"}
    said = client.post(f"{PAGE}add/", fields)
    assert said.status_code == 422
    assert "aren’t variables" in said.content.decode()
    assert said.context["keep"] == "x stduent"
    assert not ResponseTemplate.objects.exists()
    assert client.post(f"{PAGE}add/", fields | {"keep": "x"}).status_code == 422
    assert client.post(f"{PAGE}add/", fields | {"keep": "x stduent"}).status_code == 302


def test_a_template_deleted_meanwhile_is_said_and_the_text_kept(client: Client, tim: Member) -> None:
    template = make(tim)
    stale = ResponseTemplate.objects.get(pk=template.pk)
    actions.delete_template(by=tim, template=template)
    with pytest.raises(access.Refused, match="has deleted this template"):
        actions.save_template(by=tim, template=stale, title="T", category="", body="B")


def test_templates_are_for_staff_of_the_course(world: World, sam: Member, tim: Member, signed_in: SignIn) -> None:
    template = make(tim)
    for name, status in (("sam", 403), ("eve", 404), ("pat", 404), ("dana", 404)):
        assert signed_in(world.user(name)).get(f"{PAGE}{template.pk}/").status_code == status
    with pytest.raises(PermissionDenied):
        actions.save_template(by=sam, template=template, title="T", category="", body="B")
    with pytest.raises(PermissionDenied):
        actions.delete_template(by=sam, template=template)
    assert not ResponseTemplate.objects.visible_to(sam).exists()
    with pytest.raises(Http404):
        access.get_template(sam, template.pk)
    with pytest.raises(Http404):
        access.get_template(tim, uuid.uuid4())
    factories.archive(world.course)
    with pytest.raises(PermissionDenied):
        make(world.member("tim"), "Another")
    assert signed_in(world.user("tim")).get(PAGE).status_code == 200


# In a reply


def test_inserting_keeps_what_was_typed(client: Client, sam: Member, tim: Member) -> None:
    thread = factories.make_thread(sam, "Where is it?")
    template = make(tim, body="Dear {student}, see {due}.")
    url = f"/c/cs-101/{thread.number}/insert-template/"
    page = client.post(url, {"body": "I typed this.\n", "insert": template.pk})
    assert page.status_code == 200
    assert page.context["reply_form"]["body"].value() == "I typed this.\n\nDear Sam Surname-sam, see {due}."
    assert "This thread has nothing for {due}" in page.content.decode()
    assert page.context["reply_form"]["templates"].value() == str(template.pk)
    again = client.post(url, {"body": "First.", "templates": str(template.pk), "insert": template.pk})
    assert again.context["reply_form"]["templates"].value() == f"{template.pk} {template.pk}"
    nothing = client.post(url, {"body": "Kept.", "insert": ""})
    assert nothing.status_code == 422
    assert nothing.context["reply_form"]["body"].value() == "Kept."
    assert client.post(url, {"body": "Kept.", "insert": uuid.uuid4()}).status_code == 422
    assert not Post.objects.exists()


def test_the_address_can_ask_for_a_template_and_the_draft_stays(client: Client, sam: Member, tim: Member) -> None:
    thread = factories.make_thread(sam)
    template = make(tim, body="Best, {me}")
    address = f"/c/cs-101/{thread.number}/?template={template.pk}"
    assert client.get(address).context["reply_form"]["body"].value() == "Best, Tim Surname-tim"
    actions.save_draft(by=tim, thread=thread, post=None, fields={"body": "Half a reply"})
    assert client.get(address).context["reply_form"]["body"].value() == "Half a reply\n\nBest, Tim Surname-tim"
    for bad in ("x", uuid.uuid4()):
        page = client.get(f"/c/cs-101/{thread.number}/?template={bad}")
        assert page.context["reply_form"]["body"].value() == "Half a reply"


def test_students_have_no_templates(world: World, sam: Member, tim: Member, signed_in: SignIn) -> None:
    thread, template = factories.make_thread(sam), make(tim)
    client = signed_in(world.user("noor"))
    page = client.get(f"/c/cs-101/{thread.number}/?template={template.pk}")
    assert not page.context["reply_form"]["body"].value()
    assert "Insert a template" not in page.content.decode()
    assert client.post(f"/c/cs-101/{thread.number}/insert-template/", {"insert": template.pk}).status_code == 403
    client.post(f"/c/cs-101/{thread.number}/reply/", {"body": "A reply", "templates": str(template.pk)})
    template.refresh_from_db()
    assert template.use_count == 0


def test_a_use_counts_once_when_the_reply_is_posted(client: Client, sam: Member, tim: Member) -> None:
    thread, template, other = factories.make_thread(sam), make(tim), make(tim, "Other")
    sent = {
        "body": "Hello", "form_key": str(uuid.uuid4()), "templates": f"{template.pk} {template.pk} {other.pk} rubbish"
    }  # fmt: skip
    url = f"/c/cs-101/{thread.number}/reply/"
    assert client.post(url, sent | {"body": ""}).status_code == 422
    for _ in range(2):
        assert client.post(url, sent).status_code == 302
    assert Post.objects.count() == 1
    assert set(ResponseTemplate.objects.values_list("use_count", flat=True)) == {1}
    assert "used 1 time" in client.get(PAGE).content.decode()


def test_a_template_of_another_course_is_neither_inserted_nor_counted(
    client: Client, world: World, sam: Member
) -> None:
    foreign = make(world.member("pat", world.other_course))
    thread = factories.make_thread(sam)
    page = client.get(f"/c/cs-101/{thread.number}/?template={foreign.pk}")
    assert not page.context["reply_form"]["body"].value()
    client.post(f"/c/cs-101/{thread.number}/reply/", {"body": "Hi", "templates": str(foreign.pk)})
    foreign.refresh_from_db()
    assert foreign.use_count == 0
    assert Thread.objects.get(pk=thread.pk).reply_count == 1
