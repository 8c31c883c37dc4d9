"""The staff queue: what is in it, in which order, and why."""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.access import Member
from accounts.models import Course, Enrollment, PostingPolicy, User
from ai_answers.models import Answer
from forum import actions
from forum.models import Assignment, Flag, Thread
from forum.queue import Facts, Reason, Row, load, queue, register_queue_source, unanswered, urgency
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
QUEUE = "/c/cs-101/queue/"
NOW = timezone.now()


def order(member: Member) -> list[str]:
    return [entry.thread.title for entry in queue_of(member)]


def queue_of(member: Member) -> list[Row]:
    return load(member, queue(member))


def reasons(member: Member, thread: Thread) -> list[str]:
    entry = next(entry for entry in queue(member) if entry.thread_id == thread.pk)
    return [f"{reason.text} +{reason.points}" for reason in entry.urgency.reasons]


def flag(thread: Thread, by: Member, **fields: object) -> Flag:
    return Flag.objects.create(
        institution_id=thread.institution_id, user=by.user, thread=thread, reason="rude", **fields
    )


def facts(**known: object) -> Facts:
    return Facts(**({"now": NOW, "since": NOW} | known))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "text", "points"),
    [
        ({"flags": 1}, "1 open flag", 60),
        ({"flags": 3}, "3 open flags", 80),
        ({"flags": 30}, "30 open flags", 100),
        ({"approvals": 1}, "1 text waits for approval", 50),
        ({"approvals": 2}, "2 texts wait for approval", 55),
        ({"private": True}, "private, and no answer by staff", 10),
        ({"unanswered": True}, "nobody has answered", 0),
        ({"since": NOW - timedelta(days=3, hours=5)}, "waiting 3 days", 30),
        ({"since": NOW - timedelta(days=300)}, "waiting 300 days", 50),
        ({"same": 1}, "1 more person has the same question", 2),
        ({"same": 12}, "12 more people have the same question", 24),
        ({"same": 90}, "90 more people have the same question", 40),
        ({"readers": 90}, "viewed by 90", 9),
        ({"readers": 5}, "viewed by 5", 0),
        ({"assignment": "HW 3", "due_at": NOW + timedelta(hours=5)}, "HW 3 is due in 5 hours", 40),
        ({"assignment": "HW 3", "due_at": NOW + timedelta(minutes=5)}, "HW 3 is due in less than an hour", 40),
        ({"assignment": "HW 3", "due_at": NOW + timedelta(hours=20)}, "HW 3 is due in 20 hours", 30),
        ({"assignment": "HW 3", "due_at": NOW + timedelta(hours=50)}, "HW 3 is due in 2 days", 15),
        ({"others": (Reason("the AI failed", 15, "ai"),)}, "the AI failed", 15),
    ],
)
def test_every_reason_says_what_it_adds(known: dict[str, object], text: str, points: int) -> None:
    found = urgency(facts(**known))
    assert [(reason.text, reason.points) for reason in found.reasons] == [(text, points)]
    assert found.score == points


@pytest.mark.parametrize("due", [NOW - timedelta(hours=1), NOW, NOW + timedelta(days=4)])
def test_a_deadline_that_has_passed_or_is_far_presses_nobody(due: object) -> None:
    assert urgency(facts(assignment="HW", due_at=due)).reasons == ()


def test_the_page_shows_the_formula_the_code_documents(world: World, signed_in: SignIn) -> None:
    page = signed_in(world.user("tim")).get(QUEUE)
    assert len(page.context["formula"]) == 10
    assert "flagged: 60, and 10 for each further flag, up to 100" in page.content.decode()
    assert "Nothing waits" in page.content.decode()


def test_what_needs_a_human_is_there_and_what_does_not_is_not(
    world: World, sam: Member, noor: Member, tim: Member, ada: Member
) -> None:
    factories.make_thread(sam, "An open question")
    answered = factories.make_thread(sam, "An answered question")
    factories.make_post(noor, answered)
    by_oneself = factories.make_thread(sam, "Talking to myself")
    factories.make_post(sam, by_oneself)
    factories.make_thread(sam, "A discussion", kind="discussion")
    factories.make_thread(ada, "An announcement", kind="announcement")
    gone = factories.make_thread(sam, "Deleted")
    actions.delete_thread(by=sam, thread=gone)
    Thread.objects.filter(pk=factories.make_thread(sam, "Hidden by staff").pk).update(moderation="hidden")
    twin = factories.make_thread(sam, "Asked elsewhere")
    Thread.objects.filter(pk=twin.pk).update(duplicate_of=answered)
    private = factories.make_thread(sam, "A private discussion", kind="discussion", visibility="staff")
    settled = factories.make_thread(sam, "A private one, answered", kind="discussion", visibility="staff")
    factories.make_post(tim, settled)
    flagged = factories.make_thread(sam, "A flagged discussion", kind="discussion")
    flag(flagged, noor)
    closed = factories.make_thread(sam, "Flagged and decided", kind="discussion")
    flag(closed, noor, status="dismissed", decided_at=NOW)
    Answer.objects.all().delete()
    assert set(order(tim)) == {
        "An open question", "Talking to myself", "A private discussion", "A flagged discussion"
    }  # fmt: skip
    assert order(tim)[0] == "A flagged discussion"
    assert reasons(tim, private) == ["private, and no answer by staff +10"]
    actions.set_resolved(by=tim, thread=private, resolved=True)
    assert "A private discussion" not in order(tim)


def test_texts_that_wait_for_approval_are_there(world: World, sam: Member, tim: Member) -> None:
    Course.objects.filter(pk=world.course.pk).update(posting_policy=PostingPolicy.APPROVE)
    sam.course.refresh_from_db()
    waiting = factories.make_thread(sam, "May I?", kind="discussion")
    news = factories.make_thread(tim, "Some news", kind="announcement")
    factories.make_post(sam, news)
    factories.make_post(sam, news, "And that?")
    assert reasons(tim, waiting) == ["1 text waits for approval +50"]
    assert reasons(tim, news) == ["2 texts wait for approval +55"]


def test_a_flag_on_a_reply_counts_while_the_reply_is_there(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam, "A discussion", kind="discussion")
    post = factories.make_post(noor, thread)
    flag(thread, sam, post=post)
    assert reasons(tim, thread) == ["1 open flag +60"]
    actions.delete_post(by=noor, post=post)
    assert order(tim) == []


def test_what_the_machine_gave_up_on_says_so(sam: Member, noor: Member, tim: Member) -> None:
    abstained, failed = factories.make_thread(sam, "Abstained"), factories.make_thread(sam, "Failed")
    factories.put_answer(abstained, "abstained")
    factories.put_answer(failed, "failed")
    assert "the AI found no answer in the materials +10" in reasons(tim, abstained)
    assert "the AI failed to answer +15" in reasons(tim, failed)
    factories.make_post(noor, failed)
    assert order(tim) == ["Abstained"]


def test_another_app_may_add_a_thread_of_its_own(
    sam: Member, noor: Member, tim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forum.queue._sources", [])
    thread = factories.make_thread(sam, "A discussion", kind="discussion")

    def source(member: Member) -> dict[uuid.UUID, list[Reason]]:
        return {thread.pk: [Reason("somebody said it didn’t help", 20, "ai")]}

    register_queue_source(source)
    register_queue_source(source)
    assert reasons(tim, thread) == ["somebody said it didn’t help +20"]


def test_what_was_settled_while_the_queue_was_read_is_left_out(
    sam: Member, tim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = factories.make_thread(sam, "Just settled")
    ids = [thread.pk]
    monkeypatch.setattr("forum.queue._ids", lambda threads, order, size: ids if order == "-same_count" else [])
    Thread.objects.update(status="resolved")
    assert queue(tim) == []


def test_the_order_is_by_urgency_then_by_waiting(sam: Member, noor: Member, tim: Member) -> None:
    titles = ("Old", "New", "Wanted", "Due soon")
    threads = {title: factories.make_thread(sam, f"{title} question") for title in titles}
    homework = Assignment.objects.create(
        institution_id=tim.course.institution_id, course=tim.course, slug="h3", title="Homework 3",
        due_at=timezone.now() + timedelta(hours=5, minutes=30),
    )  # fmt: skip
    Thread.objects.filter(pk=threads["Due soon"].pk).update(assignment=homework)
    Thread.objects.filter(pk=threads["Old"].pk).update(created_at=timezone.now() - timedelta(days=2, hours=1))
    Thread.objects.filter(pk=threads["Wanted"].pk).update(same_count=12)
    assert order(tim) == ["Due soon question", "Wanted question", "Old question", "New question"]
    assert reasons(tim, threads["Due soon"]) == ["nobody has answered +0", "Homework 3 is due in 5 hours +40"]
    actions.assign_thread(by=tim, thread=threads["New"], to=tim.user)
    factories.make_post(noor, threads["Wanted"])
    assert order(tim) == ["Due soon question", "Old question", "New question"]


def test_filters_show_whose_and_why(world: World, sam: Member, noor: Member, tim: Member, signed_in: SignIn) -> None:
    mine, free = factories.make_thread(sam, "Mine to answer"), factories.make_thread(sam, "Free to take")
    hers = factories.make_thread(sam, "Hers to answer")
    flag(free, noor)
    actions.assign_thread(by=tim, thread=mine, to=tim.user)
    actions.assign_thread(by=tim, thread=hers, to=world.user("ada"))
    client = signed_in(world.user("tim"))

    def titles(query: str) -> list[str]:
        return [row.thread.title for row in client.get(QUEUE + query).context["rows"]]

    assert titles("") == ["Free to take", "Mine to answer", "Hers to answer"]
    assert titles("?who=mine") == ["Mine to answer"]
    assert titles("?who=unassigned") == ["Free to take"]
    assert titles("?need=flag") == ["Free to take"]
    assert titles("?who=mine&need=flag") == []
    assert "Nothing here needs you" in client.get(QUEUE + "?who=mine&need=flag").content.decode()
    bad = client.get(QUEUE + "?who=x&need=y&shown=zz")
    assert bad.status_code == 400
    assert "There is no such filter" in bad.content.decode()


def test_a_row_says_how_it_begins_in_plain_words(world: World, sam: Member, signed_in: SignIn) -> None:
    factories.make_thread(sam, "How does it begin?", "**Bold** & <b>raw</b>\n\n" + "word " * 200)
    page = signed_in(world.user("tim")).get(QUEUE).content.decode()
    (text,) = re.findall(r'<p class="queue-text">(.*?)</p>', page)
    assert text.startswith("Bold &amp; ")
    assert 150 < len(unescape(text)) <= 200
    assert '<span class="author">Sam Surname-sam</span>' in page


def test_who_hides_stays_hidden_in_the_queue(world: World, sam: Member, signed_in: SignIn) -> None:
    factories.make_thread(sam, "Who am I?", anonymity="all", visibility="staff")
    page = signed_in(world.user("tim")).get(QUEUE).content.decode()
    assert "Who am I?" in page
    assert "Surname-sam" not in page


def test_the_queue_is_for_staff(world: World, signed_in: SignIn) -> None:
    for name, status in (("sam", 403), ("carl", 403), ("pat", 404), ("dana", 404), ("tim", 200), ("ada", 200)):
        assert signed_in(world.user(name)).get(QUEUE).status_code == status, name


def test_an_archived_course_shows_its_queue_without_buttons(world: World, sam: Member, signed_in: SignIn) -> None:
    factories.make_thread(sam)
    factories.archive(world.course)
    page = signed_in(world.user("tim")).get(QUEUE).content.decode()
    assert "Why does this happen?" in page
    assert "Assign to me" not in page


def make_many(world: World, count: int) -> None:
    """Put `count` open questions into the course, in a few statements."""
    sam = world.member("sam")
    first = factories.make_thread(sam, "Question number 0")
    now = timezone.now()
    rows: list[Thread] = []
    for n in range(1, count):
        row = Thread.objects.get(pk=first.pk) if n == 1 else rows[0]
        rows.append(
            Thread(
                institution_id=row.institution_id, course_id=row.course_id, number=1000 + n, author_id=row.author_id,
                title=f"Question number {n}", body=row.body, body_html=row.body_html, submission_key=uuid.uuid4(),
                created_at=now - timedelta(minutes=n), same_count=n % 7, reader_count=n % 50,
            )
        )  # fmt: skip
    Thread.objects.bulk_create(rows)


def test_the_queue_costs_the_same_at_one_and_at_two_thousand(world: World, signed_in: SignIn) -> None:
    make_many(world, 1)
    client = signed_in(world.user("tim"))
    client.get(QUEUE)
    with CaptureQueriesContext(connection) as few:
        client.get(QUEUE)
    Thread.objects.all().delete()
    make_many(world, 2000)
    with CaptureQueriesContext(connection) as many:
        page = client.get(QUEUE)
    assert len(page.context["rows"]) == 25
    assert len(many) == len(few)
    assert page.context["more"] == "?shown=50"
    assert len(client.get(QUEUE + "?shown=50").context["rows"]) == 50
    last = client.get(QUEUE + "?shown=99999")
    assert len(last.context["rows"]) == 200
    assert last.context["most"] == 200
    assert not last.context["more"]
    # The oldest, the newest, and the most wanted are all looked at.
    assert len(queue(world.member("tim"))) >= 1000
    assert unanswered(world.member("tim")).count() == 2000


def test_an_enrollment_elsewhere_shows_nothing_of_here(world: World, sam: Member) -> None:
    factories.make_thread(sam)
    assert queue(world.member("pat", world.other_course)) == []
    assert Enrollment.objects.of_course(sam).count() == 0
