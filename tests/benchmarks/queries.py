"""What every page and action asks the database on the generated forum, how long each statement takes, and its plan when that is long.

    python -m tests.benchmarks.queries [--threads 1000000] [--repeats 12] [--only search] [--plans FILE] [--json FILE]

Walks as a student, as staff and as the operator through the hot course, with other threads, words and places each time, as
the web role, in transactions that are rolled back. Prints what each page costs, then the statements that are too slow;
ends with 1 when there are any. A statement is timed from sending it to having read its rows, and so with what else the
machine does; `cpu` is what the server's process worked for it (`/proc/PID/schedstat`), which `--by cpu` judges instead.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import forum_data
from tests.benchmarks.scratch import ROOT, percentile

P95_MS = 100
SINGLE_MS = 500
# A statement that took so long is explained at once, while the connection still knows for whom it works.
EXPLAINED_MS = 40
DEEP = 1000  # the page that counts as deep
PAGE = 25
SEED = 20


@dataclass
class Statement:
    """One shape of statement: the same but for its values."""

    sql: str
    times: list[float] = field(default_factory=list)  # milliseconds
    work: list[float] = field(default_factory=list)  # milliseconds of the server's processor
    pages: set[str] = field(default_factory=set)
    plan: str = ""
    explained: float = 0.0  # how long the one took whose plan it is

    @property
    def p95(self) -> float:
        return percentile(self.times, 0.95)

    def is_slow(self, by: str) -> bool:
        measured = self.work if by == "cpu" else self.times
        return bool(measured) and (percentile(measured, 0.95) > P95_MS or max(measured) > SINGLE_MS)


@dataclass
class Visit:
    """A page or an action: who goes there, and what is asked for in each turn."""

    name: str
    who: str
    act: Callable[[Any, random.Random], Any]  # with a client, returns the response
    repeats: int = 0


class Watch:
    """Notes each statement of a connection, and explains the slow ones."""

    def __init__(self) -> None:
        self.shapes: dict[str, Statement] = {}
        self.seen: list[tuple[str, float, float]] = []
        self.page = ""
        self._explaining = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if self._explaining or sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            return execute(sql, params, many, context)
        worked = cpu_of(context["connection"])
        begin = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            took = (time.perf_counter() - begin) * 1000
            worked = cpu_of(context["connection"]) - worked
            shape = shape_of(sql)
            known = self.shapes.setdefault(shape, Statement(shape))
            known.times.append(took)
            known.work.append(worked)
            known.pages.add(self.page)
            self.seen.append((shape, took, worked))
            if took > EXPLAINED_MS and took > 1.5 * known.explained and not many and sys.exc_info()[0] is None:
                known.explained, known.plan = took, self._explain(context["connection"], sql, params)

    def _explain(self, connection: Any, sql: str, params: Any) -> str:
        from django.db import DatabaseError, transaction

        self._explaining = True
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '60s'")
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", params)
                said = "\n".join(row[0] for row in cursor.fetchall())
                transaction.set_rollback(True, using=connection.alias)
            return said
        except DatabaseError as error:
            return f"not explained: {error}"
        finally:
            self._explaining = False


def cpu_of(connection: Any) -> float:
    """Return how many milliseconds the server's process of a connection has worked so far; 0 when it isn't on this machine."""
    if connection.connection is None:
        return 0.0
    try:
        with open(f"/proc/{connection.connection.info.backend_pid}/schedstat") as told:
            return int(told.read().split()[0]) / 1e6
    except OSError:
        return 0.0


def shape_of(sql: str) -> str:
    """Return a statement without its values, their number, and the request's id."""
    sql = re.sub(r"/\*.*?\*/", "", sql)
    return re.sub(r"%s(?:::\w+)?(, ?%s(?:::\w+)?)+", "%s, …", " ".join(sql.split()))


class World:
    """The hot course and who acts in it."""

    def __init__(self) -> None:
        from accounts.models import Course, User
        from quokkaq.lib.database.owner import as_owner
        from tests.benchmarks.search import Words

        with as_owner():
            self.course = Course.objects.select_related("institution").get(slug=forum_data.HOT)
            people = {
                "student": forum_data.STUDENT, "staff": forum_data.INSTRUCTOR, "operator": forum_data.OPERATOR,
            }  # fmt: skip
            self.users = {name: User.objects.get(email=forum_data.email(person)) for name, person in people.items()}
            self.clients = {name: self._client(user) for name, user in self.users.items()}
            self.newest: int = self.course.last_thread_number
            self.words = self._words()
            self.sentences = Words(2000).sentences
            self.tag = "exam"

    def _client(self, user: Any) -> Any:
        from django.test import Client

        from accounts.signing_in import SECOND_FACTOR
        from tests import factories

        client = factories.browser(user, self.course.institution)
        session = client.session
        session[SECOND_FACTOR] = str(user.pk)
        session.save()
        assert isinstance(client, Client)
        return client

    def _words(self) -> dict[str, list[str]]:
        """Return words of the course by how many threads have them: a tenth at least, or one in a thousand at most."""
        from forum.search import ranking

        rarity = ranking.rarity(self.course)
        counts = {word: count for word, count in rarity.containing.items() if word.isalpha() and len(word) > 3}
        many = sorted(counts, key=lambda word: -counts[word])
        return {
            "common": many[:40],
            "rare": [word for word in many if counts[word] <= max(3, rarity.documents // 1000)][:400],
        }

    def member(self, who: str) -> Any:
        from accounts.access import Member
        from accounts.models import Role

        return Member(self.users[who], self.course, Role.INSTRUCTOR if who == "staff" else Role.STUDENT)

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Take the sessions away in the end."""
        from django.contrib.sessions.backends.base import SessionBase

        from quokkaq.lib.database.owner import as_owner

        try:
            yield
        finally:
            with as_owner():
                for client in self.clients.values():
                    session = client.session
                    assert isinstance(session, SessionBase)
                    session.delete()

    def cursor(self, who: str, **asked: str) -> str:
        """Return the cursor after `DEEP` pages of a listing or, where it has fewer, after half of them."""
        from forum.search import parse_query
        from forum.views.lists import Address, Listing
        from quokkaq.lib import keyset
        from quokkaq.lib.database.owner import as_owner

        listing = Listing(Address(**asked))
        listing.search = parse_query(listing.at.q)
        with as_owner():
            rows = (
                listing.threads(self.member(who)).order_by(f"-{listing.order}", "-id").values_list(listing.order, "pk")
            )
            place = DEEP * PAGE
            count = rows[: place + 1].count()
            if not count:
                return ""
            key, pk = rows[place if count > place else count // 2]
        return keyset._encode(key, pk, f"{self.course.pk}:{listing.at.query()}")


def visits(world: World) -> list[Visit]:
    """Return every page and action, for the people who have it."""
    home = f"/c/{forum_data.HOT}/"

    def get(address: str, **data: str) -> Callable[[Any, random.Random], Any]:
        return lambda client, draw: client.get(f"{home}{address}" if not address.startswith("/") else address, data)

    def at(make: Callable[[random.Random], str]) -> Callable[[Any, random.Random], Any]:
        return lambda client, draw: client.get(home + make(draw))

    def number(draw: random.Random) -> int:
        return draw.randint(2, world.newest)

    def sought(kinds: str, **more: str) -> Callable[[Any, random.Random], Any]:
        """Search for words of these kinds, like "common rare"; what isn't a kind stands as it is."""

        def act(client: Any, draw: random.Random) -> Any:
            words = [draw.choice(world.words[kind]) if kind in world.words else kind for kind in kinds.split()]
            return client.get(f"{home}search/", {"q": " ".join(words), **more})

        return act

    found: list[Visit] = []
    for who in ("student", "staff"):
        filters = {
            "first page": {},
            "by age": {"sort": "new"},
            "by votes": {"sort": "top"},
            "unanswered": {"show": "unanswered"},
            "unanswered, new": {"show": "unanswered", "sort": "new"},
            "unread": {"show": "unread"},
            "unread, top": {"show": "unread", "sort": "top"},
            "mine": {"show": "mine"},
            "following": {"show": "following"},
            "following, top": {"show": "following", "sort": "top"},
            "endorsed": {"show": "endorsed"},
            "resolved": {"show": "resolved"},
            "resolved, top": {"show": "resolved", "sort": "top"},
            "private": {"show": "private"},
            "private, new": {"show": "private", "sort": "new"},
            "tag": {"tag": world.tag},
            "tag, top": {"tag": world.tag, "sort": "top"},
            "tag, unanswered": {"tag": world.tag, "show": "unanswered"},
            "announcements": {"kind": "announcement"},
            "discussions, new": {"kind": "discussion", "sort": "new"},
            "with a common word": {"q": world.words["common"][0]},
            "with a rare word": {"q": world.words["rare"][0]},
            "with a word nobody used": {"q": "zzyzxq"},
        }
        for name, asked in filters.items():
            found.append(Visit(f"list, {name}", who, get("", **asked)))
            cursor = world.cursor(who, **asked) if who == "student" or name == "first page" else ""
            if cursor:
                found.append(Visit(f"list, {name}, deep", who, get("", **asked, cursor=cursor)))
        for name, kinds in {
            "common": "common", "rare": "rare", "two common": "common common", "common and rare": "common rare",
            "none": "qxzzq", "none and common": "qxzzq common", "three rare": "rare rare rare",
            "six words": "common common rare rare rare common", "tag": f"tag:{world.tag} common", "by": "by:person common",
            "by, no words": "by:person", "by me": "by:me", "is": "is:unanswered common", "is, no words": "is:endorsed",
            "unread": "is:unread common", "private": "is:private common", "in posts": "in:posts common",
            "after": "after:2026-01-01 common", "or": "common or rare", "without": "common -rare",
            "phrase": '"common common"',
        }.items():  # fmt: skip
            found.append(Visit(f"search, {name}", who, sought(kinds)))
        found += [
            Visit("thread", who, at(lambda draw: f"{number(draw)}/")),
            Visit("hot thread", who, get(f"{forum_data.HOT_THREAD}/")),
            Visit("ask page", who, get("ask/")),
            Visit("suggest", who, lambda client, draw: client.get(f"{home}search/suggest/", {"q": typed(world, draw)})),
            Visit("similar", who, lambda client, draw: client.post(f"{home}similar/", question(world, draw)), 20),
            Visit("similar, title only", who, lambda c, d: c.post(f"{home}similar/", question(world, d) | {"body": ""}), 20),
            Visit("ask", who, lambda client, draw: client.post(f"{home}ask/", question(world, draw))),
            Visit("reply", who, lambda c, d: c.post(f"{home}{number(d)}/reply/", reply(world, d))),
            Visit("reply in the hot thread", who, lambda c, d: c.post(f"{home}1/reply/", reply(world, d))),
            Visit("vote", who, lambda c, d: c.post(f"{home}{number(d)}/vote/", {"on": "1"})),
            Visit("vote for a post", who, lambda c, d: c.post(f"{home}1/posts/{a_post(d)}/vote/", {"on": "1"})),
            *([Visit("same question", who, lambda c, d: c.post(f"{home}{number(d)}/same/", {"on": "1"}))] if who == "student" else []),
            Visit("follow", who, lambda c, d: c.post(f"{home}{number(d)}/follow/", {"on": "1"})),
            Visit("flag", who, lambda c, d: c.post(f"{home}{number(d)}/flag/", {"reason": "spam"})),
            Visit("deflect", who, lambda c, d: c.post(f"{home}deflect/{number(d)}/")),
            Visit("draft", who, lambda c, d: c.post(f"{home}{number(d)}/draft/", {"body": "Half a thought"})),
            Visit("inbox", who, get("/inbox/")),
            Visit("inbox, unread", who, get("/inbox/", show="unread")),
            Visit("inbox count", who, get("/inbox/count/")),
            Visit("inbox, all read", who, lambda client, draw: client.post("/inbox/read/")),
            Visit("courses", who, get("/courses/")),
            Visit("activity", who, get("activity/")),
            Visit("points", who, get("activity/points/")),
            Visit("materials", who, get("materials/")),
            Visit("conversations", who, get("ai/")),
            Visit("course page", who, get("course/")),
            Visit("me", who, get("/me/")),
        ]  # fmt: skip
    found += [
        Visit("sign-in page", "nobody", get("/sign-in/")),
        Visit("sign-in", "nobody", signed_in),
        Visit("queue", "staff", get("queue/")),
        Visit("queue, mine", "staff", get("queue/", who="mine")),
        Visit("queue, unanswered", "staff", get("queue/", need="answer")),
        Visit("insights", "staff", get("insights/")),
        Visit("insights, a year", "staff", get("insights/", period="year")),
        Visit("flags", "staff", get("flags/")),
        Visit("approvals", "staff", get("approvals/")),
        Visit("endorse", "staff", lambda c, d: c.post(f"{home}1/posts/{a_post(d)}/endorse/", {"on": "1"})),
        Visit("accept", "staff", lambda c, d: c.post(f"{home}1/posts/{a_post(d)}/accept/", {"on": "1"})),
        Visit("delete a post", "staff", lambda c, d: c.post(f"{home}1/posts/{a_post(d)}/delete/")),
        Visit("hide a post", "staff", lambda c, d: c.post(f"{home}1/posts/{a_post(d)}/hide/", {"reason": "It is rude."})),
        Visit("edit a thread", "staff", lambda c, d: c.get(f"{home}{number(d)}/edit/")),
        Visit("pin", "staff", lambda c, d: c.post(f"{home}{number(d)}/pin/", {"on": "1"})),
        Visit("roster", "staff", get("course/roster/")),
        Visit("roster, sought", "staff", get("course/roster/", q="Person 12")),
        Visit("audit", "staff", get("course/audit/")),
        Visit("tags", "staff", get("course/tags/")),
        Visit("assignments", "staff", get("course/assignments/")),
        Visit("sections", "staff", get("course/sections/")),
        Visit("templates", "staff", get("templates/")),
        Visit("answers to review", "staff", get("answers/review/")),
        Visit("confidence", "staff", get("answers/confidence/")),
        Visit("spending", "staff", get("ai-spending/")),
        Visit("evaluation", "staff", get("answers/evaluation/")),
    ]  # fmt: skip
    return found + admin_lists()


def admin_lists() -> list[Visit]:
    """Return the change list of each model in Django admin, and a search in the large ones."""
    from django.contrib import admin
    from django.urls import reverse

    found = []
    for model, shown in sorted(admin.site._registry.items(), key=lambda item: item[0]._meta.label):
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        found.append(Visit(f"admin, {model._meta.label}", "operator", _got(address), 3))
        if shown.search_fields and model._meta.app_label in ("forum", "accounts"):
            found.append(Visit(f"admin, {model._meta.label}, sought", "operator", _got(f"{address}?q=person12"), 3))
    return found


def _got(address: str) -> Callable[[Any, random.Random], Any]:
    return lambda client, draw: client.get(address)


def signed_in(client: Any, draw: random.Random) -> Any:
    from tests.factories import PASSWORD

    person = draw.randint(100, 900)
    return client.post("/sign-in/", {"email": forum_data.email(person), "password": PASSWORD})


def typed(world: World, draw: random.Random) -> str:
    """Return what stands in the search box while somebody types: a word or two, the last one not to its end."""
    words = draw.choice(world.sentences).split()
    place = draw.randint(1, len(words) - 1)
    return f"{words[place - 1]} {words[place][: draw.randint(1, 5)]}"


def question(world: World, draw: random.Random) -> dict[str, str]:
    title = " ".join(draw.choice(world.sentences).split()[: draw.randint(4, 9)]).capitalize()
    body = ". ".join(draw.choices(world.sentences, k=4))
    return {
        "title": title, "body": body, "kind": "question", "visibility": "course", "anonymity": "named",
        "form_key": str(uuid.uuid4()), "confirmed": "1",
    }  # fmt: skip


def reply(world: World, draw: random.Random) -> dict[str, str]:
    return {"body": ". ".join(draw.choices(world.sentences, k=5)), "anonymity": "named", "form_key": str(uuid.uuid4())}


_posts: list[uuid.UUID] = []


def a_post(draw: random.Random) -> uuid.UUID:
    """Return a reply in the hot thread."""
    return draw.choice(_posts)


def walk(world: World, watch: Watch, wanted: list[Visit], repeats: int) -> list[dict[str, Any]]:
    """Go everywhere; return what each page cost."""
    from django.test import Client

    draw = random.Random(SEED)
    rows = []
    for visit in wanted:
        costs = []
        client = world.clients.get(visit.who) or Client()
        answers: set[int] = set()
        for turn in range((visit.repeats or repeats) + 1):
            watch.page, watch.seen = f"{visit.name} ({visit.who})", []
            is_first = turn == 0
            answers.add(_answer(visit, client, draw, watch))
            if is_first:
                # The first turn fills caches (templates, word statistics); plans that it made are kept.
                _forget_last(watch)
                continue
            costs.append(list(watch.seen))
        rows.append(_cost(visit, answers, costs))
        _say(rows[-1])
    return rows


def _answer(visit: Visit, client: Any, draw: random.Random, watch: Watch) -> int:
    """Go there once, in a transaction that is rolled back; 0 when a statement was cut off."""
    from django.db import OperationalError, connection, transaction

    try:
        with transaction.atomic(), connection.execute_wrapper(watch):
            response = visit.act(client, draw)
            transaction.set_rollback(True)
    except OperationalError:
        return 0
    return int(response.status_code)


def _forget_last(watch: Watch) -> None:
    for shape, _, _ in watch.seen:
        watch.shapes[shape].times.pop()
        watch.shapes[shape].work.pop()


def _cost(visit: Visit, answers: set[int], costs: list[list[tuple[str, float, float]]]) -> dict[str, Any]:
    totals = [sum(took for _, took, _ in seen) for seen in costs]
    slowest = max((item for seen in costs for item in seen), key=lambda item: item[1], default=("", 0.0, 0.0))
    return {
        "page": visit.name, "who": visit.who, "answers": sorted(answers),
        "statements": round(statistics.median(len(seen) for seen in costs)),
        "ms": round(statistics.median(totals), 1), "ms_p95": round(percentile(totals, 0.95), 1),
        "cpu_ms": round(statistics.median(sum(worked for _, _, worked in seen) for seen in costs), 1),
        "slowest_ms": round(slowest[1], 1), "slowest": slowest[0],
    }  # fmt: skip


def _say(row: dict[str, Any]) -> None:
    said = "" if set(row["answers"]) <= {200, 204, 302} else f"  answered {row['answers']}"
    print(
        f"{row['page']:34.34} {row['who']:8} {row['statements']:4} statements  {row['ms']:7.1f} ms"
        f"  p95 {row['ms_p95']:7.1f}  cpu {row['cpu_ms']:7.1f}  slowest {row['slowest_ms']:7.1f}{said}",
        flush=True,
    )


def report(watch: Watch, rows: list[dict[str, Any]], *, plans: Path, out: Path | None, by: str) -> bool:
    """Say which statements are too slow; return whether none is."""
    slow = [one for one in watch.shapes.values() if one.is_slow(by)]
    slow.sort(key=lambda one: -one.p95)
    times = [took for one in watch.shapes.values() for took in one.times]
    print(
        f"\n{len(times)} statements of {len(watch.shapes)} shapes: p50 {percentile(times, 0.5):.2f} ms, "
        f"p95 {percentile(times, 0.95):.1f}, p99 {percentile(times, 0.99):.1f}, longest {max(times):.0f}"
    )
    print(f"{len(slow)} shapes have a p95 above {P95_MS} ms, or took longer than {SINGLE_MS} ms once. Plans: {plans}")
    for one in slow:
        print(
            f"\n  p50 {percentile(one.times, 0.5):.0f}, p95 {one.p95:.0f}, longest {max(one.times):.0f} ms (cpu {percentile(one.work, 0.5):.0f}, {percentile(one.work, 0.95):.0f}, {max(one.work):.0f}), {len(one.times)} times"
        )
        print(f"  in {', '.join(sorted(one.pages)[:6])}\n  {one.sql[:400]}")
    explained = sorted((one for one in watch.shapes.values() if one.plan), key=lambda one: -one.explained)
    plans.write_text("\n\n".join(
        f"-- {one.explained:.0f} ms, p95 {one.p95 if one.times else 0:.0f}; {', '.join(sorted(one.pages)[:6])}\n{one.sql}\n{one.plan}"
        for one in explained
    ))  # fmt: skip
    if out:
        shapes = [
            {"sql": one.sql, "count": len(one.times), "p50": round(percentile(one.times, 0.5), 2),
             "p95": round(one.p95, 2), "cpu_p95": round(percentile(one.work, 0.95), 2), "max": round(max(one.times), 2), "pages": sorted(one.pages)}
            for one in watch.shapes.values() if one.times
        ]  # fmt: skip
        out.write_text(json.dumps({"pages": rows, "statements": shapes}, indent=1))
    return not slow


def set_up(threads: int, at: str, database: str) -> None:
    """Set Django up as a web process on the generated forum, made if it isn't there."""
    sizes = forum_data.Sizes(threads)
    if at:
        urls = {"DATABASE_URL": f"postgres://quokkaq_web@{at}/{database or sizes.database}"}
        urls["OWNER_DATABASE_URL"] = urls["DATABASE_URL"].replace("quokkaq_web@", "postgres@")
    else:
        made = [sys.executable, "-m", "tests.benchmarks.forum_data", "--threads", str(threads)]
        subprocess.run(made, cwd=ROOT, check=True)
        urls = forum_data.variables(forum_data.server(), sizes)
    limits = {f"RATE_{kind}_PER_MINUTE": "1000000" for kind in ("READS", "WRITES", "BACKGROUND")}
    os.environ.update(
        urls, **limits, QUOKKAQ_MODE="demo", DJANGO_SETTINGS_MODULE="quokkaq.settings", LOG_LEVEL="CRITICAL"
    )
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=1_000_000)
    arguments.add_argument("--repeats", type=int, default=12)
    arguments.add_argument("--only", default="", help="pages whose names have this")
    arguments.add_argument("--at", default="", help="the server's host in an address, when it isn't ours to start")
    arguments.add_argument("--plans", type=Path, default=ROOT / ".local" / "plans.txt")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--by", choices=("time", "cpu"), default="time", help="what is judged")
    arguments.add_argument("--database", default="", help="another one than the size's own")
    asked = arguments.parse_args()
    set_up(asked.threads, asked.at, asked.database)
    from django.db import connection

    from forum.search import similar, suggesting
    from quokkaq.lib import tenancy

    # A statement that would be cut off shows how long it takes.
    similar.TIMEOUT_MS = suggesting.TIMEOUT_MS = 20_000
    world, watch = World(), Watch()
    asked.plans.parent.mkdir(exist_ok=True)
    with world.cleared():
        with tenancy.scope(world.course.institution_id):
            from forum.models import Post

            _posts.extend(
                Post.objects.filter(thread__course=world.course, thread__number=forum_data.HOT_THREAD).values_list(
                    "pk", flat=True
                )
            )
        wanted = [visit for visit in visits(world) if asked.only in f"{visit.name} ({visit.who})"]
        rows = walk(world, watch, wanted, asked.repeats)
        connection.close()
    sys.exit(0 if report(watch, rows, plans=asked.plans, out=asked.json, by=asked.by) else 1)


if __name__ == "__main__":
    main()
