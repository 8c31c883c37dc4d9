"""The web server and a task worker as they run: every line they print is JSON, filed by stream, and holds nobody's data."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from procrastinate.contrib.django import app

from accounts.actions import CHECK_TASK
from tests import factories
from tests.canaries import Canaries
from tests.processes import ROOT, end, environment, free_port, wait_for

WEB = [str(Path(sys.executable).parent / "gunicorn"), "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"]
WORKER = [sys.executable, "manage.py", "procrastinate", "worker", "--fetch-job-polling-interval", "0.2"]


@contextmanager
def running(command: list[str], folder: Path, **changes: str) -> Iterator[Path]:
    """Run a process that logs at DEBUG; yield the file with what it prints. `errors` has the rest."""
    output = folder / "output"
    wanted = environment(LOG_LEVEL="DEBUG", LOG_DIRECTORY=str(folder), **changes)
    with output.open("wb") as out, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=wanted, stdout=out, stderr=errors)
    try:
        yield output
    finally:
        end(process, seconds=20)


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def said(port: int, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(raw)
        with suppress(OSError):
            return client.recv(65536)
    return b""


def asked(port: int, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, str]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        client.request("POST" if body else "GET", path, body, headers)
        response = client.getresponse()
        response.read()
        return response.status, response.headers["X-Request-ID"]
    finally:
        client.close()


def is_up(port: int) -> bool:
    try:
        return asked(port, "/health", {})[0] == 200
    except OSError:
        return False


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_the_web_server_prints_lines_and_nobodys_data(tmp_path: Path) -> None:
    planted, port = Canaries(), free_port()
    text = [planted.plant("token", "a request") for _ in range(8)]
    with running(WEB, tmp_path, PORT=str(port), WEB_WORKERS="2") as output:
        wait_for(lambda: is_up(port), seconds=60, what="the web server")
        for number in range(20):
            wanted = f"request-{number:04}"
            status, returned = asked(
                port, f"/c/{text[0]}/?q={text[1]}", {"X-Request-ID": wanted, "Cookie": f"x={text[2]}"}
            )
            assert (status, returned) == (302, wanted)
        asked(
            port,
            "/sign-in/",
            {"Content-Type": "application/x-www-form-urlencoded"},
            f"email={text[3]}@x.example&password={text[4]}",
        )
        said(port, f"GET /{text[5]} HTTP/9.9\r\nX: {text[5]}\r\n\r\n".encode())
        said(port, f"GET /{text[6]} HTTP/1.1\r\nHost : {text[6]}\r\n\r\n".encode())
        said(port, f"{text[7].upper()} / HTTP/1.1\r\nHost: {text[7]}\r\n\r\n".encode())
    printed = lines_of(output)
    assert planted.where(planted.found_in(output.read_text() + (tmp_path / "errors").read_text())) == []
    assert {f"request-{number:04}" for number in range(20)} <= {line["request_id"] for line in printed}
    filed = [line for stream in ("access", "application", "security") for line in lines_of(tmp_path / f"{stream}.log")]
    assert {line["stream"] for line in filed} == {"access", "application", "security"}
    assert len(filed) == len(printed)
    assert any(
        line["logger"] == "gunicorn.error" and line["message"].startswith("Listening at: http") for line in printed
    )
    found = subprocess.run(
        [sys.executable, "manage.py", "logs", "--request", "request-0007", "--json", str(tmp_path)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {json.loads(line)["request_id"] for line in found.stdout.splitlines()} == {"request-0007"}


@pytest.fixture
def no_jobs(transactional_db: None) -> Iterator[None]:
    """An empty queue, which is emptied again: tests that end in a rollback would find what is left in it."""

    def forget() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs")

    forget()
    yield
    forget()


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_a_worker_prints_lines_and_nobodys_data(tmp_path: Path, no_jobs: None) -> None:
    planted, world = Canaries(), factories.make_world()
    for shape in ("name", "mail", "token", "body"):
        app.configure_task(CHECK_TASK, queue="uploads").defer(
            institution_id=str(world.institution.pk), request_id="request-0042", upload_id=planted.plant(shape, "a job")
        )
    with running(WORKER, tmp_path) as output:

        def all_failed_once() -> bool:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s AND attempts > 0", [CHECK_TASK]
                )
                return int(cursor.fetchone()[0]) == 4

        wait_for(all_failed_once, seconds=90, what="the jobs to fail")
        time.sleep(1)
    printed = lines_of(output)
    assert planted.where(planted.found_in(output.read_text() + (tmp_path / "errors").read_text())) == []
    failed = [line for line in printed if line["message"] == "task failed"]
    assert len(failed) >= 4
    assert {(line["request_id"], line["route"], line["institution_id"]) for line in failed} == {
        ("request-0042", "accounts.check_upload", str(world.institution.pk))
    }
    assert all("ValueError" in line["exc_info"] for line in failed)
    assert os.path.getsize(tmp_path / "application.log") > 0
