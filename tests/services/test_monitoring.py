"""Faults made live end as the right alert at the right place and are over when mended; runbooks' commands work."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from pytest_django.plugin import DjangoDbBlocker

from tests import factories
from tests.conftest import needed
from tests.processes import ROOT, database_url, wait_for
from tests.quokkaq.test_alerts import FOLDER, RUNBOOKS, Block, blocks, read
from tests.quokkaq.test_dashboards import Question, annotations, asked
from tests.services.monitoring import (
    HEARTBEAT_TOKEN,
    PAGE_TOKEN,
    TOKEN,
    Installation,
    Monitoring,
    Traffic,
    full_disk,
    seconds,
    shipped_alerts,
    shortened,
)

# Marked so that there is a database to copy; they use their own.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.drill, pytest.mark.xdist_group("monitoring")]
CANARY = "canary.quibble@example.edu"
PERSON = "sam@example.edu"
PAGE = "/c/cs-101/"
# From the fault to the message, beyond what the alert itself waits for.
MOST_SECONDS = 60.0
# What the shipped expression waits for by itself: a heartbeat that is older than a minute.
OF_THE_EXPRESSION = {"WorkerGone": 60.0}


@pytest.fixture(scope="module")
def installation(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Installation]:
    """QuokkaQ with a course and its people, beside the tests' own database."""
    # A short path: PostgreSQL's socket must fit.
    with tempfile.TemporaryDirectory(prefix="quokkaq-monitoring-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        running = Installation(Path(folder))
        try:
            with django_db_blocker.unblock():
                try:
                    factories.make_world()
                    running.start(database_url())
                finally:
                    call_command("flush", verbosity=0, interactive=False)
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def monitoring(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    watching = Monitoring(tmp_path_factory.mktemp("monitoring"), installation, drill=True)
    try:
        watching.start()
        yield watching
    finally:
        watching.stop()


@pytest.fixture(scope="module")
def cookie(installation: Installation) -> str:
    status, cookies = installation.sign_in(PERSON)
    assert status == 302
    assert installation.get(PAGE, cookies)[0] == 200
    return cookies


def fail_to_sign_in(installation: Installation, times: int) -> None:
    for _ in range(times):
        assert installation.sign_in(CANARY, "not the password")[0] == 422


def break_page(installation: Installation) -> None:
    """Take away a table that the page reads, as a migration gone wrong does."""
    installation.sql("ALTER TABLE forum_savedview RENAME TO forum_savedview_gone")


def mend_page(installation: Installation) -> None:
    installation.sql("ALTER TABLE IF EXISTS forum_savedview_gone RENAME TO forum_savedview")


def spend(installation: Installation, share: float) -> None:
    """Have a course spend a share of what an institution without settings of its own lets a course spend in a day."""
    installation.sql(
        "INSERT INTO ai_answers_spending (id, institution_id, scope, scope_id, day, spent_micros, reserved_micros, calls)"
        f" SELECT gen_random_uuid(), institution_id, 'course', id, (now() AT TIME ZONE 'UTC')::date, {5_000_000 * share}, 0, 1"
        " FROM accounts_course WHERE slug = 'cs-101'"
    )


def leave_waiting(installation: Installation) -> None:
    """Have a job wait that was due six minutes ago."""
    installation.sql(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, scheduled_at) VALUES"
        """ ('upkeep', 'forum.count_readers', '{"timestamp": 0}', now() - interval '6 minutes')"""
    )


class Faults:
    """When each fault began, and who heard of it when."""

    def __init__(self, monitoring: Monitoring) -> None:
        self.monitoring = monitoring
        self.rules = {
            rule["alert"]: rule
            for group in shortened({"groups": [{"name": "all", "rules": list(shipped_alerts().values())}]})["groups"]
            for rule in group["rules"]
        }
        self.began: dict[str, float] = {}
        self.heard: dict[str, float] = {}

    def begin(self, *alerts: str) -> None:
        self.began |= dict.fromkeys(alerts, time.monotonic())

    def place(self, alert: str) -> str:
        return "/page" if self.rules[alert]["labels"]["severity"] == "page" else "/chat"

    def wait(self, *alerts: str) -> None:
        """Wait until all are heard of at the right place; fail for one that came too late."""
        receiver = self.monitoring.receiver
        for alert in alerts:
            allowed = MOST_SECONDS + seconds(self.rules[alert].get("for", "0s")) + OF_THE_EXPRESSION.get(alert, 0)
            began = self.began[alert]

            def heard(alert: str = alert, began: float = began) -> bool:
                return receiver.when(self.place(alert), alert, since=began) is not None

            try:
                wait_for(heard, seconds=max(0.1, began + allowed - time.monotonic()), what=alert)
            except AssertionError as error:
                firing = [f["metric"].get("alertname") for f in self.monitoring.query('ALERTS{alertstate="firing"}')]
                raise AssertionError(f"{error}; firing: {firing}; heard: {self.heard}") from None
            self.heard[alert] = (receiver.when(self.place(alert), alert, since=began) or 0) - began

    def over(self, *alerts: str, within: float) -> None:
        deadline = time.monotonic() + within
        for alert in alerts:
            wait_for(
                partial(
                    self.monitoring.receiver.when, self.place(alert), alert, resolved=True, since=self.began[alert]
                ),
                seconds=max(0.1, deadline - time.monotonic()),
                what=f"{alert} to be over",
            )


def test_faults_made_live_are_told_to_the_right_place_and_end(
    installation: Installation, monitoring: Monitoring, cookie: str
) -> None:
    faults, receiver = Faults(monitoring), monitoring.receiver
    firing = 'ALERTS{alertstate="firing",alertname=~"HttpErrors|SignInsFailing"}'
    wait_for(lambda: not monitoring.query(firing), seconds=180, what="an earlier test's faults to be over")
    installation.sql("DELETE FROM quokkaq_operation")
    faults.begin("BackupOld")  # there never was one
    fail_to_sign_in(installation, 1)
    wait_for(lambda: monitoring.query("quokkaq_worker_heartbeat_age_seconds < 60"), seconds=40, what="a scrape")
    wait_for(lambda: monitoring.query('up{job="quokkaq-worker"} == 1'), seconds=20, what="a scrape of the worker")
    wait_for(lambda: receiver.when("/heartbeat", "DeadMansSwitch"), seconds=20, what="the dead man's switch")
    with (
        Traffic(installation, PAGE, cookie) as traffic,
        full_disk(installation.media, used=0.9),
        ExitStack() as mending,
    ):
        mending.callback(mend_page, installation)
        faults.begin("WorkerGone", "QueueOld", "BudgetNearlyUsed", "HttpErrors", "DiskFilling", "SignInsFailing")
        installation.kill(installation.worker)
        leave_waiting(installation)
        spend(installation, 0.85)
        break_page(installation)
        fail_to_sign_in(installation, 15)
        faults.wait("SignInsFailing", "BudgetNearlyUsed", "HttpErrors", "QueueOld", "DiskFilling", "BackupOld")
        assert 500 in traffic.statuses

        mend_page(installation)
        installation.sql("DELETE FROM ai_answers_spending WHERE spent_micros = 4250000")
        installation.manage("dbbackup")
    with Traffic(installation, PAGE, cookie) as traffic:
        faults.over("HttpErrors", "BudgetNearlyUsed", "BackupOld", "DiskFilling", within=60)

        told = len(receiver.got)
        faults.begin("DatabaseDown")
        installation.stop_database()
        faults.wait("DatabaseDown")
        wait_for(lambda: monitoring.query('ALERTS{alertname="HttpErrors",alertstate="firing"}'), what="HttpErrors")
        time.sleep(3)
        installation.start_database()
        wait_for(lambda: installation.get(PAGE, cookie)[0] == 200, seconds=20, what="the page")
        assert 503 in traffic.statuses
        faults.wait("WorkerGone")
        installation.start_worker()
        faults.over("DatabaseDown", "WorkerGone", "QueueOld", "SignInsFailing", within=90)
        # Who was told that the database is down was told nothing of what follows from it.
        since = receiver.got[told][0]
        assert receiver.when("/page", "HttpErrors", since=since) is None

    faults.begin("WebDown")
    installation.kill(installation.web)
    faults.wait("WebDown")
    installation.start_web()
    faults.over("WebDown", within=60)

    print("seconds from fault to message:", {alert: round(after, 1) for alert, after in sorted(faults.heard.items())})
    mails = b"".join(monitoring.mail.taken).decode()
    assert all(alert in mails for alert in ("DatabaseDown", "WebDown", "WorkerGone"))
    assert {path: authorization for _, path, authorization, _ in receiver.got} == {
        "/page": f"Bearer {PAGE_TOKEN}", "/heartbeat": f"Bearer {HEARTBEAT_TOKEN}", "/chat": "",
    }  # fmt: skip
    everything = mails + "".join(body for _, _, _, body in receiver.got)
    session = re.search(rf"{settings.SESSION_COOKIE_NAME}=([^;]+)", cookie)
    assert session
    for private in (CANARY, PERSON, session[1], TOKEN, "not the password", "cs-101", "Surname-sam"):
        assert private not in everything
    for _, path, _, body in receiver.got:
        assert path == "/chat" or json.loads(body)["version"] == "4"


# Runbooks

PREAMBLE = """
WEB=http://127.0.0.1:$PORT
HOST=127.0.0.1
manage() { python manage.py "$@"; }
ask() { curl -sS -H "Host: $HOST" -H "X-Forwarded-Proto: https" "$WEB$1"; }
query() { promtool query instant "http://127.0.0.1:$PROMETHEUS_PORT" "$1"; }
sql() { "$PSQL" -h "$SOCKETS" -U postgres -d quokkaq -c "$1"; }
logs() { cat "$LOGS/$1.log"; }
"""


@pytest.fixture(scope="module")
def something_happened(installation: Installation, monitoring: Monitoring, cookie: str) -> None:
    """Errors, failed sign-ins and tasks, so that the commands have something to show."""
    fail_to_sign_in(installation, 1)
    with Traffic(installation, PAGE, cookie):
        try:
            break_page(installation)
            for counter in (
                'django_http_responses_total_by_status_view_method_total{status="500"}',
                'quokkaq_sign_ins_total{outcome="failed"}',
                "quokkaq_tasks_total",
            ):
                wait_for(partial(monitoring.query, f"rate({counter}[1m])"), seconds=60, what=counter)
        finally:
            mend_page(installation)


def run_block(block: Block, environment: dict[str, str]) -> tuple[str, str]:
    """Return what commands print, and what went wrong. A busy machine misses a scrape now and then: ask again."""
    for pause in (2, 4, 0):
        ran = subprocess.run(
            ["sh", "-eu", "-c", PREAMBLE + block.text],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if ran.returncode == 0 and block.expected in ran.stdout:
            break
        time.sleep(pause)
    return ran.stdout, f"ended with {ran.returncode}: {ran.stderr[-1000:]}" if ran.returncode else ""


def test_commands_of_runbooks_work(
    installation: Installation, monitoring: Monitoring, something_happened: None
) -> None:
    needed("curl")
    environment = {
        **installation.environment,
        "PROMETHEUS_PORT": str(monitoring.port),
        "PSQL": str(installation.postgres.bin / "psql"),
        "SOCKETS": str(installation.postgres.socket_directory),
        "LOGS": str(installation.folder),
    }
    done: dict[Block, str] = {}
    wrong = []
    for path in [*RUNBOOKS, FOLDER / "procedures/compromise.md"]:
        for block in blocks(read(path)):
            if block.kind != "run":
                continue
            if block not in done:
                done[block], error = run_block(block, environment)
                if error:
                    wrong.append(f"{path.name}: {block.text}\n{error}")
            if block.expected not in done[block]:
                wrong.append(f"{path.name}: {block.text}\nprinted no {block.expected!r} but:\n{done[block][-1000:]}")
    assert not wrong, "\n\n".join(wrong)
    assert os.listdir(installation.backups)


# Dashboards

# What has nothing to show on this installation, and why.
NOTHING_TO_SHOW = {
    "max(quokkaq_replica_lag_seconds)": "there is no replica",
    "max(quokkaq_restore_drill_age_seconds)": "no backup was restored",
    "min(quokkaq_certificate_expires_seconds)": "it is reached without TLS",
}


def test_every_panel_of_the_dashboards_has_something_to_show(
    installation: Installation, monitoring: Monitoring, cookie: str, something_happened: None
) -> None:
    installation.manage("dbbackup")
    empty: set[Question] = set(asked())
    assert set(NOTHING_TO_SHOW) < {question.expression for question in empty}

    def all_shown() -> bool:
        nonlocal empty
        empty = {question for question in empty if not monitoring.query(question.expression)}
        return {question.expression for question in empty} <= set(NOTHING_TO_SHOW)

    with Traffic(installation, PAGE, cookie):
        try:
            wait_for(all_shown, seconds=60, what="something to show in every panel")
        except AssertionError as error:
            raise AssertionError(f"{error}; nothing: {empty}") from None
    assert {question.expression for question in empty} == set(NOTHING_TO_SHOW)
    # What is empty is understood, too.
    for expression in (*NOTHING_TO_SHOW, *annotations()):
        assert monitoring.query(f"count({expression}) or vector(0)"), expression
