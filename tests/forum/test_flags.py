"""Anybody may ask staff to look at a text; nobody learns who did; staff decide once."""

import uuid
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.access import Member
from accounts.models import AuditEvent
from forum import actions
from forum.access import Refused
from forum.actions import Decision
from forum.models import Flag, FlagReason, FlagStatus, Moderation, Post, Thread
from forum.signals import text_decided, text_flagged
from tests import factories
from tests.factories import World

pytestmark = pytest.mark.django_db


def client_of(member: Member) -> Client:
    client = Client()
    client.force_login(member.user)
    return client


def url(name: str, thread: Thread, post: Post | None = None) -> str:
    return reverse(f"forum:{name}", args=[thread.course.slug, thread.number, *([post.pk] if post else [])])


FLAGS = "/c/cs-101/flags/"


def flags_of(member: Member, query: str = "") -> str:
    response = client_of(member).get(FLAGS + query)
    assert response.status_code == 200
    return response.content.decode()


def said(response: object) -> str:
    return " ".join(str(message) for message in response.context["messages"])  # type: ignore[attr-defined]


def test_a_reader_flags_a_reply_without_javascript_and_staff_find_it(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam, "Where is the solution?")
    post = factories.make_post(sam, thread, "The answer is 42, copy it.")
    form = client_of(noor).get(url("flag-post", thread, post)).content.decode()
    assert "they never see who flagged" in form
    typed = {"reason": "integrity", "details": "It is homework 3"}
    response = client_of(noor).post(url("flag-post", thread, post), typed, follow=True)
    assert said(response) == "Thank you. Staff will look at it."
    page = flags_of(tim)
    for shown in ("1 flag", "Gives a solution away", "It is homework 3", "The answer is 42", "Sam Surname-sam"):
        assert shown in page
    assert "Surname-noor" not in page
    badge = client_of(tim).get(thread.get_absolute_url()).content.decode()
    assert f'href="{FLAGS}#text-{post.pk}"' in badge
    assert "1 flag" in badge
    for other in (sam, noor):
        assert "1 flag" not in client_of(other).get(thread.get_absolute_url()).content.decode()


def test_a_thread_is_flagged_as_well_and_no_record_but_the_flag_says_who(sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam)
    heard: list[Flag] = []
    text_flagged.connect(lambda flag, **kwargs: heard.append(flag), weak=False, dispatch_uid="heard")
    try:
        actions.flag_text(by=noor, text=thread, reason=FlagReason.RUDE)
    finally:
        text_flagged.disconnect(dispatch_uid="heard")
    flag = Flag.objects.get()
    assert heard == [flag]
    event = AuditEvent.objects.get(verb="thread.flagged")
    assert (event.actor, event.data) == (None, {"reason": "rude"})
    assert str(noor.user.pk) not in str(event.data)


def test_a_flag_is_sent_once_while_it_is_open(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam)
    client = client_of(noor)
    client.post(url("flag-thread", thread), {"reason": "spam"})
    again = client.post(url("flag-thread", thread), {"reason": "rude", "details": "Look here"})
    assert again.status_code == 409
    assert "You have flagged this already" in again.content.decode()
    assert "Look here" in again.content.decode()
    assert Flag.objects.count() == 1
    actions.decide_flags(by=tim, text=thread, decision=Decision.DISMISS)
    assert client.post(url("flag-thread", thread), {"reason": "rude"}).status_code == 302
    assert Flag.objects.count() == 2


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"details": "hm"}, "Choose what is wrong with it."),
        ({"reason": "other"}, "Say what is wrong, so that staff can find it."),
        ({"reason": "ghost"}, "Select a valid choice."),
        ({"reason": "spam", "details": "x" * 501}, "This is too long: 501 characters."),
    ],
)
def test_a_flag_without_sense_says_what_is_missing(
    sam: Member, noor: Member, typed: dict[str, str], sentence: str
) -> None:
    thread = factories.make_thread(sam)
    response = client_of(noor).post(url("flag-thread", thread), typed)
    assert response.status_code == 422
    assert sentence in response.content.decode()
    assert typed.get("details", "") in response.content.decode()
    assert not Flag.objects.exists()


def test_one_cant_flag_what_one_wrote_or_may_not_read(world: World, sam: Member, noor: Member) -> None:
    own = factories.make_thread(sam)
    private = factories.make_thread(sam, "A private one", visibility="staff")
    gone = factories.make_thread(sam, "A deleted one")
    post = factories.make_post(sam, own)
    actions.delete_thread(by=sam, thread=gone)
    actions.delete_post(by=sam, post=post)
    assert client_of(sam).get(url("flag-thread", own)).status_code == 403
    assert client_of(sam).get(url("flag-thread", gone)).status_code == 404
    for thread in (private, gone):
        assert client_of(noor).post(url("flag-thread", thread), {"reason": "spam"}).status_code == 404
    assert client_of(noor).post(url("flag-post", own, post), {"reason": "spam"}).status_code == 404
    assert client_of(sam).post(url("flag-post", own, post), {"reason": "spam"}).status_code == 404
    with pytest.raises(PermissionDenied):
        actions.flag_text(by=sam, text=own, reason=FlagReason.SPAM)
    factories.archive(world.course)
    with pytest.raises(PermissionDenied):
        actions.flag_text(by=Member(noor.user, world.course, noor.role), text=own, reason=FlagReason.SPAM)


@pytest.mark.parametrize("persona", ["eve", "pat", "dana"])
def test_outsiders_find_no_flags(world: World, sam: Member, persona: str) -> None:
    thread = factories.make_thread(sam)
    client = Client()
    client.force_login(world.user(persona))
    assert client.post(url("flag-thread", thread), {"reason": "spam"}).status_code == 404
    assert client.post(url("decide-thread", thread), {"decision": "dismiss"}).status_code == 404


def test_students_neither_see_nor_decide_flags(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam)
    actions.flag_text(by=noor, text=thread, reason=FlagReason.SPAM)
    assert client_of(noor).get(FLAGS).status_code == 403
    assert client_of(noor).post(url("decide-thread", thread), {"decision": "dismiss"}).status_code == 403
    with pytest.raises(PermissionDenied):
        actions.decide_flags(by=noor, text=thread, decision=Decision.DISMISS)
    assert Flag.objects.visible_to(noor).count() == 1
    assert not Flag.objects.visible_to(sam).exists()


@pytest.fixture
def flagged(sam: Member, noor: Member, ada: Member) -> Post:
    """A reply that a student and a member of staff have flagged."""
    post = factories.make_post(sam, factories.make_thread(noor), "Do your own homework, fool.")
    actions.flag_text(by=noor, text=post, reason=FlagReason.RUDE, details="This hurts")
    actions.flag_text(by=ada, text=post, reason=FlagReason.WRONG)
    return post


def decide(member: Member, post: Post, **typed: str) -> str:
    response = client_of(member).post(url("decide-post", post.thread, post), typed, follow=True)
    assert response.status_code == 200
    return said(response)


def test_one_decision_closes_every_flag_of_the_text(flagged: Post, tim: Member) -> None:
    page = flags_of(tim)
    assert page.count("queue-card") == 1
    assert "2 flags" in page
    assert decide(tim, flagged, decision="dismiss") == "Decided. 2 flags are closed."
    assert {(f.status, f.decided_by) for f in Flag.objects.all()} == {(FlagStatus.DISMISSED, tim.user)}
    flagged.refresh_from_db()
    assert flagged.moderation == Moderation.SHOWN
    assert "No open flags" in flags_of(tim)
    closed = flags_of(tim, "?show=closed")
    assert closed.count("queue-card") == 1
    assert "<strong>Dismissed</strong> by Tim Surname-tim" in closed
    event = AuditEvent.objects.get(verb="post.flags-dismissed")
    assert (event.actor, event.data) == (tim.user, {"decision": "dismiss"})


def test_upholding_with_a_note_tells_the_author_and_nobody_else(
    flagged: Post, tim: Member, sam: Member, noor: Member
) -> None:
    told: list[Any] = []
    text_decided.connect(lambda writing, by, **kwargs: told.append((writing, by)), weak=False, dispatch_uid="told")
    try:
        assert decide(tim, flagged, decision="note", note="Be kind, please.") == "Decided. 2 flags are closed."
    finally:
        text_decided.disconnect(dispatch_uid="told")
    assert [writing for writing, _ in told] == [flagged]
    assert set(Flag.objects.values_list("status", "decision")) == {("upheld", "Be kind, please.")}
    for member, reads in ((sam, True), (tim, True), (noor, False)):
        page = client_of(member).get(flagged.thread.get_absolute_url()).content.decode()
        assert ("Be kind, please." in page) == reads
        assert "Do your own homework" in page


def test_upholding_may_hide_the_text_with_the_note_as_reason(
    flagged: Post, tim: Member, sam: Member, noor: Member
) -> None:
    decide(tim, flagged, decision="hide", note="Rude.")
    flagged.refresh_from_db()
    assert (flagged.moderation, flagged.moderation_reason) == (Moderation.HIDDEN, "Rude.")
    assert "Do your own homework" not in client_of(noor).get(flagged.thread.get_absolute_url()).content.decode()
    assert "Rude." in client_of(sam).get(flagged.thread.get_absolute_url()).content.decode()


def test_upholding_what_is_hidden_already_only_closes_the_flags(flagged: Post, tim: Member, ada: Member) -> None:
    actions.hide_text(by=ada, text=flagged, reason="Mine was first.")
    decide(tim, flagged, decision="hide", note="Rude.")
    flagged.refresh_from_db()
    assert flagged.moderation_reason == "Mine was first."
    assert not Flag.objects.filter(status=FlagStatus.OPEN).exists()


def test_upholding_may_delete_a_reply_or_a_thread(flagged: Post, tim: Member, sam: Member, noor: Member) -> None:
    decide(tim, flagged, decision="delete")
    flagged.refresh_from_db()
    assert flagged.deleted_by == tim.user
    thread = factories.make_thread(sam, "A spam thread")
    actions.flag_text(by=noor, text=thread, reason=FlagReason.SPAM)
    client_of(tim).post(url("decide-thread", thread), {"decision": "delete"})
    thread.refresh_from_db()
    assert thread.deleted_by == tim.user
    assert "It is deleted." in flags_of(tim, "?show=closed")


def test_the_slower_colleague_is_told_and_nothing_happens_twice(flagged: Post, tim: Member, ada: Member) -> None:
    decide(tim, flagged, decision="dismiss")
    assert decide(ada, flagged, decision="hide", note="Rude") == "A colleague has decided about this already."
    flagged.refresh_from_db()
    assert flagged.moderation == Moderation.SHOWN
    assert AuditEvent.objects.filter(verb__startswith="post.flags-").count() == 1


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"decision": "hide"}, "Say why: the author reads it."),
        ({"decision": "note", "note": " "}, "Say why: the author reads it."),
        ({"note": "Hm, unsure"}, "Choose what to do."),
        ({"decision": "delete", "note": "Hm " * 101}, "The limit is 300."),
    ],
)
def test_a_decision_without_a_reason_comes_back_with_what_was_typed(
    flagged: Post, tim: Member, typed: dict[str, str], sentence: str
) -> None:
    response = client_of(tim).post(url("decide-post", flagged.thread, flagged), typed)
    assert response.status_code == 422
    page = response.content.decode()
    assert sentence in page
    assert typed.get("note", "").strip() in page
    assert Flag.objects.filter(status=FlagStatus.OPEN).count() == 2


def test_a_teaching_assistant_doesnt_decide_about_their_own_text(tim: Member, ada: Member, noor: Member) -> None:
    thread = factories.make_thread(tim, "By the assistant")
    actions.flag_text(by=noor, text=thread, reason=FlagReason.WRONG)
    assert "A colleague decides about your own text." in flags_of(tim)
    with pytest.raises(PermissionDenied):
        actions.decide_flags(by=tim, text=thread, decision=Decision.DISMISS)
    assert actions.decide_flags(by=ada, text=thread, decision=Decision.DISMISS) == 1


def test_flags_of_a_deleted_text_wait_until_it_is_back(flagged: Post, tim: Member, sam: Member) -> None:
    actions.delete_post(by=sam, post=flagged)
    assert "No open flags" in flags_of(tim)
    actions.restore_post(by=sam, post=flagged)
    assert "2 flags" in flags_of(tim)


def test_a_flag_on_a_reply_that_moved_just_now_says_so(flagged: Post, world: World, tim: Member, ada: Member) -> None:
    elsewhere = factories.make_thread(ada)
    stale = Post.objects.select_related("thread").get(pk=flagged.pk)
    Post.objects.filter(pk=flagged.pk).update(thread=elsewhere)
    with pytest.raises(Refused, match="moved to another thread"):
        actions.flag_text(by=tim, text=stale, reason=FlagReason.SPAM)


def test_the_flags_page_costs_the_same_at_one_and_at_many_and_goes_on(
    sam: Member, noor: Member, ada: Member, tim: Member
) -> None:
    thread = factories.make_thread(sam)

    def add(number: int) -> None:
        post = factories.make_post(sam, thread, f"Reply number {number}.")
        for who in (noor, ada):
            actions.flag_text(by=who, text=post, reason=FlagReason.SPAM)

    client = client_of(tim)

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(FLAGS).status_code == 200
        return len(captured)

    add(0)
    at_one = cost()
    for number in range(1, 30):
        add(number)
    assert cost() == at_one <= 7
    first = flags_of(tim)
    assert first.count("queue-card") == 25
    cursor = first.split("cursor=")[1].split('"')[0]
    second = flags_of(tim, f"?cursor={cursor}")
    assert second.count("queue-card") == 5
    everything = first + second
    assert all(f"Reply number {number}." in everything for number in range(30))
    damaged = client.get(f"{FLAGS}?cursor=x")
    assert "damaged" in damaged.content.decode()


def test_a_stale_page_to_a_missing_text_is_nothing(tim: Member, sam: Member) -> None:
    thread = factories.make_thread(sam)
    missing = reverse("forum:decide-post", args=["cs-101", thread.number, uuid.uuid4()])
    assert client_of(tim).post(missing, {"decision": "dismiss"}).status_code == 404
