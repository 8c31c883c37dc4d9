"""The numbers of a course: each against a scene counted by hand, and who may read them."""

import csv
import io
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.access import Member
from accounts.models import User
from ai_answers.models import Answer, AnswerEndorsement
from forum import actions
from forum.insights import STAFF_MINUTES, TABLES, Period, Report
from forum.insights.clusters import Asked, Group, _grouped, frequent_questions
from forum.insights.facts import refresh_facts
from forum.insights.figures import figures, span
from forum.insights.numbers import measure
from forum.models import Deflection, Post, Status, Thread
from quokkaq.lib import tenancy
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
INSIGHTS = "/c/cs-101/insights/"
# A Wednesday.
NOW = datetime(2026, 11, 25, 15, 30, tzinfo=UTC)


def asked(by: Member, at: datetime, title: str = "Why does this happen?", **fields: Any) -> Thread:
    thread = factories.make_thread(by, title, **fields)
    Thread.objects.filter(pk=thread.pk).update(created_at=at, last_activity_at=at)
    thread.refresh_from_db()
    return thread


def answered(by: Member, thread: Thread, after: timedelta, **fields: Any) -> Post:
    post = factories.make_post(by, thread, **fields)
    at = thread.created_at + after
    Post.objects.filter(pk=post.pk).update(created_at=at)
    Thread.objects.filter(pk=thread.pk).update(last_activity_at=max(at, thread.last_activity_at))
    return post


def counted(now: datetime | None = None) -> None:
    """Do what the worker does every twenty seconds."""
    for institution in tenancy.institutions():
        with tenancy.scope(institution):
            while refresh_facts(now=now):
                pass


def measured(member: Member, days: int = 7, now: datetime = NOW) -> Report:
    counted(now)
    return measure(member, Period.last(days, now))


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def deflected(by: Member, thread: Thread, at: datetime) -> None:
    Deflection.objects.create(
        institution_id=thread.institution_id, user=by.user, course=by.course, thread=thread, created_at=at
    )


def machine_answered(thread: Thread) -> Answer:
    """Stand in for an engine: only that an answer is published matters here."""
    return factories.put_answer(thread, "published", body="Because.", finished_at=thread.created_at)


# What is counted


def test_a_scene_counted_by_hand(sam: Member, noor: Member, tim: Member, ada: Member) -> None:
    yesterday = NOW - timedelta(days=1)
    first = asked(sam, yesterday)
    answered(sam, first, hours(1))  # the asker's own
    answered(noor, first, hours(2))
    staffs = answered(tim, first, hours(5))
    actions.set_endorsement(by=ada, post=staffs, on=True)
    second = asked(noor, yesterday, anonymity="all")
    answered(sam, second, hours(4), anonymity="all")
    third = asked(sam, yesterday)
    answered(tim, third, hours(9))
    asked(noor, yesterday)  # nobody answers
    settled = asked(noor, yesterday)
    actions.set_resolved(by=noor, thread=settled, resolved=True)
    now = measured(ada).now
    assert (now.questions, now.answered, now.endorsed) == (5, 4, 1)
    # Waits of 2, 4 and 9 hours; for staff 5 and 9.
    assert (now.wait, now.by_people) == (hours(4), 3)
    assert (now.staff_wait, now.by_staff) == (hours(7), 2)
    # Replies by anybody but the asker.
    assert now.answers == 4


@pytest.mark.parametrize("change", ["deleted", "hidden", "pending"])
def test_what_is_gone_hidden_or_waiting_counts_nowhere(change: str, sam: Member, noor: Member, ada: Member) -> None:
    away: dict[str, Any] = {"deleted_at": NOW} if change == "deleted" else {"moderation": change}
    thread = asked(sam, NOW - hours(20))
    early, late = (answered(noor, thread, hours(count)) for count in (1, 3))
    Post.objects.filter(pk=early.pk).update(**away)
    found = measured(ada)
    assert (found.now.wait, found.now.answers) == (hours(3), 1)
    assert [person.answers for person in found.contributors] == [1]
    Post.objects.filter(pk=late.pk).update(**away)
    Thread.objects.update(status="open")
    assert (measured(ada).now.answered, measured(ada).now.wait) == (0, None)
    Thread.objects.update(**away)
    found = measured(ada)
    assert (found.now.questions, found.unanswered.total, sum(found.questions_over_time)) == (0, 0, 0)


def test_comments_discussions_and_self_answers_are_no_answers(sam: Member, noor: Member, ada: Member) -> None:
    thread = asked(sam, NOW - hours(20))
    own = answered(sam, thread, hours(1))
    answered(noor, thread, hours(2), parent=own)
    talk = asked(sam, NOW - hours(20), kind="discussion")
    answered(noor, talk, hours(1))
    found = measured(ada)
    assert (found.now.questions, found.now.answered, found.now.answers) == (1, 0, 0)
    assert found.contributors == []
    assert found.unanswered.total == 1


def test_private_questions_count_and_merged_ones_do_not(sam: Member, noor: Member, ada: Member) -> None:
    asked(sam, NOW - hours(2), visibility="staff")
    merged = asked(noor, NOW - hours(1))
    Thread.objects.filter(pk=merged.pk).update(merged_into=Thread.objects.exclude(pk=merged.pk).get())
    assert measured(ada).now.questions == 1


def test_an_answer_that_was_merged_in_from_before_waited_no_time(sam: Member, noor: Member, ada: Member) -> None:
    thread = asked(sam, NOW - hours(2))
    answered(noor, thread, hours(-5))
    assert measured(ada).now.wait == timedelta()


def test_people_who_were_erased_count_as_somebody_else(sam: Member, noor: Member, ada: Member) -> None:
    thread = asked(sam, NOW - hours(9))
    answered(noor, thread, hours(1))
    Thread.objects.update(author=None)
    Post.objects.update(author=None)
    found = measured(ada)
    assert (found.now.by_people, found.now.answers) == (1, 1)
    assert [(person.name, person.answers) for person in found.contributors] == [("Deleted users", 1)]


def test_what_the_machine_spared(sam: Member, noor: Member, tim: Member, ada: Member) -> None:
    alone, endorsed, settled, helped, own = (asked(sam, NOW - hours(9), f"Question number {n}") for n in range(5))
    for thread in (alone, endorsed, settled, helped):
        machine_answered(thread)
    AnswerEndorsement.objects.create(
        institution_id=endorsed.institution_id,
        answer=Answer.objects.get(thread=endorsed),
        endorser=tim.user,
        role=tim.role,
    )
    actions.set_resolved(by=sam, thread=settled, resolved=True)
    answered(noor, helped, hours(1))
    actions.set_resolved(by=sam, thread=helped, resolved=True)
    actions.set_resolved(by=sam, thread=own, resolved=True)
    for at in (NOW - hours(1), NOW - hours(2), NOW - timedelta(days=8)):
        deflected(noor, alone, at)
    found = measured(ada)
    # `alone` is still waited for, people helped with `helped`, and the machine had nothing to do with `own`.
    assert (found.now.machine, found.now.spared, found.now.deflections) == (4, 2, 2)
    assert found.before.deflections == 1
    assert found.now.minutes_saved == (2 + 2) * STAFF_MINUTES
    shown = next(figure for figure in figures(found) if figure.key == "minutes_saved")
    assert shown.detail == f"(2 not asked + 2 by the machine alone) × {STAFF_MINUTES} min (assumed)"
    assert "our assumption" in shown.definition


def test_an_endorsed_answer_of_the_asker_is_no_machine_answer(sam: Member, tim: Member, ada: Member) -> None:
    thread = asked(sam, NOW - hours(9))
    machine_answered(thread)
    own = answered(sam, thread, hours(1))
    actions.set_endorsement(by=tim, post=own, on=True)
    assert (measured(ada).now.endorsed, measured(ada).now.spared) == (1, 0)


# Days


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
@pytest.mark.parametrize("days", [7, 30, 90])
def test_days_are_those_of_the_reader(days: int, zone: str, sam: Member, ada: Member) -> None:
    thread = asked(sam, NOW)
    with timezone.override(zone):
        local = timezone.localtime(NOW)
        midnight = local.replace(hour=0, minute=0)
        first = timezone.make_aware((midnight - timedelta(days=days - 1)).replace(tzinfo=None))
        before = timezone.make_aware((midnight - timedelta(days=2 * days - 1)).replace(tzinfo=None))
        now_before = timezone.make_aware((local - timedelta(days=days)).replace(tzinfo=None))
        second = timedelta(seconds=1)
        for at, counts in (
            (NOW - second, (1, 0)), (NOW, (0, 0)), (first, (1, 0)), (first - second, (0, 0)),
            (now_before - second, (0, 1)), (now_before, (0, 0)), (before, (0, 1)), (before - second, (0, 0)),
        ):  # fmt: skip
            Thread.objects.filter(pk=thread.pk).update(created_at=at)
            found = measured(ada, days)
            assert (found.now.questions, found.before.questions) == counts, at
            assert sum(found.questions_over_time) == counts[0]


def test_the_change_of_clocks_moves_no_question_to_another_day(sam: Member, ada: Member) -> None:
    asked(sam, datetime(2026, 10, 24, 22, 30, tzinfo=UTC))  # half past midnight on the 25th in Berlin
    asked(sam, datetime(2026, 10, 25, 22, 59, tzinfo=UTC))  # a minute to midnight, an hour later than the day before
    with timezone.override("Europe/Berlin"):
        found = measured(ada, 7, datetime(2026, 10, 27, 12, 0, tzinfo=UTC))
        by_day = {str(bucket): made for bucket, made in zip(found.buckets, found.questions_over_time, strict=True)}
    assert by_day["25 Oct"] == 2
    assert found.by_hour[6][0] == found.by_hour[6][23] == 1


def test_ninety_days_are_shown_in_weeks_that_end_today() -> None:
    buckets = Period.last(90, NOW).buckets()
    assert len(buckets) == 13
    assert (buckets[-1].first, buckets[-1].last) == (date(2026, 11, 19), date(2026, 11, 25))
    assert str(buckets[0]) == "28 Aug to 2 Sep"
    assert [len(Period.last(days, NOW).buckets()) for days in (7, 30)] == [7, 30]


def test_hours_and_weekdays_are_those_of_the_reader(sam: Member, noor: Member, ada: Member) -> None:
    thread = asked(sam, NOW - hours(1))  # Wednesday 14:30 in London, Thursday 03:30 in Auckland
    answered(noor, thread, timedelta(minutes=50))
    assert measured(ada).by_hour[2][14:16] == [1, 1]
    with timezone.override("Pacific/Auckland"):
        assert measured(ada).by_hour[3][3:5] == [1, 1]


def test_answers_to_older_questions_count_when_they_were_given(sam: Member, noor: Member, ada: Member) -> None:
    thread = asked(sam, NOW - timedelta(days=60))
    answered(noor, thread, timedelta(days=59))
    answered(noor, thread, timedelta(days=50))
    found = measured(ada)
    assert (found.now.questions, found.now.answers, found.before.answers) == (0, 1, 1)
    assert sum(found.answers_over_time) == 1


# Lists


def test_tags_show_both_counts_those_that_grew_first(world: World, sam: Member, ada: Member) -> None:
    old, new, idle = (factories.make_tag(world.course, slug) for slug in ("exams", "labs", "idle"))
    for _ in range(2):
        asked(sam, NOW - timedelta(days=9), tags=[old])
    asked(sam, NOW - hours(5), tags=[old, new])
    asked(sam, NOW - hours(5), tags=[new])
    asked(sam, NOW - hours(5), tags=[idle], kind="discussion")
    Thread.objects.filter(pk=asked(sam, NOW - hours(5), tags=[idle]).pk).update(moderation="hidden")
    assert [(tag.name, tag.now, tag.before) for tag in measured(ada).tags] == [("Labs", 2, 0), ("Exams", 1, 2)]


@pytest.mark.parametrize("anonymity", ["classmates", "all"])
def test_what_is_hidden_is_never_counted_to_a_person(
    anonymity: str, sam: Member, noor: Member, tim: Member, ada: Member
) -> None:
    for place, by in enumerate((sam, noor, noor)):
        thread = asked(tim, NOW - hours(5), f"Question number {place}")
        answered(by, thread, hours(1), anonymity=anonymity)
    thread = asked(tim, NOW - hours(5))
    actions.set_endorsement(by=ada, post=answered(sam, thread, hours(1)), on=True)
    answered(ada, thread, hours(1))
    found = [(one.name, one.answers, one.endorsed, one.is_staff) for one in measured(ada).contributors]
    assert found == [
        ("Sam Surname-sam", 1, 1, False),
        ("Ada Surname-ada", 1, 0, True),
        ("Under a pseudonym", 3, 0, False),
    ]


def test_unanswered_questions_are_told_by_age(sam: Member, noor: Member, ada: Member) -> None:
    oldest = NOW - timedelta(days=200)
    for at in (NOW - hours(1), NOW - hours(25), NOW - hours(26), NOW - timedelta(days=4), oldest):
        asked(sam, at)
    answered(noor, asked(sam, NOW - hours(1)), hours(0.5))
    found = measured(ada).unanswered
    assert (found.total, list(found.ages), found.oldest) == (5, [1, 2, 1, 1], oldest)


# Groups


def groups(member: Member, days: int = 7) -> list[tuple[int, list[int], int]]:
    found = frequent_questions(member, Period.last(days, NOW))
    return [(group.first.number, [one.number for one in group.others], group.people) for group in found]


def test_questions_that_ask_the_same_are_one_group(sam: Member, noor: Member, ada: Member) -> None:
    asked(sam, NOW - hours(9), "How do I install numpy on Windows?")
    asked(noor, NOW - hours(8), "How to install numpy on windows")
    asked(noor, NOW - hours(7), "When is the final exam?")
    asked(noor, NOW - timedelta(days=20), "Installing numpy on Windows?")
    actions.set_same_question(by=noor, thread=Thread.objects.get(number=1), on=True)
    assert groups(ada) == [(1, [2], 3)]
    assert groups(ada, 30) == [(1, [2, 4], 4)]


def test_a_question_many_people_have_is_a_group_of_its_own(
    world: World, sam: Member, noor: Member, ada: Member
) -> None:
    thread = asked(sam, NOW - hours(9), "When is the final exam?")
    actions.set_same_question(by=noor, thread=thread, on=True)
    assert groups(ada) == []
    lena = factories.make_user(world.institution, "lena")
    world.people["lena"] = lena
    factories.enroll(lena, world.course)
    actions.set_same_question(by=world.member("lena"), thread=thread, on=True)
    assert groups(ada) == [(1, [], 3)]


def test_duplicates_and_merged_questions_are_groups_whatever_they_say(sam: Member, noor: Member, ada: Member) -> None:
    old = asked(sam, NOW - timedelta(days=60), "When is the final exam?")
    for title, field in (("Which room do we sit in?", "duplicate_of"), ("What may I bring?", "merged_into")):
        thread = asked(noor, NOW - hours(5), title)
        Thread.objects.filter(pk=thread.pk).update(**{field: old})
    assert groups(ada) == [(1, [2, 3], 3)]
    Thread.objects.filter(pk=old.pk).update(moderation="hidden")
    assert groups(ada) == []


def test_duplicates_in_a_circle_come_to_an_end(sam: Member, ada: Member) -> None:
    one, other = asked(sam, NOW - hours(5), "When is it?"), asked(sam, NOW - hours(5), "Where do we meet?")
    for first, second in ((one, other), (other, one)):
        Thread.objects.filter(pk=first.pk).update(duplicate_of=second)
    assert groups(ada) == [(1, [2], 2)]


def test_somebody_who_asks_twice_under_two_names_is_not_told_apart(sam: Member, noor: Member, ada: Member) -> None:
    for by in (sam, sam, noor):
        asked(by, NOW - hours(5), "How do I install numpy?", anonymity="all")
    assert groups(ada) == [(1, [2, 3], 3)]


def test_titles_without_words_are_no_group(sam: Member, ada: Member) -> None:
    for _ in range(2):
        asked(sam, NOW - hours(5), "????? !!")
    assert groups(ada) == []


def test_grouping_does_not_depend_on_the_order_of_rows(ada: Member) -> None:
    titles = ["How do I install numpy?", "Install numpy how", "Exam date", "Date of the exam", "Numpy install fails"]
    rows = [Asked(uuid.UUID(int=n), n, title, 1, None, True, False) for n, title in enumerate(titles, 1)]

    def made(order: list[Asked]) -> set[frozenset[int]]:
        return {frozenset(one.number for one in found) for found in _grouped(ada, {row.id: row for row in order})}

    assert made(rows) == made(rows[::-1])
    assert Group(rows).is_open


# Pages


def fill(world: World) -> None:
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    tag = factories.make_tag(world.course, f"tag{Thread.objects.count()}")
    for anonymity in ("named", "all"):
        thread = factories.make_thread(
            sam, f"Why is question {Thread.objects.count()} so?", anonymity=anonymity, tags=[tag]
        )
        post = factories.make_post(noor, thread, anonymity=anonymity)
        actions.set_endorsement(by=tim, post=post, on=True)
        deflected(noor, thread, timezone.now() - timedelta(seconds=1))
    counted()


def test_only_staff_of_the_course_read_them(world: World, signed_in: SignIn) -> None:
    for url in (INSIGHTS, f"{INSIGHTS}contributors.csv"):
        for who, status in (("ada", 200), ("tim", 200), ("sam", 403), ("carl", 403), ("pat", 404), ("dana", 404)):
            assert signed_in(world.user(who)).get(url).status_code == status, who
    assert "Insights" not in signed_in(world.user("sam")).get("/c/cs-101/").content.decode()


def test_students_count_no_deflections(world: World, sam: Member, ada: Member) -> None:
    deflected(sam, factories.make_thread(sam), NOW)
    assert not Deflection.objects.countable_by(sam).exists()
    assert Deflection.objects.countable_by(ada).count() == 1


def test_an_empty_course_says_what_will_appear(world: World, signed_in: SignIn) -> None:
    page = signed_in(world.user("ada")).get(INSIGHTS)
    assert page.status_code == 200
    assert "Nothing to count yet" in page.content.decode()
    for table in TABLES:
        assert signed_in(world.user("ada")).get(f"{INSIGHTS}{table}.csv").status_code == 200


def test_a_course_where_nobody_asks_any_more_shows_zeros(world: World, signed_in: SignIn, sam: Member) -> None:
    asked(sam, timezone.now() - timedelta(days=400))
    Thread.objects.update(status="resolved")
    factories.archive(world.course)
    page = signed_in(world.user("ada")).get(INSIGHTS)
    assert page.status_code == 200
    assert "Nothing to count yet" not in page.content.decode()
    assert "Every question has an answer" in page.content.decode()
    assert page.context["figures"][0].shown == "0"


@pytest.mark.parametrize("days", [7, 30, 90])
def test_the_page_shows_every_number_with_its_definition(days: int, world: World, signed_in: SignIn) -> None:
    fill(world)
    page = signed_in(world.user("tim")).get(f"{INSIGHTS}?days={days}")
    html = page.content.decode()
    for figure in page.context["figures"]:
        assert figure.label in html
        assert html.count(f"What “{figure.label}” counts") == 1
    assert "Under a pseudonym" in html
    assert f"{INSIGHTS}contributors.csv?days={days}" in html


def test_days_that_do_not_exist_are_said(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("ada"))
    for asked_for in ("8", "x", "", "-7"):
        page = client.get(INSIGHTS, {"days": asked_for})
        assert page.status_code == 400
        assert "Showing 30" in page.content.decode()
        assert client.get(f"{INSIGHTS}tags.csv", {"days": asked_for}).status_code == 404
    assert client.get(f"{INSIGHTS}nothing.csv").status_code == 404


def test_every_table_can_be_downloaded_and_says_what_the_page_says(world: World, signed_in: SignIn) -> None:
    fill(world)
    client = signed_in(world.user("ada"))
    shown = client.get(f"{INSIGHTS}?days=7").context["tables"]
    for name, (table, rows) in shown.items():
        response = client.get(f"{INSIGHTS}{name}.csv?days=7")
        found = list(csv.reader(io.StringIO(response.content.decode())))
        assert found == [list(table.header), *([str(cell) for cell in row] for row in rows)], name
        assert response["Content-Disposition"].startswith(f'attachment; filename="cs-101-{name}-7-days-')
        assert "ada" not in response["Content-Disposition"]


def test_a_title_is_no_formula(world: World, signed_in: SignIn, sam: Member) -> None:
    for _ in range(2):
        factories.make_thread(sam, '=HYPERLINK("http://evil.example")')
    body = signed_in(world.user("ada")).get(f"{INSIGHTS}questions.csv").content.decode()
    assert "\"'=HYPERLINK(" in body


def test_numbers_are_a_minute_old_at_most_and_never_another_courses(world: World, signed_in: SignIn) -> None:
    factories.enroll(world.user("ada"), world.other_course, role=world.member("ada").role)
    client = signed_in(world.user("ada"))

    def questions(slug: str = "cs-101") -> int:
        return int(client.get(f"/c/{slug}/insights/").context["report"].now.questions)

    assert questions() == 0
    factories.make_thread(world.member("sam"))
    counted()
    assert questions() == 0
    assert questions("math-221") == 0
    User.objects.filter(pk=world.user("ada").pk).update(time_zone="Asia/Tokyo")
    assert questions() == 1


def test_the_number_of_queries_is_constant(world: World, signed_in: SignIn) -> None:
    from django.core.cache import cache

    client = signed_in(world.user("ada"))

    def queries() -> int:
        cache.clear()
        with CaptureQueriesContext(connection) as captured:
            assert client.get(INSIGHTS).status_code == 200
        return len(captured)

    fill(world)
    few = queries()
    for _ in range(12):
        fill(world)
    assert queries() == few <= 18
    with CaptureQueriesContext(connection) as captured:
        client.get(INSIGHTS)
    assert len(captured) <= 4


@pytest.mark.parametrize(
    ("wait", "shown"),
    [
        (None, "–"), (timedelta(seconds=20), "under 1 min"), (timedelta(minutes=25), "25 min"), (hours(1), "1 h"),
        (hours(3.5), "3 h 30 min"), (timedelta(days=2, hours=4, minutes=9), "2 d 4 h"), (timedelta(days=3), "3 d"),
    ],
)  # fmt: skip
def test_waiting_times_are_read_easily(wait: timedelta | None, shown: str) -> None:
    assert span(wait) == shown


def test_changes_are_said_in_words(sam: Member, noor: Member, ada: Member) -> None:
    asked(sam, NOW - hours(1))
    found = {figure.key: figure.change for figure in figures(measured(ada))}
    assert found["questions"] == "more than before (0)"
    assert found["answered"] == "nothing before to compare with"
    assert found["wait"] == ""
    for _ in range(2):
        answered(noor, asked(sam, NOW - timedelta(days=8)), hours(1))
    found = {figure.key: figure.change for figure in figures(measured(ada))}
    assert found["questions"] == "fewer than before (2)"
    assert found["answered"] == "lower than before (100 %)"
    assert found["deflections"] == "the same as before"
    assert Thread.objects.filter(status=Status.OPEN).count() == 1
