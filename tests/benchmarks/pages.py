"""What pages and acts cost beside an empty view, at a million threads and at two thousand.

    make bench                       (all of it: about an hour, after the forums were generated once)
    python -m tests.benchmarks.pages [--threads 1000000 2000] [--rounds 3] [--seconds 8] [--only list thread] [--write]

gunicorn as shipped (2 workers of 4 threads, production settings) on a generated forum (`tests.benchmarks.forum_data`), loaded
by wrk on the same machine. In each round the empty view (`tests.benchmarks.empty`) is measured just before the pages, so
what counts is the ratio within a round; figures are medians of the rounds. `--write` keeps the run in docs/benchmarks.json
and draws docs/benchmarks.md anew.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.benchmarks import forum_data
from tests.benchmarks.forum_data import HOT, HOT_THREAD, INSTRUCTOR, OPERATOR, ROOT, STUDENT, Sizes, email
from tests.benchmarks.served import family_seconds, postmaster

CONNECTIONS = (1, 8, 32)
WARM_UP_SECONDS = 4
CSRF = "q" * 32
# Every one of a run is this word, and what a run wrote is deleted by it.
MARK = "benchmarkreply"
SETTINGS = {
    "QUOKKAQ_MODE": "production", "SECRET_KEY": "benchmark-" + "k3y" * 20, "ALLOWED_HOSTS": "127.0.0.1,localhost",
    "METRICS_TOKEN": "benchmark-" + "t0ken" * 8, "SECURE_SSL_REDIRECT": "no", "SCAN_UPLOADS": "no", "BACKUP_ENCRYPTION": "no",
    "BACKUP_SCHEDULE": "off", "RATE_READS_PER_MINUTE": "100000000", "RATE_WRITES_PER_MINUTE": "100000000",
    "RATE_BACKGROUND_PER_MINUTE": "100000000",
}  # fmt: skip
COOKIE = "quokkaq_session"


@dataclass(frozen=True)
class Page:
    """One thing that is measured: who asks for what, and what must stand in the answer."""

    name: str
    person: int | None
    path: str
    holds: str
    # For acts: the body of the form as Lua, in which `n` counts and `uuid()` is a new one.
    form: str = ""
    status: int = 200
    main: bool = False


@dataclass
class Measured:
    """Figures of one page at one number of connections: medians of the rounds. Times in milliseconds."""

    requests_per_second: float
    p50: float
    p95: float
    p99: float
    errors: int
    app_cpu_ms: float
    database_cpu_ms: float
    of_empty: float


@dataclass
class Result:
    """What was measured of a page, by connections."""

    page: str
    queries: int
    bytes: int
    by_connections: dict[int, Measured] = field(default_factory=dict)


def pages(cursor: str, post: str, words: dict[str, str]) -> list[Page]:
    """Return what is measured. `cursor` leads to the 1,000th page, `post` is a reply to vote for."""
    hot = f"/c/{HOT}/"
    vote = '"on=" .. (n % 2) .. "&csrfmiddlewaretoken=" .. csrf'
    reply = f'"body={MARK}+" .. n .. "&anonymity=named&form_key=" .. uuid() .. "&csrfmiddlewaretoken=" .. csrf'
    similar = f'"title={words["common"]}&body=&csrfmiddlewaretoken=" .. csrf'
    sign_in = f'"email={email(100).replace("@", "%40")}&password=correct+horse+battery&csrfmiddlewaretoken=" .. csrf'
    found = [
        Page("list", STUDENT, hot, "thread-row", main=True),
        Page("list, 1,000th page", STUDENT, f"{hot}?cursor={cursor}", "thread-row", main=True) if cursor else None,
        Page("hot thread", STUDENT, f"{hot}{HOT_THREAD}/", "answer-card", main=True),
        Page("hot thread, staff", INSTRUCTOR, f"{hot}{HOT_THREAD}/", "answer-card"),
        Page("search, common words", STUDENT, f"{hot}search/?q={words['common']}", "</main>"),
        Page("search, rare word", STUDENT, f"{hot}search/?q={words['rare']}", "</main>"),
        Page("search, no match", STUDENT, f"{hot}search/?q=zzqxjv", "</main>"),
        Page("ask", STUDENT, f"{hot}ask/", "<form"),
        Page("similar threads", STUDENT, f"{hot}similar/", "", form=similar),
        Page("post a reply", STUDENT, f"{hot}{{thread}}/reply/", "", form=reply, status=302),
        Page("vote", STUDENT, f"{hot}{HOT_THREAD}/posts/{post}/vote/", "", form=vote, status=302),
        Page("staff queue", INSTRUCTOR, f"{hot}queue/", "</main>"),
        Page("insights", INSTRUCTOR, f"{hot}insights/", "</main>"),
        Page("admin: threads", OPERATOR, "/admin/forum/thread/", "result_list"),
        Page("sign in", None, "/sign-in/", "", form=sign_in, status=302),
    ]
    return [page for page in found if page is not None]


_LUA = """
local counter, thread_id = 0, 0
local csrf = "{csrf}"
function setup(thread) thread:set("id", thread_id); thread_id = thread_id + 1 end
function init(args) math.randomseed(os.time() * 10 + id) end
local function uuid()
  return (string.gsub("xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx", "x", function() return string.format("%x", math.random(0, 15)) end))
end
local headers = {{["Cookie"] = "{cookie}", ["Content-Type"] = "application/x-www-form-urlencoded"}}
function request()
  counter = counter + 1
  local n = counter * 4 + id
  local path = string.gsub("{path}", "{{thread}}", tostring(100 + n % 900))
  {build}
end
function response(status) if status ~= {status} then wrong = (wrong or 0) + 1 end end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


def _script(page: Page, cookie: str) -> str:
    build = (
        f'return wrk.format("POST", path, headers, {page.form})'
        if page.form
        else 'return wrk.format("GET", path, headers)'
    )
    # A percent sign means something to `gsub`.
    path = page.path.replace("%", "%%")
    return _LUA.format(csrf=CSRF, cookie=cookie, path=path, build=build, status=page.status)


@dataclass
class Served:
    """A server under measurement."""

    port: int
    process: "subprocess.Popen[bytes]"

    def workers(self) -> list[int]:
        said = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return [int(word) for word in said.stdout.split()]

    def rss_mb(self) -> list[float]:
        """Return the resident memory of each worker."""
        return [_status(worker)["VmRSS"] / 1024 for worker in self.workers()]


def _status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines if line.startswith("Vm"))
    return {name: int(value.split()[0]) for name, value in pairs}


@contextmanager
def serving(command: list[str], port: int, ready: str, variables: dict[str, str]) -> Iterator[Served]:
    """Serve until the block ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    log = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *command], cwd=ROOT, env={**environment, **variables}, stdout=log, stderr=log
    )
    try:
        until = time.monotonic() + 90
        while True:
            try:
                if _get(port, ready)[0] in (200, 403):
                    break
            except OSError:
                pass
            if time.monotonic() > until or process.poll() is not None:
                log.seek(0)
                raise SystemExit(f"the server doesn't come up: {log.read()[-3000:].decode()}")
            time.sleep(0.2)
        yield Served(port, process)
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def _get(port: int, path: str, cookie: str = "") -> tuple[int, str]:
    client = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        client.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


def wrk(port: int, script: str, connections: int, seconds: float) -> tuple[float, float, float, float, int, int]:
    """Load a server; return requests/s, p50, p95 and p99 in ms, errors, and how many requests were answered."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        said = subprocess.run(
            ["wrk", f"-t{min(2, connections)}", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", file.name,
             f"http://127.0.0.1:{port}/"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    line = next(line for line in said.splitlines() if line.startswith("RESULT"))
    requests, duration, errors, p50, p95, p99 = map(int, line.split()[1:])
    others = next((line for line in said.splitlines() if "Non-2xx" in line), "")
    refused = int(others.rpartition(":")[2]) if others else 0
    return requests / (duration / 1e6), p50 / 1000, p95 / 1000, p99 / 1000, errors + refused, requests


class Bench:
    """One size of forum, served and measured."""

    def __init__(self, sizes: Sizes, asked: argparse.Namespace) -> None:
        self.sizes, self.asked = sizes, asked
        self.pages: list[Page] = []

    def run(self) -> dict[str, Any]:
        os.environ.update(SETTINGS)
        with forum_data.generated(self.sizes) as database:
            self.database = database
            self._furnish()
            self.pages = [page for page in self.pages if not self.asked.only or page.name in self.asked.only]
            port, empty_port = 8471, 8472
            ours = {**forum_data.variables(database, self.sizes), **SETTINGS, "PORT": str(port)}
            if not self.asked.skip_collecting:
                subprocess.run(
                    [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"],
                    cwd=ROOT, env={**os.environ, **ours}, check=True,
                )  # fmt: skip
            theirs = {"EMPTY_HOST": str(database.socket_directory), "EMPTY_DATABASE": "empty"}
            empty = ["-w", "2", "--threads", "4", "-k", "gthread", "-b", f"127.0.0.1:{empty_port}", "--no-control-socket",
                     "tests.benchmarks.empty:application"]  # fmt: skip
            with (
                serving(["-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"], port, "/api/v1/ready", ours) as us,
                serving(empty, empty_port, "/", theirs) as them,
            ):
                self._check(us)
                results = self._measure(us, them)
                memory = us.rss_mb()
            self._clean()
        return {"threads": self.sizes.threads, "pages": [asdict(result) for result in results], "rss_mb": memory,
                "empty": self.empty}  # fmt: skip

    def _furnish(self) -> None:
        """Sign people in, and find what the pages point at."""
        from django.conf import settings
        from django.db import connection
        from django.test import Client

        from accounts.models import Course, User
        from accounts.signing_in import SECOND_FACTOR
        from forum.models import Post, Thread
        from quokkaq.lib import keyset, tenancy

        settings.SECRET_KEY = SETTINGS["SECRET_KEY"]
        self.cookies: dict[int | None, str] = {None: f"csrftoken={CSRF}"}
        with tenancy.scope(tenancy.EVERY):
            for person in (STUDENT, INSTRUCTOR, OPERATOR):
                user = User.objects.get(email=email(person))
                client = Client()
                client.force_login(user)
                session = client.session
                session[SECOND_FACTOR] = str(user.pk)
                if person == OPERATOR:
                    institution = Course.objects.get(slug=HOT).institution_id
                    session["glass"] = {"institution": str(institution), "until": time.time() + 86400}
                session.save()
                self.cookies[person] = f"{COOKIE}={session.session_key}; csrftoken={CSRF}"
            course = Course.objects.get(slug=HOT)
            rows = Thread.objects.filter(course=course, deleted_at=None, visibility="course", is_pinned=False).order_by(
                "-last_activity_at", "-id"
            )
            deep = rows[25 * 999 - 1 : 25 * 999].first()
            cursor = ""
            if deep is not None:
                place = [deep.last_activity_at.isoformat(), deep.pk.hex]
                cursor = keyset.make_cursor(place, f"{course.pk}:?")
            post = Post.objects.filter(thread__course=course, thread__number=HOT_THREAD).exclude(
                author__email=email(STUDENT)
            )[0]
            title = Thread.objects.get(course=course, number=2).title.strip("?").lower().split()
            with connection.cursor() as asked:
                asked.execute(
                    "SELECT word FROM ts_stat($$SELECT vector FROM forum_searchentry e TABLESAMPLE SYSTEM (1) LIMIT 2000$$)"
                    " WHERE ndoc = 1 AND word !~ '^crs:' ORDER BY word LIMIT 1"
                )
                rare = (asked.fetchone() or ["quokka"])[0]
        connection.close()
        self.pages = pages(cursor, str(post.pk), {"common": "+".join(title[:3]), "rare": rare})
        with connection.cursor() as made:
            made.execute("SELECT 1 FROM pg_database WHERE datname = 'empty'")
            if not made.fetchone():
                made.execute("CREATE DATABASE empty")
        connection.close()
        variables = {**os.environ, "EMPTY_HOST": str(self.database.socket_directory)}
        variables.pop("DJANGO_SETTINGS_MODULE", None)
        said = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.empty"],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        self.empty_cookie = f"sessionid={said.stdout.strip()}"

    def _check(self, us: Served) -> None:
        """See that every page is what it is taken for."""
        for page in self.pages:
            if not page.form:
                status, html = _get(us.port, page.path, self.cookies[page.person])
                if status != 200 or page.holds not in html:
                    raise SystemExit(f"{page.name}: {status} at {page.path}: {html[:300]}")

    def _queries(self, page: Page) -> tuple[int, int]:
        """Return how many statements a page takes, as its own requests tell, and how many bytes it has."""
        if page.form:
            return 0, 0
        from django.db import connection
        from django.test import Client
        from django.test.utils import CaptureQueriesContext

        client = Client(HTTP_HOST="localhost")
        client.cookies.load(self.cookies[page.person])
        client.get(page.path)
        with CaptureQueriesContext(connection) as captured:
            response = client.get(page.path)
        return len(captured), len(response.content)

    def _measure(self, us: Served, them: Served) -> list[Result]:
        empty_page = Page("empty", None, "/", "nothing")
        empty_script = _script(empty_page, self.empty_cookie)
        counted = [self._queries(page) for page in self.pages]
        results = [Result(page.name, *counts) for page, counts in zip(self.pages, counted, strict=True)]
        runs: dict[tuple[str, int], list[Measured]] = {}
        self.empty: dict[int, float] = {}
        empties: dict[int, list[float]] = {}
        wrk(them.port, empty_script, 8, WARM_UP_SECONDS)
        for page in self.pages:
            wrk(us.port, _script(page, self.cookies[page.person]), 8, WARM_UP_SECONDS if page.main else 2)
        for turn in range(self.asked.rounds):
            for connections in CONNECTIONS:
                empty = wrk(them.port, empty_script, connections, self.asked.seconds)[0]
                empties.setdefault(connections, []).append(empty)
                for page in self.pages:
                    if connections == 1 and not page.main:
                        continue
                    one = self._once(us, page, connections, empty)
                    runs.setdefault((page.name, connections), []).append(one)
                    print(
                        f"{self.sizes.threads:>8} threads, round {turn + 1}, {connections:>2} connections: {page.name:22}"
                        f"{one.requests_per_second:8.1f}/s ({one.of_empty:.2f} of the empty view's)  p50 {one.p50:7.1f}  p95"
                        f" {one.p95:7.1f}  CPU {one.app_cpu_ms:6.2f} + {one.database_cpu_ms:.2f} ms  {one.errors or ''}",
                        flush=True,
                    )
        self.empty = {connections: statistics.median(found) for connections, found in empties.items()}
        for result in results:
            for connections in CONNECTIONS:
                found = runs.get((result.page, connections))
                if found:
                    columns = [
                        statistics.median(column)
                        for column in zip(*(asdict(one).values() for one in found), strict=True)
                    ]
                    result.by_connections[connections] = Measured(*columns)
        return results

    def _once(self, us: Served, page: Page, connections: int, empty: float) -> Measured:
        head, database = us.process.pid, postmaster(self.database)
        app, base = family_seconds(head), family_seconds(database)
        script = _script(page, self.cookies[page.person])
        rate, p50, p95, p99, errors, requests = wrk(us.port, script, connections, self.asked.seconds)
        app, base = family_seconds(head) - app, family_seconds(database) - base
        each = 1000 / max(1, requests)
        return Measured(rate, p50, p95, p99, errors, app * each, base * each, rate / empty)

    def _clean(self) -> None:
        """Delete what was written. Triggers are on: the counters go back."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0; SELECT set_config('quokkaq.institution', '*', false)")
            cursor.execute(
                "CREATE TEMPORARY TABLE written AS SELECT p.id FROM forum_post p JOIN forum_thread t ON t.id = p.thread_id"
                " WHERE t.course_id = (SELECT id FROM accounts_course WHERE slug = %s) AND p.body LIKE %s",
                [HOT, f"{MARK}%"],
            )
            for table in ("forum_searchentry", "forum_notification"):
                cursor.execute(f"DELETE FROM {table} WHERE post_id IN (SELECT id FROM written)")
            cursor.execute("DELETE FROM forum_post WHERE id IN (SELECT id FROM written)")
            cursor.execute("DELETE FROM procrastinate_jobs WHERE status = 'todo'")
            cursor.execute("DELETE FROM django_session")
        connection.close()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, nargs="+", default=[1_000_000, 2000])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=8)
    arguments.add_argument("--only", nargs="+", default=[])
    arguments.add_argument("--skip-collecting", action="store_true")
    arguments.add_argument("--write", action="store_true")
    arguments.add_argument("--json", type=Path)
    asked = arguments.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk isn't installed: on Debian, apt-get install wrk")
    if len(asked.threads) == 1:
        found = Bench(Sizes(asked.threads[0]), asked).run()
        if asked.json:
            asked.json.write_text(json.dumps(found))
        return
    # One process for each size: Django knows one database.
    sizes = []
    held = forum_data.server()
    for threads in asked.threads:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            words = [
                f"--threads={threads}",
                f"--rounds={asked.rounds}",
                f"--seconds={asked.seconds}",
                f"--json={file.name}",
            ]
            words += ["--only", *asked.only] if asked.only else []
            subprocess.run([sys.executable, "-m", "tests.benchmarks.pages", *words], cwd=ROOT, check=True)
            sizes.append(json.loads(Path(file.name).read_text()))
    del held
    run = {"at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "machine": machine(), "sizes": sizes}
    if asked.json:
        asked.json.write_text(json.dumps(run, indent=1))
    if asked.write:
        from tests.benchmarks.report import keep

        keep(run)


def machine() -> str:
    """Return what this was measured on, in a few words."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return f"{os.cpu_count()} cores, {int(memory.split()[1]) // 1024**2} GiB, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    main()
