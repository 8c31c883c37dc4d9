"""What the materials say before a question is posted."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import tasks as account_tasks
from accounts.access import Member, Refused
from ai_answers import actions
from ai_answers.models import Conversation, CourseAI, InstitutionAI, MaterialVersion, Message, MessageState, ModelCall
from forum import actions as forum_actions
from forum.models import Deflection, Draft, Thread
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = pytest.mark.django_db

TITLE = "When is a default parameter value evaluated?"
ONCE = "A default parameter value is evaluated once, when the function definition is executed."
ASK = "/c/cs-101/ask/"


@pytest.fixture
def lecture(tim: Member) -> MaterialVersion:
    return factories.make_material(tim)


def typed(**fields: str) -> dict[str, str]:
    return {
        "title": TITLE, "body": "Once or at each call?", "kind": "discussion", "visibility": "staff",
        "anonymity": "classmates", "form_key": str(uuid.uuid4()),
    } | fields  # fmt: skip


def url(name: str, *args: Any) -> str:
    return reverse(f"ai_answers:{name}", args=["cs-101", *args])


def begin(by: Member, title: str = TITLE) -> Conversation:
    return actions.start_preview(by=by, title=title, body="Once or at each call?", form_key=uuid.uuid4())


def test_without_script_the_page_comes_again_with_all_that_was_typed(
    lecture: MaterialVersion, sam: Member, signed_in: Any
) -> None:
    client, form = signed_in(sam.user), typed()
    assert "See what the materials say" in client.get(ASK).content.decode()
    page = client.post(url("preview"), form)
    assert "Reading the course materials" in page.content.decode()
    assert "Check again" in page.content.decode()
    run_tasks()
    page = client.post(url("preview"), form)  # checks again, and asks nothing anew
    shown = page.content.decode()
    assert ONCE[:40] in shown
    assert "This answers me" in shown
    for name, value in form.items():
        assert page.context["form"][name].value() == value, name
    assert not page.context["form"].errors
    assert (Conversation.objects.count(), ModelCall.objects.get().purpose) == (1, "preview")
    assert not Thread.objects.exists()
    # Posting it goes on as ever.
    assert client.post(ASK, form).status_code == 302
    assert Thread.objects.get().title == TITLE


def test_with_script_only_the_panel_changes(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    client = signed_in(sam.user)
    panel = client.post(url("preview"), typed(), HTTP_HX_REQUEST="true").content.decode()
    assert "<html" not in panel
    assert "<form" not in panel  # it stands inside one
    address = url("preview-panel", Conversation.objects.get().pk)
    assert address in panel
    run_tasks()
    assert ONCE[:40] in client.get(address, HTTP_HX_REQUEST="true").content.decode()
    assert client.get(address)["Location"] == ASK


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"title": ""}, "title"), ({"title": "Hm"}, "5 characters"), ({"body": ""}, "Write something first")],
)
def test_what_is_missing_is_said_and_nothing_is_lost(
    lecture: MaterialVersion, sam: Member, signed_in: Any, fields: dict[str, str], said: str
) -> None:
    form = typed(**fields)
    page = signed_in(sam.user).post(url("preview"), form)
    assert said in page.context["panels"][0]
    assert page.context["form"]["body"].value() == form["body"]
    assert not Conversation.objects.exists()


def test_a_preview_is_no_conversation(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    preview = begin(sam)
    run_tasks()
    client = signed_in(sam.user)
    for address in (url("conversations"), reverse("ai:overview")):
        assert TITLE not in client.get(address).content.decode()
    for name in ("conversation", "delete-conversation"):
        assert client.get(url(name, preview.pk)).status_code == 404


def test_what_answers_is_not_posted_and_counts(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    preview = begin(sam)
    client = signed_in(sam.user)
    with pytest.raises(PermissionDenied):
        actions.accept_preview(by=sam, preview=preview)  # it isn't there yet
    run_tasks()
    forum_actions.save_draft(by=sam, thread=None, post=None, fields={"title": TITLE})
    page = client.post(url("accept-preview", preview.pk), follow=True).content.decode()
    assert "wasn’t posted" in page
    deflection = Deflection.objects.get()
    assert (deflection.thread, deflection.user, deflection.course) == (None, sam.user, sam.course)
    assert not Draft.objects.exists()
    assert not Conversation.objects.exists()
    forum_actions.record_deflection(by=sam, thread=None)  # a second click is the same question
    assert Deflection.objects.count() == 1


def test_a_thread_that_answers_is_the_one_that_counts(world: World, lecture: MaterialVersion, sam: Member) -> None:
    thread = factories.make_thread(world.member("noor"), "Asked before")
    material = lecture.material
    material.kind, material.thread = "thread", thread
    material.save()
    preview = begin(sam)
    run_tasks("ai_answers.reply")
    actions.accept_preview(by=sam, preview=preview)
    assert Deflection.objects.get().thread == thread


@pytest.mark.parametrize("policy", [{"mode": "off"}, {"previews": False}])
def test_where_the_course_wants_none_there_is_none(
    lecture: MaterialVersion, sam: Member, signed_in: Any, policy: dict[str, Any]
) -> None:
    CourseAI.objects.create(institution=sam.course.institution, course=sam.course, **policy)
    client = signed_in(sam.user)
    assert "See what the materials say" not in client.get(ASK).content.decode()
    form = typed()
    page = client.post(url("preview"), form)
    assert "switched" in page.content.decode()
    assert page.context["form"]["body"].value() == form["body"]
    assert not Conversation.objects.exists()


def test_the_limit_is_said_and_what_was_typed_stays(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    InstitutionAI.objects.create(institution=sam.course.institution, asks_per_hour=1)
    begin(sam)
    page = signed_in(sam.user).post(url("preview"), typed())
    assert "which is the limit" in page.content.decode()
    with pytest.raises(Refused):
        begin(sam, "Something else?")


def test_a_preview_that_failed_is_tried_again(lecture: MaterialVersion, sam: Member) -> None:
    key = uuid.uuid4()
    first = actions.start_preview(by=sam, title=TITLE, body="Hm", form_key=key)
    actions.fail_reply(Message.objects.get(conversation=first, speaker="machine").pk, RuntimeError("x"))
    again = actions.start_preview(by=sam, title=TITLE, body="Hm", form_key=key)
    assert Message.objects.get(conversation=again, speaker="machine").state == MessageState.QUEUED


def test_previews_are_forgotten_after_a_day(lecture: MaterialVersion, sam: Member) -> None:
    old, new = begin(sam), begin(sam, "Another question?")
    talk = actions.start_conversation(by=sam, text=TITLE, form_key=uuid.uuid4())
    Conversation.objects.filter(pk__in=[old.pk, talk.pk]).update(created_at=timezone.now() - timedelta(hours=25))
    account_tasks.keep_to_retention.func(0)
    assert set(Conversation.objects.values_list("pk", flat=True)) == {new.pk, talk.pk}


@pytest.mark.parametrize("who", ["noor", "ada", "eve", "pat", "dana", "carl"])
def test_nobody_else_reaches_a_preview(
    world: World, lecture: MaterialVersion, sam: Member, signed_in: Any, who: str
) -> None:
    preview = begin(sam)
    run_tasks()
    client = signed_in(world.user(who))
    assert client.get(url("preview-panel", preview.pk), HTTP_HX_REQUEST="true").status_code == 404
    assert client.post(url("accept-preview", preview.pk)).status_code == 404
    assert not Deflection.objects.exists()


def test_strangers_are_asked_to_sign_in_and_lose_nothing(lecture: MaterialVersion, world: World) -> None:
    response = Client().post(url("preview"), typed())
    assert response.status_code == 403
    assert "Once or at each call?" in response.content.decode()
