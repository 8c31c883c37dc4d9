"""Asking a question: what is posted, what is refused, and that it is posted once."""

import json
import threading
import uuid
from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.access import Member
from accounts.models import User
from ai_answers.models import Answer
from forum import actions
from forum.models import Anonymity, Kind, Status, Thread, ThreadRead, Visibility
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
ASK = "/c/cs-101/ask/"


def form(**changes: object) -> dict[str, object]:
    return {
        "title": "Why does this happen?", "body": "It *does*.", "kind": "question", "visibility": "course",
        "anonymity": "named", "form_key": str(uuid.uuid4()),
    } | changes  # fmt: skip


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("sam"))


def test_a_question_is_posted_and_an_answer_requested_with_it(client: Client, world: World) -> None:
    factories.make_tag(world.course)
    response = client.post(ASK, form(tags=["homework"]))
    thread = Thread.objects.get()
    assert response["Location"] == reverse("forum:thread", args=["cs-101", 1])
    assert (thread.number, thread.status, thread.kind) == (1, Status.OPEN, Kind.QUESTION)
    assert [tag.slug for tag in thread.tags.all()] == ["homework"]
    assert "<em>does</em>" in thread.body_html
    assert Answer.objects.get().thread == thread
    assert not Thread.objects.unread_by(world.member("sam")).exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT args FROM procrastinate_jobs WHERE task_name = 'ai_answers.generate_answer'")
        assert set(json.loads(cursor.fetchone()[0])) == {"answer_id", "institution_id", "request_id"}


def test_a_discussion_is_not_answered_by_the_machine(client: Client) -> None:
    client.post(ASK, form(kind="discussion"))
    assert Thread.objects.get().kind == Kind.DISCUSSION
    assert not Answer.objects.exists()


def test_numbers_count_up_in_each_course(world: World, sam: Member) -> None:
    assert [factories.make_thread(sam).number for _ in range(3)] == [1, 2, 3]
    assert factories.make_thread(world.member("pat", world.other_course)).number == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"title": ""}, "Give it a title."),
        ({"title": "  hm "}, "The title is too short: use at least 5 characters."),
        ({"title": "x" * 201}, "The title is too long: 201 characters. The limit is 200."),
        ({"body": " "}, "Write something first."),
        ({"body": "x" * 10_001}, "This is too long: 10001 characters. The limit is 10000."),
        ({"body": "tab\x0bbell\x07"}, "The text contains control characters."),
        ({"body": "nul\x00"}, "The text contains control characters."),
        ({"tags": ["no-such-tag"]}, "This course has no tag “no-such-tag”. Choose from the list."),
        ({"kind": "sermon"}, "Select a valid choice."),
        ({"kind": "announcement"}, "Select a valid choice."),
        ({"visibility": "world"}, "Select a valid choice."),
        ({"anonymity": "ghost"}, "Choose again before you post."),
    ],
)
def test_refused_input_says_why_and_stays(client: Client, changes: dict[str, object], sentence: str) -> None:
    typed = form(body="My long story about **it**.") | changes
    response = client.post(ASK, typed)
    page = response.content.decode()
    assert response.status_code == 422
    assert sentence in page
    assert not Thread.objects.exists()
    if "body" not in changes:
        assert "My long story about **it**." in page
    if "title" not in changes:
        assert "Why does this happen?" in page


def test_ten_thousand_characters_with_windows_line_ends_fit(client: Client) -> None:
    body = "\r\n".join(["x" * 99] * 100)
    assert client.post(ASK, form(body=body)).status_code == 302
    assert len(Thread.objects.get().body) == 9999


@pytest.mark.parametrize("damaged", [b"caf\xe9", b"caf%E9", b"%ff%fe", b"\xc3("])
def test_bytes_that_are_not_text_are_refused(client: Client, damaged: bytes) -> None:
    data = b"title=Why+does+it%3F&kind=question&visibility=course&anonymity=named&body=" + damaged + b"+story"
    response = client.post(ASK, data, content_type="application/x-www-form-urlencoded")
    page = response.content.decode()
    assert response.status_code == 422
    assert "Some characters arrived damaged" in page
    assert "story" in page


def test_a_broken_form_key_is_no_reason_to_lose_the_text(client: Client) -> None:
    assert client.post(ASK, form(form_key="")).status_code == 302
    assert client.post(ASK, form(form_key="not a key", body="Another text")).status_code == 302
    assert Thread.objects.count() == 2


def test_sent_twice_it_is_posted_once(client: Client) -> None:
    typed = form()
    first, second = client.post(ASK, typed), client.post(ASK, typed)
    assert first["Location"] == second["Location"]
    assert (Thread.objects.count(), Answer.objects.count()) == (1, 1)


def test_two_tabs_share_a_key_until_something_is_posted(client: Client) -> None:
    def key_of_new_tab() -> str:
        return str(client.get(ASK).context["form"]["form_key"].value())

    one, two = key_of_new_tab(), key_of_new_tab()
    assert one == two
    client.post(ASK, form(form_key=one))
    client.post(ASK, form(form_key=two))
    assert Thread.objects.count() == 1
    # Another text from the same tab is another question, and nothing is lost.
    client.post(ASK, form(form_key=two, body="Something else."))
    assert Thread.objects.count() == 2
    assert key_of_new_tab() != one


@pytest.mark.django_db(transaction=True)
def test_a_double_click_on_two_servers_posts_once(world: World) -> None:
    sam = world.member("sam")
    draft = actions.ThreadDraft(title="Why does this happen?", body="It does.")
    key, numbers = uuid.uuid4(), []

    def send() -> None:
        try:
            numbers.append(actions.start_thread(by=sam, draft=draft, form_key=key).number)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers == [1] * 6
    assert (Thread.objects.count(), Answer.objects.count()) == (1, 1)


def test_only_staff_announce(sam: Member, tim: Member, world: World, signed_in: SignIn) -> None:
    assert factories.make_thread(tim, kind="announcement").kind == Kind.ANNOUNCEMENT
    with pytest.raises(PermissionDenied):
        factories.make_thread(sam, kind="announcement")
    page = signed_in(world.user("tim")).get(ASK).content.decode()
    assert "Announcement" in page
    assert "Hide my name" not in page


def test_preview_without_javascript_posts_nothing(client: Client) -> None:
    response = client.post(ASK, form(preview="1", body="so **bold**"))
    assert "<strong>bold</strong>" in response.content.decode()
    assert not Thread.objects.exists()


def test_live_preview_shows_what_others_would_see(client: Client) -> None:
    response = client.post("/c/cs-101/preview/", {"body": "$x^2$ <script>alert(1)</script>"})
    assert b"<msup>" in response.content
    assert b"<script>" not in response.content
    assert b"too long" in client.post("/c/cs-101/preview/", {"body": "x" * 10_001}).content
    assert b"appears here" in client.post("/c/cs-101/preview/").content


def test_an_archived_course_takes_no_questions(client: Client, world: World) -> None:
    factories.archive(world.course)
    assert client.get(ASK).status_code == 403
    assert client.post(ASK, form()).status_code == 403
    assert b"/ask/" not in client.get("/c/cs-101/").content


def test_private_and_anonymous_are_kept(client: Client) -> None:
    client.post(ASK, form(visibility="staff", anonymity="all"))
    thread = Thread.objects.get()
    assert (thread.visibility, thread.anonymity) == (Visibility.STAFF, Anonymity.ALL)
    assert thread.pseudonym is not None
    assert thread.pseudonym.user == thread.author
    assert ThreadRead.objects.filter(thread=thread, user=thread.author).exists()
