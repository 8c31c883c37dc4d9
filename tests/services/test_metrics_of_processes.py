"""Real processes: the workers of one web server add up, a dead one leaves nothing behind, a task worker has its own page."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from django.conf import settings
from django.db import connection
from procrastinate.contrib.django import app
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import ROOT, environment, free_port, running_worker, wait_for

TOKEN = f"Bearer {settings.METRICS_TOKEN}"
REQUESTS = "django_http_requests_total_by_view_transport_method_total"


def fetched(port: int, path: str = "/metrics", token: str = TOKEN) -> tuple[int, str]:
    client = HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path, headers={"Authorization": token})
    response = client.getresponse()
    return response.status, response.read().decode()


def scraped(port: int) -> dict[str, float]:
    status, page = fetched(port)
    assert status == 200
    return {
        f"{sample.name}{{{','.join(f'{name}={value}' for name, value in sample.labels.items())}}}": sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def answers(port: int, path: str = "/health") -> bool:
    try:
        return fetched(port, path)[0] == 200
    except OSError:
        return False


@pytest.fixture
def web(transactional_db: None) -> Iterator[tuple[int, psutil.Process]]:
    """A web server with two processes, as `make serve` starts it: nothing is said about metrics."""
    port = free_port()
    variables = environment(
        QUOKKAQ_MODE="demo", PORT=str(port), WEB_WORKERS="2", WEB_THREADS="2", SECRET_KEY=settings.SECRET_KEY,
        LOG_LEVEL="ERROR",
    )  # fmt: skip
    variables.pop("PROMETHEUS_MULTIPROC_DIR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"], cwd=ROOT, env=variables
    )
    try:
        wait_for(lambda: answers(port), seconds=90, what="the web server")
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(40)
    folder = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"quokkaq-metrics-{os.getuid()}-{port}"
    for file in folder.glob("*.db"):
        file.unlink()
    folder.rmdir()


def both_have_pools(port: int) -> bool:
    """Ask for a page that asks the database, until both processes have."""
    fetched(port, "/sign-in/at/nowhere/")
    return scraped(port)["quokkaq_db_pool_max{}"] == 16


@pytest.mark.drill
def test_processes_add_up_and_a_dead_one_leaves_nothing_behind(web: tuple[int, psutil.Process]) -> None:
    port, master = web
    pings = f"{REQUESTS}{{method=GET,transport=http,view=ping}}"
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: answers(port, "/api/v1/ping"), range(200)))
    # Whichever of the two is asked, it is told of both.
    assert {scraped(port)[pings] for _ in range(6)} == {200}
    wait_for(lambda: both_have_pools(port), seconds=60, what="both to tell of their pools")
    before = scraped(port)
    assert len(master.children()) == 2
    for _ in range(2):
        victim = master.children()[0]
        os.kill(victim.pid, signal.SIGKILL)
        wait_for(
            lambda gone=victim.pid: len(master.children()) == 2 and gone not in {c.pid for c in master.children()},  # type: ignore[misc]
            seconds=60,
            what="another worker",
        )
    wait_for(lambda: answers(port, "/sign-in/"), seconds=60, what="the new ones")
    assert scraped(port)["quokkaq_db_pool_max{}"] <= 8, "the pools of the dead"
    wait_for(lambda: both_have_pools(port), seconds=60, what="the new ones to tell of their pools")
    after = scraped(port)
    assert after[pings] == 200
    assert after["quokkaq_process_cpu_seconds_total{}"] > before["quokkaq_process_cpu_seconds_total{}"]
    assert after["quokkaq_process_resident_bytes{}"] < 1.5 * before["quokkaq_process_resident_bytes{}"]
    assert after["quokkaq_up{check=database}"] == 1


@pytest.mark.drill
def test_a_task_worker_has_a_page_of_its_own(transactional_db: None) -> None:
    port = free_port()
    with running_worker(WORKER_METRICS_PORT=str(port)):
        wait_for(lambda: answers(port, "/metrics"), seconds=60, what="the worker's page")
        assert fetched(port, token="Bearer wrong")[0] == 404
        assert fetched(port, "/")[0] == 404
        ran = "quokkaq_tasks_total{outcome=succeeded,task=quokkaq.delete_old_jobs}"
        before = scraped(port).get(ran, 0)
        app.configure_task("quokkaq.delete_old_jobs").defer(timestamp=0)
        wait_for(lambda: scraped(port).get(ran, 0) == before + 1, what="the task to be counted")
        shown = scraped(port)
        assert shown["quokkaq_process_resident_bytes{}"] > 0
        # State is the web server's to tell.
        assert not [name for name in shown if name.startswith(("quokkaq_up{", "quokkaq_threads{"))]

        def lanes() -> int:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM procrastinate_workers")
                return int(cursor.fetchone()[0])

        of_one = lanes()
        # A second worker finds the port taken, and works.
        with running_worker(WORKER_METRICS_PORT=str(port)):
            wait_for(lambda: lanes() == 2 * of_one, seconds=60, what="two workers")
