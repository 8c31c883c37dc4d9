"""One id from the access log to the model's server: real web server, task worker, database, model and receiver of traces."""

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.test import Client

from ai_answers import actions as ai_actions
from ai_answers.models import InstitutionAI, ModelPrice
from tests import factories
from tests.factories import World
from tests.processes import ROOT, environment, free_port, wait_for
from tests.services.model_servers import Script, lines, serve
from tests.services.otlp_receiver import Received, Receiver, receiving

REQUESTS = 200
CANARY = "canary-kxq7-wombat"
CSRF = "c" * 32
SAID = lines({"text": "Once.", "quotes": [{"source": 1, "quote": "evaluated once"}]})


class Web:
    """A web server with its worker, and what they wrote to their logs."""

    def __init__(self, folder: Path, cookie: str, **variables: str) -> None:
        self.port = free_port()
        self.cookie = cookie
        self.logs = {name: folder / f"{name}.log" for name in ("web", "worker")}
        # Development mode pools, test mode doesn't.
        self.variables = environment(
            QUOKKAQ_MODE="demo", PORT=str(self.port), SECRET_KEY=settings.SECRET_KEY, LOG_PRETTY="no",
            RATE_WRITES_PER_MINUTE="0", RATE_READS_PER_MINUTE="0", TASK_CONCURRENCY="3", OTEL_BSP_SCHEDULE_DELAY="300",
            WEB_WORKERS="2", WEB_THREADS="4", **variables,
        )  # fmt: skip
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with self.logs[name].open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.variables, stdout=log, stderr=subprocess.STDOUT
            )
        self.processes.append(process)
        return process

    def start_web(self) -> subprocess.Popen[bytes]:
        process = self.start("web", "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi")
        wait_for(self.is_up, seconds=40, what="the web server")
        return process

    def start_worker(self) -> None:
        self.start("worker", "manage.py", "procrastinate", "worker", "--fetch-job-polling-interval", "0.2")

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def is_up(self) -> bool:
        try:
            return self.ask("GET", "/health").status == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> HTTPResponse:
        body = urlencode({**form, "csrfmiddlewaretoken": CSRF}) if form is not None else None
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        client = HTTPConnection("127.0.0.1", self.port, timeout=30)
        cookies = f"{settings.SESSION_COOKIE_NAME}={self.cookie}; csrftoken={CSRF}"
        client.request(method, path, body, {"Cookie": cookies, **{k.replace("_", "-"): v for k, v in headers.items()}})
        response = client.getresponse()
        response.read()
        client.close()
        return response

    def lines(self, name: str) -> list[dict[str, object]]:
        found = [line for line in self.logs[name].read_text().splitlines() if line.startswith("{")]
        return [json.loads(line) for line in found]


def cookie_of(world: World, name: str) -> str:
    client = Client()
    client.force_login(world.user(name))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@contextmanager
def statements_logged() -> Iterator[Path]:
    """Have the server write down each statement on this database; yield its log."""
    assert settings.EMBEDDED_POSTGRES is not None
    database = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
    try:
        yield settings.EMBEDDED_POSTGRES.home / "server.log"
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {database} RESET log_statement")


@pytest.fixture
def world(transactional_db: None) -> World:
    """The model `m-1` answers questions of Sam, who agreed to that, for a course with a lecture."""
    world = factories.make_world()
    factories.make_material(world.member("tim"))
    ai_actions.set_consent(by=world.user("sam"), is_given=True)
    ModelPrice.objects.create(
        institution=world.institution, engine="openai", model="m-1", input_micros=1, output_micros=1, valid_from="2020-01-01"
    )  # fmt: skip
    InstitutionAI.objects.create(institution=world.institution, engine="openai", asks_per_hour=10_000)
    return world


@pytest.mark.drill
def test_one_id_joins_log_request_statements_task_and_model_in_every_request(world: World, tmp_path: Path) -> None:
    with receiving() as receiver, serve("openai", Script(SAID)) as model, statements_logged() as server_log:
        web = Web(
            tmp_path, cookie_of(world, "sam"), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OPENAI_BASE_URL=model.base_url,
            OPENAI_MODEL="m-1", OPENAI_API_KEY="sk-canary-0123456789abcdef",
        )  # fmt: skip
        began = server_log.stat().st_size
        ids = [f"drill-{number:05}" for number in range(REQUESTS)]
        try:
            web.start_web()
            web.start_worker()
            with ThreadPoolExecutor(8) as pool:
                statuses = list(pool.map(lambda number: post_question(web, number), ids))
            assert statuses == [302] * REQUESTS
            wait_for(lambda: len(model.seen) >= REQUESTS, seconds=120, what="the model to be asked each question")
            wait_for(lambda: complete(receiver) >= set(ids), seconds=30, what="all spans")
        finally:
            web.stop()
        with server_log.open("rb") as log:
            log.seek(began)
            statements = log.read().decode(errors="replace")
        seen = Counter(re.findall(r"request_id=(drill-\d+) \*/", statements))
        logged = {line["request_id"]: line for line in web.lines("web") if line["logger"] == "quokkaq.access"}
        asked = {seen.headers.get("x-request-id"): seen.headers["traceparent"] for seen in model.seen}
        traces = by_request(receiver)
        joined = [
            number
            for number in ids
            if logged[number]["route"] == "forum:ask" and seen[number] > 20 and asked[number] == chain(traces[number])
        ]
    assert len(joined) == REQUESTS
    sent = "\n".join(span.text for span in receiver.spans)
    assert ids[0] in sent
    assert CANARY not in sent
    assert "sk-canary" not in sent
    assert CANARY in json.dumps([seen.body for seen in model.seen])  # it was there to be found


def post_question(web: Web, number: str) -> int:
    form = {
        "kind": "question", "title": f"When is a default parameter value evaluated, {number}?", "confirmed": "1",
        "body": f"I mean {CANARY}, mail {CANARY}@example.com.", "visibility": "course", "anonymity": "named",
    }  # fmt: skip
    return web.ask("POST", "/c/cs-101/ask/", form, X_Request_ID=number).status


def complete(receiver: Receiver) -> set[str]:
    """Return the requests whose answer's task has arrived: a span arrives when it ends, its parts before it."""
    return {
        span.attributes["quokkaq.request_id"]
        for span in list(receiver.spans)
        if span.name == "ai_answers.generate_answer"
    }


def by_request(receiver: Receiver) -> dict[str, list[Received]]:
    """Return the spans of each posted question's trace."""
    traces: dict[str, list[Received]] = defaultdict(list)
    for span in receiver.spans:
        traces[span.trace].append(span)
    posted = receiver.named("POST /c/<slug:slug>/ask/")
    return {span.attributes["quokkaq.request_id"]: traces[span.trace] for span in posted}


def chain(trace: list[Received]) -> str:
    """Return what the model must have been told, if statements belong to the request and its task, and the call to the task."""
    (request,) = [span for span in trace if span.kind == 2]
    (task,) = [span for span in trace if span.name == "ai_answers.generate_answer"]
    (call,) = [span for span in trace if span.name == "POST 127.0.0.1"]
    statements = Counter(span.parent for span in trace if "db.query.text" in span.attributes)
    assert task.attributes["quokkaq.request_id"] == request.attributes["quokkaq.request_id"]
    assert (task.parent, call.parent) == (request.id, task.id)
    assert min(statements[request.id], statements[task.id]) > 10
    return f"00-{request.trace}-{call.id}-03"


@pytest.mark.drill
def test_pages_go_on_while_the_receiver_hangs_or_refuses(world: World, tmp_path: Path) -> None:
    thread = factories.make_thread(world.member("sam"))
    with receiving() as receiver:
        web = Web(tmp_path, cookie_of(world, "noor"), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
        try:
            process = web.start_web()
            page = f"/c/cs-101/{thread.number}/"
            usual = times(web, page)
            wait_for(lambda: receiver.named("GET /c/<slug:slug>/<int:number>/"), what="traces")
            receiver.holds.set()
            held = times(web, page)
            wait_for(lambda: complaints(web), what="a complaint")
            receiver.status = 500
            receiver.holds.clear()
            refused = times(web, page)
            print(f"median ms: usual {usual[0]:.1f}, hung {held[0]:.1f}, refused {refused[0]:.1f}")
            print(f"p95 ms: usual {usual[1]:.1f}, hung {held[1]:.1f}, refused {refused[1]:.1f}")
            for median, late in (held, refused):
                assert median < 1.5 * usual[0] + 5
                assert late < 2 * usual[1] + 50
            receiver.holds.set()
            web.ask("GET", page)
            process.terminate()
            process.wait(20)  # gunicorn would kill its workers after 30
        finally:
            web.stop()
    assert 1 <= len(complaints(web)) <= 2  # each of two processes once
    assert not [line for line in web.lines("web") if str(line["logger"]).startswith("opentelemetry")]


def times(web: Web, page: str) -> tuple[float, float]:
    """Return the median and the 95th percentile of a page, in milliseconds, asked for by four at a time."""

    def once(_: int) -> float:
        started = time.perf_counter()
        assert web.ask("GET", page).status == 200
        return (time.perf_counter() - started) * 1000

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(once, range(40)))
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1]


def complaints(web: Web) -> list[object]:
    return [line for line in web.lines("web") if "traces can't be delivered" in str(line["message"])]


@pytest.mark.drill
def test_what_is_waiting_is_sent_when_the_processes_end(world: World, tmp_path: Path) -> None:
    with receiving() as receiver:
        web = Web(tmp_path, cookie_of(world, "sam"), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
        web.variables["OTEL_BSP_SCHEDULE_DELAY"] = "3600000"
        number = f"drill-at-the-end-{time.time_ns()}"  # jobs outlive tests
        try:
            web.start_web()
            web.start_worker()
            assert post_question(web, number) == 302
            with connection.cursor() as cursor:
                wait_for(lambda: is_done(cursor, number), seconds=30, what="the task")
            assert receiver.spans == []
        finally:
            web.stop()
        assert receiver.named("POST /c/<slug:slug>/ask/")
        assert receiver.named("ai_answers.generate_answer")


def is_done(cursor: CursorWrapper, number: str) -> bool:
    cursor.execute(
        "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded' AND task_name = 'ai_answers.generate_answer'"
        " AND args ->> 'request_id' = %s",
        [number],
    )
    return bool(cursor.fetchone()[0])
