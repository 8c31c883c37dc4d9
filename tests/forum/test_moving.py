"""A thread goes to another course with all that belongs to it, or is filed anew where it is."""

import uuid
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.access import Member, get_member
from accounts.models import AuditEvent, Course, Role
from ai_answers.models import Answer, AnswerStatus
from forum import actions
from forum.access import Refused
from forum.models import (
    Anonymity,
    Assignment,
    Draft,
    Kind,
    Moderation,
    Notification,
    NotificationKind,
    Post,
    SearchEntry,
    Status,
    Thread,
    ThreadAlias,
    Visibility,
)
from forum.signals import text_pending
from tests import factories
from tests.factories import World
from tests.forum.test_counters import check

pytestmark = pytest.mark.django_db


def client_of(member: Member) -> Client:
    client = Client()
    client.force_login(member.user)
    return client


def url(name: str, thread: Thread) -> str:
    return reverse(f"forum:{name}", args=[thread.course.slug, thread.number])


def said(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


@pytest.fixture
def there(world: World) -> Member:
    """Tim as the teacher of the other course, in which sam is too."""
    factories.enroll(world.user("tim"), world.other_course, Role.INSTRUCTOR)
    factories.enroll(world.user("sam"), world.other_course)
    factories.make_thread(world.member("pat", world.other_course), "Is there already")
    return world.member("tim", world.other_course)


@pytest.fixture
def thread(world: World, sam: Member, noor: Member, tim: Member) -> Thread:
    """A thread with tags, an assignment, a pin and things around it."""
    answer = factories.make_answer(sam, tim)
    assert answer.status == AnswerStatus.PUBLISHED
    thread = answer.thread
    homework = Assignment.objects.create(
        institution=world.institution, course=world.course, slug="hw-1", title="Homework 1"
    )
    tags = [factories.make_tag(world.course, slug) for slug in ("homework", "local")]
    actions.edit_thread(by=tim, thread=thread, title=thread.title, body=thread.body, tags=tags, assignment=homework)
    actions.set_pinned(by=tim, thread=thread, pinned=True)
    actions.set_duplicate(by=tim, thread=thread, of=factories.make_thread(noor, "Asked before"))
    actions.save_draft(by=tim, thread=thread, post=None, fields={"body": "Half"})
    factories.make_post(noor, thread, "A kangaroo hops.", anonymity=Anonymity.CLASSMATES)
    Notification.objects.create(
        institution=world.institution, user=sam.user, course=world.course, thread=thread, kind=NotificationKind.REPLY
    )
    thread.refresh_from_db()
    return thread


def test_a_moved_thread_has_a_number_there_and_brings_what_fits(
    world: World, thread: Thread, there: Member, sam: Member, noor: Member, tim: Member
) -> None:
    factories.make_tag(world.other_course, "homework")
    name = Post.objects.get().pseudonym
    client = client_of(tim)
    form = client.get(url("move", thread)).content.decode()
    assert "MATH-221 Course math-221" in form
    assert "CS-101 Course" not in form.split("To another course")[1]
    response = client.post(url("move", thread), {"course": str(world.other_course.pk)}, follow=True)
    assert said(response) == "Moved. It is #2 of MATH-221 now."
    thread.refresh_from_db()
    assert (thread.course, thread.number) == (world.other_course, 2)
    assert [tag.course for tag in thread.tags.all()] == [world.other_course]
    assert (thread.assignment, thread.assignee, thread.duplicate_of, thread.is_pinned) == (None, None, None, False)
    assert set(Draft.objects.values_list("course", flat=True)) == {world.other_course.pk}
    assert Notification.objects.get().course == world.other_course
    assert Post.objects.get().pseudonym == name
    for member, sees in ((there, True), (tim, False)):
        words = SearchEntry.objects.visible_to(member).in_course(member, "'kangaroo'")
        assert words.exists() == sees
    assert set(AuditEvent.objects.filter(verb="thread.moved").values_list("course", "actor")) == {
        (world.course.pk, tim.user.pk), (world.other_course.pk, tim.user.pk),
    }  # fmt: skip
    assert "No counter has drifted." in check()
    next_one = factories.make_thread(there, "The next one")
    assert next_one.number == 3


def test_the_old_address_leads_there_those_who_may_read_it(
    world: World, thread: Thread, there: Member, sam: Member, noor: Member, tim: Member
) -> None:
    old = thread.get_absolute_url()
    moved = actions.move_thread(by=tim, thread=thread, to=there)
    for member in (sam, tim):
        assert client_of(member).get(old)["Location"] == moved.get_absolute_url()
        assert client_of(member).get(old, follow=True).status_code == 200
    assert client_of(noor).get(old).status_code == 404
    assert client_of(sam).get("/c/cs-101/99/").status_code == 404
    actions.delete_thread(by=there, thread=moved)
    assert client_of(sam).get(old).status_code == 404
    actions.restore_thread(by=there, thread=moved)
    back = actions.move_thread(by=there, thread=moved, to=tim)
    assert client_of(noor).get(old)["Location"] == back.get_absolute_url()
    assert ThreadAlias.objects.count() == 2


def test_the_answer_from_the_old_materials_goes_and_a_new_one_is_asked_for(
    thread: Thread, there: Member, tim: Member
) -> None:
    old = Answer.objects.get(thread=thread)
    actions.move_thread(by=tim, thread=thread, to=there)
    new = Answer.objects.get(thread=thread)
    assert new.pk != old.pk
    assert new.status == AnswerStatus.QUEUED
    assert not new.citations.exists()


def test_a_discussion_asks_for_no_answer_there(sam: Member, there: Member, tim: Member) -> None:
    talk = factories.make_thread(sam, "Let us talk", kind="discussion")
    actions.move_thread(by=tim, thread=talk, to=there)
    assert not Answer.objects.filter(thread=talk).exists()


@pytest.mark.parametrize("visibility", ["course", "staff"])
def test_what_its_author_could_no_longer_read_stays(noor: Member, there: Member, tim: Member, visibility: str) -> None:
    own = factories.make_thread(noor, "Only in one course", visibility=visibility)
    response = client_of(tim).post(url("move", own), {"course": str(there.course.pk)})
    assert response.status_code == 409
    assert "they could no longer read it" in response.content.decode()
    own.refresh_from_db()
    assert own.course == tim.course
    assert Course.objects.get(pk=there.course.pk).last_thread_number == 1


def test_a_private_thread_may_move_and_one_whose_author_is_erased(sam: Member, there: Member, tim: Member) -> None:
    private = factories.make_thread(sam, "For staff", visibility="staff")
    actions.move_thread(by=tim, thread=private, to=there)
    gone = factories.make_thread(sam, "By nobody")
    Thread.objects.filter(pk=gone.pk).update(author=None)
    actions.move_thread(by=tim, thread=gone, to=there)
    assert Thread.objects.filter(course=there.course).count() == 3


@pytest.mark.parametrize("asker", ["sam", "noor"])
@pytest.mark.parametrize("where", ["thread", "reply"])
def test_where_somebody_hides_from_everyone_the_answer_is_the_same_for_everyone(
    world: World, there: Member, tim: Member, ada: Member, asker: str, where: str
) -> None:
    """Sam is in the other course and noor isn't: nothing may tell them apart."""
    by = world.member(asker)
    hidden = factories.make_thread(
        by if where == "thread" else ada, "A question", anonymity="all" if where == "thread" else "named"
    )
    if where == "reply":
        factories.make_post(by, hidden, anonymity=Anonymity.ALL)
    sentence = "Somebody hides their name from everyone in this thread, so it stays where it was written."
    with pytest.raises(Refused, match=sentence):
        actions.move_thread(by=tim, thread=hidden, to=there)
    seen = client_of(tim).get(url("move", hidden)).content.decode()
    assert sentence in seen
    assert 'name="course"' not in seen


def test_merged_threads_are_taken_apart_first(sam: Member, there: Member, tim: Member) -> None:
    source, target = factories.make_thread(sam), factories.make_thread(sam)
    actions.merge_threads(by=tim, source=source, target=target)
    for thread in (source, target):
        with pytest.raises(Refused, match="Undo the merge first"):
            actions.move_thread(by=tim, thread=thread, to=there)
    assert client_of(tim).get(url("move", source)).status_code == 404


def test_only_who_runs_both_courses_moves_and_only_there(
    world: World, thread: Thread, there: Member, sam: Member, noor: Member, tim: Member, ada: Member
) -> None:
    pat = world.member("pat", world.other_course)
    student_there = world.member("sam", world.other_course)
    refused = [(noor, there), (ada, pat), (ada, there), (sam, student_there), (tim, tim)]
    eve = world.member("eve", world.foreign_course)
    refused.append((tim, Member(tim.user, world.foreign_course, Role.INSTRUCTOR)))
    refused.append((eve, there))
    for by, to in refused:
        with pytest.raises(PermissionDenied):
            actions.move_thread(by=by, thread=thread, to=to)
    elsewhere = Thread.objects.get(course=world.other_course)
    with pytest.raises(PermissionDenied):
        actions.move_thread(by=tim, thread=elsewhere, to=there)
    assert client_of(noor).get(url("move", thread)).status_code == 403
    assert "You run no other course" in client_of(ada).get(url("move", thread)).content.decode()
    response = client_of(ada).post(url("move", thread), {"course": str(world.other_course.pk)})
    assert response.status_code == 422
    assert client_of(tim).post(url("move", thread), {"course": str(world.foreign_course.pk)}).status_code == 422
    actions.delete_thread(by=tim, thread=thread)
    assert client_of(tim).get(url("move", thread)).status_code == 404
    with pytest.raises(PermissionDenied):
        actions.move_thread(by=tim, thread=thread, to=there)
    factories.archive(world.other_course)
    assert "You run no other course" in client_of(tim).get(url("move", elsewhere_in(world))).content.decode()
    with pytest.raises(PermissionDenied):
        actions.move_thread(
            by=tim, thread=elsewhere_in(world), to=Member(tim.user, world.other_course, Role.INSTRUCTOR)
        )


def elsewhere_in(world: World) -> Thread:
    return factories.make_thread(world.member("sam"), "Another one of this course")


@pytest.mark.parametrize("persona", ["eve", "pat", "dana"])
def test_outsiders_move_nothing(world: World, thread: Thread, persona: str) -> None:
    client = Client()
    client.force_login(world.user(persona))
    for name in ("move", "refile", "open-up", "duplicate"):
        assert client.post(url(name, thread), {"course": str(world.other_course.pk)}).status_code == 404


# Refiling


def test_a_discussion_becomes_a_question_that_is_answered(sam: Member, noor: Member, tim: Member) -> None:
    talk = factories.make_thread(sam, "Let us talk", kind="discussion")
    factories.make_post(noor, talk)
    response = client_of(tim).post(url("refile", talk), {"kind": "question", "visibility": "course"}, follow=True)
    assert said(response) == "Filed."
    talk.refresh_from_db()
    assert (talk.kind, talk.status) == (Kind.QUESTION, Status.ANSWERED)
    assert Answer.objects.filter(thread=talk).exists()
    assert AuditEvent.objects.get(verb="thread.refiled").data == {"kind": "question"}
    client_of(tim).post(url("refile", talk), {"kind": "discussion", "visibility": "course"})
    assert Answer.objects.filter(thread=talk).count() == 1
    before = AuditEvent.objects.count()
    client_of(tim).post(url("refile", talk), {"kind": "discussion", "visibility": "course"})
    assert AuditEvent.objects.count() == before


def test_staff_take_a_thread_out_of_sight_of_the_course_and_cant_put_a_private_one_into_it(
    sam: Member, noor: Member, tim: Member
) -> None:
    shared = factories.make_thread(sam)
    client = client_of(tim)
    client.post(url("refile", shared), {"kind": "question", "visibility": "staff"})
    assert client_of(noor).get(shared.get_absolute_url()).status_code == 404
    assert client_of(sam).get(shared.get_absolute_url()).status_code == 200
    refused = client.post(url("refile", shared), {"kind": "question", "visibility": "course"})
    assert refused.status_code == 409
    assert "Only who asked can open a private thread" in refused.content.decode()
    shared.refresh_from_db()
    assert shared.visibility == Visibility.STAFF


def test_announcements_and_merged_threads_stay_what_they_are(sam: Member, tim: Member) -> None:
    news = factories.make_thread(tim, "An announcement", kind="announcement")
    question = factories.make_thread(sam)
    for thread, kind, visibility in (
        (news, Kind.QUESTION, Visibility.COURSE),
        (question, Kind.ANNOUNCEMENT, Visibility.COURSE),
        (news, Kind.ANNOUNCEMENT, Visibility.STAFF),
    ):
        with pytest.raises(Refused, match=r"[Aa]nnouncement"):
            actions.refile_thread(by=tim, thread=thread, kind=kind, visibility=visibility)
    other = factories.make_thread(sam)
    actions.merge_threads(by=tim, source=other, target=question)
    with pytest.raises(Refused, match="Undo the merge first"):
        actions.refile_thread(by=tim, thread=question, kind=Kind.QUESTION, visibility=Visibility.STAFF)
    with pytest.raises(PermissionDenied):
        actions.refile_thread(by=tim, thread=other, kind=Kind.DISCUSSION, visibility=Visibility.COURSE)
    with pytest.raises(PermissionDenied):
        actions.refile_thread(by=sam, thread=question, kind=Kind.DISCUSSION, visibility=Visibility.COURSE)
    assert client_of(sam).post(url("refile", question), {"kind": "discussion"}).status_code == 403
    assert client_of(tim).post(url("refile", question), {"kind": "announcement"}).status_code == 422
    assert "In this course" not in client_of(tim).get(url("move", news)).content.decode()


# Opening


def test_the_asker_opens_a_private_thread_to_the_course_and_nobody_else_does(
    sam: Member, noor: Member, tim: Member
) -> None:
    private = factories.make_thread(sam, "My question to staff", visibility="staff", anonymity="all")
    factories.make_post(tim, private, "It may help others too.")
    for member, status in ((noor, 404), (tim, 403)):
        assert client_of(member).post(url("open-up", private)).status_code == status
    with pytest.raises(PermissionDenied):
        actions.open_thread(by=tim, thread=private)
    assert url("open-up", private) in client_of(sam).get(private.get_absolute_url()).content.decode()
    assert "Classmates see a pseudonym" in client_of(sam).get(url("open-up", private)).content.decode()
    response = client_of(sam).post(url("open-up", private), follow=True)
    assert said(response) == "Everyone in CS-101 can read it now."
    seen = client_of(noor).get(private.get_absolute_url()).content.decode()
    assert "It may help others too." in seen
    assert "Surname-sam" not in seen
    assert AuditEvent.objects.get(verb="thread.opened").actor is None
    with pytest.raises(PermissionDenied):
        actions.open_thread(by=sam, thread=private)


def test_opening_waits_for_approval_where_staff_approve_and_isnt_posting_while_that_is_closed(
    world: World, sam: Member, noor: Member, tim: Member
) -> None:
    private = factories.make_thread(sam, "My question to staff", visibility="staff")
    Course.objects.filter(pk=world.course.pk).update(posting_policy="read_only")
    with pytest.raises(Refused, match="Only staff post"):
        actions.open_thread(by=get_member(sam.user, "cs-101"), thread=private)
    Course.objects.filter(pk=world.course.pk).update(posting_policy="approve")
    told: list[Any] = []
    text_pending.connect(lambda writing, **kwargs: told.append(writing), weak=False, dispatch_uid="told")
    try:
        opened = actions.open_thread(by=get_member(sam.user, "cs-101"), thread=private)
    finally:
        text_pending.disconnect(dispatch_uid="told")
    assert told == [private]
    assert opened.moderation == Moderation.PENDING
    assert client_of(noor).get(private.get_absolute_url()).status_code == 404


@pytest.mark.parametrize("name", ["move", "merge", "duplicate", "flag-thread", "hide-thread"])
def test_pages_about_a_thread_cost_the_same_at_one_reply_and_at_many(
    world: World, sam: Member, tim: Member, there: Member, name: str
) -> None:
    thread = factories.make_thread(sam, "Why is the sky blue?")
    client = client_of(tim)

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url(name, thread)).status_code == 200
        return len(captured)

    def add() -> None:
        other = factories.make_thread(sam, f"Why is the sky blue, {uuid.uuid4()}?")
        factories.make_post(tim, thread)
        factories.make_post(tim, other)

    add()
    at_one = cost()
    for _ in range(6):
        add()
    assert cost() <= at_one


def test_a_page_with_merged_threads_costs_the_same_at_one_and_at_many(sam: Member, tim: Member) -> None:
    target = factories.make_thread(sam, "The one that stays")
    client = client_of(tim)

    def add() -> None:
        source = factories.make_thread(sam, "Asked again", anonymity="classmates")
        actions.merge_threads(by=tim, source=source, target=target)

    def cost() -> int:
        client.get(target.get_absolute_url())
        with CaptureQueriesContext(connection) as captured:
            assert client.get(target.get_absolute_url()).status_code == 200
        return len(captured)

    add()
    at_one = cost()
    for _ in range(10):
        add()
    assert cost() == at_one <= 17
