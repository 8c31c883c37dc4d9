"""Which jobs go first, and that nothing waits for ever."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from quokkaq import tasks
from quokkaq.lib import jobs
from quokkaq.lib.job_endings import PatientJobManager
from quokkaq.lib.jobs import (
    LANES,
    LIFTED,
    OPERATIONS,
    PRIORITIES,
    RESCUE,
    enqueue,
    enqueue_each_once,
    enqueue_once,
    under_way,
)
from quokkaq.lib.workers import lanes_of, run_side_by_side
from quokkaq.management.commands.procrastinate import _mine


@pytest.fixture
def empty_queue(db: None) -> None:
    """Jobs that other tests left behind don't count."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


def test_every_task_has_a_queue_of_the_table_and_periodic_ones_its_priority() -> None:
    app.perform_import_paths()  # type: ignore[no-untyped-call]  # the library's
    ours = [task for task in app.tasks.values() if not task.name.startswith(("builtin", "procrastinate"))]
    assert len(ours) > 20
    assert {task.queue for task in ours} == set(PRIORITIES)
    periodic = [each.task for each in app.periodic_registry.periodic_tasks.values()]
    # Backups of database and files follow one another by their own order.
    checked = [task for task in periodic if task.queue != OPERATIONS]
    assert len(checked) > 10
    assert {task.name: task.priority for task in checked} == {task.name: PRIORITIES[task.queue] for task in checked}


def test_lanes_go_from_what_somebody_waits_for_to_what_nobody_does() -> None:
    lanes = [sorted(lane.values()) for lane in LANES.values()]
    assert lanes[0][0] > lanes[1][-1] > lanes[1][0] > LIFTED > lanes[2][-1]
    assert PRIORITIES["telling"] > PRIORITIES["mail"] > PRIORITIES["indexing"] > PRIORITIES["materials"]
    assert max(PRIORITIES, key=lambda queue: PRIORITIES[queue]) == RESCUE


def test_each_lane_serves_its_queues_and_the_rescue_but_never_the_keepers() -> None:
    lanes = lanes_of({"answers", "mail", "builtin", RESCUE, OPERATIONS})
    assert lanes["answers"] == [RESCUE, "answers"]
    assert "builtin" in lanes["bulk"], "a queue that nobody put into a lane is served, too"
    assert all(RESCUE in queues and OPERATIONS not in queues for queues in lanes.values())
    assert {queue for queues in lanes.values() for queue in queues} == set(PRIORITIES) - {OPERATIONS} | {"builtin"}


@pytest.mark.usefixtures("empty_queue")
def test_a_job_has_the_priority_of_its_queue_and_unknown_queues_are_refused() -> None:
    enqueue("forum.tell", of=None, queue="telling")
    assert ProcrastinateJob.objects.get().priority == PRIORITIES["telling"]
    with pytest.raises(KeyError):
        enqueue("forum.tell", of=None, queue="teling")


@pytest.mark.usefixtures("empty_queue")
def test_a_key_is_enqueued_once_while_its_job_waits() -> None:
    def go() -> bool:
        return enqueue_once("forum.send_mail", of=None, queue="mail", key="one")

    assert go()
    assert not go()
    assert under_way(["one", "two"]) == {"one"}
    ProcrastinateJob.objects.all()._raw_delete("default")
    assert under_way(["one", "two"]) == set()


@pytest.mark.usefixtures("empty_queue")
def test_many_are_enqueued_in_one_statement_each_once(django_assert_num_queries: Any) -> None:
    wanted = {f"mail:{number}": {"mail_id": str(number)} for number in range(50)}

    def go() -> int:
        return enqueue_each_once("forum.send_mail", wanted, of=None, queue="mail")

    enqueue_once("forum.send_mail", of=None, queue="mail", key="mail:7", mail_id="7")
    with django_assert_num_queries(4):  # which are there; savepoint, insert, release
        assert go() == 49
    assert go() == 0
    rows = ProcrastinateJob.objects.all()
    assert {(row.lock, row.queueing_lock, row.args["mail_id"], row.priority) for row in rows} == {
        (f"mail:{number}", f"mail:{number}", str(number), PRIORITIES["mail"]) for number in range(50)
    }


@pytest.mark.usefixtures("empty_queue")
def test_many_give_way_to_somebody_who_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "under_way", lambda keys: set())
    enqueue_once("forum.send_mail", of=None, queue="mail", key="one")
    assert enqueue_each_once("forum.send_mail", {"one": {}, "two": {}}, of=None, queue="mail") == 0
    assert ProcrastinateJob.objects.count() == 1


def a_job(queue: str, *, minutes: int, status: str = "todo", lock: str | None = None, **fields: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args, status, lock, queueing_lock, scheduled_at)"
            " VALUES (%s, 'some.task', %s, %s, %s, %s, %s, %s) RETURNING id",
            [queue, PRIORITIES[queue], "{}", status, lock, lock, fields.get("at")],
        )
        key = int(cursor.fetchone()[0])
        cursor.execute(
            "UPDATE procrastinate_events SET at = %s WHERE job_id = %s",
            [timezone.now() - timedelta(minutes=minutes), key],
        )
    return key


@pytest.mark.usefixtures("empty_queue")
def test_of_each_bulk_queue_the_oldest_goes_first_when_it_waited_for_too_long() -> None:
    old = [a_job("materials", minutes=6), a_job("mail", minutes=9)]
    rest = [
        a_job("materials", minutes=6), a_job("mail", minutes=8), a_job("exports", minutes=4), a_job("telling", minutes=20),
        a_job("lti", minutes=20, at=timezone.now() + timedelta(hours=1)), a_job("indexing", minutes=20, status="doing"),
        a_job("rechecking", minutes=20, at=timezone.now() - timedelta(minutes=1)),
    ]  # fmt: skip
    call = tasks.let_the_oldest_go_first.func
    call(timestamp=0)
    lifted = ProcrastinateJob.objects.filter(priority=LIFTED)
    assert set(lifted.values_list("pk", flat=True)) == set(old)
    call(timestamp=60)
    assert set(lifted.values_list("pk", flat=True)) == {*old, *rest[:2]}


@pytest.mark.usefixtures("transactional_db", "empty_queue")
def test_a_job_whose_worker_died_gives_way_to_one_that_waits_for_the_same() -> None:
    dead, waiting = a_job("mail", minutes=1, status="doing", lock="mail:1"), a_job("mail", minutes=1, lock="mail:1")
    alone = a_job("mail", minutes=1, status="doing", lock="mail:2")

    async def rescue() -> None:
        connector = app.connector.get_worker_connector()  # type: ignore[attr-defined]  # typed as its base
        manager = PatientJobManager(connector)
        await connector.open_async()
        try:
            for job in await manager.get_stalled_jobs():
                await manager.retry_job(job)
        finally:
            await connector.close_async()

    try:
        asyncio.run(asyncio.wait_for(rescue(), 20))
        found = dict(ProcrastinateJob.objects.values_list("pk", "status"))
        assert found == {dead: "aborted", waiting: "todo", alone: "todo"}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE procrastinate_jobs CASCADE")


class Lane:
    """Stands in for a worker: runs until it is cancelled, then finishes what it has, as procrastinate's does."""

    def __init__(self) -> None:
        self.finished: list[str] = []

    async def run(self, *, name: str, fails: bool = False, **options: Any) -> None:
        assert options == {"wait": True, "install_signal_handlers": False}
        if fails:
            await asyncio.sleep(0.05)
            raise RuntimeError(name)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
            self.finished.append(name)
            raise


def test_told_to_stop_every_lane_finishes_what_it_has() -> None:
    lane = Lane()

    async def go() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(run_side_by_side(lane.run, [{"name": "a"}, {"name": "b"}], slots=2), 10)

    asyncio.run(go())
    assert sorted(lane.finished) == ["a", "b"]


def test_when_one_lane_breaks_the_others_finish_and_the_process_ends_with_its_error() -> None:
    lane = Lane()
    broken = run_side_by_side(lane.run, [{"name": "a"}, {"name": "b", "fails": True}], slots=2)
    with pytest.raises(RuntimeError, match="b"):
        asyncio.run(asyncio.wait_for(broken, 10))
    assert lane.finished == ["a"]


def test_the_alert_gives_bulk_more_time_and_nothing_else() -> None:
    rules = (Path(settings.BASE_DIR) / "ops/prometheus/rules/alerts.yml").read_text()
    bulk = "|".join(LANES["bulk"])
    assert f'queue=~"{bulk}"' in rules
    assert f'queue!~"{OPERATIONS}|{bulk}"' in rules


def test_a_worker_of_some_lanes_serves_no_others_and_bulk_alone_gives_way(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = lanes_of(set(PRIORITIES))
    nice: list[int] = []
    monkeypatch.setattr(os, "nice", nice.append)
    settings.TASK_LANES = []
    assert _mine(lanes) == lanes
    settings.TASK_LANES = ["answers", "prompt"]
    assert set(_mine(lanes)) == {"answers", "prompt"}
    assert nice == []
    settings.TASK_LANES = ["bulk"]
    assert set(_mine(lanes)) == {"bulk"}
    assert nice == [10]
    settings.TASK_LANES = ["bulk", "letters"]
    with pytest.raises(CommandError, match="TASK_LANES names letters"):
        _mine(lanes)
