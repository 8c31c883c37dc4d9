"""Counters are exact whatever happens at the same time, and a command proves it."""

import io
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.access import Member
from accounts.models import Course, PostingPolicy
from forum import actions
from forum.access import Refused
from forum.models import Merge, Post, Thread
from forum.tasks import count_readers
from tests import factories


def check(*arguments: str) -> str:
    output = io.StringIO()
    call_command("check_counters", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_lose_no_count() -> None:
    world = factories.make_world()
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    thread = factories.make_thread(sam)
    post = factories.make_post(sam, thread)
    ready = threading.Barrier(8)

    def act(number: int) -> None:
        ready.wait()
        try:
            for turn in range(12):
                actions.set_vote(by=noor if number % 2 else tim, target=thread, on=turn % 2 == 0)
                actions.set_vote(by=noor, target=post, on=turn % 3 == 0)
                reply = actions.add_reply(by=noor, thread=thread, body=f"{number} {turn}", form_key=uuid.uuid4())
                if turn % 4 == 0:
                    actions.delete_post(by=tim, post=reply)
                elif turn % 4 == 1:
                    actions.set_endorsement(by=tim, post=reply, on=True)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(8)))
    count_readers.func(timestamp=0)
    assert "No counter has drifted." in check()
    thread.refresh_from_db()
    assert thread.reply_count == 1 + 8 * 12 - 8 * 3


@pytest.mark.django_db(transaction=True)
def test_hiding_approving_and_merging_while_people_write_lose_no_count() -> None:
    world = factories.make_world()
    sam, noor, tim, ada = (world.member(name) for name in ("sam", "noor", "tim", "ada"))
    approving = Course.objects.get(pk=world.course.pk)
    approving.posting_policy = PostingPolicy.APPROVE
    held = Member(noor.user, approving, noor.role)
    one, two = factories.make_thread(sam, "The first question"), factories.make_thread(noor, "The second question")
    for thread in (one, two):
        actions.set_vote(by=ada, target=thread, on=True)
    ready = threading.Barrier(4)
    refused: list[str] = []

    def attempt(act: Callable[[], object]) -> None:
        try:
            act()
        except Refused as error:
            refused.append(str(error))

    def write(by: Member, thread: Thread) -> None:
        for turn in range(10):
            try:
                reply = actions.add_reply(by=by, thread=thread, body=f"Turn {turn}", form_key=uuid.uuid4())
            except Refused as error:
                refused.append(str(error))
                continue
            attempt(lambda reply=reply: actions.set_endorsement(by=tim, post=reply, on=True))  # type: ignore[misc]

    def moderate() -> None:
        for _ in range(10):
            for post in Post.objects.select_related("thread").order_by("-pk")[:4]:
                act = actions.approve_text if post.moderation == "pending" else actions.unhide_text
                attempt(lambda post=post: actions.hide_text(by=ada, text=post, reason="Rude"))  # type: ignore[misc]
                attempt(lambda post=post, act=act: act(by=ada, text=post))  # type: ignore[misc]

    def merge() -> None:
        for _ in range(6):
            try:
                done = actions.merge_threads(by=tim, source=one, target=two)
                actions.undo_merge(by=ada, merge=done)
            except Refused as error:
                refused.append(str(error))

    def act(what: Callable[[], None]) -> None:
        ready.wait()
        try:
            what()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, (lambda: write(held, one), lambda: write(sam, two), moderate, merge)))
    assert not Merge.objects.filter(undone_at=None).exists()
    assert "No counter has drifted." in check()
    assert Post.objects.exists()


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_eight_threads_of_a_thousand_acts_leave_no_drift() -> None:
    world = factories.make_world()
    sam, noor = world.member("sam"), world.member("noor")
    voters = [noor]
    for number in range(7):
        user = factories.make_user(world.institution, f"voter{number}")
        factories.enroll(user, world.course)
        voters.append(Member(user, world.course, noor.role))
    threads = [factories.make_thread(sam, f"Question number {number}") for number in range(3)]
    posts = [factories.make_post(sam, threads[0], f"Reply {number}") for number in range(3)]
    ready = threading.Barrier(8)

    def act(by: Member) -> None:
        ready.wait()
        try:
            for turn in range(1000):
                on = turn % 4 < 2
                match turn % 5:
                    case 0 | 1:
                        actions.set_vote(by=by, target=posts[turn % 3], on=on)
                    case 2:
                        actions.set_vote(by=by, target=threads[turn % 3], on=on)
                    case 3:
                        actions.set_same_question(by=by, thread=threads[turn % 3], on=on)
                    case _:
                        actions.add_reply(by=by, thread=threads[turn % 3], body=f"Turn {turn}", form_key=uuid.uuid4())
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, voters))
    assert "No counter has drifted." in check()
    assert sum(Thread.objects.values_list("reply_count", flat=True)) == 3 + 8 * 200


def test_drift_is_found_and_set_right(sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam)
    factories.make_post(noor, thread)
    Thread.objects.update(vote_count=7, reply_count=0)
    Post.objects.update(endorsement_count=3)
    with pytest.raises(CommandError, match="3 counters have drifted"):
        check()
    assert "Set right." in check("--fix")
    thread.refresh_from_db()
    assert (thread.vote_count, thread.reply_count) == (0, 1)
    assert "No counter has drifted." in check()


def test_rows_deleted_for_good_are_no_longer_counted(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam)
    post = factories.make_post(noor, thread)
    actions.set_vote(by=sam, target=post, on=True)
    actions.set_endorsement(by=tim, post=post, on=True)
    noor.user.delete()
    Post.objects.filter(pk=post.pk).delete()
    thread.refresh_from_db()
    assert (thread.reply_count, thread.endorsement_count) == (0, 0)
    assert "No counter has drifted." in check()
