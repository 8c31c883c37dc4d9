"""Who is told what, once, and when mail about it is due."""

import itertools
import zoneinfo
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.access import Member
from accounts.models import Enrollment, User
from ai_answers import actions as ai_actions
from ai_answers.models import Answer
from forum import access, actions
from forum.actions import telling
from forum.actions.telling import due_at
from forum.models import (
    Delivery,
    Follow,
    FollowState,
    Moderation,
    Notification,
    NotificationKind,
    Post,
    Thread,
    Visibility,
)
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = [pytest.mark.django_db]


def told(*kinds: str) -> set[tuple[str, str]]:
    """Run the jobs; return who was told what, as (name, kind)."""
    run_tasks("forum.tell")
    rows = Notification.objects.filter(kind__in=kinds) if kinds else Notification.objects.all()
    return {(row.user.email.split("@")[0], row.kind) for row in rows.select_related("user")}


@pytest.fixture
def thread(world: World, sam: Member) -> Thread:
    return factories.make_thread(sam)


def test_followers_hear_of_replies_and_nobody_of_their_own(thread: Thread, noor: Member, tim: Member) -> None:
    factories.make_post(noor, thread)
    assert told() == {("sam", "reply")}
    reply = factories.make_post(tim, thread)
    factories.make_post(noor, thread, parent=reply)
    run_tasks("forum.tell")
    assert Notification.objects.filter(user=noor.user).count() == 1
    assert Notification.objects.filter(user=tim.user).count() == 1
    assert Notification.objects.filter(kind="reply").count() == 5


def test_a_muted_thread_says_nothing_but_names_and_news(thread: Thread, sam: Member, noor: Member, tim: Member) -> None:
    actions.set_follow(by=sam, thread=thread, state=FollowState.MUTED)
    post = factories.make_post(noor, thread)
    mine = factories.make_post(sam, thread)
    actions.set_endorsement(by=tim, post=mine, on=True)
    actions.accept_answer(by=tim, post=mine, accepted=True)
    actions.enqueue_telling(NotificationKind.AI_ANSWER, thread=thread)
    run_tasks("forum.tell")
    assert not Notification.objects.filter(user=sam.user).exists()
    factories.make_post(noor, thread, f"@{sam.user.display_name} look", parent=post)
    actions.enqueue_telling(NotificationKind.DECISION, thread=thread, actor=tim.user)
    assert {kind for name, kind in told() if name == "sam"} == {"mention", "decision"}


def test_being_called_by_name_in_a_reply_is_told_once(thread: Thread, noor: Member, sam: Member) -> None:
    factories.make_post(noor, thread, f"Look, @{sam.user.display_name}")
    assert told() == {("sam", "mention")}


def test_a_name_added_later_is_told_and_only_once(thread: Thread, noor: Member, sam: Member, tim: Member) -> None:
    post = factories.make_post(noor, thread, "Look")
    actions.edit_post(by=noor, post=post, body=f"Look, @{tim.user.display_name}")
    actions.edit_post(by=tim, post=post, body=f"Look here, @{tim.user.display_name} and @{noor.user.display_name}")
    assert told("mention") == {("tim", "mention")}


def test_an_announcement_reaches_every_active_member(world: World, tim: Member) -> None:
    thread = factories.make_thread(tim, "Exam on Monday", "See @Noor Surname-noor", kind="announcement")
    Follow.objects.filter(thread=thread).update(state="muted")
    assert told() == {("ada", "announcement"), ("sam", "announcement"), ("noor", "mention")}


def test_endorsed_and_accepted(thread: Thread, sam: Member, noor: Member, tim: Member) -> None:
    post = factories.make_post(noor, thread)
    actions.set_endorsement(by=tim, post=post, on=True)
    actions.accept_answer(by=sam, post=post, accepted=True)
    assert told("endorsement", "accepted") == {("noor", "endorsement"), ("noor", "accepted")}
    assert Notification.objects.get(kind="endorsement").actor == tim.user
    assert Notification.objects.get(kind="accepted").actor is None


@pytest.mark.parametrize("by", ["sam", "tim"])
def test_nobody_is_told_that_they_accepted_their_own(by: str, thread: Thread, world: World) -> None:
    post = factories.make_post(world.member(by), thread)
    actions.accept_answer(by=world.member(by), post=post, accepted=True)
    assert told("accepted") == set()


def test_the_list_of_tasks_names_nobody_who_may_hide(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam, anonymity="all")
    post = factories.make_post(noor, thread, f"You, @{thread.pseudonym}", anonymity="all")
    actions.accept_answer(by=sam, post=post, accepted=True)
    run_tasks("forum.tell")
    Notification.objects.update(mail_due_at=timezone.now())
    actions.enqueue_due_mail()
    run_tasks("forum.compose_mail")
    arguments = "".join(f"{job.args} {job.lock} {job.queueing_lock}" for job in ProcrastinateJob.objects.all())
    assert ProcrastinateJob.objects.filter(task_name="forum.send_mail").exists()
    for person in (sam.user, noor.user):
        assert str(person.pk) not in arguments
        assert person.pk.hex not in arguments


def test_an_answer_from_the_materials_is_told_when_published(
    world: World, sam: Member, noor: Member, tim: Member
) -> None:
    factories.make_material(tim)
    thread = factories.make_thread(sam, "When is a default parameter value evaluated?", "Once or at each call?")
    actions.set_follow(by=noor, thread=thread, state=FollowState.FOLLOWING)
    abstained = factories.make_thread(sam, "Zebra crossing colours?", "Xylophone quux.")
    for answer in Answer.objects.all():
        ai_actions.generate_answer(answer.pk)
        ai_actions.generate_answer(answer.pk)
    assert Answer.objects.get(thread=abstained).status == "abstained"
    assert told() == {("sam", "ai_answer"), ("noor", "ai_answer")}
    assert not Notification.objects.filter(thread=abstained).exists()


def test_staff_hear_of_flags_and_what_waits(world: World, thread: Thread, noor: Member, tim: Member) -> None:
    post = factories.make_post(noor, thread)
    actions.enqueue_telling(NotificationKind.FLAGGED, thread=thread, post=post)
    actions.enqueue_telling(NotificationKind.PENDING, thread=thread)
    actions.enqueue_telling(NotificationKind.ASSIGNED, thread=thread, actor=tim.user, to=world.user("ada"))
    actions.enqueue_telling(NotificationKind.ASSIGNED, thread=thread, actor=tim.user, to=noor.user)
    actions.enqueue_telling(NotificationKind.ASSIGNED, thread=thread, actor=tim.user, to=tim.user)
    assert told("flagged", "pending", "assigned") == {
        ("ada", "flagged"), ("tim", "flagged"), ("ada", "pending"), ("tim", "pending"), ("ada", "assigned"),
    }  # fmt: skip
    assert Notification.objects.get(kind="assigned").actor == tim.user


def test_a_decision_is_told_to_who_wrote_and_told_again(thread: Thread, sam: Member, tim: Member) -> None:
    def decide() -> None:
        actions.enqueue_telling(NotificationKind.DECISION, thread=thread, actor=tim.user)
        run_tasks("forum.tell")

    decide()
    row = Notification.objects.get()
    assert (row.user, row.actor) == (sam.user, tim.user)
    actions.mark_told_read(by=sam.user, thread=thread)
    first = ProcrastinateJob.objects.get(task_name="forum.tell")
    arguments = {"kind": NotificationKind.DECISION, "thread_id": thread.pk, "at": row.created_at}
    assert actions.tell(**arguments) == 0  # type: ignore[arg-type]
    row.refresh_from_db()
    assert row.read_at is not None, f"{first} run again made it unread"
    decide()
    row.refresh_from_db()
    assert row.read_at is None
    assert Notification.objects.count() == 1


def test_outsiders_hear_nothing(world: World, thread: Thread, noor: Member, tim: Member) -> None:
    for who in ("pat", "dana", "eve"):
        Follow.objects.create(institution_id=thread.institution_id, user=world.user(who), thread=thread)
    factories.make_post(noor, thread, "Hi @Dana Surname-dana @Pat Surname-pat @Eve Surname-eve")
    factories.make_thread(tim, "To everybody", kind="announcement")
    assert not {"pat", "dana", "eve", "carl"} & {name for name, _ in told()}


def test_who_may_not_read_isnt_told(world: World, sam: Member, noor: Member, tim: Member) -> None:
    private = factories.make_thread(sam, visibility="staff")
    Follow.objects.create(institution_id=private.institution_id, user=noor.user, thread=private)
    factories.make_post(tim, private)
    gone = factories.make_thread(sam)
    post = factories.make_post(noor, gone)
    actions.delete_post(by=noor, post=post)
    User.objects.filter(pk=world.user("ada").pk).update(is_active=False)
    Follow.objects.create(institution_id=private.institution_id, user=world.user("ada"), thread=private)
    assert told() == {("sam", "reply")}
    assert Notification.objects.get().thread == private


def test_readers_are_those_whose_pages_show_it(world: World, sam: Member, noor: Member, tim: Member) -> None:
    """`readers_of` and `visible_to` are one rule, said twice: in every state they must agree."""
    thread = factories.make_thread(sam)
    post = factories.make_post(noor, thread)
    other = factories.make_thread(sam)
    members = [world.member(name) for name in ("tim", "sam", "noor", "carl")]
    for visibility, moderation, of_post, gone, merged, post_gone in itertools.product(
        Visibility.values,
        Moderation.values,
        Moderation.values,
        (None, timezone.now()),
        (None, other),
        (None, timezone.now()),
    ):
        Thread.objects.filter(pk=thread.pk).update(
            visibility=visibility, moderation=moderation, deleted_at=gone, merged_into=merged
        )
        Post.objects.filter(pk=post.pk).update(moderation=of_post, deleted_at=post_gone)
        now, its = Thread.objects.get(pk=thread.pk), Post.objects.get(pk=post.pk)
        for writing, readers, rows in (
            (now, access.readers_of(now), Thread.objects),
            (its, access.readers_of(now, its), Post.objects),
        ):
            expected = {who.user.pk for who in members if rows.visible_to(who).filter(pk=writing.pk).exists()}
            assert {row.user_id for row in readers} - {world.user("ada").pk} == expected


def test_what_is_deleted_or_hidden_leaves_the_inbox(thread: Thread, sam: Member, noor: Member, tim: Member) -> None:
    post = factories.make_post(noor, thread)
    run_tasks("forum.tell")
    assert access.unread_count(sam.user) == 1
    Post.objects.update(moderation="hidden")
    assert access.unread_count(sam.user) == 0
    Post.objects.update(moderation="shown")
    actions.delete_post(by=noor, post=post)
    assert access.unread_count(sam.user) == 0
    actions.restore_post(by=noor, post=post)
    assert access.unread_count(sam.user) == 1
    Enrollment.objects.filter(user=sam.user).update(status="dropped")
    assert access.unread_count(sam.user) == 0


def test_a_job_run_again_tells_nobody_twice(thread: Thread, noor: Member) -> None:
    factories.make_post(noor, thread)
    run_tasks("forum.tell")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE task_name = 'forum.tell'")
        cursor.execute("UPDATE procrastinate_jobs SET status = 'todo' WHERE task_name = 'forum.tell'")
    run_tasks("forum.tell")
    assert Notification.objects.count() == 1


def test_a_refused_act_tells_nobody(thread: Thread, noor: Member) -> None:
    class Broken(Exception):
        pass

    def reply() -> None:
        with transaction.atomic():
            factories.make_post(noor, thread)
            raise Broken

    with pytest.raises(Broken):
        reply()
    assert told() == set()


def test_what_was_erased_meanwhile_is_nobodys_news(thread: Thread, noor: Member) -> None:
    post = factories.make_post(noor, thread)
    post_id, thread_id = post.pk, thread.pk
    post.delete()
    at = timezone.now()
    assert actions.tell(NotificationKind.REPLY, thread_id=thread_id, post_id=post_id, at=at) == 0
    assert actions.tell(NotificationKind.REPLY, thread_id=post_id, at=at) == 0


def test_eight_hundred_members_cost_as_many_queries_as_five(world: World, tim: Member) -> None:
    def queries(title: str) -> int:
        thread = factories.make_thread(tim, title, kind="announcement")
        with CaptureQueriesContext(connection) as captured:
            told_now = actions.tell(NotificationKind.ANNOUNCEMENT, thread_id=thread.pk, at=timezone.now())
        assert told_now == Enrollment.objects.filter(course=world.course, status="active").count() - 1
        return len(captured)

    at_five = queries("First news")
    people = User.objects.bulk_create(
        User(institution=world.institution, email=f"s{n}@example.edu", display_name=f"Student {n}") for n in range(800)
    )
    Enrollment.objects.bulk_create(
        Enrollment(institution=world.institution, user=person, course=world.course) for person in people
    )
    assert queries("Second news") == at_five <= 9


def test_cut_off_between_two_batches_the_next_run_tells_the_rest(
    world: World, tim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = factories.make_thread(tim, "Exam on Monday", kind="announcement")
    at = timezone.now()

    def tell() -> int:
        return actions.tell(NotificationKind.ANNOUNCEMENT, thread_id=thread.pk, at=at)

    monkeypatch.setattr(telling, "BATCH", 1)
    with monkeypatch.context() as dying:
        dying.setattr(telling, "due_at", Mock(side_effect=[None, KeyboardInterrupt]))
        with pytest.raises(KeyboardInterrupt):
            tell()
    before = set(Notification.objects.values_list("pk", flat=True))
    assert len(before) == 1
    assert tell() == 2
    assert tell() == 0
    rows = Notification.objects.filter(thread=thread)
    assert before < set(rows.values_list("pk", flat=True))
    assert sorted(rows.values_list("user__email", flat=True)) == [
        f"{name}@example.edu" for name in ("ada", "noor", "sam")
    ]


# Preferences


def choose(who: Member, kind: NotificationKind, in_app: bool, mail: Delivery, *, here: bool = False) -> None:
    actions.set_preferences(by=who.user, course=who.course if here else None, choices={kind: (in_app, mail)})


def test_what_is_wished_for_a_course_counts_before_what_is_wished_everywhere(
    thread: Thread, sam: Member, noor: Member
) -> None:
    choose(sam, NotificationKind.REPLY, True, Delivery.OFF)
    choose(sam, NotificationKind.REPLY, False, Delivery.INSTANT, here=True)
    factories.make_post(noor, thread)
    run_tasks("forum.tell")
    row = Notification.objects.get()
    assert row.mail_due_at is not None
    assert not row.in_app
    assert access.unread_count(sam.user) == 0


def test_whoever_wants_neither_has_no_row(thread: Thread, sam: Member, noor: Member) -> None:
    choose(sam, NotificationKind.REPLY, False, Delivery.OFF)
    factories.make_post(noor, thread)
    assert told() == set()


def test_without_a_mail_server_no_mail_is_due(thread: Thread, noor: Member) -> None:
    factories.make_post(noor, thread)
    with override_settings(MAIL_IS_ON=False):
        run_tasks("forum.tell")
    assert Notification.objects.get().mail_due_at is None


def test_a_new_wish_counts_for_what_waits(thread: Thread, sam: Member, noor: Member) -> None:
    for _ in range(2):
        factories.make_post(noor, thread)
    run_tasks("forum.tell")
    choose(sam, NotificationKind.REPLY, True, Delivery.WEEKLY)
    [waiting] = set(Notification.objects.values_list("mail_due_at", flat=True))
    assert waiting is not None
    assert (waiting.weekday(), waiting.hour) == (0, 7)
    actions.stop_all_mail(by=sam.user)
    assert set(Notification.objects.values_list("mail_due_at", flat=True)) == {None}
    choices = actions.preferences_of(sam.user, None)
    assert all(choice is not None and choice == (True, Delivery.OFF) for choice in choices.values())
    actions.set_preferences(by=sam.user, course=sam.course, choices={NotificationKind.REPLY: (True, Delivery.DAILY)})
    actions.set_preferences(by=sam.user, course=sam.course, choices={NotificationKind.REPLY: None})
    assert set(actions.preferences_of(sam.user, sam.course).values()) == {None}


@pytest.mark.parametrize(
    ("zone", "now", "daily", "weekly"),
    [
        ("UTC", "2026-11-24T06:59", "2026-11-24T07:00", "2026-11-30T07:00"),  # a Tuesday
        ("UTC", "2026-11-24T07:00", "2026-11-25T07:00", "2026-11-30T07:00"),
        ("UTC", "2026-11-30T06:00", "2026-11-30T07:00", "2026-11-30T07:00"),  # a Monday
        ("UTC", "2026-11-30T08:00", "2026-12-01T07:00", "2026-12-07T07:00"),
        # Clocks go back in the night to 25 October 2026, and forward in the night to 29 March 2026.
        ("Europe/Berlin", "2026-10-24T12:00", "2026-10-25T06:00", "2026-10-26T06:00"),
        ("Europe/Berlin", "2026-03-28T12:00", "2026-03-29T05:00", "2026-03-30T05:00"),
        ("America/New_York", "2026-11-01T03:00", "2026-11-01T12:00", "2026-11-02T12:00"),
        ("Pacific/Auckland", "2026-11-24T17:30", "2026-11-24T18:00", "2026-11-29T18:00"),
    ],
)
def test_a_digest_comes_at_seven_where_its_reader_lives(zone: str, now: str, daily: str, weekly: str) -> None:
    user = User(time_zone=zone)
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    for delivery, expected in ((Delivery.DAILY, daily), (Delivery.WEEKLY, weekly)):
        due = due_at(delivery, user, moment)
        assert due is not None
        assert due.astimezone(UTC).isoformat()[:16] == expected
        assert due.astimezone(zoneinfo.ZoneInfo(zone)).hour == 7
    instant = due_at(Delivery.INSTANT, user, moment)
    assert instant == moment + timedelta(seconds=60)
