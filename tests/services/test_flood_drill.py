"""One announcement to ten thousand people, their mail, two imports: and still a question is answered at once."""

import statistics
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from ai_answers import actions as ai_actions
from ai_answers.models import MaterialFormat, MaterialKind, MaterialVersion, Passage, PassageVector
from forum import actions
from forum.actions.mailing import COMPOSE_TASK
from forum.models import Notification, NotificationKind, Thread
from quokkaq.lib.jobs import enqueue_each_once
from tests import factories
from tests.crowds import CROWD, enroll_crowd
from tests.factories import World
from tests.processes import end, wait_for, worker

QUESTIONS = 8
# What the product promises, in seconds.
TOLD_WITHIN = 10
ANSWER_BEGINS_WITHIN = 2


@pytest.fixture(autouse=True)
def empty_queue(transactional_db: None) -> Iterator[None]:
    """Jobs of other tests don't go with their rows, and these shouldn't stay."""
    empty()
    yield
    empty()


def empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


def book(passages: int, name: str) -> str:
    """A text of at least so many passages, each of them different."""
    return "\n\n".join(
        f"## {name} {number}\n\nThe {name} numbered {number} says what happens with list {number}. It is read once."
        f" Whoever calls function {number} gets {number * 7} of it, and a copy when there are more than {number * 3}."
        for number in range(passages)
    )


def waits_of(task: str, until: str, thread: Thread | None = None) -> list[float]:
    """Return how many seconds after they were enqueued jobs of a task (about a thread) began or ended (`succeeded`)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM min(at) FILTER (WHERE type = %s::procrastinate_job_event_type)"
            " - min(at))::double precision FROM procrastinate_events e JOIN procrastinate_jobs j ON j.id = e.job_id"
            " WHERE task_name = %s AND coalesce(args ->> 'thread_id' = %s, true) GROUP BY j.id",
            [until, task, str(thread.pk) if thread else None],
        )
        return [row[0] for row in cursor.fetchall() if row[0] is not None]


def jobs(task: str, status: str) -> int:
    return ProcrastinateJob.objects.filter(task_name=task, status=status).count()


def import_book(world: World, passages: int, name: str) -> MaterialVersion:
    return ai_actions.import_material(
        by=world.member("tim"), title=f"Book of {name}", kind=MaterialKind.READING, format=MaterialFormat.MARKDOWN,
        text=book(passages, name),
    )  # fmt: skip


@pytest.mark.drill
def test_ten_thousand_are_told_at_once_and_a_question_does_not_wait_for_them() -> None:
    world = factories.make_world()
    sam, tim = world.member("sam"), world.member("tim")
    factories.make_material(tim)
    enroll_crowd(world.course)
    # An earlier announcement, mail about which becomes due to everybody below.
    earlier = factories.make_thread(tim, "The room has changed", kind="announcement")
    ProcrastinateJob.objects.all()._raw_delete("default")
    actions.tell(NotificationKind.ANNOUNCEMENT, thread_id=earlier.pk, at=earlier.created_at)
    Notification.objects.update(mail_due_at=earlier.created_at + timedelta(hours=1))
    for name in ("loops", "trees"):
        import_book(world, 400, name)
    # As `make run` and Compose do.
    process = worker(options=(), LOG_LEVEL="WARNING", TASK_LANES="answers,prompt")
    bulk = worker(options=(), LOG_LEVEL="WARNING", TASK_LANES="bulk")
    try:
        wait_for(lambda: jobs(ai_actions.INDEX_TASK, "doing") == 2, seconds=60, what="both imports to be under way")
        keys = Notification.objects.values_list("pk", flat=True)
        due = {f"{COMPOSE_TASK}:{key}": {"notification_id": str(key)} for key in keys}
        with transaction.atomic():
            Notification.objects.update(mail_due_at=earlier.created_at)
            assert enqueue_each_once(COMPOSE_TASK, due, of=world.institution.pk, queue="mail") == len(due) > CROWD
        announced = factories.make_thread(tim, "The exam is on Monday", kind="announcement")
        for number in range(QUESTIONS):
            factories.make_thread(sam, "When is a default parameter value evaluated?", f"Asked {number} times before.")
            time.sleep(1)
        wait_for(lambda: jobs("forum.tell", "todo") + jobs("forum.tell", "doing") == 0, seconds=60, what="the telling")
        wait_for(
            lambda: len(waits_of("ai_answers.generate_answer", "started")) == QUESTIONS, seconds=60, what="all answers"
        )
        mails_wait, left = jobs(COMPOSE_TASK, "todo"), Passage.objects.filter(vectors=None).count()
    finally:
        began = time.monotonic()
        end(process, seconds=60)
        end(bulk, seconds=60)
    ended = time.monotonic() - began
    (told,) = waits_of("forum.tell", "succeeded", announced)
    answers = waits_of("ai_answers.generate_answer", "started")
    print(
        f"{CROWD} told in {told:.2f} s; answers began after {statistics.median(answers):.3f} s (median),"
        f" {max(answers):.3f} s (most); {mails_wait} mails and {left} passages waited; the worker ended in {ended:.1f} s"
    )
    # sam, noor and ada beside the crowd; tim wrote it.
    assert Notification.objects.filter(thread=announced).count() == CROWD + 3
    assert mails_wait > CROWD / 2
    assert left > 0
    assert told < TOLD_WITHIN
    assert max(answers) < ANSWER_BEGINS_WITHIN
    assert process.returncode == bulk.returncode == 0
    assert not ProcrastinateJob.objects.filter(status="doing").exists()


def peak_mb(pid: int) -> float:
    """Return the most memory a process has had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


@pytest.mark.drill
def test_indexing_a_book_goes_on_where_a_killed_worker_was() -> None:
    world = factories.make_world()
    version = import_book(world, 360, "loops")
    total = version.passages.count()

    def done() -> int:
        return PassageVector.objects.filter(part=0).count()

    quick = {"TASK_STALLED_AFTER_SECONDS": "1", "LOG_LEVEL": "WARNING"}
    first = worker(**quick)
    try:
        wait_for(lambda: done() > 0, seconds=60, what="some passages")
        began, before = time.monotonic(), done()
        wait_for(lambda: done() >= before + 32, seconds=90, what="more passages")
        speed = (done() - before) / (time.monotonic() - began)
        memory = peak_mb(first.pid)
    finally:
        first.kill()
        first.wait()
    kept, before = set(PassageVector.objects.values_list("pk", flat=True)), done()
    second = worker(**quick)
    try:
        wait_for(lambda: done() > before, seconds=90, what="the second worker to go on")
        # Told to stop, it ends after the turn it has, and leaves the rest to the next.
        began = time.monotonic()
        end(second, seconds=30)
        ended = time.monotonic() - began
        assert second.returncode == 0
        assert jobs(ai_actions.INDEX_TASK, "doing") == 0
        assert 0 < done() < total
    finally:
        second.kill()
        second.wait()
    third = worker(**quick)
    try:
        wait_for(lambda: done() == total, seconds=240, what="the whole book")
        wait_for(
            lambda: not ProcrastinateJob.objects.filter(queue_name="materials", status__in=("todo", "doing")).exists(),
            what="the last turn",
        )
    finally:
        end(third)
    print(
        f"{total} passages, {speed:.0f} a second, {memory:.0f} MB at most; told to stop, the worker ended in {ended:.1f} s"
    )
    assert kept <= set(PassageVector.objects.values_list("pk", flat=True)), "nothing was done twice"
