"""The thread list: filters, order, pages, unread marks, and what it costs."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.access import Member
from accounts.models import User
from forum import actions
from forum.models import Assignment, Follow, Post, Thread
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
LIST = "/c/cs-101/"


def numbers(client: Client, query: str = "") -> list[int]:
    context = client.get(LIST + query).context
    return [thread.number for thread in [*context["pinned"], *context["threads"]]]


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("noor"))


def test_an_empty_course_says_so(client: Client) -> None:
    assert b"Be the first to ask" in client.get(LIST).content
    assert b"Nothing here matches" in client.get(LIST + "?show=mine").content
    assert b"search replies, AI answers and materials" in client.get(LIST + "?q=zebra").content


def test_filters_show_what_they_say(client: Client, world: World, sam: Member, noor: Member, tim: Member) -> None:
    tag = factories.make_tag(world.course)
    one = factories.make_thread(sam, "First question", tags=[tag])
    two = factories.make_thread(noor, "Second question")
    three = factories.make_thread(sam, "A discussion", kind="discussion")
    four = factories.make_thread(noor, "Something private", visibility="staff")
    five = factories.make_thread(sam, "Somebody else's private matter", visibility="staff")
    answer = factories.make_post(tim, two)
    actions.set_endorsement(by=world.member("ada"), post=answer, on=True)
    actions.set_resolved(by=sam, thread=one, resolved=True)
    expected = {
        "": {1, 2, 3, 4}, "?show=mine": {2, 4}, "?show=unanswered": {4}, "?show=endorsed": {2}, "?show=resolved": {1},
        "?show=private": {4}, "?tag=homework": {1}, "?kind=discussion": {3}, "?show=unread": {1, 2, 3},
    }  # fmt: skip
    assert {query: set(numbers(client, query)) for query in expected} == expected
    assert five.number not in numbers(client)
    assert four.number in numbers(client)
    assert three.number in numbers(client, "?kind=discussion&sort=new")


def test_the_list_of_what_one_follows_and_of_an_assignment(
    client: Client, world: World, sam: Member, noor: Member, tim: Member
) -> None:
    lab = Assignment.objects.create(institution=world.institution, course=world.course, slug="lab-1", title="Lab one")
    for n in range(3):
        factories.make_thread(sam, f"Question number {n}", assignment=lab if n else None)
    Follow.objects.update_or_create(
        user=noor.user,
        thread=Thread.objects.get(number=2),
        defaults={"institution": world.institution, "state": "following"},
    )
    assert numbers(client, "?show=following") == [2]
    assert numbers(client, "?assignment=lab-1") == [3, 2]
    page = client.get(LIST).content.decode()
    assert page.count("Lab one") == 3  # in the sidebar, and on two rows
    response = client.get(f"{LIST}?assignment=lab-2")
    assert response.status_code == 400
    assert "no such assignment" in response.content.decode()


def test_the_list_narrows_to_words_in_a_thread_or_its_replies(
    client: Client, world: World, sam: Member, noor: Member, tim: Member
) -> None:
    factories.make_thread(sam, "A zebra in the title")
    two = factories.make_thread(sam, "Another question", tags=[factories.make_tag(world.course)])
    factories.make_thread(sam, "Nothing of the kind")
    factories.make_post(tim, two, "A zebra in the reply")
    hidden = factories.make_post(tim, factories.make_thread(sam, "One more"), "A hidden zebra")
    Post.objects.filter(pk=hidden.pk).update(moderation="hidden")
    factories.make_thread(sam, "A private zebra", visibility="staff")
    assert set(numbers(client, "?q=zebras")) == {1, 2}
    assert numbers(client, "?q=zebra+tag:homework") == [2]
    assert numbers(client, "?q=is:mine") == []
    assert numbers(client, "?q=the&sort=new") == []
    assert numbers(client, "?q=zebra&show=unanswered") == [1]
    page = client.get(f"{LIST}?q=zebra&sort=new&tag=homework").content.decode()
    assert 'name="sort" value="new"' in page
    assert 'value="zebra"' in page
    assert "?sort=new&amp;tag=homework" in page


@pytest.mark.parametrize(
    ("query", "sentence"),
    [("is:odd", "There is no “is:odd”"), ("zebra in:posts", "works on the search page"), ("#99", "no thread #99")],
)
def test_what_the_words_ask_for_and_does_not_exist_is_said(client: Client, query: str, sentence: str) -> None:
    response = client.get(LIST, {"q": query})
    assert response.status_code == 400
    assert sentence in response.content.decode()


def test_a_view_with_words_can_be_saved(client: Client, sam: Member) -> None:
    factories.make_thread(sam, "A zebra in the title")
    client.post(f"{LIST}views/", {"name": "Zebras", "query": "q=zebra"})
    html = client.get(f"{LIST}?q=zebra").content.decode()
    assert '<a href="?q=zebra" aria-current="true">Zebras</a>' in html


def test_orders(client: Client, sam: Member, noor: Member, tim: Member) -> None:
    threads = [factories.make_thread(sam, f"Question number {n}") for n in range(3)]
    factories.make_post(tim, threads[0])
    actions.set_vote(by=noor, target=threads[1], on=True)
    assert numbers(client, "?sort=new") == [3, 2, 1]
    assert numbers(client, "?sort=active") == [1, 3, 2]
    assert numbers(client, "?sort=top")[0] == 2


def test_pinned_threads_come_first_and_once(client: Client, sam: Member, tim: Member) -> None:
    first = factories.make_thread(sam)
    factories.make_thread(sam, "A later question")
    actions.set_pinned(by=tim, thread=first, pinned=True)
    assert numbers(client) == [1, 2]
    assert numbers(client, "?show=unanswered") == [2, 1]


@pytest.mark.parametrize("sort", ["active", "new", "top"])
def test_pages_hold_every_thread_once_even_with_ties(client: Client, sam: Member, sort: str) -> None:
    for n in range(60):
        factories.make_thread(sam, f"Question number {n}")
    Thread.objects.update(last_activity_at=timezone.now(), created_at=timezone.now() - timedelta(hours=1))
    seen: list[int] = []
    query = f"?sort={sort}"
    while query:
        context = client.get(LIST + query).context
        seen += [thread.number for thread in context["threads"]]
        query = context["next"]
    assert sorted(seen) == list(range(1, 61))


def test_a_tampered_cursor_is_refused_with_a_sentence(client: Client, sam: Member) -> None:
    for n in range(30):
        factories.make_thread(sam, f"Question number {n}")
    good = client.get(LIST).context["next"]
    for bad in ("?cursor=abc", good[:-3] + "xyz", good + "&sort=new", good + "&show=unanswered"):
        response = client.get(LIST + bad)
        assert response.status_code == 400
        assert "This page address is damaged or out of date" in response.content.decode()
        assert len(response.context["threads"]) == 25


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?show=x", "no such filter"),
        ("?sort=x", "no such order"),
        ("?tag=x", "no such tag"),
        ("?kind=x", "no such kind"),
    ],
)
def test_unknown_filters_are_said(client: Client, query: str, sentence: str) -> None:
    response = client.get(LIST + query)
    assert response.status_code == 400
    assert sentence in response.content.decode()


@pytest.mark.parametrize(
    "path", ["99999999999999/", "0/", "99999999999999999999999999/", "999/answer/", "materials/?page=1"]
)
def test_odd_addresses_are_not_found(client: Client, path: str) -> None:
    assert client.get(LIST + path).status_code == (200 if "?" in path else 404)


@pytest.mark.parametrize(
    "query", ["?tag=%00", "?cursor=%00", "?show=%ff", "?sort=" + "x" * 5000, "?cursor=" + "A" * 5000]
)
def test_odd_queries_are_refused(client: Client, query: str) -> None:
    assert client.get(LIST + query).status_code == 400


def test_unread_until_opened_and_again_after_a_reply(client: Client, sam: Member, tim: Member) -> None:
    thread = factories.make_thread(sam)
    assert numbers(client, "?show=unread") == [1]
    client.get(f"{LIST}1/")
    assert numbers(client, "?show=unread") == []
    factories.make_post(tim, thread)
    assert numbers(client, "?show=unread") == [1]
    assert client.get(LIST).context["threads"][0].is_unread


def queries(client: Client, url: str) -> int:
    client.get(url)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_a_page_costs_the_same_at_one_thread_and_at_fifty(
    client: Client, world: World, sam: Member, tim: Member
) -> None:
    tags = [factories.make_tag(world.course, f"tag-{n}") for n in range(3)]
    actions.set_pinned(by=tim, thread=factories.make_thread(sam, tags=tags), pinned=True)
    factories.make_thread(sam, "Question number 50", tags=tags)
    words = f"{LIST}?q=question"
    at_one, words_at_one = queries(client, LIST), queries(client, words)
    for n in range(50):
        factories.make_thread(sam, f"Question number {n}", tags=tags, anonymity="named" if n % 2 else "all")
    assert queries(client, LIST) == at_one <= 4
    assert queries(client, words) == words_at_one <= 6


def test_pages_stay_small(client: Client, sam: Member) -> None:
    for n in range(30):
        factories.make_thread(sam, f"Question number {n} " + "x" * 150)
    assert len(client.get(LIST).content) < 200_000


@pytest.mark.parametrize(
    "address", [LIST, f"{LIST}?show=all", f"{LIST}?from=a-link", f"{LIST}?show=odd", f"{LIST}?tag=odd"]
)
def test_pinned_threads_come_first_whatever_else_an_unfiltered_address_holds(
    client: Client, sam: Member, tim: Member, address: str
) -> None:
    pinned = factories.make_thread(sam, "An old one, kept on top")
    actions.set_pinned(by=tim, thread=pinned, pinned=True)
    newer = factories.make_thread(sam, "A newer question")
    context = client.get(address).context
    assert [thread.number for thread in context["pinned"]] == [pinned.number]
    assert [thread.number for thread in context["threads"]] == [newer.number]
