"""What somebody wrote comes back to them, whatever happened while they wrote it; and acts at the same time don't collide."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client

from accounts.access import Member
from accounts.models import User
from forum import access, actions
from forum.models import Anonymity, Post, Thread
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
TEXT = "My long and careful answer"


def test_a_session_that_ended_gives_the_text_back_and_leads_to_the_page(world: World, sam: Member) -> None:
    factories.make_thread(sam)
    client = Client()
    response = client.post(
        "/c/cs-101/1/reply/", {"body": TEXT}, headers={"Referer": "http://testserver/c/cs-101/1/?a=b"}
    )
    page = response.content.decode()
    assert response.status_code == 403
    assert TEXT in page
    assert 'value="/c/cs-101/1/?a=b"' in page
    plain = client.post("/c/cs-101/1/vote/", headers={"Referer": "http://testserver/c/cs-101/1/"})
    assert plain["Location"] == "/sign-in/?next=/c/cs-101/1/"
    stray = client.post("/c/cs-101/1/vote/", headers={"Referer": "http://evil.example/"})
    assert stray["Location"] == "/sign-in/?next=/courses/"


@pytest.mark.parametrize("who", ["noor", "tim"])
def test_a_comment_on_a_reply_deleted_meanwhile_comes_back(
    world: World, signed_in: SignIn, sam: Member, tim: Member, who: str
) -> None:
    thread = factories.make_thread(sam)
    post = factories.make_post(sam, thread)
    actions.delete_post(by=sam, post=post)
    response = signed_in(world.user(who)).post(
        f"/c/cs-101/1/posts/{post.pk}/comment/", {"body": TEXT, "anonymity": "named"}
    )
    assert response.status_code in (404, 409)
    assert TEXT in response.content.decode()


def test_a_reply_to_a_thread_deleted_or_closed_meanwhile_comes_back(
    world: World, signed_in: SignIn, sam: Member
) -> None:
    thread = factories.make_thread(sam)
    client = signed_in(world.user("noor"))
    sent = {"body": TEXT, "anonymity": "named"}
    actions.delete_thread(by=sam, thread=thread)
    assert TEXT in client.post("/c/cs-101/1/reply/", sent).content.decode()
    thread.refresh_from_db()
    actions.restore_thread(by=sam, thread=thread)
    factories.archive(world.course)
    response = client.post("/c/cs-101/1/reply/", sent)
    assert response.status_code == 403
    assert TEXT in response.content.decode()


@pytest.mark.parametrize("title", ["a     b", "a  \t b", " \n a b "])
def test_a_title_of_blanks_is_too_short(world: World, signed_in: SignIn, title: str) -> None:
    response = signed_in(world.user("sam")).post(
        "/c/cs-101/ask/",
        {"title": title, "body": TEXT, "kind": "question", "visibility": "course", "anonymity": "named"},
    )
    assert response.status_code == 422
    assert "at least 5 characters" in response.content.decode()


def test_code_at_the_start_keeps_its_indentation(sam: Member, world: World, signed_in: SignIn) -> None:
    factories.make_thread(sam)
    signed_in(world.user("noor")).post(
        "/c/cs-101/1/reply/", {"body": "\n    x = 1\n    y = 2\n\n", "anonymity": "named"}
    )
    assert Post.objects.get().body == "    x = 1\n    y = 2"


def test_hidden_fields_never_stand_in_the_way(world: World) -> None:
    client = Client()
    sent = {"email": "sam@example.edu", "password": factories.PASSWORD, "next": "/c/" + "x" * 5000 + "\x00"}
    assert client.post("/sign-in/", sent).status_code == 302


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "base64", "rot13", "latin-1"])
def test_only_utf_8_is_spoken(db: None, charset: str) -> None:
    kind = f"application/x-www-form-urlencoded; charset={charset}"
    assert (
        Client(raise_request_exception=False).generic("POST", "/sign-in/", b"a=b", content_type=kind).status_code == 400
    )


def test_two_ways_of_hiding_in_one_thread_are_refused(
    world: World, signed_in: SignIn, sam: Member, noor: Member
) -> None:
    thread = factories.make_thread(noor)
    factories.make_post(sam, thread, anonymity=Anonymity.ALL)
    with pytest.raises(access.Refused, match="would give you away"):
        factories.make_post(sam, thread, "Again", anonymity=Anonymity.CLASSMATES)
    response = signed_in(world.user("sam")).post("/c/cs-101/1/reply/", {"body": TEXT, "anonymity": "classmates"})
    assert response.status_code == 409
    assert TEXT in response.content.decode()
    factories.make_post(sam, thread, "Under the same", anonymity=Anonymity.ALL)


def test_a_comment_is_not_endorsed_nor_a_deleted_thread_pinned(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam)
    comment = factories.make_post(noor, thread, parent=factories.make_post(noor, thread, "Reply"))
    refused: list[Callable[[], None]] = [lambda: actions.set_endorsement(by=tim, post=comment, on=True)]
    actions.delete_thread(by=sam, thread=thread)
    refused += [
        lambda: actions.set_pinned(by=tim, thread=thread, pinned=True),
        lambda: actions.set_locked(by=tim, thread=thread, locked=True),
    ]
    for act in refused:
        with pytest.raises(PermissionDenied):
            act()


@pytest.mark.django_db(transaction=True)
def test_endorsing_and_commenting_at_once_never_deadlock() -> None:
    world = factories.make_world()
    sam, noor, tim, ada = (world.member(name) for name in ("sam", "noor", "tim", "ada"))
    thread = factories.make_thread(sam)
    post = factories.make_post(sam, thread)
    ready = threading.Barrier(4)

    def endorse(by: Member) -> None:
        for turn in range(15):
            actions.set_endorsement(by=by, post=post, on=turn % 2 == 0)

    def comment(by: Member) -> None:
        for _ in range(15):
            actions.add_reply(by=by, thread=thread, parent=post, body="Thanks", form_key=uuid.uuid4())

    def run(act: Callable[[Member], None], by: Member) -> None:
        ready.wait()
        try:
            act(by)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        done = [
            pool.submit(run, act, by) for act, by in ((endorse, tim), (endorse, ada), (comment, noor), (comment, sam))
        ]
    for future in done:
        future.result()
    assert Thread.objects.get().reply_count == 31
