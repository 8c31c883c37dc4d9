"""A load test for a server of your own: people who sign in, read, search, ask, reply and vote, as in a course.

    locust -f ops/load/locustfile.py --headless --host https://staging.example.edu --allow staging.example.edu \
        --people people.csv --users 300 --run-time 20m --shape exam-eve

README.md beside this file says how to prepare the server and how to read the result.
"""

import html
import itertools
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, LoadTestShape, constant, events, task
from locust.exception import StopUser

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ops.load import acts, aim, shapes

STATIC = re.compile(r'(?:href|src)="(/static/[^"]+)"')
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
FORM_KEY = re.compile(r'name="form_key" value="([^"]+)"')
THREAD = re.compile(r'class="cover-link" href="/c/[^/"]+/(\d+)/">([^<]+)<')
# How often a page in sight asks for the bell.
BELL_SECONDS = 30.0
MOST_NUMBERS = 100
# Of those enrolled one in so many is staff: what staff do is shared out among the students in capacity.toml.
STUDENTS_PER_STAFF = 30
# Sent again so often after 429 before it counts as a failure.
TRIES = 3
HERD_SECONDS = 10.0


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    parser.add_argument("--allow", action="append", default=[], metavar="HOST", help="the host of --host, once more")
    parser.add_argument("--people", default="", metavar="CSV", help="who to be (manage.py make_load_people)")
    parser.add_argument("--shape", choices=sorted(shapes.SHAPES), default="steady", help="how --users come and go")
    parser.add_argument("--think", type=float, default=9.0, help="seconds between two acts of a person, the median")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="everybody does each thing once; ends when all have, or after --run-time",
    )
    parser.add_argument(
        "--addresses", action="store_true", help="an address for each in X-Forwarded-For (README: TRUSTED_PROXIES)"
    )


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    try:
        _check(environment)
        testers = aim.read_testers(environment.parsed_options.people)
    except aim.Refused as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(2)
    # One of the staff among the first, then as they come; several load machines begin in different places.
    staff = next((tester for tester in testers if tester.is_staff), testers[0])
    others = [tester for tester in testers if tester is not staff]
    random.shuffle(others)
    environment.rehearsed = 0
    environment.testers = itertools.cycle([staff, *others])


def _check(environment: Any) -> None:
    aim.check_target(environment.host, environment.parsed_options.allow)


class Shape(LoadTestShape):
    """People come and go as `--shape` says; `--users` is the most of them and `--run-time` all of the time."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        options = self.runner.environment.parsed_options
        most, total, gone = options.num_users or 10, float(options.run_time or 600), self.get_run_time()
        if gone >= total or (options.rehearse and self.runner.environment.rehearsed >= most):
            return None
        # A herd comes within seconds; else as Locust is told.
        rate = max(1.0, most / HERD_SECONDS) if options.shape == "herd" else float(options.spawn_rate or 1)
        return shapes.people(options.shape, gone / total, most), rate


class Person(HttpUser):
    """Somebody in a course: signs in, then does one thing after the other, with pauses."""

    wait_time = constant(0)

    def __init__(self, environment: Any) -> None:
        # Once more for each: the page of Locust's own lets another host be typed.
        try:
            _check(environment)
        except aim.Refused as refusal:
            raise StopUser(str(refusal)) from refusal
        super().__init__(environment)
        self.tester: aim.Tester = next(environment.testers)
        self.draw = random.Random()  # noqa: S311 (nothing secret)  # nosec B311
        self.token = self.form_key = ""
        self.numbers: list[int] = []
        self.words: set[str] = set()
        self.rang = time.monotonic()
        wanted = acts.mix()
        if self.tester.is_staff:
            wanted |= {kind: wanted[kind] * STUDENTS_PER_STAFF for kind in acts.STAFF_ONLY}
        self.does = {kind: wanted[kind] for kind in BEHAVIOURS if self.tester.is_staff or kind not in acts.STAFF_ONLY}

    def on_start(self) -> None:
        # Django wants to know over TLS where a form was.
        self.client.headers["Referer"] = f"{str(self.host).rstrip('/')}/sign-in/"
        if self.environment.parsed_options.addresses:
            self.client.headers["X-Forwarded-For"] = "10." + ".".join(str(self.draw.randint(1, 254)) for _ in range(3))
        self._sign_in()
        self._do("courses")
        # Not what the filters show, which may be nothing.
        self.learn(self.get(acts.Act("list", f"/c/{self.tester.course}/", 'class="course-nav"')))
        if self.environment.parsed_options.rehearse:
            for kind in self.does:
                self._do(kind)
                self.pause()
            self._ring()
            self.environment.rehearsed += 1

    @task
    def be_there(self) -> None:
        """Do one thing, then read or think."""
        self._do(self.draw.choices(list(self.does), list(self.does.values()))[0])
        self.pause()
        if time.monotonic() - self.rang > BELL_SECONDS:
            self._ring()

    def _do(self, kind: str) -> None:
        BEHAVIOURS[kind](self)

    def pause(self, times: float = 1.0) -> None:
        gevent.sleep(self.draw.lognormvariate(0, 0.6) * self.environment.parsed_options.think * times)

    def _sign_in(self) -> None:
        page = self._send(acts.Act("sign_in page", "/sign-in/", 'name="password"'), whole=False)
        for path in sorted(set(STATIC.findall(page))):
            self._send(acts.Act("static", html.unescape(path), ""), whole=False)
        self._send(acts.sign_in(self.tester.email, self.tester.password), whole=False)
        if not any("session" in cookie.name for cookie in self.client.cookies):
            raise StopUser("not signed in")

    def _ring(self) -> None:
        self.rang = time.monotonic()
        self.send("count")

    @property
    def place(self) -> acts.Place:
        return acts.Place(self.tester.course, self.numbers, sorted(self.words) or ["example"])

    def send(self, kind: str, **fields: str) -> str:
        """Do one act of a kind, with what the page gave for its form; return the page."""
        asked = acts.act(kind, self.place, self.draw)
        if fields and asked.fields is not None:
            asked = replace(asked, fields={**asked.fields, **fields})
        return self.get(asked)

    def get(self, asked: acts.Act) -> str:
        """Send what may be a page of one's own, with one's name in its head; return it."""
        return self._send(asked, whole=asked.method == "GET" and not asked.headers)

    def _send(self, asked: acts.Act, *, whole: bool) -> str:
        """Send a request and look at the answer; wait and send it again when it was one too many.

        Args:
            whole: a page of one's own is expected, with one's name in its head.
        """
        data = None if asked.fields is None else {**asked.fields, "csrfmiddlewaretoken": self.token}
        for left in reversed(range(TRIES)):
            with self.client.request(
                asked.method, asked.path, data=data, headers=dict(asked.headers), name=asked.kind,
                allow_redirects=False, catch_response=True, timeout=30,
            ) as answer:  # fmt: skip
                if answer.status_code == 429 and left:
                    answer.request_meta["name"] = f"{asked.kind} (429: waits)"
                    answer.success()
                else:
                    self._judge(asked, answer, whole=whole)
                    return str(answer.text or "")
            gevent.sleep(min(60.0, float(answer.headers.get("Retry-After", "5"))))
        return ""

    def _judge(self, asked: acts.Act, answer: Any, *, whole: bool) -> None:
        text = str(answer.text or "")
        problem = asked.problem(answer.status_code, text, answer.headers.get("Location", ""))
        if not problem and whole and html.escape(self.tester.name) not in text:
            problem = "somebody else's page"
        if problem:
            answer.failure(problem)
            return
        answer.success()
        if found := TOKEN.search(text):
            self.token = found.group(1)
        if found := FORM_KEY.search(text):
            self.form_key = found.group(1)

    def learn(self, page: str) -> None:
        """Note which threads a list shows."""
        for number, title in THREAD.findall(page):
            if int(number) not in self.numbers:
                self.numbers.insert(0, int(number))
            self.words.update(re.findall(r"[a-z]{4,}", html.unescape(title).lower()))
        del self.numbers[MOST_NUMBERS:]


def _list(person: Person) -> None:
    person.learn(person.send("list"))


def _thread(person: Person) -> None:
    _open(person)


def _open(person: Person) -> tuple[int, str]:
    """Open one of the threads that a list showed; return its number and page."""
    number = person.draw.choice(person.numbers)
    return number, person.get(acts.thread(person.tester.course, number))


def _reply(person: Person) -> None:
    number, _ = _open(person)
    asked = acts.reply(person.tester.course, number, person.draw)
    form_key = person.form_key
    person.pause()
    person.get(replace(asked, fields={**(asked.fields or {}), "form_key": form_key}))


def _vote(person: Person) -> None:
    """Vote for somebody else's thread: one's own has no button."""
    for _ in range(10):
        number, page = _open(person)
        if f'action="/c/{person.tester.course}/{number}/vote/"' in page:
            person.get(acts.vote(person.tester.course, number, person.draw))
            return


def _search(person: Person) -> None:
    for _ in range(person.draw.randint(2, 4)):
        person.send("suggest")
        gevent.sleep(0.3)
    person.send("search")


def _ask(person: Person) -> None:
    person.send("ask")
    form_key = person.form_key
    for _ in range(4):
        person.pause(0.3)
        person.send("similar")
    wanted = acts.mix()
    if person.environment.parsed_options.rehearse or person.draw.random() < wanted["new_thread"] / wanted["ask"]:
        person.send("new_thread", form_key=form_key)


def _queue(person: Person) -> None:
    person.send("queue")
    person.pause(0.5)
    _reply(person)


def _sending(kind: str) -> Callable[[Person], None]:
    def send(person: Person) -> None:
        person.send(kind)

    return send


BEHAVIOURS: dict[str, Callable[[Person], None]] = {
    "courses": _sending("courses"), "list": _list, "thread": _thread, "inbox": _sending("inbox"), "search": _search,
    "materials": _sending("materials"), "ask": _ask, "reply": _reply, "vote": _vote, "queue": _queue,
    "insights": _sending("insights"),
}  # fmt: skip
