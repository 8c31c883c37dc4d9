"""Probes: what an orchestrator and a balancer see."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import Client, override_settings
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from quokkaq.lib import health
from quokkaq.lib.health import Check, checks, views, watching
from quokkaq.lib.health.checks import DatabaseCheck, MigrationsCheck, QueueCheck

ROOMY = dict.fromkeys(
    ("HEALTH_DISK_DEGRADED_PERCENT", "HEALTH_DISK_DOWN_PERCENT", "HEALTH_MEMORY_DEGRADED_PERCENT",
     "HEALTH_MEMORY_DOWN_PERCENT"), 101,
)  # fmt: skip


@pytest.fixture(autouse=True)
def looked_at_afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is remembered from the test before, and this machine is roomy."""
    monkeypatch.setattr(MigrationsCheck, "_done", False)
    monkeypatch.setattr(views, "_has_been_ready", threading.Event())
    watching.forget()
    with override_settings(**ROOMY):
        yield
    watching.forget()


def probe(path: str = "/api/v1/ready", **headers: str) -> tuple[int, dict[str, Any]]:
    watching.forget()
    response = Client().get(path, headers=headers)
    return response.status_code, json.loads(response.content)


def ready() -> tuple[int, dict[str, Any]]:
    return probe()


def a_worker(seconds_ago: float = 0) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
        cursor.execute("DELETE FROM procrastinate_workers")
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - make_interval(secs => %s))",
            [seconds_ago],
        )


def a_job(seconds_ago: float, *, scheduled: bool = False) -> None:
    """Have a job wait that was enqueued, or scheduled for, so long ago."""
    at = "now() - make_interval(secs => %s)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO procrastinate_jobs (queue_name, task_name, scheduled_at) VALUES ('q', 't', {at if scheduled else 'NULL'})"
            " RETURNING id",
            [seconds_ago] if scheduled else [],
        )
        cursor.execute(
            f"UPDATE procrastinate_events SET at = {at} WHERE job_id = %s", [seconds_ago, cursor.fetchone()[0]]
        )


@pytest.fixture
def seen(transactional_db: None) -> Iterator[None]:
    """What a test writes is seen by the checks, which have a connection of their own."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_workers, procrastinate_jobs CASCADE")


def state_of(check: Check, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a check finds that asks over the connection of this test."""

    def ask_here(query: str, *, seconds: float) -> list[tuple[str | None, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return [tuple(None if value is None else str(value) for value in row) for row in cursor.fetchall()]

    monkeypatch.setattr(checks, "ask", ask_here)
    try:
        check.run()
    except ServiceWarning:
        return "degraded"
    except ServiceUnavailable:
        return "down"
    return "up"


def test_alive_and_ping_touch_nothing(django_assert_num_queries: Any, db: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(watching._Watched, "begin", lambda self: pytest.fail("something was looked at"))
    with django_assert_num_queries(0):
        assert Client().get("/health").json() == {"status": "ok"}
        assert Client().get("/api/v1/ping").json()["pong"] is True


def test_ready_when_everything_works(seen: None) -> None:
    a_worker()
    names = ["database", "migrations", "storage", "queue", "disk", "memory"]
    assert ready() == (200, {"status": "ready", "checks": dict.fromkeys(names, "up")})


@pytest.mark.parametrize("host", ["127.0.0.1", "/nowhere"])
@pytest.mark.clocked
def test_not_ready_without_a_database(db: None, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    real = type(connections["default"]).get_connection_params
    monkeypatch.setattr(
        type(connections["default"]), "get_connection_params", lambda self: {**real(self), "host": host, "port": 1}
    )
    started = time.monotonic()
    status, body = ready()
    assert (status, body["status"], body["checks"]["database"]) == (503, "unavailable", "down")
    assert time.monotonic() - started < 1.5
    told = json.dumps([body, probe("/api/v1/_status", Authorization=f"Bearer {settings.METRICS_TOKEN}")])
    assert host not in told
    assert Client().get("/health").status_code == 200


@pytest.mark.clocked
def test_a_check_that_hangs_is_down_in_time(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(DatabaseCheck, "run", lambda self: let_go.wait(5))
    monkeypatch.setattr(watching, "DEADLINE_SECONDS", 0.2)
    started = time.monotonic()
    assert ready()[0] == 503
    assert 0.2 <= time.monotonic() - started < 1
    # As long as it hangs nobody waits for it again.
    started = time.monotonic()
    assert Client().get("/api/v1/ready").status_code == 503
    assert time.monotonic() - started < 0.15
    let_go.set()


@pytest.mark.parametrize("path", views.PROBES)
def test_probes_come_by_address(db: None, path: str) -> None:
    """Whatever name a balancer calls us by, and whatever it accepts, the answer is JSON; nothing is kept by anybody."""
    known = Client().get(path)
    for host in ("10.1.2.3:8000", "evil.example", "x y"):
        response = Client().get(path, headers={"Host": host, "Accept": "*/*"})
        assert (response.status_code, response["Content-Type"]) == (known.status_code, "application/json")
        assert "no-cache" in response["Cache-Control"]
        assert response["X-Request-ID"]
        assert Client().head(path, headers={"Host": host}).status_code == known.status_code
    assert Client().get("/sign-in/", headers={"Host": "evil.example"}).status_code == 400
    assert Client().post(path, headers={"Host": "evil.example"}).status_code == 400
    assert Client().post(path).status_code == 405


def test_only_the_needed_makes_us_unavailable(seen: None) -> None:
    """Without a worker people read and write: degraded. Whoever sees it otherwise says so in the settings."""
    status, body = ready()
    assert (status, body["status"], body["checks"]["queue"]) == (200, "degraded", "down")
    with override_settings(HEALTH_NEEDED={"queue"}):
        assert ready()[0] == 503
        a_worker()
        assert ready()[0] == 200


@pytest.mark.parametrize(
    ("silent", "waiting", "scheduled", "state"),
    [(0, 0, False, "up"), (31, 0, False, "degraded"), (301, 0, False, "down"), (0, 121, False, "degraded"),
     (0, 121, True, "degraded"), (0, 901, False, "down"), (0, 901, True, "down"), (0, -900, True, "up")],
)  # fmt: skip
def test_the_queue_has_two_thresholds(
    db: None, monkeypatch: pytest.MonkeyPatch, silent: float, waiting: float, scheduled: bool, state: str
) -> None:
    a_worker(silent)
    a_job(waiting, scheduled=scheduled)
    assert state_of(QueueCheck(), monkeypatch) == state


def test_not_ready_before_every_migration_ran(seen: None) -> None:
    assert ready()[1]["checks"]["migrations"] == "up"
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'forum' AND name = '0001_initial' RETURNING applied")
        applied = cursor.fetchone()[0]
        try:
            # What was there stays there, and isn't asked again.
            assert ready()[1]["checks"]["migrations"] == "up"
            MigrationsCheck._done = False
            assert (ready()[0], ready()[1]["checks"]["migrations"]) == (503, "down")
            assert checks.pending_migrations() == [("forum", "0001_initial")]
            assert probe("/api/v1/startup")[0] == 503
        finally:
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES ('forum', '0001_initial', %s)", [applied]
            )


def test_not_ready_when_files_cannot_be_stored(db: None, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with override_settings(MEDIA_ROOT=blocked):
        assert (ready()[0], ready()[1]["checks"]["storage"]) == (503, "down")


def test_the_cache_counts_when_there_is_a_redis(db: None) -> None:
    with override_settings(REDIS_URL="redis://127.0.0.1:1/0"):
        assert (ready()[0], ready()[1]["checks"]["cache"]) == (503, "down")


def test_full_disks_and_memory_are_told(db: None) -> None:
    for name in ("disk", "memory"):
        for limits, state in (((0, 101), "degraded"), ((0, 0), "down")):
            degraded, down = limits
            with override_settings(
                **{f"HEALTH_{name.upper()}_DEGRADED_PERCENT": degraded, f"HEALTH_{name.upper()}_DOWN_PERCENT": down}
            ):
                status, body = ready()
                assert (status, body["checks"][name]) == (200, state)


def test_memory_is_the_containers_where_it_has_a_limit(tmp_path: Path) -> None:
    machine = checks.memory_used(tmp_path)
    assert 0 < machine < 1
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100\n")
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert checks.memory_used(tmp_path) == 0.5
    (tmp_path / "memory.max").write_text("max\n")
    assert checks.memory_used(tmp_path) == pytest.approx(machine, abs=0.1)


def test_started_once_is_started(seen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe("/api/v1/startup") == (200, {"status": "started"})
    monkeypatch.setattr(DatabaseCheck, "run", fails)
    assert ready()[0] == 503
    assert probe("/api/v1/startup")[0] == 200
    monkeypatch.setattr(views, "_has_been_ready", threading.Event())
    status, body = probe("/api/v1/startup")
    assert (status, body["status"], body["checks"]["warm"]) == (503, "starting", "up")


def fails(check: Check) -> None:
    raise ValueError("postgres.internal refused hunter2")


def test_the_overview_tells_numbers_to_those_with_the_token_only(seen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QueueCheck, "run", fails)
    for wrong in ("", "Bearer wrong", "Bearer "):
        status, body = probe("/api/v1/_status", Authorization=wrong)
        assert (status, set(body)) == (200, {"status", "checks"})
        assert body["checks"]["queue"] == "down"
    status, body = probe("/api/v1/_status", Authorization=f"Bearer {settings.METRICS_TOKEN}")
    assert status == 200
    assert body["version"]
    assert body["uptime_seconds"] > 0
    assert body["checks"]["database"].keys() == {"state", "needed", "duration_ms", "age_ms", "detail"}
    assert 0 < body["checks"]["database"]["duration_ms"] < 1000
    assert body["checks"]["queue"]["detail"] == {"error": "ValueError"}
    assert "hunter2" not in json.dumps(body)
    with override_settings(METRICS_TOKEN=""):
        assert "version" not in probe("/api/v1/_status", Authorization="Bearer ")[1]


def counted(runs: list[float], hold: Callable[[], object]) -> type[Check]:
    class Counted(Check):
        name = "counted"

        def run(self) -> None:
            runs.append(time.monotonic())
            hold()

    return Counted


def test_a_flood_of_probes_asks_once() -> None:
    """Fifty at once, and again: one run, one who waits for it, and everybody else is told what was found before."""
    runs: list[float] = []
    check = counted(runs, lambda: time.sleep(0.3))
    before = threading.active_count()
    with ThreadPoolExecutor(50) as flood:
        found = list(flood.map(lambda _: watching.look([check])["counted"].state, range(50)))
        assert (found, len(runs)) == (["up"] * 50, 1)
        watching._watched[check].last = None
        assert [watching.look([check])["counted"].state, len(runs)] == ["up", 2]
        time.sleep(watching.FRESH_SECONDS)
        started = time.monotonic()
        took = sorted(flood.map(lambda _: (watching.look([check]), time.monotonic() - started)[1], range(50)))
        assert len(runs) == 3
        assert took[-1] >= 0.3
        assert took[-2] < 0.2
    assert threading.active_count() <= before + 1


def test_a_check_can_say_that_it_is_degraded(caplog: pytest.LogCaptureFixture) -> None:
    def late() -> None:
        raise ServiceWarning("late")

    check = counted([], late)
    with caplog.at_level("WARNING", "quokkaq.lib.health"):
        assert watching.look([check])["counted"].state == "degraded"
    assert [record.getMessage() for record in caplog.records] == ["health of counted: degraded"]


def test_states_are_for_gauges(seen: None) -> None:
    a_worker(31)
    assert health.states() == dict.fromkeys(["database", "migrations", "storage", "queue", "disk", "memory"], True)
    a_worker(301)
    watching.forget()
    assert health.states()["queue"] is False
