"""Reading a thread and doing things in it."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.access import Member
from accounts.models import AuditEvent, User
from ai_answers import actions as ai_actions
from forum import access, actions
from forum.forms import ReplyForm
from forum.models import (
    Anonymity,
    Endorsement,
    Kind,
    Post,
    Pseudonym,
    Revision,
    Status,
    Tag,
    Thread,
    ThreadRead,
    ThreadTag,
    Vote,
)
from forum.templatetags.interface import ago, may
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
Do = Callable[..., Any]


@pytest.fixture
def thread(sam: Member) -> Thread:
    return factories.make_thread(sam)


@pytest.fixture
def do(world: World, signed_in: SignIn, thread: Thread) -> Do:
    """POST to a route of the thread (or of a post in it) as somebody."""

    def post(who: str, route: str, post: Post | None = None, **data: object) -> Any:
        key = [post.pk] if post else []
        client = signed_in(world.user(who))
        response = client.post(reverse(f"forum:{route}", args=["cs-101", thread.number, *key]), data)
        thread.refresh_from_db()
        if post:
            post.refresh_from_db()
        return response

    return post


def page(client: Client, thread: Thread) -> str:
    return client.get(reverse("forum:thread", args=["cs-101", thread.number])).content.decode()


# Replying


def test_a_reply_answers_a_question(do: Do, thread: Thread, world: World, signed_in: SignIn) -> None:
    response = do("tim", "reply", body="Try **this**.")
    post = Post.objects.get()
    assert response["Location"].endswith(f"/c/cs-101/1/#post-{post.pk}")
    assert post.is_by_staff
    assert (thread.status, thread.reply_count) == (Status.ANSWERED, 1)
    assert thread.last_activity_at == post.created_at
    assert "<strong>this</strong>" in page(signed_in(world.user("sam")), thread)


def test_the_askers_own_reply_answers_nothing(do: Do, thread: Thread) -> None:
    do("sam", "reply", body="Any idea?", anonymity="named")
    assert thread.status == Status.OPEN


def test_a_comment_stands_under_its_reply_one_level_deep(do: Do, thread: Thread, noor: Member) -> None:
    answer = factories.make_post(noor, thread)
    do("sam", "comment", answer, body="Thanks!", anonymity="named")
    comment = Post.objects.get(parent=answer)
    do("tim", "comment", comment, body="You are welcome.")
    assert Post.objects.filter(parent=answer).count() == 2


def test_a_reply_sent_twice_is_posted_once(do: Do, thread: Thread) -> None:
    key = str(uuid.uuid4())
    for _ in range(2):
        do("noor", "reply", body="Same here.", anonymity="named", form_key=key)
    assert Post.objects.count() == 1


@pytest.mark.parametrize("body", ["", "x" * 10_001])
def test_a_refused_reply_stays_on_the_page(do: Do, thread: Thread, noor: Member, body: str) -> None:
    response = do("sam", "reply", body=body, anonymity="all")
    assert response.status_code == 422
    assert response.context["reply_form"]["anonymity"].value() == "all"
    assert body[:50] in response.content.decode()
    answer = factories.make_post(noor, thread)
    response = do("sam", "comment", answer, body=body, anonymity="named")
    assert response.status_code == 422
    assert '<details class="comment-form" open>' in response.content.decode()


def test_a_thread_locked_meanwhile_refuses_and_shows_the_text(do: Do, thread: Thread, tim: Member) -> None:
    actions.set_locked(by=tim, thread=thread, locked=True)
    response = do("noor", "reply", body="My careful answer", anonymity="named")
    assert response.status_code == 409
    assert "My careful answer" in response.content.decode()
    assert not Post.objects.exists()
    assert do("tim", "reply", body="Staff may.").status_code == 302


def test_a_reply_deleted_meanwhile_takes_no_comment(sam: Member, noor: Member, thread: Thread) -> None:
    answer = factories.make_post(noor, thread)
    actions.delete_post(by=noor, post=answer)
    with pytest.raises(access.Refused, match="deleted while you were writing"):
        factories.make_post(sam, thread, parent=answer)


def test_those_who_only_read_cannot_write(world: World, thread: Thread, do: Do) -> None:
    assert do("carl", "reply", body="Hello", anonymity="named").status_code == 403
    factories.archive(world.course)
    assert do("noor", "reply", body="Hello", anonymity="named").status_code == 403
    assert do("tim", "vote-thread").status_code == 403


# Votes, endorsements, settling


def test_votes_count_once_and_can_be_taken_back(do: Do, thread: Thread, noor: Member) -> None:
    answer = factories.make_post(noor, thread)
    for _ in range(2):
        do("noor", "vote-thread", on="1")
        do("sam", "vote-post", answer, on="1")
    assert (thread.vote_count, answer.vote_count, Vote.objects.count()) == (1, 1, 2)
    do("noor", "vote-thread", on="0")
    do("sam", "vote-post", answer, on="0")
    assert (thread.vote_count, answer.vote_count) == (0, 0)


def test_nobody_votes_for_themselves(do: Do, thread: Thread) -> None:
    assert do("sam", "vote-thread").status_code == 403
    assert thread.vote_count == 0


def test_an_endorsement_shows_name_and_role(
    do: Do, thread: Thread, noor: Member, world: World, signed_in: SignIn
) -> None:
    answer = factories.make_post(noor, thread)
    do("tim", "endorse-post", answer)
    do("tim", "endorse-post", answer)
    assert (answer.endorsement_count, thread.endorsement_count) == (1, 1)
    shown = page(signed_in(world.user("sam")), thread)
    assert "Endorsed by <strong>Tim Surname-tim</strong> (teaching assistant)" in shown
    assert AuditEvent.objects.filter(verb="post.endorsed", actor=world.user("tim")).count() == 1
    do("tim", "endorse-post", answer, on="0")
    do("tim", "endorse-post", answer, on="0")
    assert (answer.endorsement_count, thread.endorsement_count, Endorsement.objects.count()) == (0, 0, 0)


def test_staff_do_not_endorse_themselves(do: Do, thread: Thread, tim: Member) -> None:
    assert do("tim", "endorse-post", factories.make_post(tim, thread)).status_code == 403


@pytest.mark.parametrize(("who", "allowed"), [("sam", True), ("tim", True), ("noor", False), ("carl", False)])
def test_the_asker_and_staff_accept_an_answer(do: Do, thread: Thread, tim: Member, who: str, allowed: bool) -> None:
    answer = factories.make_post(tim, thread)
    response = do(who, "accept-post", answer)
    assert response.status_code == (302 if allowed else 403)
    assert (thread.status == Status.RESOLVED) is allowed
    assert (thread.accepted_post_id == answer.pk) is allowed


def test_an_accepted_answer_can_be_taken_back_or_deleted(do: Do, thread: Thread, tim: Member, noor: Member) -> None:
    first, second = factories.make_post(noor, thread, "One"), factories.make_post(tim, thread, "Two")
    do("sam", "accept-post", first)
    do("sam", "accept-post", second, on="0")  # not the accepted one: nothing changes
    assert thread.accepted_post_id == first.pk
    do("sam", "accept-post", first, on="0")
    assert [thread.accepted_post_id, thread.status] == [None, Status.ANSWERED]
    do("sam", "accept-post", second)
    do("tim", "delete-post", second)
    assert [thread.accepted_post_id, thread.status] == [None, Status.ANSWERED]
    do("noor", "delete-post", first)
    assert thread.status == Status.OPEN
    do("noor", "restore-post", first)
    assert thread.status == Status.ANSWERED


def test_a_comment_is_no_answer_to_accept(do: Do, thread: Thread, tim: Member, noor: Member) -> None:
    comment = factories.make_post(noor, thread, parent=factories.make_post(tim, thread))
    assert do("sam", "accept-post", comment).status_code == 403


def test_resolve_and_open_again(do: Do, thread: Thread) -> None:
    assert do("noor", "resolve-thread").status_code == 403
    do("sam", "resolve-thread")
    assert thread.status == Status.RESOLVED
    do("sam", "resolve-thread", on="0")
    assert thread.status == Status.OPEN


def test_an_announcement_is_never_resolved(tim: Member, sam: Member) -> None:
    news = factories.make_thread(tim, kind="announcement")
    factories.make_post(sam, news)
    news.refresh_from_db()
    assert (news.kind, news.status) == (Kind.ANNOUNCEMENT, Status.OPEN)
    assert not access.may_resolve(tim, news)


def test_pin_and_lock(do: Do, thread: Thread, world: World, signed_in: SignIn) -> None:
    do("tim", "pin-thread")
    do("tim", "lock-thread")
    assert (thread.is_pinned, thread.is_locked) == (True, True)
    assert "Staff have locked this thread" in page(signed_in(world.user("noor")), thread)
    do("tim", "pin-thread", on="0")
    do("tim", "lock-thread", on="0")
    assert (thread.is_pinned, thread.is_locked) == (False, False)


# Editing and deleting


def test_edits_keep_what_was_said(do: Do, thread: Thread, world: World, signed_in: SignIn) -> None:
    tag = factories.make_tag(world.course)
    do("sam", "edit-thread", title="A better title", body="Line one\nLine two", tags=["homework"])
    do("sam", "edit-thread", title="A better title", body="Line one\nLine three", tags=[])
    client = signed_in(world.user("noor"))
    history = client.get(reverse("forum:thread-history", args=["cs-101", 1])).content.decode()
    assert Revision.objects.filter(thread=thread, editor=world.user("sam")).count() == 2
    assert '<del><span class="visually-hidden">removed: </span>two</del>' in history
    assert '<ins><span class="visually-hidden">added: </span>three</ins>' in history
    assert "Why does this happen?" in history
    assert "edited" in page(client, thread)
    assert list(Tag.objects.filter(threads=thread)) == []
    assert tag.slug == "homework"


def test_an_edit_that_changes_nothing_leaves_no_trace(sam: Member, thread: Thread, noor: Member) -> None:
    actions.edit_thread(by=sam, thread=thread, title=thread.title, body=thread.body, tags=[])
    post = factories.make_post(noor, thread)
    actions.edit_post(by=noor, post=post, body=post.body)
    assert not Revision.objects.exists()


def test_a_reply_is_edited_and_its_history_shown(
    do: Do, thread: Thread, noor: Member, world: World, signed_in: SignIn
) -> None:
    post = factories.make_post(noor, thread, "First version")
    client = signed_in(world.user("noor"))
    url = reverse("forum:edit-post", args=["cs-101", 1, post.pk])
    assert "First version" in client.get(url).content.decode()
    assert client.post(url, {"body": ""}).status_code == 422
    do("noor", "edit-post", post, body="Second version")
    history = reverse("forum:post-history", args=["cs-101", 1, post.pk])
    assert "First</del>" in client.get(history).content.decode()
    assert "has not been edited" in client.get(reverse("forum:thread-history", args=["cs-101", 1])).content.decode()


def test_only_the_author_and_staff_edit(do: Do, thread: Thread, world: World, signed_in: SignIn) -> None:
    assert do("noor", "edit-thread", title="Not mine at all", body="x").status_code == 403
    assert do("sam", "edit-thread", title="", body="kept text").status_code == 422
    assert (
        "Why does this"
        in signed_in(world.user("tim")).get(reverse("forum:edit-thread", args=["cs-101", 1])).content.decode()
    )
    assert do("tim", "edit-thread", title="A clearer title", body="x").status_code == 302


def test_deleting_a_thread_hides_it_and_can_be_undone(do: Do, thread: Thread, world: World, signed_in: SignIn) -> None:
    assert do("noor", "delete-thread").status_code == 403
    do("sam", "delete-thread")
    client = signed_in(world.user("sam"))
    assert "This thread is deleted" in page(client, thread)
    assert client.get("/c/cs-101/").context["threads"] == []
    assert signed_in(world.user("noor")).get(reverse("forum:thread", args=["cs-101", 1])).status_code == 404
    do("sam", "restore-thread")
    assert thread.deleted_at is None


def test_an_author_cannot_undo_what_staff_deleted(do: Do, thread: Thread, noor: Member, sam: Member) -> None:
    post = factories.make_post(noor, thread)
    do("tim", "delete-post", post)
    assert do("noor", "restore-post", post).status_code == 404
    do("tim", "delete-thread")
    assert do("sam", "restore-thread").status_code == 404
    with pytest.raises(PermissionDenied):
        actions.restore_thread(by=sam, thread=thread)
    assert do("ada", "restore-thread").status_code == 302


def test_a_deleted_reply_leaves_its_comments(
    do: Do, thread: Thread, noor: Member, sam: Member, world: World, signed_in: SignIn
) -> None:
    alone, with_comments = (
        factories.make_post(noor, thread, "Alone text"),
        factories.make_post(noor, thread, "Other text"),
    )
    comment = factories.make_post(sam, thread, "A comment", parent=with_comments)
    do("noor", "delete-post", alone)
    do("noor", "delete-post", with_comments)
    seen_by_sam = page(signed_in(world.user("sam")), thread)
    assert "Alone text" not in seen_by_sam
    assert "Other text" not in seen_by_sam
    assert "A comment" in seen_by_sam
    assert seen_by_sam.count("This reply was removed") == 1
    assert page(signed_in(world.user("noor")), thread).count("Undo") == 2
    do("sam", "delete-post", comment)
    assert "Undo" in page(signed_in(world.user("sam")), thread)
    assert thread.reply_count == 0


# Reading


def test_reading_marks_once_and_counts_readers_in_batches(thread: Thread, world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("noor"))
    page(client, thread)
    mark = ThreadRead.objects.get(user=world.user("noor"))
    page(client, thread)
    assert ThreadRead.objects.get(user=world.user("noor")).read_at == mark.read_at
    assert actions.count_readers() == 2
    assert actions.count_readers() == 0
    thread.refresh_from_db()
    assert thread.reader_count == 2


def queries(client: Client, thread: Thread) -> int:
    url = reverse("forum:thread", args=["cs-101", thread.number])
    ThreadRead.objects.filter(thread=thread).delete()
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_a_page_costs_the_same_at_one_reply_and_at_fifty(
    world: World, signed_in: SignIn, sam: Member, noor: Member, tim: Member
) -> None:
    answer = factories.make_answer(sam, tim)
    thread = answer.thread
    ai_actions.set_answer_endorsement(by=tim, answer=answer, on=True)
    client = signed_in(world.user("noor"))

    def add() -> None:
        post = factories.make_post(sam, thread, f"Reply {uuid.uuid4()}", anonymity=Anonymity.CLASSMATES)
        actions.set_endorsement(by=tim, post=post, on=True)
        factories.make_post(noor, thread, f"Comment {uuid.uuid4()}", parent=post)

    add()
    at_one = queries(client, thread)
    for _ in range(25):
        add()
    assert queries(client, thread) == at_one <= 15
    assert len(page(client, thread).encode()) < 200_000


def test_html_of_an_older_renderer_is_made_anew(thread: Thread, world: World, signed_in: SignIn) -> None:
    Thread.objects.update(body_html="<p>old</p>", html_version=0)
    shown = page(signed_in(world.user("sam")), thread)
    assert "It does." in shown
    assert "<p>old</p>" not in shown


def test_in_ones_own_deleted_thread_nothing_can_be_done_but_undo(do: Do, thread: Thread, sam: Member) -> None:
    do("sam", "delete-thread")
    assert do("sam", "reply", body="Hello?", anonymity="named").status_code == 404
    assert do("sam", "vote-thread").status_code == 403


def test_a_reply_answers_even_when_the_asker_is_gone(thread: Thread, sam: Member, noor: Member) -> None:
    sam.user.delete()
    thread.refresh_from_db()
    factories.make_post(noor, thread)
    thread.refresh_from_db()
    assert thread.status == Status.ANSWERED


def test_a_discussion_has_no_panel(world: World, signed_in: SignIn, sam: Member) -> None:
    factories.make_thread(sam, kind="discussion")
    client = signed_in(world.user("sam"))
    assert "ai-panel" not in client.get("/c/cs-101/1/").content.decode()
    panel = client.get("/c/cs-101/1/answer/", headers={"HX-Request": "true"})
    assert "ai-panel" not in panel.content.decode()


# What the database itself refuses


@pytest.mark.parametrize(
    "change", [{"status": "lost"}, {"kind": "x"}, {"visibility": "x"}, {"title": "x"}, {"anonymity": "all"}]
)
def test_the_database_refuses_what_makes_no_sense(thread: Thread, change: dict[str, str]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Thread.objects.update(**change)


def test_access_functions_agree_with_roles(sam: Member, tim: Member, thread: Thread) -> None:
    assert may("moderate", tim, thread)
    assert not may("moderate", sam, thread)
    assert not may("restore", sam, thread)
    assert not may("reply", sam, factories.make_post(tim, thread))
    with pytest.raises(ValueError, match="unknown act"):
        may("fly", sam, thread)
    with pytest.raises(PermissionDenied):
        access.require(False)


def test_words_and_small_things(sam: Member, thread: Thread, noor: Member) -> None:
    post = factories.make_post(noor, thread)
    factories.make_post(sam, thread, parent=post)
    tag = factories.make_tag(thread.course)
    thread.tags.add(tag, through_defaults={"institution": thread.institution})
    actions.set_vote(by=noor, target=thread, on=True)
    actions.edit_thread(by=sam, thread=thread, title="A new title", body="b", tags=[tag])
    rows = [thread, post, tag, Pseudonym(name="Wise Emu"), Vote.objects.get(), Revision.objects.get()]
    assert all(str(row) for row in [*rows, ThreadRead.objects.first(), ThreadTag.objects.get()])
    assert list(Vote.objects.visible_to(noor)) == [Vote.objects.get()]
    assert list(ThreadRead.objects.visible_to(sam)) == [ThreadRead.objects.get(user=sam.user)]
    assert not Endorsement.objects.visible_to(sam)
    assert "min ago" in ago(timezone.now() - timedelta(minutes=5))
    assert "just now" in ago(timezone.now())
    assert " d ago" in ago(timezone.now() - timedelta(days=3))
    assert "202" in ago(timezone.now() - timedelta(days=800))
    assert "anonymity" not in ReplyForm(member=Member(sam.user, sam.course, noor.role.INSTRUCTOR)).fields
