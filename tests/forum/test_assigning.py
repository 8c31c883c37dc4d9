"""Who of the staff sees to a thread."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client

from accounts.access import Member
from accounts.models import AuditEvent, Enrollment, User
from forum import access, actions
from forum.models import Thread
from forum.signals import thread_assigned
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]


@pytest.fixture
def told() -> Iterator[list[tuple[str, str]]]:
    """Collect who is told that a thread is theirs now, and by whom."""
    found: list[tuple[str, str]] = []

    def listen(thread: Thread, to: User, by: Member, **rest: Any) -> None:
        found.append((to.email.split("@")[0], by.user.email.split("@")[0]))

    thread_assigned.connect(listen)
    yield found
    thread_assigned.disconnect(listen)


@pytest.fixture
def thread(sam: Member) -> Thread:
    return factories.make_thread(sam)


def test_the_new_assignee_hears_of_it_once_and_not_from_themselves(
    thread: Thread, tim: Member, ada: Member, told: list[tuple[str, str]]
) -> None:
    actions.assign_thread(by=tim, thread=thread, to=tim.user)
    assert told == []
    actions.assign_thread(by=tim, thread=thread, to=ada.user)
    actions.assign_thread(by=tim, thread=thread, to=ada.user)
    assert told == [("ada", "tim")]
    thread.refresh_from_db()
    assert thread.assignee == ada.user
    assert thread.assigned_at is not None
    actions.assign_thread(by=ada, thread=thread, to=None)
    assert Thread.objects.filter(pk=thread.pk, assignee=None, assigned_at=None).exists()
    verbs = list(AuditEvent.objects.filter(target_id=thread.pk).order_by("created_at").values_list("verb", flat=True))
    assert verbs == ["thread.assigned", "thread.assigned", "thread.unassigned"]


def test_nobody_but_active_staff_of_the_course_can_be_given_a_thread(
    thread: Thread, tim: Member, world: World, signed_in: SignIn
) -> None:
    Enrollment.objects.filter(user=world.user("ada")).update(status="completed")
    for name in ("sam", "pat", "eve", "ada"):
        with pytest.raises(access.Refused, match="isn’t staff of this course"):
            actions.assign_thread(by=tim, thread=thread, to=world.user(name))
        client = signed_in(world.user("tim"))
        said = client.post(f"/c/cs-101/{thread.number}/assign/", {"to": world.user(name).pk}, follow=True)
        assert "Choose somebody who is staff of this course now" in said.content.decode()
    thread.refresh_from_db()
    assert thread.assignee is None


def test_only_staff_assign_and_not_in_an_archive_or_what_is_gone(
    thread: Thread, sam: Member, tim: Member, world: World
) -> None:
    with pytest.raises(PermissionDenied):
        actions.assign_thread(by=sam, thread=thread, to=tim.user)
    Thread.objects.filter(pk=thread.pk).update(merged_into=factories.make_thread(sam, "Another one"))
    with pytest.raises(PermissionDenied):
        actions.assign_thread(by=tim, thread=thread, to=tim.user)
    Thread.objects.filter(pk=thread.pk).update(merged_into=None)
    actions.delete_thread(by=sam, thread=thread)
    with pytest.raises(PermissionDenied):
        actions.assign_thread(by=tim, thread=thread, to=tim.user)
    actions.restore_thread(by=sam, thread=thread)
    factories.archive(world.course)
    with pytest.raises(PermissionDenied):
        actions.assign_thread(by=world.member("tim"), thread=thread, to=tim.user)


def test_a_click_assigns_and_leads_back_to_where_it_was(
    thread: Thread, world: World, signed_in: SignIn, ada: Member
) -> None:
    client = signed_in(world.user("tim"))
    url = f"/c/cs-101/{thread.number}/assign/"
    back = client.post(url, {"to": world.user("ada").pk, "next": "/c/cs-101/queue/?who=unassigned"})
    assert back["Location"] == "/c/cs-101/queue/?who=unassigned"
    for bad in ("https://evil.example/", "//evil.example", "javascript:alert(1)", "word", "a\x00b"):
        assert client.post(url, {"to": "", "next": bad})["Location"] == f"/c/cs-101/{thread.number}/"
    client.post(url, {"to": world.user("tim").pk})
    assert "Assigned to you" in client.get(f"/c/cs-101/{thread.number}/").content.decode()
    assert "Assigned to Tim" in signed_in(ada.user).get(f"/c/cs-101/{thread.number}/").content.decode()
    assert "Assigned to" not in signed_in(world.user("noor")).get(f"/c/cs-101/{thread.number}/").content.decode()


def test_an_assignee_who_has_left_the_staff_is_still_named(thread: Thread, world: World, signed_in: SignIn) -> None:
    actions.assign_thread(by=world.member("ada"), thread=thread, to=world.user("tim"))
    Enrollment.objects.filter(user=world.user("tim")).update(status="completed")
    page = signed_in(world.user("ada")).get(f"/c/cs-101/{thread.number}/").content.decode()
    assert "Assigned to Tim" in page


def test_somebody_who_left_the_staff_meanwhile_is_said(
    thread: Thread, world: World, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(**kwargs: Any) -> None:
        raise access.Refused("Ada isn’t staff of this course any more.")

    monkeypatch.setattr(actions, "assign_thread", leave)
    said = signed_in(world.user("tim")).post(
        f"/c/cs-101/{thread.number}/assign/", {"to": world.user("ada").pk}, follow=True
    )
    assert "any more" in said.content.decode()
