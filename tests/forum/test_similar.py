"""What was asked before: shown while asking, warned about before posting, and taken for an answer."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.access import Member
from accounts.models import Course, User
from forum import actions
from forum.models import Deflection, Draft, Thread
from forum.search import Likeness, ranking, similar, similar_threads
from tests import factories
from tests.benchmarks import search as search_benchmark
from tests.factories import World
from tests.forum.test_asking import form

SignIn = Callable[[User], Client]
ASK, SIMILAR = "/c/cs-101/ask/", "/c/cs-101/similar/"
TITLE = "Why does my recursive function never return?"


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("noor"))


@pytest.fixture
def asked(sam: Member) -> Thread:
    """A question among others, so that its words are rare."""
    for n in range(6):
        factories.make_thread(sam, f"Where is the lecture of week {n}?", "I can't find it.")
    return factories.make_thread(sam, TITLE, "It calls **itself** for ever.")


def numbers(member: Member, title: str, body: str = "") -> list[int]:
    return [item.thread.number for item in similar_threads(member, title=title, body=body)]


# What is similar


@pytest.mark.parametrize(
    ("title", "likeness"),
    [
        (TITLE, Likeness.SEVERE),
        ("why does my RECURSIVE function never return", Likeness.SEVERE),
        ("Recursive functions that never return, and other odd things", Likeness.RELATED),
        ("A recursive function?", Likeness.RELATED),
    ],
)
def test_how_alike_two_titles_are(noor: Member, asked: Thread, title: str, likeness: Likeness) -> None:
    found = similar_threads(noor, title=title)
    assert found[0].thread == asked
    assert found[0].likeness == likeness
    assert 0 <= found[0].share <= 1


def test_a_title_is_wholly_like_itself_however_long_the_texts_are(sam: Member, noor: Member) -> None:
    factories.make_thread(sam, TITLE, "A very long story about it. " * 300)
    found = similar_threads(noor, title=TITLE, body="Another story altogether, with many words of its own.")
    assert found[0].share == pytest.approx(1)


def test_a_title_that_says_little_is_never_a_duplicate(sam: Member, noor: Member) -> None:
    factories.make_thread(sam, "Homework question")
    assert similar_threads(noor, title="Homework question")[0].likeness == Likeness.RELATED


def test_of_titles_as_alike_the_one_with_the_same_story_comes_first(sam: Member, noor: Member) -> None:
    factories.make_thread(sam, "Error in the second lab", "The compiler crashes.")
    right = factories.make_thread(sam, "Error in the second lab", "The simulator shows a zebra.")
    assert numbers(noor, "Error in the second lab", "A zebra appears in the simulator")[0] == right.number


@pytest.mark.parametrize("title", ["", "the", "???", "\x00", "zebra"])
def test_nothing_is_like_nothing(noor: Member, asked: Thread, title: str) -> None:
    assert similar_threads(noor, title=title, body="\x00") == []


def test_only_what_one_may_read_is_similar(world: World, sam: Member, noor: Member, tim: Member) -> None:
    private = factories.make_thread(sam, TITLE, visibility="staff")
    deleted = factories.make_thread(sam, TITLE)
    pending = factories.make_thread(sam, TITLE)
    merged = factories.make_thread(sam, TITLE)
    target = factories.make_thread(sam, "Something else")
    factories.make_thread(world.member("pat", world.other_course), TITLE)
    actions.delete_thread(by=sam, thread=deleted)
    Thread.objects.filter(pk=pending.pk).update(moderation="pending")
    Thread.objects.filter(pk=merged.pk).update(merged_into=target)
    assert numbers(noor, TITLE) == []
    assert set(numbers(sam, TITLE)) == set(numbers(tim, TITLE)) == {private.number, pending.number}


@pytest.mark.parametrize("persona", ["eve", "pat", "dana"])
def test_outsiders_see_nothing_similar(world: World, asked: Thread, signed_in: SignIn, persona: str) -> None:
    outsider = signed_in(world.user(persona))
    response = outsider.post(SIMILAR, {"title": TITLE.upper()})
    assert response.status_code == (200 if persona == "eve" else 404)
    assert TITLE not in response.content.decode()
    assert outsider.post(f"/c/cs-101/deflect/{asked.number}/").status_code == 404
    assert not Deflection.objects.exists()


# While typing


def test_similar_threads_show_while_the_title_is_typed(client: Client, asked: Thread, tim: Member) -> None:
    post = factories.make_post(tim, asked)
    actions.set_endorsement(
        by=Member(User.objects.get(email="ada@example.edu"), tim.course, tim.role), post=post, on=True
    )
    html = client.post(SIMILAR, {"title": "recursive function", "body": ""}).content.decode()
    for text in ("similar thread", TITLE, "It calls itself for ever.", "Answered", "Endorsed", "This answers me"):
        assert text in html, text
    assert "Post anyway" not in html
    assert client.post(SIMILAR, {"title": ""}).content.decode().strip() == ""


def test_a_hostile_title_is_text(client: Client, sam: Member) -> None:
    factories.make_thread(sam, "<script>alert(1)</script> zebra", "<img src=x onerror=alert(1)>")
    html = client.post(SIMILAR, {"title": "zebra alert", "body": "x"}).content.decode()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "<img" not in html


def test_similar_threads_cost_the_same_at_one_and_at_many(
    client: Client, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a slow machine, the words of a young course would be counted again in between.
    keep = cache.set
    monkeypatch.setattr(cache, "set", lambda key, value, seconds: keep(key, value, None))

    def count() -> int:
        client.post(SIMILAR, {"title": TITLE})
        with CaptureQueriesContext(connection) as captured:
            client.post(SIMILAR, {"title": TITLE, "body": "x"})
        return len(captured)

    factories.make_thread(sam, TITLE)
    actions.index_threads()
    at_one = count()
    for n in range(20):
        factories.make_thread(sam, f"{TITLE} {n}", anonymity="all" if n % 2 else "named")
    actions.index_threads()
    assert count() == at_one <= 14


# The warning


def test_a_duplicate_is_warned_about_and_nothing_typed_is_lost(client: Client, world: World, asked: Thread) -> None:
    factories.make_tag(world.course)
    typed = form(title=TITLE, body="My own *story*.", visibility="staff", tags=["homework"])
    response = client.post(ASK, typed)
    html = response.content.decode()
    assert response.status_code == 200
    assert Thread.objects.filter(author=world.user("noor")).count() == 0
    for text in ("This was asked before", "Nothing is posted yet", "My own *story*.", "Post anyway", "This answers me"):
        assert text in html, text
    bound = response.context["form"]
    assert (bound["visibility"].value(), bound["tags"].value()) == ("staff", ["homework"])
    assert bound["form_key"].value() == typed["form_key"]


def test_a_likely_duplicate_is_said_with_less_certainty(
    client: Client, asked: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "SEVERE", 2.0)
    html = client.post(ASK, form(title=TITLE)).content.decode()
    assert "This may have been asked before" in html


def test_post_anyway_posts(client: Client, asked: Thread) -> None:
    typed = form(title=TITLE, body="My own story.")
    client.post(ASK, typed)
    response = client.post(ASK, typed | {"confirmed": "1"})
    thread = Thread.objects.get(body="My own story.")
    assert response["Location"] == thread.get_absolute_url()


@pytest.mark.parametrize("changes", [{"kind": "discussion"}, {"title": "Something that nobody asked before"}])
def test_what_is_no_duplicate_question_is_posted_at_once(
    client: Client, asked: Thread, changes: dict[str, str]
) -> None:
    assert client.post(ASK, form(title=TITLE) | changes).status_code == 302


def test_an_announcement_is_posted_at_once(world: World, asked: Thread, signed_in: SignIn) -> None:
    assert signed_in(world.user("tim")).post(ASK, form(title=TITLE, kind="announcement")).status_code == 302


def test_the_same_form_sent_twice_leads_to_the_thread_it_made(client: Client) -> None:
    typed = form(title=TITLE)
    first, second = client.post(ASK, typed), client.post(ASK, typed)
    assert first.status_code == second.status_code == 302
    assert first["Location"] == second["Location"]
    assert Thread.objects.count() == 1


# When the check fails


@pytest.fixture(params=["an error", "a timeout", "statistics"])
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check fails: with an error, by taking too long in the database, and before it has begun."""

    def broken(*args: Any, **more: Any) -> None:
        raise OperationalError("the connection is gone")

    def late(*args: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(1)")

    if request.param == "a timeout":
        monkeypatch.setattr(similar, "TIMEOUT_MS", 1)
    match request.param:
        case "statistics":
            monkeypatch.setattr(ranking, "_measure", broken)
        case "a timeout":
            monkeypatch.setattr(similar, "analyse", late)
        case _:
            monkeypatch.setattr(similar, "_similar", broken)


def test_a_check_that_fails_keeps_nobody_from_asking(client: Client, asked: Thread, failing: None) -> None:
    shown = client.post(SIMILAR, {"title": TITLE})
    assert (shown.status_code, shown.content.decode().strip()) == (200, "")
    assert client.post(ASK, form(title=TITLE)).status_code == 302


def test_the_limit_of_the_check_holds_for_nothing_else(noor: Member, asked: Thread) -> None:
    def limit() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    before = limit()
    assert numbers(noor, TITLE)
    assert limit() == before


# "This answers me"


def test_taking_an_answer_records_it_and_drops_the_draft(client: Client, asked: Thread, noor: Member) -> None:
    client.get(ASK)
    key = client.session[f"ask:{noor.course.pk}"]
    actions.save_draft(by=noor, thread=None, post=None, fields={"title": TITLE})
    response = client.post(f"/c/cs-101/deflect/{asked.number}/", follow=True)
    assert response.redirect_chain == [(asked.get_absolute_url(), 302)]
    assert "Your question wasn’t posted." in response.content.decode()
    deflection = Deflection.objects.get()
    assert (deflection.user, deflection.thread, deflection.course) == (noor.user, asked, noor.course)
    assert not Draft.objects.exists()
    assert f"ask:{noor.course.pk}" not in client.session
    assert client.get(ASK).context["form"]["form_key"].value() != key


def test_a_double_click_counts_once_and_another_day_again(asked: Thread, noor: Member, sam: Member) -> None:
    first = actions.record_deflection(by=noor, thread=asked)
    assert actions.record_deflection(by=noor, thread=asked) == first
    actions.record_deflection(by=sam, thread=asked)
    assert Deflection.objects.count() == 2
    Deflection.objects.update(created_at=Now() - timedelta(hours=2))
    actions.record_deflection(by=noor, thread=asked)
    assert Deflection.objects.count() == 3
    assert Deflection.objects.visible_to(noor).count() == 2


def test_nobody_is_spared_a_question_they_could_not_ask(
    world: World, client: Client, asked: Thread, noor: Member
) -> None:
    private = factories.make_thread(world.member("sam"), "A private matter", visibility="staff")
    assert client.post(f"/c/cs-101/deflect/{private.number}/").status_code == 404
    factories.archive(world.course)
    assert client.post(f"/c/cs-101/deflect/{asked.number}/").status_code == 403
    noor.course.refresh_from_db()
    with pytest.raises(PermissionDenied):
        actions.record_deflection(by=noor, thread=asked)
    assert not Deflection.objects.exists()


def test_a_deleted_thread_answers_nobody(client: Client, asked: Thread, sam: Member) -> None:
    actions.delete_thread(by=sam, thread=asked)
    assert client.post(f"/c/cs-101/deflect/{asked.number}/").status_code == 404


# When posting is closed, or waits for approval


def closed(course: Course) -> None:
    Course.objects.filter(pk=course.pk).update(posting_closed_until=timezone.now() + timedelta(hours=1))


def test_a_closed_course_says_why_instead_of_the_form(client: Client, world: World) -> None:
    closed(world.course)
    response = client.get(ASK)
    assert response.status_code == 403
    assert "Posting is closed until" in response.content.decode()
    assert "<textarea" not in response.content.decode()


def test_a_text_sent_after_closing_is_refused_and_kept(client: Client, world: World) -> None:
    closed(world.course)
    response = client.post(ASK, form(title="A question in time", body="My long *story*."))
    assert response.status_code == 409
    assert "Posting is closed until" in response.content.decode()
    assert "My long *story*." in response.content.decode()
    assert not Thread.objects.exists()


def test_a_text_sent_to_an_archived_course_is_kept(client: Client, world: World) -> None:
    factories.archive(world.course)
    response = client.post(ASK, form(title="A question too late", body="My long *story*."))
    assert response.status_code == 403
    assert "My long *story*." in response.content.decode()


def test_an_approving_course_says_that_staff_look_first(client: Client, world: World, signed_in: SignIn) -> None:
    sentence = "staff look at questions before others see them"
    assert sentence not in client.get(ASK).content.decode()
    Course.objects.filter(pk=world.course.pk).update(posting_policy="approve")
    assert sentence in client.get(ASK).content.decode()
    assert sentence not in signed_in(world.user("tim")).get(ASK).content.decode()


def test_a_form_without_a_key_is_still_checked_and_posted(client: Client, asked: Thread) -> None:
    typed = form(title=TITLE, form_key="nonsense")
    assert "This was asked before" in client.post(ASK, typed).content.decode()
    assert client.post(ASK, typed | {"confirmed": "1"}).status_code == 302
    assert uuid.UUID(str(Thread.objects.get(author__email="noor@example.edu").submission_key))


def test_the_benchmark_still_runs(db: None) -> None:
    words = search_benchmark.Words(300)
    member = search_benchmark.fill(search_benchmark.Sizes(large=40, small=2, replies=2), words)
    figures = search_benchmark.measure(member, words, queries=6, rounds=1)
    assert len(figures) == 5
    assert all(0 < p50 <= p95 <= p99 for p50, p95, p99 in figures.values())
