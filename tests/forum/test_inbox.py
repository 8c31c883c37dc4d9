"""The inbox, the bell in the header, and the page of preferences."""

import re
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from accounts.access import Member
from accounts.models import Role
from forum import actions
from forum.models import Delivery, Notification, NotificationKind, Post, Preference, Thread
from forum.sentences import gather
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = [pytest.mark.django_db]

SignIn = Callable[..., Client]
INBOX = "/inbox/"


@pytest.fixture
def thread(world: World, sam: Member) -> Thread:
    return factories.make_thread(sam, "Why does this happen?")


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("sam"))


def tell(*posts: Post) -> None:
    run_tasks("forum.tell")


def lines(client: Client, query: str = "") -> list[str]:
    return [str(line.sentence) for line in client.get(INBOX + query).context["lines"]]


def bell(client: Client) -> str:
    page = client.get("/courses/").content.decode()
    found = re.search(r'class="bell-count"[^>]*>([^<]*)<', page)
    return found[1] if found else ""


def test_a_burst_in_one_thread_is_one_line(client: Client, thread: Thread, noor: Member, tim: Member) -> None:
    for _ in range(3):
        factories.make_post(noor, thread)
    other = factories.make_thread(world_member(thread), "Another one")
    factories.make_post(tim, other)
    tell()
    assert lines(client) == ["Tim Surname-tim replied in “Another one”", "3 new replies in “Why does this happen?”"]
    assert bell(client) == "4"


def world_member(thread: Thread) -> Member:
    assert thread.author is not None
    return Member(thread.author, thread.course, Role.STUDENT)


def test_every_kind_says_what_happened(world: World, sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam, "A question")
    factories.make_thread(tim, "Exam moved", "Hello", kind="announcement")
    reply = factories.make_post(noor, thread)
    comment = factories.make_post(sam, thread, f"No, @{tim.user.display_name}", parent=reply)
    mine = factories.make_post(sam, thread)
    actions.set_endorsement(by=tim, post=mine, on=True)
    actions.accept_answer(by=tim, post=mine, accepted=True)
    for kind, post in (
        (NotificationKind.AI_ANSWER, None), (NotificationKind.DECISION, mine), (NotificationKind.DECISION, None),
        (NotificationKind.FLAGGED, reply), (NotificationKind.FLAGGED, None), (NotificationKind.PENDING, comment),
        (NotificationKind.PENDING, None),
    ):  # fmt: skip
        actions.enqueue_telling(kind, thread=thread, post=post, actor=world.user("ada"))
    actions.enqueue_telling(NotificationKind.ASSIGNED, thread=thread, actor=world.user("ada"), to=tim.user)
    tell()
    Post.objects.filter(pk=mine.pk).update(moderation="hidden", moderation_reason="It is rude.")

    def said(who: Member) -> set[str]:
        rows = list(Notification.objects.visible_to(who.user).with_what())
        return {str(line.sentence) for line in gather(rows, {who.course.pk: who})}

    assert said(sam) == {
        "Noor Surname-noor replied in “A question”",
        "Tim Surname-tim endorsed your reply in “A question”",
        "Your reply was accepted as the answer to “A question”",
        "There is an answer from the course materials to “A question”",
        "Ada Surname-ada hid your reply in “A question”: It is rude.",
        "Ada Surname-ada looked at your thread “A question”, which everybody in the course can read",
        "Tim Surname-tim announced “Exam moved”",
    }
    assert said(tim) == {
        "Sam Surname-sam called you by name in “A question”",
        "Ada Surname-ada assigned to you: “A question”",
        "Somebody flagged a reply in “A question”",
        "Somebody flagged “A question”",
        "A comment waits for approval in “A question”",
        "Waits for approval: “A question”",
    }
    assert said(noor) == {
        "Sam Surname-sam commented in “A question”",
        "There is an answer from the course materials to “A question”",
        "Tim Surname-tim announced “Exam moved”",
    }


def test_staff_who_are_gone_are_staff(thread: Thread, sam: Member, tim: Member) -> None:
    post = factories.make_post(sam, thread)
    actions.set_endorsement(by=tim, post=post, on=True)
    tell()
    Notification.objects.update(actor=None)
    row = Notification.objects.visible_to(sam.user).with_what()
    assert str(gather(list(row), {sam.course.pk: sam})[0].sentence).startswith("Staff endorsed your reply")


def test_opening_a_line_reads_it_and_goes_there(client: Client, thread: Thread, noor: Member) -> None:
    post = factories.make_post(noor, thread)
    tell()
    row = Notification.objects.get()
    for _ in range(2):
        response = client.get(f"{INBOX}{row.pk}/")
        assert response["Location"] == f"/c/cs-101/1/#post-{post.pk}"
    assert bell(client) == ""


def test_opening_the_thread_reads_its_lines_before_the_bell_is_drawn(
    client: Client, thread: Thread, noor: Member
) -> None:
    factories.make_post(noor, thread)
    tell()
    assert bell(client) == "1"
    assert "bell-count" not in client.get("/c/cs-101/1/").content.decode()
    with CaptureQueriesContext(connection) as again:
        client.get("/c/cs-101/1/")
    assert not [query for query in again if 'UPDATE "forum_notification"' in query["sql"]]


@pytest.mark.parametrize("who", ["noor", "eve", "pat", "dana", "ada"])
def test_what_somebody_was_told_is_nobody_elses(
    who: str, client: Client, thread: Thread, tim: Member, world: World, signed_in: SignIn
) -> None:
    factories.make_post(tim, thread)
    tell()
    row = Notification.objects.get()
    other = signed_in(world.user(who))
    assert other.get(f"{INBOX}{row.pk}/").status_code == 404
    assert "Why does this happen" not in other.get(INBOX).content.decode()
    other.post(f"{INBOX}read/")
    row.refresh_from_db()
    assert row.read_at is None


def test_marking_all_as_read_keeps_to_the_course_asked_for(
    client: Client, world: World, thread: Thread, sam: Member, noor: Member
) -> None:
    factories.enroll(world.user("sam"), world.other_course)
    pat = world.member("pat", world.other_course)
    factories.make_thread(pat, "News of algebra", kind="announcement")
    factories.make_post(noor, thread)
    tell()
    assert lines(client, "?course=math-221") == ["Pat Surname-pat announced “News of algebra”"]
    assert client.post(f"{INBOX}read/", {"course": "math-221"}).status_code == 302
    assert lines(client, "?show=unread") == ["Noor Surname-noor replied in “Why does this happen?”"]
    assert client.post(f"{INBOX}read/", {"course": "nowhere"}).status_code == 404
    client.post(f"{INBOX}read/")
    assert lines(client, "?show=unread&course=cs-101") == []
    assert len(lines(client)) == 2
    assert client.get(f"{INBOX}?course=nowhere").status_code == 400


def test_pages_follow_each_other_without_a_gap(client: Client, sam: Member, tim: Member) -> None:
    for n in range(60):
        factories.make_thread(tim, f"Announcement {n}", kind="announcement")
    tell()
    first = client.get(INBOX)
    second = client.get(f"{INBOX}?cursor={first.context['next_cursor']}")
    seen = [line.thread.number for page in (first, second) for line in page.context["lines"]]
    assert seen == list(range(60, 0, -1))
    assert "First page" in second.content.decode()
    assert client.get(f"{INBOX}?cursor=x").status_code == 400
    assert client.get(f"{INBOX}?show=unread&cursor={first.context['next_cursor']}").status_code == 400


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_the_inbox_costs_the_same_at_one_line_and_at_forty(
    client: Client, world: World, thread: Thread, sam: Member, noor: Member, tim: Member
) -> None:
    factories.make_post(noor, thread)
    tell()
    at_one = queries(client, INBOX)
    for n in range(20):
        factories.make_thread(tim, f"Announcement {n}", kind="announcement")
        factories.make_post(
            noor, factories.make_thread(sam, f"Question {n}"), anonymity="classmates" if n % 2 else "named"
        )
    tell()
    assert len(lines(client)) > 40
    assert queries(client, INBOX) == at_one <= 5


def test_the_bell_is_drawn_again_only_when_its_count_changed(client: Client, thread: Thread, noor: Member) -> None:
    assert client.get(f"{INBOX}count/?shown=0").status_code == 204
    factories.make_post(noor, thread)
    tell()
    page = client.get(f"{INBOX}count/?shown=0").content.decode()
    assert "1 unread in your inbox" in page
    assert client.get(f"{INBOX}count/?shown=1").status_code == 204
    assert "Nothing unread" not in page
    actions.mark_all_told_read(by=thread.author)  # type: ignore[arg-type]
    assert "Nothing unread" in client.get(f"{INBOX}count/?shown=1").content.decode()


def test_more_than_ninety_nine(client: Client, world: World, thread: Thread, sam: Member) -> None:
    for n in range(101):
        other = factories.make_thread(sam, f"Question {n}")
        Notification.objects.create(
            institution=world.institution, user=sam.user, course=world.course, thread=other, kind="ai_answer"
        )
    assert bell(client) == "99+"
    assert "More than 99" in client.get(f"{INBOX}count/").content.decode()


# Preferences

PREFERENCES = "/me/notifications/"


def form(**changes: str) -> dict[str, str]:
    kinds = [kind for kind in NotificationKind if "(staff)" not in kind.label]
    values = {f"mail_{kind}": "instant" for kind in kinds} | {f"in_app_{kind}": "on" for kind in kinds}
    return {name: value for name, value in (values | changes).items() if value}


def test_wishes_are_saved_everywhere_and_for_one_course(client: Client, sam: Member) -> None:
    assert client.post(PREFERENCES, form(mail_reply="daily", in_app_mention="")).status_code == 302
    everywhere = actions.preferences_of(sam.user, None)
    assert everywhere[NotificationKind.REPLY] == (True, Delivery.DAILY)
    assert everywhere[NotificationKind.MENTION] == (False, Delivery.INSTANT)
    same = {f"mail_{kind}": "same" for kind in NotificationKind if "(staff)" not in kind.label}
    client.post(f"{PREFERENCES}?course=cs-101", form(**same | {"mail_reply": "off"}))
    here = actions.preferences_of(sam.user, sam.course)
    assert {kind for kind, choice in here.items() if choice} == {NotificationKind.REPLY}
    assert "As everywhere" in client.get(f"{PREFERENCES}?course=cs-101").content.decode()
    client.post(f"{PREFERENCES}?course=cs-101", form(**same))
    assert set(actions.preferences_of(sam.user, sam.course).values()) == {None}


def test_a_wish_that_isnt_offered_is_refused(client: Client) -> None:
    assert client.post(PREFERENCES, form(mail_reply="hourly")).status_code == 422
    assert client.post(PREFERENCES, form(mail_reply="same")).status_code == 422
    assert client.post(f"{PREFERENCES}?course=math-221", form()).status_code == 404
    assert not Preference.objects.exists()


def test_kinds_for_staff_are_shown_to_staff(client: Client, world: World, signed_in: SignIn) -> None:
    assert "waits for approval" not in client.get(PREFERENCES).content.decode()
    assert "waits for approval" in signed_in(world.user("tim")).get(PREFERENCES).content.decode()
    client.post(PREFERENCES, form() | {"mail_flagged": "instant"})
    assert not Preference.objects.filter(kind="flagged").exists()


def test_a_site_without_mail_says_so(client: Client) -> None:
    assert "sends no mail" not in client.get(PREFERENCES).content.decode()
    with override_settings(MAIL_IS_ON=False):
        assert "sends no mail" in client.get(PREFERENCES).content.decode()


def test_one_click_stops_all_mail(client: Client, sam: Member) -> None:
    client.post(f"{PREFERENCES}?course=cs-101", form(mail_reply="daily"))
    assert client.post(PREFERENCES, {"mail": "stop"}).status_code == 302
    assert not Preference.objects.exclude(mail="off").exists()
