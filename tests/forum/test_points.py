"""One's own activity and points: what counts, what takes it back, and that nobody else sees it."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.access import Member
from accounts.models import AuditEvent, Course, User
from forum import actions, points
from forum.activity import Event
from forum.models import Endorsement, Post, Thread, Vote
from forum.points import Reason
from tests import append_only, factories
from tests.factories import World

SignIn = Callable[[User], Client]
ACTIVITY, POINTS, CSV = "/c/cs-101/activity/", "/c/cs-101/activity/points/", "/c/cs-101/activity/points.csv"


def total(member: Member) -> int:
    return points.standing(member).total


def reasons(member: Member) -> list[Reason]:
    return [entry.reason for entry in points.whole_ledger(member)]


@pytest.fixture
def voters(world: World) -> list[Member]:
    """Eight more students."""
    made = []
    for place in range(8):
        user = factories.make_user(world.institution, f"voter{place}")
        world.people[f"voter{place}"] = user
        factories.enroll(user, world.course)
        made.append(world.member(f"voter{place}"))
    return made


@pytest.fixture
def answer(noor: Member, sam: Member) -> Post:
    return factories.make_post(noor, factories.make_thread(sam))


def test_a_question_gives_two_points_while_it_is_shown(sam: Member, tim: Member) -> None:
    thread = factories.make_thread(sam)
    assert (total(sam), reasons(sam)) == (2, [Reason.QUESTION])
    Thread.objects.update(moderation="pending")
    assert total(sam) == 0
    Thread.objects.update(moderation="hidden")
    assert total(sam) == 0
    Thread.objects.update(moderation="shown")
    actions.delete_thread(by=sam, thread=thread)
    assert total(sam) == 0
    actions.restore_thread(by=sam, thread=thread)
    assert total(sam) == 2
    factories.make_thread(sam, "Only a discussion", kind="discussion")
    assert total(sam) == 2


def test_a_merged_question_still_counts(sam: Member, noor: Member) -> None:
    source, target = factories.make_thread(sam), factories.make_thread(noor, "The same question")
    Thread.objects.filter(pk=source.pk).update(merged_into=target)
    assert total(sam) == 2
    assert total(noor) == 2


def test_the_first_upvote_gives_ten_and_five_more_give_five_each(
    noor: Member, answer: Post, voters: list[Member]
) -> None:
    assert total(noor) == 0
    for count, voter in enumerate(voters, 1):
        actions.set_vote(by=voter, target=answer, on=True)
        assert total(noor) == 10 + 5 * min(5, count - 1)
    assert reasons(noor) == [Reason.VOTE] * 5 + [Reason.FIRST_VOTE]
    for voter in voters:
        actions.set_vote(by=voter, target=answer, on=False)
    assert points.whole_ledger(noor) == []


def test_the_limit_is_for_each_answer(noor: Member, sam: Member, answer: Post, voters: list[Member]) -> None:
    other = factories.make_post(noor, factories.make_thread(sam, "Another question"))
    for voter in voters:
        actions.set_vote(by=voter, target=answer, on=True)
    actions.set_vote(by=sam, target=other, on=True)
    assert total(noor) == 35 + 10


def test_a_vote_for_oneself_gives_nothing(noor: Member, answer: Post) -> None:
    Vote.objects.create(institution_id=answer.institution_id, user=noor.user, post=answer)
    assert total(noor) == 0


def test_votes_for_questions_and_comments_give_nothing(noor: Member, sam: Member, answer: Post) -> None:
    comment = factories.make_post(noor, answer.thread, "By the way", parent=answer)
    actions.set_vote(by=sam, target=comment, on=True)
    actions.set_vote(by=noor, target=answer.thread, on=True)
    assert total(noor) == 0
    assert total(sam) == 2


def test_an_endorsement_gives_twenty_once(noor: Member, answer: Post, tim: Member, ada: Member) -> None:
    actions.set_endorsement(by=tim, post=answer, on=True)
    assert (total(noor), reasons(noor)) == (20, [Reason.ENDORSED])
    actions.set_endorsement(by=ada, post=answer, on=True)
    assert total(noor) == 20
    actions.set_endorsement(by=tim, post=answer, on=False)
    assert total(noor) == 20
    assert points.whole_ledger(noor)[0].at == Endorsement.objects.get().created_at
    actions.set_endorsement(by=ada, post=answer, on=False)
    assert total(noor) == 0


@pytest.mark.parametrize("gone", ["deleted", "hidden", "pending", "thread deleted", "thread hidden"])
def test_points_go_with_the_text_and_come_back_with_it(
    gone: str, noor: Member, sam: Member, tim: Member, answer: Post
) -> None:
    actions.set_vote(by=sam, target=answer, on=True)
    actions.set_endorsement(by=tim, post=answer, on=True)
    assert total(noor) == 30
    rows = Thread.objects if gone.startswith("thread") else Post.objects
    away = {"deleted_at": timezone.now()} if "deleted" in gone else {"moderation": gone.rsplit(maxsplit=1)[-1]}
    rows.update(**away)
    assert total(noor) == 0
    rows.update(deleted_at=None, moderation="shown")
    assert total(noor) == 30


def test_what_is_written_under_a_pseudonym_counts_for_oneself(noor: Member, sam: Member) -> None:
    thread = factories.make_thread(sam, anonymity="all")
    hidden = factories.make_post(noor, thread, anonymity="all")
    actions.set_vote(by=sam, target=hidden, on=True)
    assert (total(sam), total(noor)) == (2, 10)


def test_the_ledger_has_running_totals_and_dates_of_the_events(
    noor: Member, sam: Member, tim: Member, answer: Post
) -> None:
    factories.make_thread(noor, "A question of noor's")
    actions.set_vote(by=sam, target=answer, on=True)
    actions.set_endorsement(by=tim, post=answer, on=True)
    days = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
    Thread.objects.filter(author=noor.user).update(created_at=days[0])
    Vote.objects.update(created_at=days[1])
    Endorsement.objects.update(created_at=days[2])
    found = [(entry.at, entry.points, entry.total) for entry in points.whole_ledger(noor)]
    assert found == [(days[2], 20, 32), (days[1], 10, 12), (days[0], 2, 2)]
    standing = points.standing(noor)
    assert standing.reached is not None
    assert standing.reached.reached_at == days[2]
    assert (standing.next.points if standing.next else 0, standing.missing) == (100, 68)
    assert points.points_since(noor, [days[2], days[1], days[0]]) == [20, 30, 32]


def test_every_milestone_can_be_reached(sam: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.make_thread(sam)
    monkeypatch.setattr(points, "MILESTONES", {1: "One", 2: "Two"})
    standing = points.standing(sam)
    assert (standing.next, standing.missing) == (None, 0)


def test_points_of_another_course_stay_there(world: World, sam: Member) -> None:
    factories.enroll(world.user("sam"), world.other_course)
    factories.make_thread(world.member("sam", world.other_course), "A question elsewhere")
    assert total(sam) == 0
    assert total(world.member("sam", world.other_course)) == 2


def test_the_pages_show_it_all_to_oneself(
    world: World, signed_in: SignIn, noor: Member, sam: Member, tim: Member, answer: Post
) -> None:
    actions.set_vote(by=sam, target=answer, on=True)
    actions.set_endorsement(by=tim, post=answer, on=True)
    actions.accept_answer(by=sam, post=answer, accepted=True)
    actions.set_same_question(by=noor, thread=answer.thread, on=True)
    factories.make_thread(noor, "A discussion of noor's", kind="discussion")
    hidden = factories.make_thread(noor, "Under another name", anonymity="all")
    client = signed_in(world.user("noor"))
    page = client.get(ACTIVITY)
    kinds = [event.kind.value for event in page.context["events"]]
    assert kinds == ["question", "thread", "same", "accepted", "endorsed", "answer"]
    assert "Tim Surname-tim" in page.content.decode()
    assert f"as {hidden.pseudonym}" in page.content.decode()
    assert page.context["numbers"] == [
        ("Questions", [1, 1, 1]), ("Answers", [1, 1, 1]), ("Endorsements received", [1, 1, 1]),
        ("Answers accepted", [1, 1, 1]), ("Same questions", [1, 1, 1]),
    ]  # fmt: skip
    assert "“Good company”" in client.get(POINTS).content.decode()


def test_accepting_is_dated_by_the_audit_log_or_else_by_the_answer(
    world: World, signed_in: SignIn, sam: Member, answer: Post
) -> None:
    actions.accept_answer(by=sam, post=answer, accepted=True)
    then = datetime(2026, 3, 1, tzinfo=UTC)
    with append_only.changeable():
        AuditEvent.objects.filter(verb="post.accepted").update(created_at=then)
    client = signed_in(world.user("noor"))

    def accepted_at() -> datetime:
        events: list[Event] = client.get(ACTIVITY).context["events"]
        return next(event.at for event in events if event.kind == "accepted")

    assert accepted_at() == then
    with append_only.changeable():
        AuditEvent.objects.all().delete()
    assert accepted_at() == answer.created_at


def test_what_waits_or_is_hidden_says_so_to_its_author(world: World, signed_in: SignIn, answer: Post) -> None:
    client = signed_in(world.user("noor"))
    Post.objects.update(moderation="pending")
    assert "Waiting for approval" in client.get(ACTIVITY).content.decode()
    Post.objects.update(moderation="hidden")
    assert "Hidden by staff" in client.get(ACTIVITY).content.decode()
    Post.objects.update(deleted_at=timezone.now())
    assert client.get(ACTIVITY).context["events"] == []


def test_numbers_count_the_readers_days(world: World, signed_in: SignIn, sam: Member) -> None:
    thread = factories.make_thread(sam)
    User.objects.filter(pk=sam.user.pk).update(time_zone="Pacific/Auckland")
    client = signed_in(User.objects.get(pk=sam.user.pk))
    with timezone.override("Pacific/Auckland"):
        start = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=6)
        for at, counts in ((start, [1, 1, 1]), (start - timedelta(seconds=1), [0, 1, 1])):
            Thread.objects.filter(pk=thread.pk).update(created_at=at)
            assert client.get(ACTIVITY).context["numbers"][0] == ("Questions", counts)


def test_staff_and_classmates_see_their_own_only(
    world: World, signed_in: SignIn, noor: Member, sam: Member, answer: Post
) -> None:
    actions.set_vote(by=sam, target=answer, on=True)
    for who in ("tim", "ada", "carl"):
        client = signed_in(world.user(who))
        for url in (ACTIVITY, POINTS, CSV):
            page = client.get(url)
            assert page.status_code == 200
            assert "Why does this happen?" not in page.content.decode()


def test_pages_go_through_all_rows_once(world: World, signed_in: SignIn, sam: Member) -> None:
    for place in range(60):
        factories.make_thread(sam, f"Question number {place}")
    # All at the same moment: the rest of the key settles ties.
    Thread.objects.update(created_at=timezone.now())
    client = signed_in(world.user("sam"))
    for url, name in ((ACTIVITY, "events"), (POINTS, "entries")):
        seen, following = [], "?"
        while following:
            context = client.get(url + following).context
            seen += [row.number for row in context[name]]
            following = f"?cursor={context['next']}" if context["next"] else ""
        assert sorted(seen) == list(range(1, 61))


@pytest.mark.parametrize("url", [ACTIVITY, POINTS])
def test_a_damaged_address_shows_the_first_page(url: str, world: World, signed_in: SignIn, sam: Member) -> None:
    for place in range(30):
        factories.make_thread(sam, f"Question number {place}")
    client = signed_in(world.user("sam"))
    other = POINTS if url == ACTIVITY else ACTIVITY
    for cursor in ("nonsense", client.get(other).context["next"]):
        page = client.get(url, {"cursor": cursor})
        assert page.status_code == 400
        assert "damaged or out of date" in page.content.decode()
        assert "Question number 29" in page.content.decode()


def test_new_people_are_told_what_to_do(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    assert "Ask your first question" in client.get(ACTIVITY).content.decode()
    assert "No points yet" in client.get(POINTS).content.decode()
    assert "Ask your first question" not in signed_in(world.user("carl")).get(ACTIVITY).content.decode()


def test_a_course_may_do_without_points(world: World, signed_in: SignIn, sam: Member) -> None:
    factories.make_thread(sam)
    Course.objects.update(points_hidden=True)
    client = signed_in(world.user("sam"))
    assert POINTS not in client.get(ACTIVITY).content.decode()
    assert client.get(POINTS).status_code == 404
    assert client.get(CSV).status_code == 404


def test_the_ledger_can_be_downloaded(world: World, signed_in: SignIn, sam: Member) -> None:
    factories.make_thread(sam, '=HYPERLINK("http://evil")')
    response = signed_in(world.user("sam")).get(CSV)
    rows = list(csv.reader(io.StringIO(response.content.decode())))
    assert rows[0] == ["When", "What for", "Thread", "Title", "Points", "Total"]
    assert rows[1][1:] == ["You asked a question", "#1", '\'=HYPERLINK("http://evil")', "2", "2"]
    assert "sam" not in response["Content-Disposition"]


@pytest.mark.parametrize("url", [ACTIVITY, POINTS, CSV])
def test_the_number_of_queries_is_constant(
    url: str, world: World, signed_in: SignIn, sam: Member, noor: Member, tim: Member
) -> None:
    client = signed_in(world.user("noor"))

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get(url).status_code == 200
        return len(captured)

    def fill() -> None:
        post = factories.make_post(noor, factories.make_thread(sam, anonymity="all"), anonymity="all")
        factories.make_thread(noor, "A question of noor's")
        actions.set_vote(by=sam, target=post, on=True)
        actions.set_endorsement(by=tim, post=post, on=True)
        actions.accept_answer(by=sam, post=post, accepted=True)

    fill()
    few = queries()
    for _ in range(12):
        fill()
    assert queries() == few <= 7
