"""Two threads that ask the same become one, and come apart again exactly, whatever people did in between."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.access import Member
from accounts.models import AuditEvent
from ai_answers import actions as ai_actions
from ai_answers.models import Answer, AnswerStatus
from forum import actions
from forum.access import Refused
from forum.models import (
    Anonymity,
    Draft,
    Flag,
    FlagReason,
    Follow,
    FollowState,
    Mention,
    Merge,
    Moderation,
    Notification,
    NotificationKind,
    Post,
    Pseudonym,
    SameQuestion,
    SearchEntry,
    StaffNote,
    Status,
    Thread,
    Vote,
)
from tests import factories
from tests.factories import World
from tests.forum.test_counters import check

pytestmark = pytest.mark.django_db


def client_of(member: Member) -> Client:
    client = Client()
    client.force_login(member.user)
    return client


def url(name: str, thread: Thread, post: Post | None = None) -> str:
    return reverse(f"forum:{name}", args=[thread.course.slug, thread.number, *([post.pk] if post else [])])


def page(member: Member, thread: Thread) -> str:
    response = client_of(member).get(thread.get_absolute_url())
    assert response.status_code == 200
    return response.content.decode()


def said(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def state(*threads: Thread) -> list[Any]:
    """Return everything a merge may touch, to be compared."""
    keys = [thread.pk for thread in threads]
    rows: list[Any] = [
        Thread.objects.filter(pk__in=keys).order_by("pk").values(
            "merged_into", "status", "accepted_post", "reply_count", "vote_count", "same_count", "endorsement_count",
            "last_activity_at", "duplicate_of", "pseudonym",
        ),
        Post.objects.filter(thread__in=keys).order_by("pk").values("pk", "thread", "pseudonym", "vote_count"),
        Pseudonym.objects.filter(thread__in=keys).order_by("pk").values("pk", "thread", "name", "user"),
    ]  # fmt: skip
    for model in (Vote, SameQuestion, Follow, Mention, Notification, Flag, StaffNote, Draft, Answer):
        rows.append(model.objects.filter(thread__in=keys).order_by("pk").values())
    rows.append(
        SearchEntry.objects.filter(thread__in=keys).order_by("post", "thread").values("thread", "post", "vector")
    )
    return [list(found) for found in rows]


@pytest.fixture
def pair(world: World, sam: Member, noor: Member, tim: Member, ada: Member) -> tuple[Thread, Thread]:
    """Two questions with everything a thread can have."""
    source = factories.make_thread(sam, "Why is my list shared?", "It keeps old values.")
    target = factories.make_thread(noor, "Why does a default list keep values?", "See title.")
    for thread, asker in ((source, sam), (target, noor)):
        actions.follow(user=asker.user, thread=thread)
    reply = factories.make_post(noor, source, "Because of defaults, @Sam Surname-sam")
    factories.make_post(sam, source, "Thanks.", parent=reply)
    factories.make_post(tim, target, "They are evaluated once.")
    actions.set_endorsement(by=tim, post=reply, on=True)
    actions.accept_answer(by=sam, post=reply, accepted=True)
    actions.set_vote(by=tim, target=source, on=True)
    actions.set_vote(by=noor, target=source, on=True)  # the author of the target
    actions.set_vote(by=ada, target=source, on=True)
    actions.set_vote(by=ada, target=target, on=True)
    actions.set_same_question(by=noor, thread=source, on=True)
    actions.flag_text(by=ada, text=reply, reason=FlagReason.WRONG)
    actions.add_staff_note(by=tim, thread=source, body="A note", form_key=uuid.uuid4())
    actions.save_draft(by=ada, thread=source, post=None, fields={"body": "Half a reply"})
    actions.save_draft(by=sam, thread=source, post=reply, fields={"body": "Half a comment"})
    actions.set_follow(by=ada, thread=source, state=FollowState.MUTED)
    Notification.objects.create(
        institution=world.institution, user=sam.user, course=world.course, thread=source, post=reply,
        kind=NotificationKind.REPLY,
    )  # fmt: skip
    for thread in (source, target):
        thread.refresh_from_db()
    return source, target


def test_everything_under_the_source_stands_in_the_target(
    pair: tuple[Thread, Thread], sam: Member, noor: Member, tim: Member, ada: Member
) -> None:
    source, target = pair
    merge = actions.merge_threads(by=tim, source=source, target=target)
    for thread in pair:
        thread.refresh_from_db()
    assert source.merged_into == target
    assert set(Post.objects.values_list("thread", flat=True)) == {target.pk}
    assert (target.reply_count, target.endorsement_count, source.reply_count) == (3, 1, 0)
    # tim and ada; ada not twice, and not noor, whose thread it is
    assert (target.vote_count, source.vote_count) == (2, 3)
    assert set(SameQuestion.objects.filter(thread=target).values_list("user", flat=True)) == {sam.user.pk}
    follows = dict(Follow.objects.filter(thread=target).values_list("user", "state"))
    followers = dict.fromkeys((noor.user.pk, sam.user.pk, tim.user.pk), "following")
    assert follows == followers | {ada.user.pk: "muted"}
    for model in (Mention, Notification, Flag, StaffNote, Draft):
        assert set(model.objects.values_list("thread", flat=True)) == {target.pk}, model
    assert target.accepted_post is None
    assert target.status == Status.ANSWERED
    assert set(SearchEntry.objects.exclude(post=None).values_list("thread", flat=True)) == {target.pk}
    assert merge.carried["accepted"] == str(source.accepted_post_id)
    assert list(Merge.objects.visible_to(ada)) == [merge]
    assert not Merge.objects.visible_to(sam).exists()
    assert AuditEvent.objects.get(verb="thread.merged").data == {"into": target.number}
    assert "No counter has drifted." in check()


def test_undo_takes_back_exactly_what_the_merge_did(pair: tuple[Thread, Thread], tim: Member) -> None:
    source, target = pair
    before = state(source, target)
    merge = actions.merge_threads(by=tim, source=source, target=target)
    assert state(source, target) != before
    actions.undo_merge(by=tim, merge=merge)
    assert state(source, target) == before
    assert "No counter has drifted." in check()
    assert AuditEvent.objects.filter(verb="thread.merge-undone", actor=tim.user).count() == 1
    actions.merge_threads(by=tim, source=source, target=target)  # and again


def test_what_people_wrote_in_between_stays_where_it_belongs(
    pair: tuple[Thread, Thread], sam: Member, noor: Member, tim: Member
) -> None:
    source, target = pair
    moved = Post.objects.get(thread=source, parent=None)
    merge = actions.merge_threads(by=tim, source=source, target=target)
    fresh = factories.make_post(sam, target, "Written after the merge.")
    comment = factories.make_post(sam, target, "A comment after the merge.", parent=moved)
    actions.set_same_question(by=sam, thread=target, on=False)
    actions.set_vote(by=sam, target=target, on=True)
    with pytest.raises(Refused, match="moved to another thread just now"):
        actions.accept_answer(by=noor, post=moved, accepted=True)  # from a page opened before
    moved.refresh_from_db()
    actions.accept_answer(by=noor, post=moved, accepted=True)
    actions.undo_merge(by=tim, merge=merge)
    for row, place in ((moved, source), (fresh, target), (comment, source)):
        row.refresh_from_db()
        assert row.thread_id == place.pk, row.body
    for thread in pair:
        thread.refresh_from_db()
    assert (target.accepted_post, target.status, target.vote_count) == (None, Status.ANSWERED, 2)
    assert (source.accepted_post, source.status) == (moved, Status.RESOLVED)
    assert target.last_activity_at == fresh.created_at
    assert "No counter has drifted." in check()


def test_an_accepted_answer_that_went_away_meanwhile_settles_nothing_after_the_undo(
    pair: tuple[Thread, Thread], noor: Member, tim: Member
) -> None:
    source, target = pair
    reply = Post.objects.get(thread=source, parent=None)
    merge = actions.merge_threads(by=tim, source=source, target=target)
    actions.delete_post(by=noor, post=Post.objects.get(pk=reply.pk))
    actions.undo_merge(by=tim, merge=merge)
    source.refresh_from_db()
    assert (source.accepted_post, source.status) == (None, Status.OPEN)


@pytest.mark.parametrize("who", ["sam", "noor", "tim"])
def test_old_addresses_lead_on(pair: tuple[Thread, Thread], world: World, tim: Member, who: str) -> None:
    source, target = pair
    reply = Post.objects.get(thread=source, parent=None)
    actions.merge_threads(by=tim, source=source, target=target)
    client = client_of(world.member(who))
    response = client.get(source.get_absolute_url(), follow=True)
    assert response.redirect_chain == [(target.get_absolute_url(), 302)]
    assert said(response) == f"#{source.number} was merged into this thread. Its replies are here."
    seen = response.content.decode()
    assert f'id="post-{reply.pk}"' in seen
    assert "Also asked as" in seen
    assert "Why is my list shared?" in seen
    assert "It keeps old values." in seen
    assert ("Undo the merge" in seen) == (who == "tim")
    voted = client.post(url("vote-post", source, reply), {"on": "1"})
    assert voted.status_code in (302, 403)  # not for oneself
    assert client.get(url("post-history", source, reply)).status_code == 200
    assert client.get(url("edit-thread", source)).status_code == 404
    assert source.title not in client.get("/c/cs-101/").content.decode()


def test_a_page_left_open_loses_nothing(pair: tuple[Thread, Thread], sam: Member, tim: Member) -> None:
    source, target = pair
    reply = Post.objects.get(thread=source, parent=None)
    actions.merge_threads(by=tim, source=source, target=target)
    typed = {"body": "Typed on the old page", "anonymity": "named", "form_key": str(uuid.uuid4())}
    client = client_of(sam)
    response = client.post(url("reply", source), typed)
    assert response["Location"].startswith(target.get_absolute_url())
    client.post(url("comment", source, reply), typed | {"body": "A comment there"})
    assert Post.objects.filter(thread=target, body__in=["Typed on the old page", "A comment there"]).count() == 2
    client.post(url("draft-reply", source), {"body": "Half of it"})
    assert Draft.objects.filter(user=sam.user, thread=target, post=None).exists()
    before = state(source, target)
    for name in ("lock-thread", "delete-thread", "resolve-thread", "vote-thread"):
        assert client_of(tim).post(url(name, source), {"on": "1"})["Location"] == target.get_absolute_url()
    assert state(source, target) == before
    stale = Thread.objects.get(pk=source.pk)
    with pytest.raises(Refused, match="merged into another one"):
        actions.add_reply(by=sam, thread=stale, body="Too late", form_key=uuid.uuid4())


def test_staff_merge_with_a_number_and_a_look_at_both(pair: tuple[Thread, Thread], noor: Member, tim: Member) -> None:
    source, target = pair
    client = client_of(tim)
    first = client.get(url("merge", source)).content.decode()
    assert "Threads like it" in first
    assert target.title in first
    preview = client.get(url("merge", source), {"into": f"#{target.number}"}).content.decode()
    for shown in (f"Merge #{source.number} into #{target.number}?", source.title, target.title, "2 replies", "3 votes"):
        assert shown in preview
    assert not Merge.objects.exists()
    response = client.post(url("merge", source), {"number": target.number}, follow=True)
    assert f"Merged #{source.number} into this thread." in said(response)
    merge = Merge.objects.get()
    undo = reverse("forum:undo-merge", args=["cs-101", merge.pk])
    assert undo in response.content.decode()
    assert client_of(noor).post(undo).status_code == 403
    response = client.post(undo, follow=True)
    assert said(response) == f"Undone: #{source.number} stands on its own again."
    assert said(client.post(undo, follow=True)) == "This merge was undone already."
    assert client_of(noor).post(url("merge", source), {"number": target.number}).status_code == 403
    with pytest.raises(PermissionDenied):
        actions.merge_threads(by=noor, source=source, target=target)
    with pytest.raises(PermissionDenied):
        actions.undo_merge(by=noor, merge=merge)


@pytest.mark.parametrize("persona", ["eve", "pat", "dana"])
def test_outsiders_merge_nothing(pair: tuple[Thread, Thread], world: World, tim: Member, persona: str) -> None:
    source, target = pair
    merge = actions.merge_threads(by=tim, source=source, target=target)
    client = Client()
    client.force_login(world.user(persona))
    assert client.post(url("merge", target), {"number": "1"}).status_code == 404
    assert client.post(reverse("forum:undo-merge", args=["cs-101", merge.pk])).status_code == 404
    assert client.get(source.get_absolute_url()).status_code == 404
    foreign = factories.make_thread(world.member("pat", world.other_course), "Elsewhere")
    with pytest.raises(PermissionDenied):
        actions.merge_threads(by=world.member("pat", world.other_course), source=target, target=foreign)


def spoil(thread: Thread, how: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "deleted": {"deleted_at": thread.created_at},
        "private": {"visibility": "staff"},
        "hidden": {"moderation": Moderation.HIDDEN},
        "pending": {"moderation": Moderation.PENDING},
        "announcement": {"kind": "announcement"},
        "discussion": {"kind": "discussion"},
    }
    Thread.objects.filter(pk=thread.pk).update(**changes[how])


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("deleted", "is deleted"),
        ("private", "is private"),
        ("hidden", "isn't shown to the course now"),
        ("pending", "isn't shown to the course now"),
        ("announcement", "Announcements can't be merged"),
        ("discussion", "A question and a discussion can't be merged"),
    ],
)
def test_what_cant_be_merged_says_why(
    pair: tuple[Thread, Thread], tim: Member, which: int, how: str, sentence: str
) -> None:
    source, target = pair
    spoil(pair[which], how)
    with pytest.raises(Refused, match=sentence):
        actions.merge_threads(by=tim, source=source, target=target)
    if how != "deleted":
        response = client_of(tim).get(url("merge", source), {"into": target.number})
        assert response.status_code == 422
        assert sentence.replace("'", "&#x27;") in response.content.decode()


def test_not_with_itself_nor_with_what_was_merged_or_is_elsewhere(
    world: World, pair: tuple[Thread, Thread], sam: Member, tim: Member
) -> None:
    source, target = pair
    third = factories.make_thread(sam, "A third thread")
    with pytest.raises(Refused, match="into itself"):
        actions.merge_threads(by=tim, source=source, target=source)
    foreign = factories.make_thread(world.member("pat", world.other_course), "Elsewhere")
    with pytest.raises(Refused, match="in this course"):
        actions.merge_threads(by=tim, source=source, target=foreign)
    actions.merge_threads(by=tim, source=source, target=target)
    for pairing in ((source, third), (third, source), (target, source)):
        with pytest.raises(Refused, match=r"#1 was merged into another thread already"):
            actions.merge_threads(by=tim, source=pairing[0], target=pairing[1])
    missing = client_of(tim).post(url("merge", third), {"number": "99"})
    assert missing.status_code == 422
    factories.archive(world.course)
    with pytest.raises(PermissionDenied):
        actions.merge_threads(by=Member(tim.user, world.course, tim.role), source=third, target=target)


def test_merges_can_be_chained_and_are_undone_from_the_last(
    pair: tuple[Thread, Thread], sam: Member, tim: Member
) -> None:
    source, target = pair
    third = factories.make_thread(sam, "A third thread")
    Notification.objects.update(read_at=timezone.now())  # looking at the pages below reads them
    before = state(source, target, third)
    first = actions.merge_threads(by=tim, source=source, target=target)
    second = actions.merge_threads(by=tim, source=target, target=third)
    seen = page(sam, third)
    assert source.title in seen
    assert target.title in seen
    response = client_of(sam).get(source.get_absolute_url(), follow=True)
    assert response.redirect_chain[-1][0] == third.get_absolute_url()
    response = client_of(tim).post(reverse("forum:undo-merge", args=["cs-101", first.pk]), follow=True)
    assert "Undo that first." in said(response)
    actions.undo_merge(by=tim, merge=second)
    actions.undo_merge(by=tim, merge=first)
    assert state(source, target, third) == before
    assert "No counter has drifted." in check()


def test_a_target_that_pointed_at_the_source_doesnt_point_at_itself(
    pair: tuple[Thread, Thread], sam: Member, tim: Member
) -> None:
    source, target = pair
    third = factories.make_thread(sam, "A third thread")
    actions.set_duplicate(by=tim, thread=target, of=source)
    actions.set_duplicate(by=tim, thread=third, of=source)
    merge = actions.merge_threads(by=tim, source=source, target=target)
    target.refresh_from_db()
    assert target.duplicate_of is None
    assert f"#{target.number} {target.title}" in page(sam, third)
    actions.undo_merge(by=tim, merge=merge)
    target.refresh_from_db()
    assert target.duplicate_of == source


# Names


def test_a_pseudonym_comes_along_and_goes_back(sam: Member, noor: Member, tim: Member) -> None:
    source = factories.make_thread(sam, "Hidden asker", anonymity="all")
    target = factories.make_thread(noor, "Named asker")
    name = source.pseudonym.name  # type: ignore[union-attr]
    post = factories.make_post(sam, source, "More.", anonymity="all")
    before = state(source, target)
    merge = actions.merge_threads(by=tim, source=source, target=target)
    assert name in page(tim, target)
    again = factories.make_post(sam, target, "Even more.", anonymity="all")
    assert again.pseudonym == post.pseudonym
    assert "Surname-sam" not in page(tim, target)
    actions.undo_merge(by=tim, merge=merge)
    # In use in both by now: each thread keeps the name.
    post.refresh_from_db()
    again.refresh_from_db()
    source.refresh_from_db()
    assert post.pseudonym == source.pseudonym != again.pseudonym
    assert {str(p) for p in Pseudonym.objects.all()} == {name}
    assert (
        actions.add_reply(by=sam, thread=source, body="Hm", form_key=uuid.uuid4(), anonymity=Anonymity.ALL).pseudonym
        == post.pseudonym
    )
    assert before[2][0]["pk"] == again.pseudonym_id


def test_two_people_by_one_name_get_two_and_one_person_keeps_both(
    world: World, sam: Member, noor: Member, tim: Member
) -> None:
    source = factories.make_thread(sam, "Hidden asker", anonymity="all")
    target = factories.make_thread(noor, "Hidden as well", anonymity="all")
    both = factories.make_post(noor, source, "Me too.", anonymity="all")
    Pseudonym.objects.filter(pk__in=[source.pseudonym_id, target.pseudonym_id]).update(name="Tall Giraffe")
    before = state(source, target)
    merge = actions.merge_threads(by=tim, source=source, target=target)
    names: dict[object, Pseudonym] = {p.pk: p for p in Pseudonym.objects.all()}
    assert names[target.pseudonym_id].name == "Tall Giraffe"
    assert names[source.pseudonym_id].name != "Tall Giraffe"
    assert names[source.pseudonym_id].thread == target
    assert names[both.pseudonym_id].thread == source
    actions.undo_merge(by=tim, merge=merge)
    assert state(source, target) == before
    Pseudonym.objects.filter(pk=str(both.pseudonym_id)).update(user=None)
    merge = actions.merge_threads(by=tim, source=source, target=target)
    both.refresh_from_db()
    assert both.pseudonym.thread == target  # type: ignore[union-attr]
    Post.objects.filter(pk=both.pk).delete()
    Pseudonym.objects.filter(pk=str(both.pseudonym_id)).delete()
    actions.undo_merge(by=tim, merge=merge)


@pytest.mark.parametrize("hides", ["source", "target", "both"])
def test_counts_dont_say_whether_two_who_hide_are_one(
    world: World, sam: Member, noor: Member, tim: Member, hides: str
) -> None:
    counts = []
    for asker in (sam, noor):
        source = factories.make_thread(asker, "A question", anonymity="all" if hides != "target" else "named")
        target = factories.make_thread(noor, "A question too", anonymity="all" if hides != "source" else "named")
        actions.merge_threads(by=tim, source=source, target=target)
        target.refresh_from_db()
        counts.append(target.same_count)
    assert counts == [0, 0]


def test_discussions_carry_no_questions(sam: Member, noor: Member, tim: Member) -> None:
    source, target = (factories.make_thread(by, "Let us talk", kind="discussion") for by in (sam, noor))
    actions.merge_threads(by=tim, source=source, target=target)
    assert not SameQuestion.objects.exists()


def test_a_draft_stays_when_its_writer_has_one_there(pair: tuple[Thread, Thread], ada: Member, tim: Member) -> None:
    source, target = pair
    actions.save_draft(by=ada, thread=target, post=None, fields={"body": "Another half"})
    merge = actions.merge_threads(by=tim, source=source, target=target)
    assert Draft.objects.filter(user=ada.user).count() == 2
    actions.undo_merge(by=tim, merge=merge)
    assert Draft.objects.get(user=ada.user, thread=source).fields == {"body": "Half a reply"}


# The machine's answer


@pytest.fixture
def answered(pair: tuple[Thread, Thread], sam: Member, tim: Member) -> Answer:
    answer = factories.make_answer(sam, tim)
    ai_actions.set_answer_endorsement(by=tim, answer=answer, on=True)
    return answer


def test_a_published_answer_comes_along_with_its_citations(
    pair: tuple[Thread, Thread], answered: Answer, tim: Member, sam: Member
) -> None:
    target = pair[1]
    source = answered.thread
    waiting = Answer.objects.get(thread=target)
    assert waiting.status != AnswerStatus.PUBLISHED
    before = state(source, target)
    merge = actions.merge_threads(by=tim, source=source, target=target)
    assert Answer.objects.get(thread=target) == answered
    assert Answer.objects.get(thread=source) == waiting
    assert "quotation-1" in page(sam, target)
    target.refresh_from_db()
    assert target.endorsement_count == 1
    assert "No counter has drifted." in check()
    actions.undo_merge(by=tim, merge=merge)
    assert state(source, target) == before
    assert "No counter has drifted." in check()


def test_a_target_without_any_answer_gets_the_published_one(
    pair: tuple[Thread, Thread], answered: Answer, tim: Member
) -> None:
    target = pair[1]
    Answer.objects.filter(thread=target).delete()
    merge = actions.merge_threads(by=tim, source=answered.thread, target=target)
    assert Answer.objects.get(thread=target) == answered
    actions.undo_merge(by=tim, merge=merge)
    assert not Answer.objects.filter(thread=target).exists()
    merge = actions.merge_threads(by=tim, source=answered.thread, target=target)
    answered.delete()
    actions.undo_merge(by=tim, merge=merge)


def test_a_target_keeps_its_own_published_answer(pair: tuple[Thread, Thread], answered: Answer, tim: Member) -> None:
    target = pair[1]
    own = factories.put_answer(target, "published")
    merge = actions.merge_threads(by=tim, source=answered.thread, target=target)
    assert Answer.objects.get(thread=target) == own
    assert merge.carried["ai_answers"] == {}


# At the same time


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do all of them in threads of their own; return what each returned or raised."""
    ready = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        ready.wait()
        try:
            return act()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


@pytest.mark.django_db(transaction=True)
def test_two_staff_who_merge_the_two_ways_round_get_one_merge() -> None:
    world = factories.make_world()
    sam, tim, ada = (world.member(name) for name in ("sam", "tim", "ada"))
    for _ in range(6):
        one, two = (factories.make_thread(sam, f"Thread {number}") for number in range(2))
        for thread in (one, two):
            factories.make_post(tim, thread)
        results = at_once(
            lambda one=one, two=two: actions.merge_threads(by=tim, source=one, target=two),  # type: ignore[misc]
            lambda one=one, two=two: actions.merge_threads(by=ada, source=two, target=one),  # type: ignore[misc]
        )
        assert sorted(type(result).__name__ for result in results) == ["Merge", "Refused"]
        refusal = next(result for result in results if isinstance(result, Refused))
        assert "was merged into another thread already" in str(refusal)
    assert "No counter has drifted." in check()


@pytest.mark.django_db(transaction=True)
def test_people_who_write_and_vote_during_a_merge_lose_nothing() -> None:
    world = factories.make_world()
    sam, noor, tim, ada = (world.member(name) for name in ("sam", "noor", "tim", "ada"))
    source, target = factories.make_thread(sam), factories.make_thread(noor)
    post = factories.make_post(sam, source)

    def write() -> int:
        done = 0
        for number in range(12):
            try:
                actions.add_reply(by=noor, thread=source, body=f"Reply {number}", form_key=uuid.uuid4())
                done += 1
            except Refused:
                pass
            actions.set_vote(by=noor, target=post, on=number % 2 == 0)
            actions.set_vote(by=ada, target=source, on=number % 2 == 0)
        return done

    def merge() -> Merge:
        return actions.merge_threads(by=tim, source=source, target=target)

    written, merged = at_once(write, merge)
    assert isinstance(written, int), written
    assert isinstance(merged, Merge), merged
    assert Post.objects.filter(thread=target).count() == 1 + written
    assert not Post.objects.filter(thread=source).exists()
    assert "No counter has drifted." in check()
    actions.undo_merge(by=tim, merge=merged)
    assert Post.objects.filter(thread=source).count() == 1 + written
    assert "No counter has drifted." in check()


def test_the_text_of_a_merged_thread_is_flagged_and_hidden_like_any_other(
    pair: tuple[Thread, Thread], noor: Member, tim: Member, ada: Member
) -> None:
    source, target = pair
    actions.merge_threads(by=tim, source=source, target=target)
    assert url("flag-thread", source) in page(ada, target)
    flagged = client_of(ada).post(url("flag-thread", source), {"reason": "spam"}, follow=True)
    assert "Thank you." in said(flagged)
    assert flagged.redirect_chain[-1][0] == target.get_absolute_url()
    assert "It keeps old values." in client_of(tim).get("/c/cs-101/flags/").content.decode()
    client_of(tim).post(url("decide-thread", source), {"decision": "hide", "note": "Spam"})
    assert "It keeps old values." not in page(noor, target)
    assert client_of(noor).get(source.get_absolute_url()).status_code == 404
    assert "It keeps old values." in page(tim, target)


def test_an_old_address_is_nothing_to_those_who_may_not_read_the_target(
    pair: tuple[Thread, Thread], sam: Member, noor: Member, tim: Member
) -> None:
    source, target = pair
    actions.merge_threads(by=tim, source=source, target=target)
    actions.delete_thread(by=noor, thread=target)
    for name in ("thread", "flag-thread"):
        assert client_of(sam).get(url(name, source)).status_code == 404


def test_who_merges_a_moment_too_late_is_told(
    pair: tuple[Thread, Thread], tim: Member, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    late = factories.make_thread(ada, "Merged meanwhile")
    monkeypatch.setattr("forum.actions.why_no_merge", lambda source, target: "")  # as the page saw it
    actions.merge_threads(by=ada, source=late, target=source)
    Thread.objects.filter(pk=target.pk).update(is_locked=True, kind="announcement")
    response = client_of(tim).post(url("merge", source), {"number": target.number})
    assert response.status_code == 409
    assert "Announcements can&#x27;t be merged." in response.content.decode()
