"""Following and muting threads."""

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from accounts.access import Member
from forum import actions
from forum.models import Follow, FollowState, Thread
from tests import factories
from tests.factories import World

pytestmark = [pytest.mark.django_db]


def state(who: Member, thread: Thread) -> str | None:
    return Follow.objects.visible_to(who).filter(thread=thread).values_list("state", flat=True).first()


@pytest.fixture
def thread(world: World, sam: Member) -> Thread:
    return factories.make_thread(sam)


def test_whoever_takes_part_follows(thread: Thread, sam: Member, noor: Member, tim: Member, world: World) -> None:
    lena = factories.make_user(world.institution, "lena")
    factories.enroll(lena, world.course)
    world.people["lena"] = lena
    assert (state(sam, thread), state(noor, thread)) == ("following", None)
    reply = factories.make_post(noor, thread)
    factories.make_post(tim, thread, parent=reply)
    actions.set_same_question(by=world.member("lena"), thread=thread, on=True)
    assert [state(who, thread) for who in (noor, tim, world.member("lena"))] == ["following"] * 3


def test_taking_part_overrides_no_mute(thread: Thread, noor: Member) -> None:
    actions.set_follow(by=noor, thread=thread, state=FollowState.MUTED)
    factories.make_post(noor, thread)
    actions.set_same_question(by=noor, thread=thread, on=True)
    assert state(noor, thread) == "muted"


def test_one_click_says_what_the_page_then_shows(
    thread: Thread, world: World, signed_in: Callable[..., Client]
) -> None:
    client, noor = signed_in(world.user("noor")), world.member("noor")
    url = reverse("forum:follow-thread", args=["cs-101", thread.number])
    for wish, shown in (("following", "Following"), ("muted", "Muted"), ("", "Follow<"), ("nonsense", "Follow<")):
        page = client.post(url, {"state": wish}, follow=True).content.decode()
        assert shown in page
        assert state(noor, thread) == (wish if wish in FollowState.values else None)
    assert client.get(url).status_code == 405


def test_only_who_reads_a_thread_follows_it(thread: Thread, world: World, signed_in: Callable[..., Client]) -> None:
    Thread.objects.update(visibility="staff")
    url = reverse("forum:follow-thread", args=["cs-101", thread.number])
    for who in ("noor", "pat", "dana", "eve"):
        assert signed_in(world.user(who)).post(url, {"state": "following"}).status_code == 404
    assert Follow.objects.count() == 1


def test_who_has_completed_the_course_may_follow(thread: Thread, world: World) -> None:
    actions.set_follow(by=world.member("carl"), thread=thread, state=FollowState.FOLLOWING)
    assert state(world.member("carl"), thread) == "following"


def test_a_deleted_thread_takes_no_followers(thread: Thread, sam: Member) -> None:
    actions.delete_thread(by=sam, thread=thread)
    thread.refresh_from_db()
    with pytest.raises(PermissionDenied):
        actions.set_follow(by=sam, thread=thread, state=FollowState.MUTED)
