"""What the insights add up is what is there, whatever happened to it; and who may see it, how it is kept, how it is found."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Model
from django.utils import timezone

from accounts.access import Member
from accounts.models import Role, User
from ai_answers.models import Answer, AnswerEndorsement
from forum.insights import Period, Report
from forum.insights import facts as making
from forum.insights.facts import KEPT, forget_old_facts, refresh_facts
from forum.insights.numbers import measure
from forum.models import AnswerFact, Endorsement, FactsDue, Post, QuestionFact, Thread, ThreadTag
from quokkaq.lib import tenancy
from tests import factories, insights_oracle
from tests.factories import World

NOW = timezone.now()


@pytest.fixture
def at_home(world: World) -> Iterator[World]:
    """Work as a task does: for one institution."""
    with tenancy.scope(world.institution.pk):
        yield world


def refresh() -> None:
    while refresh_facts():
        pass


def comparable(report: Report) -> Report:
    """Leave out what differs on purpose: when it was counted, and the order of equals."""
    people = sorted(
        report.contributors, key=lambda one: (one.is_lump, -one.answers, -one.endorsed, one.name, one.is_staff)
    )
    return replace(report, as_of=report.period.end, contributors=people)


class Happenings:
    """Things that happen to a course, drawn by chance: each is what the pages do to the rows, or an operator."""

    def __init__(self, world: World, draw: random.Random) -> None:
        self.world, self.draw = world, draw
        self.people = [world.member(name) for name in ("sam", "noor", "tim", "ada")]
        self.tags = [factories.make_tag(world.course, f"tag{place}") for place in range(3)]

    def moment(self) -> datetime:
        # A third lies within two days, where the edges of the periods are.
        return NOW - timedelta(minutes=self.draw.choice([60, 2880, 20_000, 130_000, 259_000]) * self.draw.random())

    def one(self, model: type[Model]) -> Any:
        keys = list(model._default_manager.order_by("pk").values_list("pk", flat=True))
        return model._default_manager.filter(pk=self.draw.choice(keys)) if keys else model._default_manager.none()

    def name_of(self, by: Member) -> str:
        return "named" if by.is_staff else self.draw.choice(["named", "all"])

    def ask(self) -> None:
        draw = self.draw
        by = draw.choice(self.people)
        kind = draw.choice(["question"] * 6 + ["discussion"])
        thread = factories.make_thread(
            by, f"Why is number {draw.randrange(9)} so?", kind=kind, anonymity=self.name_of(by),
            tags=draw.sample(self.tags, draw.randrange(3)), visibility="course" if by.is_staff else draw.choice(["course"] * 4 + ["staff"]),
        )  # fmt: skip
        Thread.objects.filter(pk=thread.pk).update(created_at=self.moment())

    def reply(self) -> None:
        draw = self.draw
        thread = self.one(Thread).filter(deleted_at=None, merged_into=None, visibility="course").first()
        if thread is None:
            return
        by = draw.choice(self.people)
        parent = thread.posts.filter(parent=None).first() if draw.random() < 0.2 else None
        post = factories.make_post(by, thread, parent=parent, anonymity=self.name_of(by))
        Post.objects.filter(pk=post.pk).update(created_at=self.moment())

    def moderate(self) -> None:
        model: Any = self.draw.choice([Thread, Post])
        self.one(model).update(moderation=self.draw.choice(["shown", "shown", "hidden", "pending"]))

    def delete_or_restore(self) -> None:
        model: Any = self.draw.choice([Thread, Post])
        self.one(model).update(deleted_at=self.draw.choice([None, None, NOW]))

    def settle(self) -> None:
        self.one(Thread).update(status=self.draw.choice(["open", "answered", "resolved"]))

    def change_kind(self) -> None:
        self.one(Thread).update(kind=self.draw.choice(["question", "question", "discussion"]))

    def merge_or_part(self) -> None:
        into = self.one(Thread).first()
        self.one(Thread).exclude(pk=into.pk).update(merged_into=self.draw.choice([None, into]))

    def carry(self) -> None:
        self.one(Post).update(thread=self.one(Thread).first())

    def lose_author(self) -> None:
        model: Any = self.draw.choice([Thread, Post])
        self.one(model).filter(anonymity="named").update(author=None)

    def endorse(self) -> None:
        post = self.one(Post).first()
        if post is not None:
            Endorsement.objects.get_or_create(
                post=post, endorser=self.world.user("tim"), institution=self.world.institution, role=Role.TA
            )

    def take_endorsement_back(self) -> None:
        self.one(Endorsement).delete()

    def answer_by_machine(self) -> None:
        thread = self.one(Thread).first()
        status = self.draw.choice(["published", "published", "failed"])
        factories.put_answer(thread, status, body="Because.", finished_at=NOW)

    def change_machines_answer(self) -> None:
        answer = Answer.objects.filter(status="published").order_by("pk").first()
        if answer is None:
            return
        if self.draw.random() < 0.3:
            Answer.objects.filter(pk=answer.pk).update(status="withdrawn", withdrawal_reason="wrong", withdrawn_at=NOW)
        else:
            AnswerEndorsement.objects.get_or_create(
                answer=answer, endorser=self.world.user("ada"), institution=self.world.institution, role=Role.INSTRUCTOR
            )

    def tag(self) -> None:
        ThreadTag.objects.get_or_create(
            thread=self.one(Thread).first(), tag=self.draw.choice(self.tags), institution=self.world.institution
        )

    def untag(self) -> None:
        self.one(ThreadTag).delete()

    def move_in_time(self) -> None:
        model: Any = self.draw.choice([Thread, Post])
        self.one(model).update(created_at=self.moment())

    def move_to_another_course(self) -> None:
        thread = self.one(Thread)
        number = 1000 + Thread.objects.count() + self.draw.randrange(10_000)
        course = self.draw.choice([self.world.course, self.world.course, self.world.other_course])
        thread.update(course=course, number=number)

    def erase_for_good(self) -> None:
        model: Any = self.draw.choice([Thread, Post])
        self.one(model).delete()

    def happen(self) -> None:
        often = [self.ask, self.reply, self.reply, self.reply]
        rare = [
            self.moderate, self.delete_or_restore, self.settle, self.change_kind, self.merge_or_part, self.carry,
            self.lose_author, self.endorse, self.endorse, self.take_endorsement_back, self.answer_by_machine,
            self.change_machines_answer, self.tag, self.untag, self.move_in_time, self.move_to_another_course,
        ]  # fmt: skip
        if self.draw.random() < 0.03:
            rare = [self.erase_for_good]
        self.draw.choice(self.draw.choice([often, rare]))()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_numbers_are_those_of_the_rows(at_home: World, ada: Member, seed: int) -> None:
    draw = random.Random(seed)  # a fixed seed: what it finds, it finds again
    course = Happenings(at_home, draw)
    for _ in range(12):
        course.ask()
    for step in range(5):
        for _ in range(30):
            course.happen()
        if step == 3:
            User.objects.filter(pk=at_home.user("noor").pk).update(erased_at=NOW, is_active=False)
        refresh()
        assert not FactsDue.objects.exists()
        for zone in ("UTC", "Asia/Kathmandu", "America/St_Johns"):
            with timezone.override(zone):
                for days in (7, 90):
                    period = Period.last(days, NOW)
                    found = comparable(measure(ada, period))
                    assert found == comparable(insights_oracle.measure(ada, period)), (step, zone, days)
    assert found.now.questions, "nothing left to compare"
    assert found.contributors


def test_a_change_waits_for_the_task_and_the_page_says_so(at_home: World, sam: Member, ada: Member) -> None:
    factories.make_thread(sam)
    before = measure(ada, Period.last(7))
    assert before.now.questions == 0
    assert before.as_of < before.period.end
    refresh()
    after = measure(ada, Period.last(7))
    assert after.now.questions == 1
    assert after.as_of == after.period.end


def test_what_changes_nothing_that_is_counted_is_not_noted(at_home: World, sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam)
    post = factories.make_post(noor, thread)
    refresh()
    factories.make_post(sam, thread, parent=post)
    Thread.objects.filter(pk=thread.pk).update(title="Another title, longer than it was", vote_count=3, reader_count=9)
    thread.refresh_from_db()
    thread.save()
    Post.objects.filter(pk=post.pk).update(body="Something else", vote_count=2)
    assert not FactsDue.objects.exists()


def test_a_change_that_is_taken_back_leaves_no_note(at_home: World, sam: Member) -> None:
    with transaction.atomic():
        factories.make_thread(sam)
        transaction.set_rollback(True)
    assert not FactsDue.objects.exists()


def test_making_them_twice_or_in_small_batches_gives_the_same(
    at_home: World, sam: Member, noor: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        factories.make_post(noor, factories.make_thread(sam))
    notes = list(FactsDue.objects.values("thread_id"))
    assert len(notes) > 4
    monkeypatch.setattr(making, "BATCH", 2)
    refresh()

    def rows() -> list[Any]:
        return [
            list(model.objects.order_by("thread_id").values(*(f.attname for f in model._meta.fields if f.name != "id")))
            for model in (QuestionFact, AnswerFact)
        ]

    once = rows()
    assert [len(found) for found in once] == [3, 3]
    FactsDue.objects.bulk_create(FactsDue(**note) for note in notes * 2)
    refresh()
    assert rows() == once


def test_who_hides_is_in_no_fact(at_home: World, sam: Member, noor: Member, ada: Member) -> None:
    thread = factories.make_thread(sam, anonymity="all")
    factories.make_post(noor, thread, anonymity="all")
    factories.make_post(noor, factories.make_thread(sam), anonymity="classmates")
    refresh()
    assert AnswerFact.objects.filter(person=None, is_named=False).count() == AnswerFact.objects.count() == 2
    with pytest.raises(IntegrityError), transaction.atomic():
        AnswerFact.objects.update(person=noor.user)


def test_facts_are_counted_by_staff_of_the_course_alone(at_home: World, sam: Member, noor: Member, tim: Member) -> None:
    factories.make_post(noor, factories.make_thread(sam, visibility="staff"))
    refresh()
    eve = Member(at_home.user("eve"), at_home.course, Role.STUDENT)
    pat = Member(at_home.user("pat"), at_home.other_course, Role.INSTRUCTOR)
    for model in (QuestionFact, AnswerFact):
        assert model.objects.countable_by(tim).count() == 1
        for nobody in (sam, noor, eve, pat):
            assert not model.objects.countable_by(nobody).exists(), nobody


def test_the_web_role_sees_facts_of_its_institution_alone(at_home: World, sam: Member, noor: Member) -> None:
    factories.make_post(noor, factories.make_thread(sam))
    refresh()
    factories.make_thread(sam)  # leaves a note
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE quokkaq_web")
        for institution, there in ((at_home.institution, 1), (at_home.other_institution, 0)):
            cursor.execute("SELECT set_config('quokkaq.institution', %s, true)", [str(institution.pk)])
            for table in ("forum_questionfact", "forum_answerfact", "forum_factsdue"):
                cursor.execute(f"SELECT count(*) > 0 FROM {table}")
                assert cursor.fetchone()[0] == bool(there), (institution, table)
        transaction.set_rollback(True)


def test_facts_no_period_reaches_go(at_home: World, sam: Member, noor: Member) -> None:
    old, new = factories.make_thread(sam), factories.make_thread(sam)
    factories.make_post(noor, new)
    refresh()
    QuestionFact.objects.filter(thread=old).update(asked_at=NOW - KEPT - timedelta(hours=1))
    AnswerFact.objects.update(given_at=NOW - KEPT - timedelta(hours=1))
    forget_old_facts()
    assert [fact.thread_id for fact in QuestionFact.objects.all()] == [new.pk]
    assert not AnswerFact.objects.exists()
    # And what is that old when it changes makes none.
    Thread.objects.filter(pk=old.pk).update(created_at=NOW - KEPT - timedelta(hours=1))
    refresh()
    assert [fact.thread_id for fact in QuestionFact.objects.all()] == [new.pk]


def test_two_tasks_at_once_do_not_overwrite_each_other(at_home: World, sam: Member) -> None:
    factories.make_thread(sam)
    with transaction.atomic():
        assert making._is_alone()
        # The lock is the transaction's own, so it is had again here; another connection doesn't get it.
        import psycopg

        settings = connection.get_connection_params()
        with psycopg.connect(
            **{key: settings[key] for key in ("dbname", "user", "host", "port") if key in settings}
        ) as other:
            found = other.execute(
                "SELECT pg_try_advisory_xact_lock(hashtext('forum.facts'), hashtext(%s))", [str(at_home.institution.pk)]
            ).fetchone()
    assert found == (False,)
