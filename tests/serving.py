"""gunicorn as shipped on a real cluster, with a course in it, and people who read and write there, for drills."""

import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import connection

from accounts.signing_in import SECOND_FACTOR
from tests import factories
from tests.clusters import Cluster, variables
from tests.processes import ROOT, environment, free_port, wait_for

# What a search says whose time limit was reached, on a machine with much to do.
SLOW_SEARCH = "This search takes too long."
PEOPLE = ("ada", "tim", "sam", "noor", "eve")
# Nobody is slowed down: the limits are counted as ever, and are far away.
NO_LIMITS = {
    "RATE_READS_PER_MINUTE": "1000000",
    "RATE_WRITES_PER_MINUTE": "1000000",
    "RATE_BACKGROUND_PER_MINUTE": "1000000",
}


@contextmanager
def within(cluster: Cluster, database: str = "quokkaq") -> Iterator[None]:
    """Have the ORM of the tests work on a cluster, as its owner, inside the block."""
    before = connection.settings_dict
    connection.close()
    connection.settings_dict = {
        **before, "HOST": cluster.host, "PORT": cluster.port, "USER": "postgres", "PASSWORD": "", "NAME": database,
    }  # fmt: skip
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict = before


def command(*arguments: str, **changes: str) -> str:
    """Run a management command; return what it prints."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment(QUOKKAQ_MODE="demo", **changes),
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def migrate(cluster: Cluster) -> None:
    """Make QuokkaQ's database in an empty cluster, its tables the owner's, its web role as in production."""
    cluster.ask("CREATE DATABASE quokkaq")
    command("migrate", "--noinput", **variables(cluster))


@dataclass
class Place:
    """A course in each of two institutions, and the cookies of people there."""

    cluster: Cluster
    cookies: dict[str, str]
    threads: dict[str, int]


def furnish(cluster: Cluster) -> Place:
    """Put people and threads into a migrated cluster: `ada`, `tim`, `sam` and `noor` in one institution, `eve` in another."""
    from django.test import Client

    with within(cluster):
        world = factories.make_world()
        threads = {
            "home": factories.make_thread(world.member("sam"), "Why is my list empty at home?").number,
            "away": factories.make_thread(
                world.member("eve", world.foreign_course), "Why is my list empty away?"
            ).number,
        }
        sessions = {}
        # "leaving" is a second session of sam's, for drills in which somebody signs out.
        for name, person in [*((name, name) for name in PEOPLE), ("leaving", "sam")]:
            client = Client()
            client.force_login(world.user(person))
            session = client.session
            session[SECOND_FACTOR] = str(world.user(person).pk)
            session.save()
            sessions[name] = client.cookies[settings.SESSION_COOKIE_NAME].value
    cookies = {name: f"{settings.SESSION_COOKIE_NAME}={value}" for name, value in sessions.items()}
    return Place(cluster, cookies, threads)


@contextmanager
def web(cluster: Cluster, port: int | None = None, **changes: str) -> Iterator["Web"]:
    """gunicorn as shipped: 2 workers with 4 threads each, the database as the web role, in `changes` what differs."""
    server = Web(cluster, port or free_port(), changes)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Web:
    def __init__(self, cluster: Cluster, port: int, changes: dict[str, str]) -> None:
        self.port, self.cluster = port, cluster
        self.variables = environment(
            QUOKKAQ_MODE="demo", PORT=str(port), SECRET_KEY=settings.SECRET_KEY, LOG_LEVEL="CRITICAL",
            **NO_LIMITS, **{**variables(cluster), **changes},
        )  # fmt: skip

    def start(self, *, wait: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"],
            cwd=ROOT, env=self.variables, start_new_session=True,
        )  # fmt: skip
        if wait:
            wait_for(self.is_ready, seconds=90, what="the web server")

    def is_ready(self) -> bool:
        with suppress(OSError, HTTPException):
            return get(self.port, "/api/v1/ready")[0] == 200
        return False

    def workers(self) -> list[int]:
        said = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(word) for word in said.stdout.split()]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def get(port: int, path: str, cookie: str = "", **headers: str) -> tuple[int, str]:
    client = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        client.request("GET", path, headers={**given, **({"Cookie": cookie} if cookie else {})})
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


class Browser:
    """One person's kept-alive connection and cookies. Nothing is ever sent a second time."""

    def __init__(self, ports: Callable[[], int], cookie: str) -> None:
        self.ports, self.jar = ports, dict([cookie.split("=", 1)])
        self.jar["csrftoken"] = "q" * 32
        self.client: HTTPConnection | None = None
        self.port = 0

    def ask(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        """Send a request; return status and body. A broken connection is an `OSError` or `HTTPException`."""
        port = self.ports()
        if self.client is None or port != self.port:
            self.close()
            self.client, self.port = HTTPConnection("127.0.0.1", port, timeout=40), port
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())}
        body = None
        if fields is not None:
            body = urlencode({**fields, "csrfmiddlewaretoken": self.jar["csrftoken"]})
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            self.client.request(method, path, body, headers)
            response = self.client.getresponse()
            said = response.read().decode()
        except BaseException:
            self.close()
            raise
        for name, value in response.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.jar[key] = rest.partition(";")[0]
        if response.will_close:
            self.close()
        return response.status, said

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
        self.client = None


@dataclass
class Event:
    at: float
    seconds: float
    status: int | str
    method: str
    path: str


class Load:
    """People who read (and write) as fast as they are answered, each on a kept-alive connection of their own."""

    def __init__(self, ports: Callable[[], int]) -> None:
        self.ports, self.events, self._stop = ports, list[Event](), threading.Event()
        self.posted: set[str] = set()
        self._threads: list[threading.Thread] = []
        # What a page that was answered with 200 must hold, and must not; what broke that.
        self.wrong: list[str] = []

    def reader(self, cookie: str, *paths: str, holds: str = "", lacks: str = "\0", pause: float = 0.02) -> None:
        """Add somebody who reads these pages in turn."""

        def read(browser: Browser, turn: int) -> None:
            path = paths[turn % len(paths)]
            status, said = self._note(browser, "GET", path)
            if status == 200 and lacks in said:
                self.wrong.append(f"{path} shows {lacks}")
            elif status == 200 and holds not in said and SLOW_SEARCH not in said:
                self.wrong.append(f"{path} doesn't show {holds}: {said[-400:]}")

        self._add(cookie, read, pause)

    def writer(self, cookie: str, thread: int, *, slug: str = "cs-101", pause: float = 0.05) -> None:
        """Add somebody who replies to a thread again and again. What was acknowledged is in `posted`."""

        def write(browser: Browser, turn: int) -> None:
            text = f"reply {uuid.uuid4().hex}"
            fields = {"body": text, "form_key": str(uuid.uuid4()), "anonymity": "named"}
            status, _ = self._note(browser, "POST", f"/c/{slug}/{thread}/reply/", fields)
            if status == 302:
                self.posted.add(text)

        self._add(cookie, write, pause)

    def _add(self, cookie: str, act: Callable[[Browser, int], None], pause: float) -> None:
        def run() -> None:
            browser, turn = Browser(self.ports, cookie), 0
            while not self._stop.is_set():
                act(browser, turn)
                turn += 1
                time.sleep(pause)
            browser.close()

        self._threads.append(threading.Thread(target=run, daemon=True))

    def _note(self, browser: Browser, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        started, status, said = time.monotonic(), 0, ""
        try:
            status, said = browser.ask(method, path, fields)
        except (OSError, HTTPException) as error:
            self.events.append(Event(started, time.monotonic() - started, type(error).__name__, method, path))
            time.sleep(0.1)
        else:
            self.events.append(Event(started, time.monotonic() - started, status, method, path))
        return status, said

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(60)

    def counts(self, since: float = 0.0) -> Counter[int | str]:
        return Counter(event.status for event in self.events if event.at >= since)

    def failures(self, since: float = 0.0, good: tuple[int, ...] = (200, 302)) -> list[Event]:
        return [event for event in self.events if event.at >= since and event.status not in good]

    def first_good(self, since: float) -> float:
        """Return how many seconds after `since` the first page that was asked for then came whole."""
        ends = [event.at + event.seconds for event in self.events if event.at >= since and event.status in (200, 302)]
        assert ends, "nothing was answered well"
        return min(ends) - since


def rows(cluster: Cluster, sql: str) -> list[Any]:
    with cluster.connect("quokkaq") as asked:
        return [row[0] for row in asked.execute(sql).fetchall()]
