"""Feeds: what a reader without a session gets, and what nobody gets."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import actions as account_actions
from accounts.access import Member
from accounts.models import AuditEvent, EnrollmentStatus, User
from forum import actions
from forum.models import Thread
from quokkaq.lib.pii import scrub
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]


def feed_of(user: User, slug: str = "cs-101") -> str:
    if user.feed_key is None:
        account_actions.set_feed_key(by=user, on=True)
    return reverse("feed", args=[user.feed_key, slug])


def test_a_feed_lists_what_its_reader_may_see(world: World, sam: Member, noor: Member, tim: Member) -> None:
    factories.make_thread(sam, "A public <question>", body="With **bold** words")
    factories.make_thread(sam, "A private matter", visibility="staff")
    hidden = factories.make_thread(noor, "A hidden question", anonymity="all")
    gone = factories.make_thread(sam, "Deleted again")
    actions.delete_thread(by=sam, thread=gone)
    Thread.objects.filter(pk=factories.make_thread(sam, "Waits for approval").pk).update(moderation="pending")
    response = Client().get(feed_of(world.user("tim")))
    page = response.content.decode()
    assert response["Content-Type"].startswith("application/atom+xml")
    assert "A public &lt;question&gt;" in page
    assert "&lt;strong&gt;bold" in page
    assert hidden.pseudonym is not None
    assert hidden.pseudonym.name in page
    for absent in ("A private matter", "Surname-noor", "Deleted again", "Waits for approval", "noor@"):
        assert absent not in page


@pytest.mark.parametrize("who", ["eve", "pat", "dana"])
def test_outside_the_course_there_is_no_feed(world: World, sam: Member, who: str) -> None:
    factories.make_thread(sam, "Only for the course")
    response = Client().get(feed_of(world.user(who)))
    assert "Only for the course" not in response.content.decode()
    assert response.status_code == (200 if who == "eve" else 404)


def test_an_old_address_stops_working(world: World, signed_in: SignIn, sam: Member) -> None:
    client = signed_in(world.user("sam"))
    client.post(reverse("accounts:change-feeds"))
    first = feed_of(User.objects.get(pk=sam.user.pk))
    assert first in client.get(reverse("accounts:profile")).content.decode()
    assert Client().get(first).status_code == 200
    client.post(reverse("accounts:change-feeds"))
    assert Client().get(first).status_code == 404
    second = feed_of(User.objects.get(pk=sam.user.pk))
    client.post(reverse("accounts:change-feeds"), {"remove": "1"})
    assert Client().get(second).status_code == 404
    assert Client().get(reverse("feed", args=["none", "cs-101"])).status_code == 404
    assert AuditEvent.objects.filter(verb__startswith="feeds.").count() == 3


def test_who_leaves_the_course_loses_the_feed(world: World, sam: Member) -> None:
    url = feed_of(world.user("sam"))
    world.user("sam").enrollments.update(status=EnrollmentStatus.DROPPED)
    assert Client().get(url).status_code == 404
    world.user("sam").enrollments.update(status=EnrollmentStatus.ACTIVE)
    User.objects.filter(pk=sam.user.pk).update(is_active=False)
    assert Client().get(url).status_code == 404


def test_a_feed_costs_the_same_at_any_length(world: World, sam: Member) -> None:
    url = feed_of(world.user("noor"))
    costs = []
    for count in (1, 12):
        for number in range(count):
            factories.make_thread(sam, f"Question number {number}")
        with CaptureQueriesContext(connection) as queries:
            Client().get(url)
        costs.append(len(queries))
    assert costs == [3, 3]


def test_the_address_of_a_feed_stays_out_of_the_logs() -> None:
    assert scrub("GET /feeds/abcDEF_123-x/cs-101/ 200") == "GET /feeds/[token]/cs-101/ 200"
    assert scrub("Not Found: /unsubscribe/a:b:c/") == "Not Found: /unsubscribe/[token]/"
