"""Hiding, approving first, closing posting, bans, duplicates: who sees and does what, and what is counted and told."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.access import Member, get_member
from accounts.actions import lift_ban, set_ban
from accounts.models import AuditEvent, Course, Enrollment
from forum import access, actions
from forum.access import Refused
from forum.models import Mention, Moderation, Post, SearchEntry, Status, Thread
from forum.signals import people_mentioned, post_added, text_decided, text_pending
from tests import append_only, factories
from tests.factories import World
from tests.forum.test_counters import check

pytestmark = pytest.mark.django_db


def client_of(member: Member) -> Client:
    client = Client()
    client.force_login(member.user)
    return client


def url(name: str, thread: Thread, post: Post | None = None) -> str:
    return reverse(f"forum:{name}", args=[thread.course.slug, thread.number, *([post.pk] if post else [])])


def page(member: Member, address: str | Thread) -> str:
    response = client_of(member).get(address if isinstance(address, str) else address.get_absolute_url())
    assert response.status_code == 200
    return response.content.decode()


def said(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def set_course(world: World, **values: Any) -> None:
    Course.objects.filter(pk=world.course.pk).update(**values)


def now(member: Member) -> Member:
    """Return the member as the next request would see them."""
    return get_member(member.user, member.course.slug)


class Heard:
    """What was told while it was open, by signal."""

    def __init__(self, *signals: Any) -> None:
        self.signals, self.calls = signals, []  # type: ignore[var-annotated]

    def __enter__(self) -> "Heard":
        for signal in self.signals:
            signal.connect(self.hear, weak=False, dispatch_uid=f"heard-{id(self)}")
        return self

    def hear(self, signal: Any, **kwargs: Any) -> None:
        self.calls.append((signal, kwargs))

    def __exit__(self, *error: object) -> None:
        for signal in self.signals:
            signal.disconnect(dispatch_uid=f"heard-{id(self)}")

    def of(self, signal: Any) -> list[dict[str, Any]]:
        return [kwargs for heard, kwargs in self.calls if heard is signal]


@pytest.fixture
def thread(sam: Member) -> Thread:
    return factories.make_thread(sam, "Is a kangaroo a marsupial?", "I think it hops.")


# Hiding


def test_a_hidden_reply_is_nothing_to_classmates_and_grey_to_its_author(
    thread: Thread, sam: Member, noor: Member, tim: Member
) -> None:
    post = factories.make_post(noor, thread, "Wallabies eat the lecturer.")
    response = client_of(tim).post(url("hide-post", thread, post), {"reason": "Not kind. Write it again."}, follow=True)
    assert said(response) == "Hidden. Only its author and staff see it now."
    classmate = page(sam, thread)
    assert "Wallabies" not in classmate
    assert "No answers by people yet" in classmate
    assert client_of(sam).get(url("post-history", thread, post)).status_code == 404
    for member in (noor, tim):
        seen = page(member, thread)
        assert "Wallabies" in seen
        assert "Hidden by staff." in seen
        assert "Reason: Not kind. Write it again." in seen
        assert "unshown" in seen
    thread.refresh_from_db()
    assert (thread.reply_count, thread.status) == (0, Status.OPEN)
    assert not Post.objects.visible_to(sam).exists()
    assert Post.objects.visible_to(noor).count() == Post.objects.visible_to(tim).count() == 1
    assert "No counter has drifted." in check()


def test_a_hidden_thread_is_nothing_to_classmates(thread: Thread, sam: Member, noor: Member, tim: Member) -> None:
    factories.make_post(tim, thread, "It is.")
    actions.hide_text(by=tim, text=thread, reason="Exam question")
    assert client_of(noor).get(thread.get_absolute_url()).status_code == 404
    assert "kangaroo" not in page(noor, "/c/cs-101/")
    assert not Post.objects.visible_to(noor).exists()
    for member in (sam, tim):
        assert "Hidden by staff" in page(member, "/c/cs-101/")
        assert "Exam question" in page(member, thread)


def found(member: Member, word: str) -> list[str]:
    rows = SearchEntry.objects.visible_to(member).in_course(member, f"'{word}'")
    return [str(row.post_id or row.thread_id) for row in rows]


@pytest.mark.parametrize("state", [Moderation.HIDDEN, Moderation.PENDING])
def test_search_and_lists_hold_what_isnt_shown_for_its_author_and_staff_only(
    thread: Thread, sam: Member, noor: Member, tim: Member, state: Moderation
) -> None:
    post = factories.make_post(sam, thread, "A quokka smiles.")
    Post.objects.filter(pk=post.pk).update(moderation=state)
    Thread.objects.filter(pk=thread.pk).update(moderation=state)
    for member, sees in ((noor, False), (sam, True), (tim, True)):
        assert (found(member, "quokka") == [str(post.pk)]) == sees
        assert (found(member, "kangaroo") == [str(thread.pk)]) == sees
        assert Thread.objects.visible_to(member).filter(pk=thread.pk).exists() == sees
        assert Post.objects.visible_to(member).filter(pk=post.pk).exists() == sees
        assert ("kangaroo" in page(member, "/c/cs-101/")) == sees


def test_showing_again_is_the_undo(thread: Thread, sam: Member, noor: Member, tim: Member) -> None:
    post = factories.make_post(noor, thread, "It is one.")
    actions.hide_text(by=tim, text=post, reason="By mistake")
    with Heard(post_added, text_decided) as heard:
        response = client_of(tim).post(url("unhide-post", thread, post), follow=True)
    assert said(response) == "Everybody who may read the thread sees it again."
    assert not heard.of(post_added)  # it was told when it was written
    assert heard.of(text_decided)[0]["writing"] == post
    assert "It is one." in page(sam, thread)
    thread.refresh_from_db()
    assert (thread.reply_count, thread.status) == (1, Status.ANSWERED)
    actions.hide_text(by=tim, text=thread, reason="By mistake")
    actions.unhide_text(by=tim, text=thread)
    assert "kangaroo" in page(noor, thread)
    verbs = list(AuditEvent.objects.filter(actor=tim.user).order_by("pk").values_list("verb", flat=True))
    assert verbs == ["post.hidden", "post.unhidden", "thread.hidden", "thread.unhidden"]


def test_the_author_of_a_hidden_text_may_delete_and_not_edit_it(thread: Thread, noor: Member, tim: Member) -> None:
    post = factories.make_post(noor, thread)
    actions.hide_text(by=tim, text=post, reason="Rude")
    client = client_of(noor)
    opened = client.get(url("edit-post", thread, post)).content.decode()
    assert "Staff have hidden this: it stays as it was. You may delete it." in opened
    refused = client.post(url("edit-post", thread, post), {"body": "A kinder text of mine."})
    assert refused.status_code == 409
    assert "A kinder text of mine." in refused.content.decode()
    client.post(url("delete-post", thread, post))
    post.refresh_from_db()
    assert post.deleted_by == noor.user
    own = factories.make_thread(noor, "My hidden thread")
    actions.hide_text(by=tim, text=own, reason="Rude")
    refused = client.post(url("edit-thread", own), {"title": "Another title", "body": "A kinder thread."})
    assert refused.status_code == 409
    assert "A kinder thread." in refused.content.decode()
    with pytest.raises(Refused, match="stays as it was"):
        actions.edit_thread(by=noor, thread=own, title="Another", body="Text", tags=[])


def test_hiding_needs_a_reason(thread: Thread, tim: Member) -> None:
    response = client_of(tim).post(url("hide-thread", thread), {"reason": " "})
    assert response.status_code == 422
    assert "Say why: the author reads it." in response.content.decode()
    too_long = client_of(tim).post(url("hide-thread", thread), {"reason": "x" * 301})
    assert too_long.status_code == 422
    assert "x" * 301 in too_long.content.decode()
    thread.refresh_from_db()
    assert thread.is_shown


def test_comments_under_a_hidden_reply_stay_under_a_stub(
    thread: Thread, sam: Member, noor: Member, tim: Member
) -> None:
    first = factories.make_post(tim, thread, "A first reply.")
    post = factories.make_post(noor, thread, "Something hidden later.")
    factories.make_post(sam, thread, "My innocent comment.", parent=post)
    last = factories.make_post(tim, thread, "A last reply.")
    actions.hide_text(by=tim, text=post, reason="Rude")
    seen = page(sam, thread)
    assert "Something hidden later." not in seen
    assert "Surname-noor" not in seen
    assert "This reply was removed." in seen
    order = [
        seen.index(text) for text in (str(first.pk), "This reply was removed.", "My innocent comment.", str(last.pk))
    ]
    assert order == sorted(order)
    assert "2 answers · 1 comment" in seen


def test_a_hidden_answer_settles_nothing_and_is_neither_accepted_nor_endorsed(
    thread: Thread, sam: Member, noor: Member, tim: Member
) -> None:
    post = factories.make_post(noor, thread)
    actions.set_endorsement(by=tim, post=post, on=True)
    actions.accept_answer(by=sam, post=post, accepted=True)
    actions.hide_text(by=tim, text=post, reason="Wrong")
    thread.refresh_from_db()
    assert (thread.accepted_post, thread.status, thread.endorsement_count) == (None, Status.OPEN, 0)
    response = client_of(tim).post(url("accept-post", thread, post), follow=True)
    assert "can’t be the accepted answer" in said(response).replace("'", "’")
    with pytest.raises(Refused):
        actions.set_endorsement(by=tim, post=post, on=True)
    actions.set_endorsement(by=tim, post=post, on=False)
    with pytest.raises(Refused, match="takes no comments"):
        actions.add_reply(by=tim, thread=thread, parent=post, body="And?", form_key=uuid.uuid4())
    with pytest.raises(PermissionDenied):
        actions.set_vote(by=sam, target=Post.objects.get(pk=post.pk), on=True)
    assert "No counter has drifted." in check()


def test_a_comment_on_a_reply_hidden_meanwhile_comes_back(
    thread: Thread, sam: Member, noor: Member, tim: Member
) -> None:
    post = factories.make_post(noor, thread)
    actions.hide_text(by=tim, text=post, reason="Rude")
    typed = {"body": "My long comment", "anonymity": "named", "form_key": str(uuid.uuid4())}
    for member, sentence in ((sam, "here any more. Your text is still below."), (noor, "so it takes no comments.")):
        response = client_of(member).post(url("comment", thread, post), typed)
        assert response.status_code == 409
        assert sentence in response.content.decode()
        assert "My long comment" in response.content.decode()
    assert Post.objects.count() == 1


def test_hiding_twice_or_what_is_gone_is_refused(thread: Thread, noor: Member, tim: Member, ada: Member) -> None:
    post = factories.make_post(noor, thread)
    actions.hide_text(by=ada, text=post, reason="Rude")
    response = client_of(tim).post(url("hide-post", thread, post), {"reason": "My own reason"})
    assert response.status_code == 409
    assert "A colleague has hidden this already." in response.content.decode()
    assert "My own reason" in response.content.decode()
    actions.unhide_text(by=ada, text=post)
    again = client_of(tim).post(url("unhide-post", thread, post), follow=True)
    assert "a colleague was faster" in said(again)
    actions.delete_post(by=noor, post=post)
    assert client_of(tim).post(url("hide-post", thread, post), {"reason": "Rude"}).status_code == 404
    with pytest.raises(PermissionDenied):
        actions.hide_text(by=tim, text=post, reason="Rude")


def test_only_staff_hide_and_a_teaching_assistant_not_about_themselves(
    world: World, thread: Thread, sam: Member, noor: Member, tim: Member, ada: Member
) -> None:
    own = factories.make_thread(tim, "By the assistant")
    for by, text in ((noor, thread), (sam, thread), (tim, own)):
        with pytest.raises(PermissionDenied):
            actions.hide_text(by=by, text=text, reason="Because")
        with pytest.raises(PermissionDenied):
            actions.unhide_text(by=by, text=text)
        with pytest.raises(PermissionDenied):
            actions.approve_text(by=by, text=text)
    for name in ("hide-thread", "unhide-thread", "approve-thread"):
        assert client_of(noor).post(url(name, thread), {"reason": "Because"}).status_code == 403
    assert client_of(tim).get(url("hide-thread", own)).status_code == 403
    actions.hide_text(by=ada, text=own, reason="Too early")
    factories.archive(world.course)
    with pytest.raises(PermissionDenied):
        actions.unhide_text(by=Member(ada.user, world.course, ada.role), text=own)


# Approve first


@pytest.fixture
def approving(world: World) -> World:
    set_course(world, posting_policy="approve")
    return world


def test_what_students_post_waits_and_says_so(approving: World, sam: Member, noor: Member, tim: Member) -> None:
    with Heard(text_pending, post_added, people_mentioned) as heard:
        own = factories.make_thread(now(sam), "May I ask this?", "Hello @Noor Surname-noor")
        reply = factories.make_post(now(sam), own, "More of it, @Noor Surname-noor")
    assert [call["writing"] for call in heard.of(text_pending)] == [own, reply]
    assert not heard.of(post_added)
    assert not heard.of(people_mentioned)
    assert client_of(noor).get(own.get_absolute_url()).status_code == 404
    seen = page(sam, own)
    assert seen.count("Waits for approval.") == 2
    assert "Waits for approval" in page(sam, "/c/cs-101/")
    staff = factories.make_thread(now(tim), "By staff")
    private = factories.make_thread(now(sam), "For staff only", visibility="staff")
    assert staff.is_shown
    assert private.is_shown
    approvals = page(tim, "/c/cs-101/approvals/")
    assert "May I ask this?" in approvals
    assert "More of it" in approvals
    assert "For staff only" not in approvals
    assert client_of(noor).get("/c/cs-101/approvals/").status_code == 403


def test_approving_shows_tells_and_brings_up(approving: World, sam: Member, noor: Member, tim: Member) -> None:
    old = factories.make_thread(now(tim), "A thread of staff")
    own = factories.make_thread(now(sam), "May I ask this?", "Hello @Noor Surname-noor")
    reply = factories.make_post(now(sam), old, "See here, @Noor Surname-noor")
    before = timezone.now()
    with Heard(post_added, people_mentioned, text_decided) as heard:
        response = client_of(tim).post(url("approve-post", old, reply), {"from": "approvals"}, follow=True)
        assert response.redirect_chain[-1][0] == "/c/cs-101/approvals/"
        client_of(tim).post(url("approve-thread", own))
    assert [call["post"] for call in heard.of(post_added)] == [reply]
    assert [(call["thread"], call["post"], call["by"].user) for call in heard.of(people_mentioned)] == [
        (old, reply, sam.user), (own, None, sam.user),
    ]  # fmt: skip
    assert len(heard.of(text_decided)) == 2
    assert Mention.objects.filter(user=noor.user).count() == 2
    for thread in (old, own):
        thread.refresh_from_db()
    assert own.last_activity_at >= before
    assert (old.reply_count, old.status) == (1, Status.ANSWERED)
    assert "See here" in page(noor, old)
    assert "May I ask this?" in page(noor, own)
    assert "Nothing waits for approval" in page(tim, "/c/cs-101/approvals/")
    assert "No counter has drifted." in check()


def test_refusing_tells_the_author_why_and_may_be_taken_back(
    approving: World, sam: Member, noor: Member, tim: Member
) -> None:
    old = factories.make_thread(now(tim), "A thread of staff")
    reply = factories.make_post(now(sam), old, "Buy my notes")
    refuse = client_of(tim).post(url("hide-post", old, reply), {"reason": "No trade", "from": "approvals"}, follow=True)
    assert refuse.redirect_chain[-1][0] == "/c/cs-101/approvals/"
    assert "No trade" in page(sam, old)
    assert "Buy my notes" not in page(noor, old)
    assert AuditEvent.objects.filter(verb="post.refused", actor=tim.user).exists()
    with Heard(post_added) as heard:
        actions.unhide_text(by=tim, text=reply)
    assert [call["post"] for call in heard.of(post_added)] == [reply]  # nobody was told of it before
    actions.hide_text(by=tim, text=reply, reason="No trade after all")
    with append_only.changeable():
        AuditEvent.objects.filter(verb="post.refused").update(verb="post.approved")
    with Heard(post_added) as heard:
        actions.unhide_text(by=tim, text=reply)
    assert not heard.of(post_added)


def test_all_shown_are_approved_or_none(approving: World, sam: Member, noor: Member, tim: Member, ada: Member) -> None:
    old = factories.make_thread(now(tim), "A thread of staff")
    texts: list[Any] = [factories.make_thread(now(sam), f"Question {n}") for n in range(3)]
    texts += [factories.make_post(now(noor), old, f"Reply {n}") for n in range(3)]
    listed = page(tim, "/c/cs-101/approvals/")
    keys = [text.pk for text in texts]
    assert all(str(key) in listed for key in keys)
    assert "Approve all 6 shown" in listed
    actions.approve_text(by=ada, text=texts[3])
    response = client_of(tim).post("/c/cs-101/approvals/all/", {"text": keys}, follow=True)
    assert "Nothing was approved." in said(response)
    assert Post.objects.filter(moderation="pending").count() == 2
    assert Thread.objects.filter(moderation="pending").count() == 3
    del keys[3]
    response = client_of(tim).post("/c/cs-101/approvals/all/", {"text": keys}, follow=True)
    assert said(response) == "Approved 5 texts. Others see them now."
    assert not Thread.objects.exclude(moderation="shown").exists()
    assert not Post.objects.exclude(moderation="shown").exists()
    client = client_of(tim)
    assert client.post("/c/cs-101/approvals/all/", {"text": ["nonsense"]}).status_code == 404
    gone = client.post("/c/cs-101/approvals/all/", {"text": [str(uuid.uuid4())]}, follow=True)
    assert "One of the texts is gone." in said(gone)
    assert "Approved 0 texts" in said(client.post("/c/cs-101/approvals/all/", follow=True))
    assert client_of(noor).post("/c/cs-101/approvals/all/", {"text": keys}).status_code == 403
    with pytest.raises(PermissionDenied):
        access.waiting_texts(noor, 5)
    with pytest.raises(PermissionDenied):
        access.get_waiting(noor, [])


def test_what_was_approved_cant_be_changed_behind_it(approving: World, sam: Member, tim: Member) -> None:
    own = factories.make_thread(now(sam), "May I ask this?")
    actions.edit_thread(by=now(sam), thread=own, title="May I ask this now?", body="While it waits", tags=[])
    actions.approve_text(by=tim, text=own)
    with pytest.raises(Refused, match="can't change afterwards"):
        actions.edit_thread(by=now(sam), thread=own, title="Spam", body="Spam spam", tags=[])
    private = factories.make_thread(now(sam), "For staff only", visibility="staff")
    actions.edit_thread(by=now(sam), thread=private, title="For staff alone", body="Text", tags=[])
    reply = factories.make_post(now(sam), own, "A reply")
    actions.edit_post(by=now(sam), post=reply, body="Another reply")
    actions.approve_text(by=tim, text=reply)
    with pytest.raises(Refused):
        actions.edit_post(by=now(sam), post=reply, body="Spam")


def test_approving_what_is_gone_or_done_is_refused(approving: World, sam: Member, tim: Member) -> None:
    own = factories.make_thread(now(sam), "May I ask this?")
    reply = factories.make_post(now(sam), own)
    actions.delete_post(by=now(sam), post=reply)
    with pytest.raises(Refused, match="A reply in “May I ask this"):
        actions.approve_text(by=tim, text=reply)
    actions.approve_text(by=tim, text=own)
    again = client_of(tim).post(url("approve-thread", own), follow=True)
    assert "doesn't wait for approval any more" in said(again)


def test_a_reply_that_waits_takes_no_comments(approving: World, sam: Member, tim: Member) -> None:
    old = factories.make_thread(now(tim), "A thread of staff")
    reply = factories.make_post(now(sam), old)
    assert url("comment", old, reply) not in page(sam, old)
    for by in (sam, tim):
        with pytest.raises(Refused, match="takes no comments"):
            factories.make_post(now(by), old, "Hm", parent=reply)


def test_texts_of_people_who_left_or_are_gone_can_be_approved(
    approving: World, sam: Member, noor: Member, tim: Member
) -> None:
    left = factories.make_thread(now(sam), "By somebody who left", "@Noor Surname-noor")
    Enrollment.objects.filter(user=sam.user).delete()
    actions.approve_text(by=tim, text=left)
    assert Mention.objects.filter(thread=left).count() == 1
    gone = factories.make_thread(now(noor), "By somebody erased")
    Thread.objects.filter(pk=gone.pk).update(author=None)
    actions.approve_text(by=tim, text=gone)
    gone.refresh_from_db()
    assert gone.is_shown


def test_the_machine_answers_what_waits_and_only_its_readers_see_it(
    approving: World, sam: Member, noor: Member, tim: Member
) -> None:
    answer = factories.make_answer(now(sam), tim)
    assert answer.thread.moderation == Moderation.PENDING
    assert "From the course materials" in page(sam, answer.thread)
    assert client_of(noor).get(reverse("ai_answers:answer", args=["cs-101", answer.thread.number])).status_code == 404


def test_the_approvals_page_costs_the_same_at_one_and_at_many(approving: World, sam: Member, tim: Member) -> None:
    client = client_of(tim)
    old = factories.make_thread(now(tim), "A thread of staff")

    def add(number: int) -> None:
        factories.make_thread(now(sam), f"Question {number}", anonymity="all")
        factories.make_post(now(sam), old, f"Reply {number}")

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get("/c/cs-101/approvals/").status_code == 200
        return len(captured)

    add(0)
    at_one = cost()
    for number in range(1, 30):
        add(number)
    assert cost() == at_one <= 6
    assert "more follow" in page(tim, "/c/cs-101/approvals/")


# Posting closed


CLOSED = [
    ({"posting_policy": "read_only"}, "Only staff post in this course now."),
    ({"posting_closed_until": "soon"}, "Posting is closed until"),
    ("ban", "Staff have taken away your right to post."),
]


def close(world: World, how: Any) -> None:
    if how == "ban":
        person = Enrollment.objects.get(user=world.user("sam"), course=world.course)
        set_ban(by=world.member("tim"), person=person, until=None, reason="Rude")
    else:
        soon = {"soon": timezone.now() + timedelta(hours=2)}
        set_course(world, **{key: soon.get(value, value) for key, value in how.items()})


@pytest.mark.parametrize(("how", "sentence"), CLOSED)
def test_while_posting_is_closed_pages_say_so_and_typed_text_comes_back(
    world: World, thread: Thread, sam: Member, noor: Member, tim: Member, how: Any, sentence: str
) -> None:
    post = factories.make_post(noor, thread)
    own = factories.make_post(sam, thread, "Mine")
    close(world, how)
    client = client_of(sam)
    seen = page(sam, thread)
    assert sentence in seen
    assert "<textarea" not in seen
    asked = client.get(reverse("forum:ask", args=["cs-101"]), follow=True)
    assert asked.status_code == 403
    assert sentence in asked.content.decode()
    typed = {"body": "What I typed for long", "anonymity": "named", "form_key": str(uuid.uuid4())}
    for name, about in (("reply", None), ("comment", post), ("edit-post", own)):
        refused = client.post(url(name, thread, about), typed)
        assert refused.status_code == 409, name
        assert sentence in refused.content.decode(), name
        assert "What I typed for long" in refused.content.decode(), name
    refused = client.post(url("edit-thread", thread), {"title": "Another title", "body": "What I typed for long"})
    assert refused.status_code == 409
    assert sentence in refused.content.decode()
    asking = {
        "title": "A new question",
        "body": "What I typed for long",
        "kind": "question",
        "visibility": "course",
        "anonymity": "named",
    }
    refused = client.post(reverse("forum:ask", args=["cs-101"]), asking)
    assert refused.status_code == 409
    assert sentence in refused.content.decode()
    assert "What I typed for long" in refused.content.decode()
    assert (Post.objects.count(), Thread.objects.count()) == (2, 1)
    actions.set_vote(by=now(sam), target=post, on=True)  # reading and voting go on
    actions.delete_post(by=now(sam), post=own)  # and one may take back what one wrote
    factories.make_post(now(tim), thread, "By staff")


def test_an_exam_ends_by_itself_and_a_ban_too(world: World, thread: Thread, sam: Member, tim: Member) -> None:
    set_course(world, posting_closed_until=timezone.now() - timedelta(seconds=1))
    person = Enrollment.objects.get(user=sam.user, course=world.course)
    Enrollment.objects.filter(pk=person.pk).update(is_banned=True, banned_until=timezone.now() - timedelta(seconds=1))
    factories.make_post(now(sam), thread)
    Enrollment.objects.filter(pk=person.pk).update(banned_until=timezone.now() + timedelta(hours=1))
    assert "until" in now(sam).posting_closed


def test_a_locked_deleted_or_archived_thread_says_why_it_takes_no_reply(
    world: World, thread: Thread, sam: Member, tim: Member
) -> None:
    assert access.why_no_reply(sam, thread) == ""
    thread.is_locked = True
    assert "locked" in access.why_no_reply(sam, thread)
    assert access.why_no_reply(tim, thread) == ""
    thread.deleted_at = timezone.now()
    assert access.why_no_reply(tim, thread) == "This thread is deleted."
    factories.archive(world.course)
    assert access.why_no_reply(Member(sam.user, world.course, sam.role), thread) == "This course is read-only for you."


# Bans


def test_staff_ban_a_student_who_is_named_and_lift_it(world: World, thread: Thread, sam: Member, tim: Member) -> None:
    address = reverse("forum:ban", args=["cs-101", sam.user.pk])
    assert address in page(tim, thread)
    client = client_of(tim)
    past = client.post(address, {"reason": "Rude", "until": "2020-01-01T10:00"})
    assert past.status_code == 422
    assert "This time is over already." in past.content.decode()
    assert client.post(address, {"reason": ""}).status_code == 422
    response = client.post(address, {"reason": "Rude again", "until": "2035-01-01T10:00"}, follow=True)
    assert said(response) == "Sam Surname-sam can read, and can’t post."
    assert "until 1 January 2035" in response.content.decode()
    assert "Rude again" in now(sam).posting_closed
    response = client.post(address, {"lift": "1"}, follow=True)
    assert said(response) == "Sam Surname-sam may post again."
    assert not now(sam).posting_closed
    client.post(address, {"lift": "1"})  # twice does nothing
    assert list(AuditEvent.objects.order_by("pk").values_list("verb", "actor")) == [
        ("enrollment.banned", tim.user.pk), ("enrollment.unbanned", tim.user.pk),
    ]  # fmt: skip


def test_who_hides_is_offered_to_nobody_for_a_ban(sam: Member, noor: Member, tim: Member) -> None:
    hidden = factories.make_thread(sam, "Hidden from all", anonymity="all")
    factories.make_post(noor, hidden, "Me too", anonymity="all")
    assert "/ban/" not in page(tim, hidden)
    assert "/ban/" not in page(noor, factories.make_thread(sam, "Named"))


def test_nobody_bans_an_instructor_and_no_assistant_an_assistant(
    world: World, thread: Thread, sam: Member, noor: Member, tim: Member, ada: Member
) -> None:
    def person(name: str) -> Enrollment:
        return Enrollment.objects.get(user=world.user(name), course=world.course)

    for by, name in ((tim, "ada"), (ada, "ada"), (tim, "tim"), (noor, "sam")):
        with pytest.raises(PermissionDenied):
            set_ban(by=by, person=person(name), until=None, reason="Because")
        with pytest.raises(PermissionDenied):
            lift_ban(by=by, person=person(name))
    elsewhere = Enrollment.objects.get(user=world.user("pat"))
    with pytest.raises(PermissionDenied):
        set_ban(by=ada, person=elsewhere, until=None, reason="Because")
    address = reverse("forum:ban", args=["cs-101", ada.user.pk])
    assert client_of(tim).get(address).status_code == 403
    assert client_of(noor).get(address).status_code == 403
    assert client_of(tim).get(reverse("forum:ban", args=["cs-101", world.user("pat").pk])).status_code == 404
    assert client_of(tim).get(reverse("forum:ban", args=["cs-101", world.user("dana").pk])).status_code == 404
    set_ban(by=ada, person=person("tim"), until=None, reason="Too loud")
    with pytest.raises(Refused, match="Too loud"):
        factories.make_post(now(tim), thread)
    factories.archive(world.course)
    with pytest.raises(PermissionDenied):
        set_ban(by=Member(ada.user, world.course, ada.role), person=person("sam"), until=None, reason="Late")


# Anonymity policy


@pytest.mark.parametrize(("policy", "asked"), [("named", "all"), ("named", "classmates"), ("classmates", "all")])
def test_a_way_of_hiding_the_course_forbids_never_posts_under_the_name(
    world: World, thread: Thread, sam: Member, noor: Member, policy: str, asked: str
) -> None:
    set_course(world, anonymity_policy=policy)
    client = client_of(noor)
    typed = {"body": "Something I said believing to hide", "anonymity": asked, "form_key": str(uuid.uuid4())}
    new = typed | {"title": "A hidden question", "kind": "question", "visibility": "course"}
    for address in (reverse("forum:ask", args=["cs-101"]), url("reply", thread)):
        refused = client.post(address, new)
        assert refused.status_code == 422
        assert "Choose again before you post." in refused.content.decode()
        assert "believing to hide" in refused.content.decode()
    post = factories.make_post(sam, thread)
    refused = client.post(url("comment", thread, post), typed)
    assert refused.status_code == 422
    assert "Choose again before you post." in refused.content.decode()
    draft = actions.ThreadDraft(title="A question", body="Text", anonymity=asked)  # type: ignore[arg-type]
    with pytest.raises(PermissionDenied):
        actions.start_thread(by=now(noor), draft=draft, form_key=uuid.uuid4())
    with pytest.raises(PermissionDenied):
        factories.make_post(now(noor), thread, anonymity=asked)
    assert Thread.objects.count() == Post.objects.count() == 1


def test_the_ask_page_promises_no_more_than_the_course_keeps(world: World, sam: Member) -> None:
    ask = reverse("forum:ask", args=["cs-101"])
    assert "see a pseudonym only" in page(sam, ask)
    set_course(world, anonymity_policy="classmates", posting_policy="approve")
    seen = page(sam, ask)
    assert "see a pseudonym only" not in seen
    assert "staff see your name" in seen
    assert "Staff approve it before" in seen
    set_course(world, anonymity_policy="named")
    assert "pseudonym" not in page(sam, ask)


# Duplicates


def test_staff_and_the_asker_point_at_the_same_question(thread: Thread, sam: Member, noor: Member, tim: Member) -> None:
    first = factories.make_thread(noor, "Is a kangaroo a marsupial at all?")
    form = client_of(sam).get(url("duplicate", thread)).content.decode()
    assert "Threads like it" in form
    response = client_of(sam).post(url("duplicate", thread), {"number": f"#{first.number}"}, follow=True)
    assert said(response) == f"Marked as the same question as #{first.number}."
    assert f"#{first.number} Is a kangaroo a marsupial at all?" in page(noor, thread)
    client_of(tim).post(url("duplicate", thread), {"on": "0"})
    thread.refresh_from_db()
    assert thread.duplicate_of is None
    assert client_of(noor).post(url("duplicate", thread), {"number": first.number}).status_code == 403
    with pytest.raises(PermissionDenied):
        actions.set_duplicate(by=noor, thread=thread, of=first)
    verbs = list(AuditEvent.objects.order_by("pk").values_list("verb", "actor", "data"))
    assert verbs == [
        ("thread.marked-duplicate", sam.user.pk, {"of": first.number}), ("thread.unmarked-duplicate", tim.user.pk, {}),
    ]  # fmt: skip


def test_a_duplicate_is_named_to_those_only_who_may_read_it(
    thread: Thread, sam: Member, noor: Member, tim: Member
) -> None:
    private = factories.make_thread(noor, "My secret grade", visibility="staff")
    actions.set_duplicate(by=tim, thread=thread, of=private)
    assert "My secret grade" in page(tim, thread)
    assert "My secret grade" in page(noor, thread)
    assert "My secret grade" not in page(sam, thread)
    assert "in a thread you can’t read" in page(sam, thread)
    with pytest.raises(PermissionDenied):
        actions.set_duplicate(by=sam, thread=thread, of=private)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [("", "Give the number"), ("12 or so", "Give a number"), ("999", "There is no thread #999"), ("1", "of itself")],
)
def test_a_wrong_number_is_explained(thread: Thread, tim: Member, number: str, sentence: str) -> None:
    response = client_of(tim).post(url("duplicate", thread), {"number": number, "x": "1"})
    assert response.status_code == 422
    assert sentence in response.content.decode()


def test_two_threads_dont_point_at_each_other(thread: Thread, noor: Member, tim: Member) -> None:
    other = factories.make_thread(noor)
    actions.set_duplicate(by=tim, thread=thread, of=other)
    other.refresh_from_db()
    with pytest.raises(Refused, match="already"):
        actions.set_duplicate(by=tim, thread=other, of=Thread.objects.get(pk=thread.pk))


def test_the_asker_who_hides_isnt_named_by_the_log(sam: Member, noor: Member) -> None:
    hidden = factories.make_thread(sam, "Hidden from all", anonymity="all")
    other = factories.make_thread(noor)
    actions.set_duplicate(by=sam, thread=hidden, of=other)
    assert AuditEvent.objects.get(verb="thread.marked-duplicate").actor is None


def test_similar_threads_are_only_a_help(thread: Thread, tim: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def broken(*args: Any, **kwargs: Any) -> None:
        raise OperationalError

    monkeypatch.setattr("forum.views.filing.similar_threads", broken)
    for name in ("duplicate", "merge"):
        assert client_of(tim).get(url(name, thread)).status_code == 200
