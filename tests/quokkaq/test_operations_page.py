"""The operators' page: the state of everything, for operators only."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from ai_answers.models import Spending
from quokkaq import operations
from quokkaq.failing import explain
from quokkaq.models import JobFailure, Operation, OperationName, RestoreDrill
from tests import factories
from tests.factories import World

PAGE = "/admin/operations/"


@pytest.fixture
def operator(world: World) -> Client:
    person = world.user("ada")
    person.is_staff = person.is_superuser = True
    person.save()
    return factories.browser(person)


@pytest.fixture(autouse=True)
def empty_queue(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
        cursor.execute("DELETE FROM procrastinate_workers")


def a_job(task: str = "quokkaq.delete_old_jobs", status: str = "todo", attempts: int = 0, queue: str = "upkeep") -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts) VALUES (%s, %s, %s, %s) RETURNING id",
            [queue, task, status, attempts],
        )
        return int(cursor.fetchone()[0])


def a_failure(job: int, text: str = "no room") -> None:
    JobFailure.objects.create(
        job_id=job, error="OSError", text=text, place="quokkaq/tasks.py:12", failed_at=timezone.now()
    )


def a_worker(seconds_ago: int = 0) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - make_interval(secs => %s))",
            [seconds_ago],
        )


def shown(client: Client) -> str:
    response = client.get(PAGE)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


@pytest.mark.parametrize("persona", ["sam", "tim", "ada"])
def test_it_is_for_operators_only(world: World, persona: str) -> None:
    person = world.user(persona)
    job = a_job(status="failed")
    for client in (Client(), factories.browser(person)):
        assert client.get(PAGE).status_code in (302, 403)
        assert client.post(reverse("admin:retry-job", args=[job])).status_code in (302, 403)
    person.is_staff = True
    person.save()
    staff = factories.browser(person)
    assert staff.get(PAGE).status_code == 403
    assert staff.post(reverse("admin:retry-job", args=[job])).status_code == 403
    assert "Operations" not in staff.get("/admin/").content.decode()
    assert ProcrastinateJob.objects.get(pk=job).status == "failed"


def test_an_empty_installation_has_little_to_say(operator: Client) -> None:
    page = shown(operator)
    assert "Failing jobs None." in page
    assert "Nothing is spent yet." in page
    assert "Nothing waits." in page
    assert "Restore drill none yet" in page
    assert "manage.py procrastinate worker" in page
    assert "Operations" in operator.get("/admin/").content.decode()


def test_everything_is_on_it(operator: Client, world: World) -> None:
    a_job()
    job = a_job("accounts.check_upload", "failed", 3, "uploads")
    a_failure(job)
    unexplained = a_job("forum.deliver_mail", "failed")
    again = a_job("forum.index", "todo", 1)
    a_failure(again, "tried again soon")
    a_worker()
    a_worker(45)
    Operation.objects.create(name="backup-database", size=123_456_789)
    Operation.objects.create(name="restore-drill", ended_at=timezone.now() - timedelta(days=3), succeeded=False)
    Spending.objects.create(
        institution=world.institution, scope="course", scope_id=world.course.pk, day=timezone.now().date(),
        spent_micros=4_000_000, reserved_micros=500_000,
    )  # fmt: skip
    page = shown(operator)
    for text in (
        f"accounts.check_upload #{job} in uploads, 3 attempts, failed just now OSError: no room quokkaq/tasks.py:12",
        f"forum.deliver_mail #{unexplained}", "Why isn’t known", "3 jobs", "tried again soon",
        "Backup of the database just now , 117.7\xa0MB".replace("\xa0", " "), "Restore drill 3 d ago failed",
        f"{world.institution.name} {world.course.slug} 90 % $4.50 of $5.00", "late", "PostgreSQL 1", "Django 5.2",
        "Migrations pending none", "METRICS_TOKEN set", "database needed",
    ):  # fmt: skip
        assert text in page, text


def test_backups_that_failed_stand_beside_the_last_good_one(operator: Client) -> None:
    operations.note_backup(OperationName.BACKUP_DATABASE, size=5_000_000, places=["main", "second"])
    page = shown(operator)
    assert "Backup of the database verified just now , 4.8\xa0MB, in main, second".replace("\xa0", " ") in page
    assert "times since" not in page
    for _ in range(2):
        operations.note_failed_backup(OperationName.BACKUP_DATABASE, "The bucket answered SlowDown.")
    operations.note_failed_backup(OperationName.BACKUP_MEDIA, "<b>")
    page = shown(operator)
    assert "in main, second failed 2 times since, last just now : The bucket answered SlowDown." in page
    assert "none yet failed 1 time since, last just now : &lt;b&gt;" in page


def test_it_costs_the_same_however_much_there_is(operator: Client, world: World) -> None:
    operator.get(PAGE)
    with CaptureQueriesContext(
        connection,
    ) as few:
        operator.get(PAGE)
    for number in range(30):
        a_failure(a_job("accounts.check_upload", "failed", 3, f"queue-{number}"))
        a_job(queue=f"queue-{number}")
        a_worker(number)
    with CaptureQueriesContext(connection) as many:
        page = shown(operator)
    assert len(many) == len(few) < 20
    assert "30 jobs, the 20 that failed last" in page


def test_no_secret_is_on_it(operator: Client) -> None:
    secrets = {
        name: f"s3cret-{name}" for name in ("METRICS_TOKEN", "OPENAI_API_KEY", "SECRET_KEY", "INBOUND_MAIL_SECRET")
    }
    with override_settings(
        **secrets, EMAIL_URL="smtp://me:hunter2@mail.example", CLAMD_URL="tcp://scanner.internal:3310"
    ):
        page = operator.get(PAGE).content.decode()
    assert not re.search(r"s3cret|hunter2|scanner\.internal", page)


def test_a_job_that_failed_is_tried_again(operator: Client) -> None:
    job, waiting = a_job(status="failed"), a_job()
    response = operator.post(reverse("admin:retry-job", args=[job]), follow=True)
    assert f"Job {job} is tried again." in response.content.decode()
    assert ProcrastinateJob.objects.get(pk=job).status == "todo"
    for number in (job, waiting, 10**12):
        response = operator.post(reverse("admin:retry-job", args=[number]), follow=True)
        assert "isn’t one that failed" in response.content.decode()
    assert operator.get(reverse("admin:retry-job", args=[job])).status_code == 405


def test_a_job_with_a_twin_that_waits_is_not_tried_again(operator: Client) -> None:
    job, twin = a_job(status="failed"), a_job()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET queueing_lock = 'one' WHERE id IN (%s, %s)", [job, twin])
    response = operator.post(reverse("admin:retry-job", args=[job]), follow=True)
    assert "one like it is waiting already" in response.content.decode()


def failing(text: str) -> BaseException:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_what_people_wrote_is_left_out_of_an_error() -> None:
    found = explain(
        failing("sam@example.edu wrote 'Why is my essay on Kant graded 3?' in field 'body'; token=abc123def")
    )
    assert found["error"] == "ValueError"
    assert found["text"] == "[email] wrote […] in field 'body'; token=[redacted]"
    assert re.fullmatch(r"tests/quokkaq/test_operations_page\.py:\d+", found["place"])
    assert len(explain(failing("x " * 1000))["text"]) <= 300


@pytest.fixture
def in_worker(transactional_db: None) -> Iterator[Any]:
    """A worker that runs what waits and ends."""

    def run() -> None:
        with app.replace_connector(app.connector.get_worker_connector()):  # type: ignore[attr-defined]  # set at run time, or typed as its base
            app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)

    yield run
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


def test_why_a_job_failed_is_kept_until_it_is_done(in_worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = app.tasks["quokkaq.delete_old_jobs"]

    async def breaks(*args: object, **kwargs: object) -> None:
        raise OSError("no room for sam@example.edu")

    async def works(*args: object, **kwargs: object) -> None:
        pass

    monkeypatch.setattr(task, "func", breaks)
    job = app.configure_task("quokkaq.delete_old_jobs").defer(timestamp=0)
    in_worker()
    assert ProcrastinateJob.objects.get(pk=job).status == "failed"
    failure = JobFailure.objects.get()
    assert (failure.job_id, failure.error, failure.text) == (job, "OSError", "no room for [email]")
    monkeypatch.setattr(task, "func", works)
    app.job_manager.retry_job_by_id(job, timezone.now())
    in_worker()
    assert ProcrastinateJob.objects.get(pk=job).status == "succeeded"
    assert not JobFailure.objects.exists()


def test_it_goes_with_its_job(db: None) -> None:
    a_failure(a_job(status="failed"))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
    assert not JobFailure.objects.exists()


def test_restore_drills_are_listed_drawn_and_explained(operator: Client, world: World) -> None:
    empty = operator.get(reverse("admin:restore-drills")).content.decode()
    assert "manage.py restore_drill" in empty
    now = timezone.now()
    steps = [{"name": "fetch and decrypt", "seconds": 2.5}, {"name": "restore", "seconds": 40.0}]
    good = RestoreDrill.objects.create(
        started_at=now - timedelta(seconds=64), ended_at=now, succeeded=True, place="main", backup="quokkaq-1.psql.bin",
        taken_at=now - timedelta(days=1), size=2_000_000, rows=4711, steps=steps,
    )  # fmt: skip
    bad = RestoreDrill.objects.create(
        started_at=now - timedelta(days=30),
        ended_at=now,
        problem="forum_post: missing",
        differences=["forum_post: missing"],
    )
    died = RestoreDrill.objects.create(started_at=now - timedelta(days=60))
    page = operator.get(reverse("admin:restore-drills")).content.decode()
    for text in ("4711", "64 s", "succeeded", "failed", "runs, or died", 'class="chart"', "quokkaq-1.psql.bin"):
        assert text in page, text
    said = operator.get(reverse("admin:restore-drill", args=[good.pk])).content.decode()
    assert "Fetch and decrypt" in said
    assert 'value="100"' in said
    assert "40.0 s" in said
    said = operator.get(reverse("admin:restore-drill", args=[bad.pk])).content.decode()
    assert said.count("forum_post: missing") == 2
    assert "It came to none." in operator.get(reverse("admin:restore-drill", args=[died.pk])).content.decode()
    assert operator.get(reverse("admin:restore-drill", args=[died.pk + 1])).status_code == 404
    assert operator.post(reverse("admin:restore-drills")).status_code == 405
    staff = world.user("tim")
    staff.is_staff = True
    staff.save()
    for path in (reverse("admin:restore-drills"), reverse("admin:restore-drill", args=[good.pk])):
        assert Client().get(path).status_code == 302
        assert factories.browser(staff).get(path).status_code == 403
