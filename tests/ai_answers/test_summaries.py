"""Summaries of long threads: only what everybody may read, each point with the words it comes from."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from accounts.access import Member, Refused
from accounts.models import Enrollment, EnrollmentStatus, User
from ai_answers import actions, tasks
from ai_answers.engines import Abstention, Quote, Request, Statement, Task
from ai_answers.models import CallOutcome, CourseAI, ModelCall, SummaryPoint, SummaryState, ThreadSummary
from forum import actions as forum_actions
from forum.models import Moderation, Post, Thread
from tests import factories
from tests.engines import Said, ScriptedEngine, let_speak
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = pytest.mark.django_db

CANARY = "zebra-finch-4711"


def url(thread: Thread) -> str:
    return reverse("ai_answers:summary", args=["cs-101", thread.number])


def page_of(thread: Thread) -> str:
    return reverse("forum:thread", args=["cs-101", thread.number])


@pytest.fixture
def long_thread(sam: Member, noor: Member) -> Thread:
    thread = factories.make_thread(sam, "Lists as default values", "Why does my list keep its old values?")
    for number in range(8):
        factories.make_post(noor if number % 2 else sam, thread, f"Reply number {number} says something of its own.")
    thread.refresh_from_db()
    return thread


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """Quotes every source once, and one that isn't there."""

    def script(request: Request) -> Sequence[Said]:
        points = [
            Statement(f"Point {number}.", [Quote(number, source.text)])
            for number, source in enumerate(request.sources, start=1)
        ]
        return [
            *points,
            Statement("Made up.", [Quote(1, "nobody ever wrote these words")]),
            Statement("Out of reach.", [Quote(99, "Reply number 1 says something")]),
            Statement("Words alone."),
        ]

    return let_speak(monkeypatch, ScriptedEngine(script))


def summed_up(by: Member, thread: Thread) -> ThreadSummary:
    summary = actions.request_summary(by=by, thread=thread)
    run_tasks(actions.SUMMARY_TASK)
    summary.refresh_from_db()
    return summary


def test_a_long_thread_is_summed_up_with_the_words_of_its_posts(
    long_thread: Thread, noor: Member, engine: ScriptedEngine, signed_in: Any
) -> None:
    client = signed_in(noor.user)
    assert "Summarise this thread" in client.get(page_of(long_thread)).content.decode()
    assert client.post(url(long_thread))["Location"] == f"{page_of(long_thread)}#summary"
    assert "Reading the thread" in client.get(page_of(long_thread)).content.decode()
    run_tasks(actions.SUMMARY_TASK)
    points = list(SummaryPoint.objects.all())
    assert [point.number for point in points] == list(range(1, 10))
    for point in points:
        assert point.quote in (point.post or long_thread).body
    page = client.get(page_of(long_thread)).content.decode()
    assert "Point 3." in page
    assert f'href="#post-{points[2].post_id}"' in page
    assert 'href="#thread-title"' in page
    for left_out in ("Made up.", "Out of reach.", "Words alone."):
        assert left_out not in page
    assert ModelCall.objects.get().purpose == "summary"


def test_no_name_goes_to_the_engine(long_thread: Thread, noor: Member, engine: ScriptedEngine) -> None:
    summed_up(noor, long_thread)
    (request,) = engine.requests
    assert request.task == Task.SUMMARY
    told = repr(request)
    for name in ("Surname-sam", "Surname-noor", "sam@", "noor@"):
        assert name not in told
    assert request.sources[0].title == "Question"


def test_what_not_everybody_reads_never_reaches_it(
    world: World, long_thread: Thread, sam: Member, tim: Member, engine: ScriptedEngine
) -> None:
    posts = list(Post.objects.filter(thread=long_thread).order_by("created_at"))
    Post.objects.filter(pk=posts[1].pk).update(body=f"Hidden {CANARY}", moderation=Moderation.HIDDEN)
    Post.objects.filter(pk=posts[2].pk).update(body=f"Pending {CANARY}", moderation=Moderation.PENDING)
    Post.objects.filter(pk=posts[3].pk).update(body=f"Deleted {CANARY}")
    forum_actions.delete_post(by=tim, post=Post.objects.get(pk=posts[3].pk))
    forum_actions.add_staff_note(by=tim, thread=long_thread, body=f"Note {CANARY}", form_key=posts[0].pk)
    # Also when staff, or the author of what is pending, ask for it.
    summed_up(tim, long_thread)
    assert CANARY not in repr(engine.requests)
    assert not SummaryPoint.objects.filter(quote__contains=CANARY).exists()


@pytest.mark.parametrize("how", ["private", "hidden", "pending"])
def test_a_thread_that_not_everybody_reads_has_none(
    long_thread: Thread, sam: Member, tim: Member, engine: ScriptedEngine, signed_in: Any, how: str
) -> None:
    summary = actions.request_summary(by=sam, thread=long_thread)
    change = {"visibility": "staff"} if how == "private" else {"moderation": how}
    Thread.objects.filter(pk=long_thread.pk).update(**change)
    run_tasks(actions.SUMMARY_TASK)
    assert not ThreadSummary.objects.filter(pk=summary.pk).exists()
    assert engine.requests == []
    long_thread.refresh_from_db()
    for reader in (sam, tim):
        client = signed_in(reader.user)
        assert 'id="summary"' not in client.get(page_of(long_thread)).content.decode()
        assert client.get(url(long_thread)).status_code == 404
        assert client.post(url(long_thread)).status_code == 404
    with pytest.raises(PermissionDenied):
        actions.request_summary(by=tim, thread=long_thread)


def test_points_that_do_not_hold_any_more_are_hidden(
    long_thread: Thread, sam: Member, tim: Member, noor: Member, engine: ScriptedEngine, signed_in: Any
) -> None:
    summed_up(noor, long_thread)
    edited, hidden, deleted = list(Post.objects.filter(thread=long_thread).order_by("created_at"))[:3]
    client = signed_in(noor.user)
    before = client.get(page_of(long_thread)).content.decode()
    assert "Out of date" not in before
    forum_actions.edit_post(by=sam, post=edited, body="It says something else altogether now.")
    page = client.get(page_of(long_thread)).content.decode()
    assert "Out of date" in page
    assert "Point 2." not in page
    assert "Point 3." in page
    assert ">Update<" in page
    forum_actions.hide_text(by=tim, text=hidden, reason="Say it kindly")
    forum_actions.delete_post(by=sam, post=deleted)
    for reader in (noor, tim):
        page = signed_in(reader.user).get(page_of(long_thread)).content.decode()
        assert "Point 3." not in page
        assert "Point 4." not in page
    assert client.post(url(long_thread), HTTP_HX_REQUEST="true").status_code == 200
    run_tasks(actions.SUMMARY_TASK)
    after = client.get(page_of(long_thread)).content.decode()
    assert "Out of date" not in after
    assert "It says something else altogether now." in after


def test_a_new_reply_makes_it_out_of_date(
    long_thread: Thread, noor: Member, engine: ScriptedEngine, signed_in: Any
) -> None:
    summed_up(noor, long_thread)
    assert len(engine.requests) == 1
    actions.request_summary(by=noor, thread=long_thread)  # nothing has changed: nothing is made
    run_tasks(actions.SUMMARY_TASK)
    assert len(engine.requests) == 1
    factories.make_post(noor, long_thread, "One more reply, of something new.")
    assert "Out of date" in signed_in(noor.user).get(page_of(long_thread)).content.decode()


def test_asking_twice_asks_once(long_thread: Thread, sam: Member, noor: Member, engine: ScriptedEngine) -> None:
    actions.request_summary(by=sam, thread=long_thread)
    actions.request_summary(by=noor, thread=long_thread)
    assert len(run_tasks(actions.SUMMARY_TASK)) == 1


def test_when_all_its_posts_are_gone_nothing_is_shown(
    long_thread: Thread, sam: Member, noor: Member, engine: ScriptedEngine, signed_in: Any
) -> None:
    summed_up(noor, long_thread)
    SummaryPoint.objects.update(quote="words that nobody wrote here")
    page = signed_in(noor.user).get(page_of(long_thread)).content.decode()
    assert "Point 1." not in page
    assert "has changed since" in page


def test_an_engine_that_has_nothing_to_say_is_shown_so(
    long_thread: Thread, noor: Member, monkeypatch: pytest.MonkeyPatch, signed_in: Any
) -> None:
    let_speak(monkeypatch, ScriptedEngine(lambda request: [Abstention("x")]))
    summary = summed_up(noor, long_thread)
    assert (summary.state, summary.error_code) == (SummaryState.FAILED, "nothing_quoted")
    page = signed_in(noor.user).get(page_of(long_thread)).content.decode()
    assert "Nothing could be summed up" in page
    assert "Try again" in page
    assert ModelCall.objects.get().outcome == CallOutcome.ABSTAINED


def test_a_failure_is_tried_again_and_then_shown(
    long_thread: Thread, noor: Member, monkeypatch: pytest.MonkeyPatch, signed_in: Any
) -> None:
    def fail(request: Request) -> Sequence[Said]:
        raise RuntimeError(CANARY)

    let_speak(monkeypatch, ScriptedEngine(fail))
    summary = actions.request_summary(by=noor, thread=long_thread)
    for attempt in range(tasks.REPLY_ATTEMPTS):
        context: Any = SimpleNamespace(job=SimpleNamespace(attempts=attempt))
        with pytest.raises(RuntimeError):
            tasks.summarise.func(context, str(summary.pk), str(noor.user.pk))
    summary.refresh_from_db()
    assert (summary.state, summary.error_code) == (SummaryState.FAILED, "RuntimeError")
    assert "Summing up failed" in signed_in(noor.user).get(page_of(long_thread)).content.decode()


def test_a_job_for_what_is_gone_or_done_does_nothing(long_thread: Thread, noor: Member, engine: ScriptedEngine) -> None:
    summary = summed_up(noor, long_thread)
    actions.write_summary(summary.pk, user_id=noor.user.pk)
    assert len(engine.requests) == 1

    def delete(request: Request) -> Sequence[Said]:
        ThreadSummary.objects.all().delete()
        return [Statement("Late.", [Quote(1, request.sources[0].text)])]

    ThreadSummary.objects.update(state="queued")
    actions.write_summary(summary.pk, user_id=noor.user.pk, engine=ScriptedEngine(delete))
    assert not SummaryPoint.objects.exists()
    actions.write_summary(summary.pk, user_id=noor.user.pk)


def test_a_post_deleted_while_it_is_read_leaves_no_point(long_thread: Thread, noor: Member) -> None:
    gone = Post.objects.filter(thread=long_thread).order_by("created_at").first()
    assert gone is not None

    def delete(request: Request) -> Sequence[Said]:
        Post.objects.filter(pk=gone.pk).delete()
        return [
            Statement("Late.", [Quote(2, request.sources[1].text)]),
            Statement("Asked.", [Quote(1, request.sources[0].text)]),
        ]

    summary = actions.request_summary(by=noor, thread=long_thread)
    actions.write_summary(summary.pk, user_id=noor.user.pk, engine=ScriptedEngine(delete))
    assert list(SummaryPoint.objects.values_list("text", flat=True)) == ["Asked."]


def test_a_short_thread_has_no_button_and_one_of_long_texts_has(sam: Member, signed_in: Any) -> None:
    thread = factories.make_thread(sam, "A short thread")
    factories.make_post(sam, thread, "Short.")
    client = signed_in(sam.user)
    assert 'id="summary"' not in client.get(page_of(thread)).content.decode()
    factories.make_post(sam, thread, "long " * 1200)
    assert 'id="summary"' in client.get(page_of(thread)).content.decode()


def test_an_engine_reads_whole_texts_and_not_without_end(sam: Member, noor: Member, engine: ScriptedEngine) -> None:
    thread = factories.make_thread(sam, "A very long thread", "Where does it end?")
    for number in range(8):
        factories.make_post(noor, thread, f"{number} " + "long " * 1900)
    summed_up(noor, thread)
    (request,) = engine.requests
    assert len(request.sources) == 7
    assert sum(len(source.text) for source in request.sources) <= 60_000


def test_where_the_machine_is_off_there_is_no_summary(
    long_thread: Thread, noor: Member, engine: ScriptedEngine, signed_in: Any
) -> None:
    actions.request_summary(by=noor, thread=long_thread)
    CourseAI.objects.create(institution=noor.course.institution, course=noor.course, mode="off")
    run_tasks(actions.SUMMARY_TASK)
    assert not ThreadSummary.objects.exists()
    client = signed_in(noor.user)
    assert 'id="summary"' not in client.get(page_of(long_thread)).content.decode()
    response = client.post(url(long_thread))
    assert response.status_code == 409
    assert "switched the AI off" in response.content.decode()
    with pytest.raises(Refused):
        actions.request_summary(by=noor, thread=long_thread)


def test_admin_lists_points_without_the_words_of_posts(
    long_thread: Thread, noor: Member, engine: ScriptedEngine, signed_in: Any
) -> None:
    summary = summed_up(noor, long_thread)
    root = User.objects.create_superuser("root@example.edu", display_name="Root", institution=noor.course.institution)
    client = signed_in(root)
    listed = client.get(reverse("admin:ai_answers_summarypoint_changelist"), {"q": "Point 3"}).content.decode()
    assert "Point 3." in listed
    assert "Lists as default values" in listed
    for address in (
        reverse("admin:ai_answers_threadsummary_changelist"),
        reverse("admin:ai_answers_threadsummary_change", args=[summary.pk]),
    ):
        page = client.get(address)
        assert page.status_code == 200
        assert "Reply number" not in listed + page.content.decode()


@pytest.mark.parametrize("who", ["eve", "pat", "dana"])
def test_outside_the_course_there_is_no_summary(
    world: World, long_thread: Thread, noor: Member, engine: ScriptedEngine, signed_in: Any, who: str
) -> None:
    summed_up(noor, long_thread)
    client = signed_in(world.user(who))
    assert client.get(url(long_thread), HTTP_HX_REQUEST="true").status_code == 404
    assert client.post(url(long_thread)).status_code == 404
    assert Client().get(url(long_thread)).status_code == 302


def test_who_has_completed_the_course_reads_and_does_not_ask(
    world: World, long_thread: Thread, noor: Member, engine: ScriptedEngine, signed_in: Any
) -> None:
    Enrollment.objects.filter(user=noor.user).update(status=EnrollmentStatus.COMPLETED)
    client = signed_in(noor.user)
    assert 'id="summarise"' not in client.get(page_of(long_thread)).content.decode()
    assert client.post(url(long_thread)).status_code == 409
    summed_up(world.member("sam"), long_thread)
    assert "Point 1." in client.get(page_of(long_thread)).content.decode()
