"""People who come when they come: a mix of requests at a given rate, whether or not the server keeps up.

    python -m tests.benchmarks.mixed [--threads 1000000 --rates 60,600 --seconds 60]
    python -m tests.benchmarks.mixed --costs --write        what each kind of request costs, for the capacity model

gunicorn as shipped, on the generated forum. Requests begin at times drawn beforehand (Poisson) and their time counts from
then: a server that falls behind isn't asked less (no coordinated omission; Tene, "How NOT to Measure Latency", 2013). The
mix is that of ops/load/capacity.toml without static files, which a proxy or CDN serves. Each answer is looked into.
600 a second is a hundred times the audit's estimate of a peak. What stops the server is said at the end, in processor time:
of web, database and of this program, which runs on the same machine.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ops.load import acts
from tests.benchmarks.forum_data import Sizes, generated
from tests.benchmarks.scratch import percentile
from tests.benchmarks.served import (
    CSRF,
    SEED,
    Person,
    Server,
    family_seconds,
    machine_seconds,
    postmaster,
    processor_seconds,
    serving,
    signed_in,
)  # fmt: skip

MEASURED = Path(acts.__file__).with_name("measured.json")
# Who isn't answered by then has gone.
PATIENCE_SECONDS = 10.0
# As many as a proxy in front would keep.
CONNECTIONS = 256
# Shorter than a server keeps one that nobody uses, as a proxy does it.
IDLE_SECONDS = 30.0


class Connections:
    """Kept-alive connections to one server."""

    def __init__(self, port: int, most: int = CONNECTIONS) -> None:
        self.port = port
        self.free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.allowed = asyncio.Semaphore(most)

    async def ask(self, act: acts.Act, cookies: str) -> tuple[int, str, str]:
        """Send a request; return status, body and where it leads to."""
        async with self.allowed:
            reader, writer = await self._connection()
            try:
                writer.write(_bytes(act, cookies))
                status, headers, body = await _answer(reader)
            except BaseException:
                writer.close()
                raise
            if headers.get("connection", "").lower() == "close":
                writer.close()
            else:
                self.free.append((time.monotonic(), reader, writer))
            return status, body, headers.get("location", "")

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return one that was used a moment ago, so that the server isn't closing it, or a new one."""
        while self.free:
            since, reader, writer = self.free.pop()
            if time.monotonic() - since < IDLE_SECONDS:
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)

    def close(self) -> None:
        for *_, writer in self.free:
            writer.close()


def _bytes(act: acts.Act, cookies: str) -> bytes:
    head = [f"{act.method} {act.path} HTTP/1.1", "Host: localhost", f"Cookie: {cookies}", "Accept-Encoding: identity"]
    head += [f"{name}: {value}" for name, value in act.headers.items()]
    body = b""
    if act.fields is not None:
        body = urlencode({**act.fields, "csrfmiddlewaretoken": CSRF}).encode()
        head += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], str]:
    """Return status, headers by their names in small letters, and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status = int(head.split(" ", 2)[1])
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
    }
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    return status, headers, body.decode()


@dataclass
class Taken:
    """How requests went: milliseconds by kind, what was wrong, and how many."""

    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def served(self) -> int:
        return sum(len(times) for times in self.times.values())


@dataclass
class Processor:
    """Seconds of the processor, over a stretch of time."""

    web: float = 0
    database: float = 0
    generator: float = 0
    # Of everything else on the machine, and what nobody used.
    others: float = 0
    idle: float = 0
    seconds: float = 0


@contextmanager
def watched(server: Server, found: Any) -> Iterator[Processor]:
    """Measure what web, database and this program use of the processor inside the block."""
    used, web, database = Processor(), server.process.pid, postmaster(found)

    def read() -> tuple[float, ...]:
        return (
            family_seconds(web), family_seconds(database), processor_seconds(os.getpid()),
            *machine_seconds(), time.monotonic(),
        )  # fmt: skip

    before = read()
    yield used
    used.web, used.database, used.generator, busy, used.idle, used.seconds = (
        after - was for was, after in zip(before, read(), strict=True)
    )
    used.others = max(0.0, busy - used.web - used.database - used.generator)


def whose(people: Sequence[Person], kind: str, draw: random.Random) -> Person:
    """Return who does it: staff alone see queue and insights."""
    return draw.choice([person for person in people if person.is_staff] if kind in acts.STAFF_ONLY else people)


def drawn(kind: str, person: Person, draw: random.Random) -> tuple[acts.Act, str]:
    """Return a request of a kind, and the cookies it brings."""
    from tests.factories import PASSWORD

    if kind == "sign_in":
        return acts.sign_in(person.email, PASSWORD), f"csrftoken={CSRF}"
    return acts.act(kind, person.place, draw), person.cookies


async def offer(port: int, people: Sequence[Person], rate: float, seconds: float) -> Taken:
    """Send requests of the mix at a mean rate a second, for so long; return when all are answered or given up."""
    wanted = acts.mix()
    wanted.pop("static")
    draw, taken, connections = random.Random(SEED), Taken(), Connections(port)
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float, kind: str) -> None:
        person = whose(people, kind, draw)
        asked, cookies = drawn(kind, person, draw)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await connections.ask(asked, cookies)
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            taken.problems[f"{kind}: {type(error).__name__}"] += 1
            return
        problem = asked.problem(*answer)
        if problem:
            taken.problems[f"{kind}: {problem}"] += 1
        else:
            taken.times[kind].append((time.perf_counter() - due) * 1000)

    begin = due = time.perf_counter()
    while due < begin + seconds:
        wait = due - time.perf_counter()
        await asyncio.sleep(max(0.0, wait))
        task = asyncio.create_task(one(due, draw.choices(list(wanted), list(wanted.values()))[0]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += draw.expovariate(rate)
    await asyncio.gather(*tasks)
    connections.close()
    return taken


def measure_rate(server: Server, found: Any, people: Sequence[Person], rate: float, seconds: float) -> dict[str, Any]:
    """Offer a rate; print how it went, and return it."""
    with watched(server, found) as used:
        taken = asyncio.run(offer(server.port, people, rate, seconds))
    every = [ms for times in taken.times.values() for ms in times]
    failed = sum(taken.problems.values())
    print(f"\noffered {rate:.0f}/s for {seconds:.0f} s: served {taken.served / used.seconds:.0f}/s, {failed} failed")
    print(f"  {'':<12}{'requests':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    rows = {**dict(sorted(taken.times.items(), key=lambda row: -len(row[1]))), "all": every}
    for kind, times in rows.items():
        if times:
            figures = "".join(f"{percentile(times, share):9.0f}" for share in (0.5, 0.95, 0.99))
            print(f"  {kind:<12}{len(times):>9}{figures}")
    for problem, many in taken.problems.most_common(8):
        print(f"  wrong: {problem} ({many})")
    what_stops_it(used, taken.served, rate)
    return {
        "offered": rate, "served": round(taken.served / used.seconds, 1), "failed": failed,
        "p50": round(percentile(every, 0.5), 1), "p95": round(percentile(every, 0.95), 1),
        "p99": round(percentile(every, 0.99), 1), "problems": dict(taken.problems), "processor": vars(used),
    } if every else {"offered": rate, "served": 0, "failed": failed}  # fmt: skip


def what_stops_it(used: Processor, served: int, rate: float) -> None:
    """Say where the processor's time went, how many cores the rate takes, and what stopped the server if it didn't keep up."""
    cores = len(os.sched_getaffinity(0))
    parts = ("web", "database", "generator", "others", "idle")
    print("  cores: " + ", ".join(f"{name} {getattr(used, name) / used.seconds:.2f}" for name in parts))
    if not served:
        print("  Nothing was served.")
        return
    each = {name: getattr(used, name) / served for name in ("web", "database", "generator")}
    print("  processor ms for each request served: " + ", ".join(f"{name} {each[name] * 1000:.1f}" for name in each))
    ours = each["web"] + each["database"]
    print(
        f"  {rate:.0f}/s take {rate * ours:.1f} cores for web and database. This machine has {cores}: full at {cores / ours:.0f}/s,"
    )
    print(f"  and at {cores / sum(each.values()):.0f}/s with this program beside.", end=" ")
    if served / used.seconds > 0.95 * rate:
        print("It kept up.")
    elif used.idle / used.seconds > 0.15 * cores:
        print("It didn't keep up, and not for the processor: look at locks, connections and threads.")
    elif used.others > used.web + used.database:
        print("It didn't keep up, for other programs had the processor: measure again on a quiet machine.")
    else:
        most = max(("web", "database"), key=lambda name: each[name])
        print(f"What stopped it is the processor, most of it in {most} processes.")


async def closed(port: int, people: Sequence[Person], kind: str, seconds: float, abreast: int = 4) -> Taken:
    """Send requests of one kind, some abreast, each as soon as the last is answered."""
    draw, taken, connections = random.Random(SEED), Taken(), Connections(port)
    end = time.perf_counter() + seconds

    async def one() -> None:
        while time.perf_counter() < end:
            person = whose(people, kind, draw)
            asked, cookies = drawn(kind, person, draw)
            begin = time.perf_counter()
            answer = await connections.ask(asked, cookies)
            problem = asked.problem(*answer)
            if problem:
                taken.problems[f"{kind}: {problem}"] += 1
            else:
                taken.times[kind].append((time.perf_counter() - begin) * 1000)

    await asyncio.gather(*(one() for _ in range(abreast)))
    connections.close()
    return taken


def measure_costs(
    server: Server, found: Any, people: Sequence[Person], seconds: float
) -> tuple[dict[str, dict[str, float]], float]:
    """Return the processor's milliseconds for a request of each kind, in web and in the database.

    And how many cores other programs had meanwhile: what shares the processor's caches makes all of it dearer.
    """
    kinds = [kind for kind in acts.mix() if kind != "static"]
    costs: dict[str, dict[str, float]] = {}
    others = []
    print(f"  {'':<12}{'requests':>9}{'web ms':>9}{'database ms':>13}")
    for kind in kinds:
        asyncio.run(closed(server.port, people, kind, min(1.0, seconds)))
        # Three rounds: the median hides what else the machine did meanwhile.
        rounds = []
        for _ in range(3):
            with watched(server, found) as used:
                taken = asyncio.run(closed(server.port, people, kind, seconds / 3))
            assert not taken.problems, taken.problems
            others.append(used.others / used.seconds)
            rounds.append((used.web * 1000 / taken.served, used.database * 1000 / taken.served, taken.served))
        web, database = (statistics.median(row[place] for row in rounds) for place in (0, 1))
        costs[kind] = {"web": round(web, 2), "database": round(database, 2)}
        print(f"  {kind:<12}{sum(row[2] for row in rounds):>9}{web:9.1f}{database:13.1f}")
    return costs, round(statistics.median(others), 2)


def measure_bytes() -> dict[str, float]:
    """Return how many bytes on the database's disk, with indexes, a thread and a reply take, with all that hangs on them."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(c.oid)), (SELECT count(*) FROM forum_thread), (SELECT count(*) FROM forum_post),"
            " (SELECT count(*) FROM accounts_user),"
            " sum(pg_total_relation_size(c.oid)) FILTER (WHERE relname LIKE 'accounts\\_%' OR relname LIKE 'account\\_%')"
            " FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        )
        every, threads, posts, people, of_people = (int(value) for value in cursor.fetchone())
    return {
        "per_writing": round((every - of_people) / (threads + posts)),
        "per_person": round(of_people / people),
        "threads": threads,
        "posts": posts,
        "people": people,
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=1_000_000)
    arguments.add_argument("--rates", default="60,600", help="requests a second, one after the other")
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--people", type=int, default=200)
    arguments.add_argument("--costs", action="store_true", help="what each kind costs, one after the other")
    arguments.add_argument("--write", action="store_true", help="with --costs: into ops/load/measured.json")
    arguments.add_argument("--json", type=Path)
    wanted = arguments.parse_args()
    sizes = Sizes(wanted.threads)
    with generated(sizes) as found, signed_in(wanted.people) as people, serving(found, sizes) as server:
        asyncio.run(offer(server.port, people, 20, 5))  # warm
        if wanted.costs:
            costs, others = measure_costs(server, found, people, wanted.seconds)
            result: dict[str, Any] = {
                "measured_on": datetime.now(UTC).date().isoformat(),
                "cores": len(os.sched_getaffinity(0)),
                "forum": measure_bytes(),
                "others": others,
                "cpu_ms": costs,
            }
            if wanted.write:
                MEASURED.write_text(json.dumps(result, indent=2) + "\n")
        else:
            rates = [float(rate) for rate in wanted.rates.split(",")]
            result = {"rates": [measure_rate(server, found, people, rate, wanted.seconds) for rate in rates]}
    if wanted.json:
        with suppress(FileExistsError):
            wanted.json.parent.mkdir(parents=True)
        wanted.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
