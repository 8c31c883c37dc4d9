"""Kill the task worker again and again: every question still gets exactly one answer."""

import time
import uuid

import pytest
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from ai_answers.models import Answer, AnswerStatus, Citation
from forum.models import Notification, Thread
from tests import factories
from tests.processes import end, running_worker, wait_for, worker

KILLS = 20
STOPS = 3
# How long a supervisor waits before it kills (`stop_grace_period` in ops/compose/compose.yaml).
GRACE_SECONDS = 60


@pytest.fixture(autouse=True)
def empty_queue(transactional_db: None) -> None:
    """Jobs that other tests enqueued don't go with their rows."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


def jobs(status: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = %s AND queue_name = 'answers'", [status])
        return int(cursor.fetchone()[0])


def generating() -> bool:
    return Answer.objects.filter(status=AnswerStatus.GENERATING).exists()


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_twenty_times_while_generating_leaves_one_answer() -> None:
    world = factories.make_world()
    sam, tim = world.member("sam"), world.member("tim")
    factories.make_material(tim)
    quick = {"TASK_STALLED_AFTER_SECONDS": "1"}
    thread = factories.make_thread(sam, "When is a default parameter value evaluated?")
    killed_while_generating = 0
    for kill in range(KILLS):
        # A fresh question each time, and all the earlier ones still to be rescued.
        if kill:
            factories.make_thread(sam, "When is a default parameter value evaluated?", f"Again {uuid.uuid4()}")
        with connection.cursor() as cursor:
            # The worker comes as far as storing what it wrote, and waits there for the lock.
            connection.set_autocommit(False)
            cursor.execute("LOCK TABLE ai_answers_citation IN SHARE ROW EXCLUSIVE MODE")
            process = worker(**quick)
            try:
                wait_for(waiting_for_lock, seconds=60, what="the worker to be in the middle of an answer")
                killed_while_generating += generating()
            finally:
                process.kill()
                process.wait()
                connection.rollback()
                connection.set_autocommit(True)
    assert killed_while_generating == KILLS
    with running_worker(**quick):
        wait_for(
            lambda: not Answer.objects.exclude(status=AnswerStatus.PUBLISHED).exists(), seconds=60, what="all answers"
        )
        wait_for(lambda: jobs("doing") == jobs("todo") == 0, seconds=30, what="an empty queue")
    assert Thread.objects.count() == Answer.objects.count() == KILLS
    numbers = list(Citation.objects.filter(answer__thread=thread).values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1)) != []


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_workers_told_to_stop_one_after_another_finish_what_they_have_and_lose_nothing() -> None:
    world = factories.make_world()
    sam, noor, tim = world.member("sam"), world.member("noor"), world.member("tim")
    factories.make_material(tim)
    asked = 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        thread = factories.make_thread(sam, "When is a default parameter value evaluated?", f"Asked {asked} times")
        factories.make_post(noor, thread, f"@{tim.user.display_name} knows")

    ask()
    now, ended = worker(), []
    try:
        for _ in range(STOPS):
            with connection.cursor() as cursor:
                # An answer comes as far as storing what it wrote, and waits there.
                connection.set_autocommit(False)
                cursor.execute("LOCK TABLE ai_answers_citation IN SHARE ROW EXCLUSIVE MODE")
                try:
                    wait_for(waiting_for_lock, seconds=60, what="the worker to be in the middle of an answer")
                    now.terminate()
                    time.sleep(0.5)
                    assert now.poll() is None, "it finishes what it has"
                finally:
                    connection.rollback()
                    connection.set_autocommit(True)
            began = time.monotonic()
            # More comes in meanwhile, and another worker takes over.
            stopped, now = now, worker()
            ask()
            ask()
            stopped.wait(GRACE_SECONDS)
            ended.append(time.monotonic() - began)
            assert stopped.returncode == 0
        wait_for(over, seconds=60, what="everything to be done")
    finally:
        end(now, seconds=30)
        stopped.kill()
    print(f"told to stop {STOPS} times in the middle of an answer, a worker ended within {max(ended):.1f} s")
    assert now.returncode == 0
    assert workers() == 0, "each has signed off"
    ran = ProcrastinateJob.objects.exclude(task_name__startswith="quokkaq.")
    assert set(ran.filter(queue_name="answers").values_list("status", "attempts")) == {("succeeded", 1)}, (
        "each ran once"
    )
    assert Answer.objects.filter(status=AnswerStatus.PUBLISHED).count() == Answer.objects.count() == asked
    assert Notification.objects.filter(user=tim.user, kind="mention").count() == asked
    assert Notification.objects.filter(user=sam.user, kind="reply").count() == asked


def over() -> bool:
    return not ProcrastinateJob.objects.filter(
        queue_name__in=["answers", "telling"], status__in=["todo", "doing"]
    ).exists()


def workers() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_workers")
        return int(cursor.fetchone()[0])


def waiting_for_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE relation = 'ai_answers_citation'::regclass AND NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_a_job_that_ends_while_the_disk_is_full_is_over_once_there_is_room() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION drill_full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END$$;"
            " DROP TRIGGER IF EXISTS full_disk ON procrastinate_jobs;"
            " CREATE TRIGGER full_disk BEFORE UPDATE ON procrastinate_jobs FOR EACH ROW"
            " WHEN (OLD.status = 'doing' AND OLD.queue_name = 'telling') EXECUTE FUNCTION drill_full_disk()"
        )
        try:
            world = factories.make_world()
            thread = factories.make_thread(world.member("sam"), "A question")
            factories.make_post(world.member("noor"), thread)
            with running_worker(TASK_STALLED_AFTER_SECONDS="600"):
                told = Notification.objects.filter(user=world.user("sam"))
                wait_for(told.exists, seconds=120, what="the job's work to be done")
                time.sleep(1)
                cursor.execute("DROP TRIGGER full_disk ON procrastinate_jobs")
                # Long before anybody would take the worker for dead.
                wait_for(lambda: status_of("telling") == {"succeeded"}, seconds=60, what="the job to be over")
        finally:
            cursor.execute("DROP TRIGGER IF EXISTS full_disk ON procrastinate_jobs; DROP FUNCTION drill_full_disk()")
    assert told.count() == 1


def status_of(queue: str) -> set[str]:
    return set(ProcrastinateJob.objects.filter(queue_name=queue).values_list("status", flat=True))
