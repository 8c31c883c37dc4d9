"""gunicorn as shipped on a real cluster: hundreds of people at once, a database that restarts, servers that stop and die."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from typing import Literal

import pytest

from tests.processes import wait_for
from tests.recovery import measured
from tests.serving import Load, Place, Web, get, rows, web

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("connections")]

READ = ("/c/cs-101/", "/c/cs-101/1/", "/courses/")
CLIENTS = 500
# Targets of issue 8: backends of the web, and seconds until all is usable again.
MOST_BACKENDS, USABLE_SECONDS = 20, 5.0


def target(seconds: float) -> float:
    """Return a target of the issue, which is meant for a machine that does nothing else, for one as busy as this."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'quokkaq_web'"


def readers(place: Place, port: int) -> Load:
    """Four people who read, one who writes."""
    load = Load(lambda: port)
    for name in ("ada", "tim", "noor", "sam"):
        load.reader(place.cookies[name], *READ, holds="</html>")
    load.writer(place.cookies["sam"], place.threads["home"])
    return load


def all_kept(place: Place, load: Load) -> bool:
    """Tell whether everything that was acknowledged is in the database, once."""
    kept = Counter(rows(place.cluster, "SELECT body FROM forum_post WHERE body LIKE 'reply %'"))
    return all(kept[text] == 1 for text in load.posted)


# Hundreds at once


async def _ask(port: int, cookie: str, seconds: float, statuses: Counter[str]) -> None:
    """Ask for pages over one kept-alive connection for some seconds."""
    reader = writer = None
    until = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < until:
        path = READ[turn % len(READ)]
        turn += 1
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert reader is not None
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)).decode("latin-1").lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            body = await asyncio.wait_for(reader.readexactly(length), 60)
            status = head.split()[1]
            whole = body.rstrip().endswith(b"</html>")
            statuses[status if whole and (status != "503" or "retry-after: " in head) else f"{status} broken"] += 1
            if "connection: close" in head:
                writer.close()
                writer = None
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            statuses[type(error).__name__] += 1
            writer = None
    if writer is not None:
        writer.close()


def test_five_hundred_people_at_once_use_twenty_connections_and_nobody_is_turned_away_rudely(place: Place) -> None:
    statuses: Counter[str] = Counter()
    seen: list[int] = []
    over = threading.Event()

    def count() -> None:
        while not over.wait(0.2):
            seen.append(int(place.cluster.ask(BACKENDS)))

    names = list(place.cookies)

    async def everybody(port: int) -> None:
        # Eve's pages are those of her own institution.
        await asyncio.gather(*(_ask(port, place.cookies[names[n % len(names)]], 10, statuses) for n in range(CLIENTS)))

    with web(place.cluster) as server:
        counter = threading.Thread(target=count)
        counter.start()
        started = time.monotonic()
        asyncio.run(everybody(server.port))
        seconds = time.monotonic() - started
        over.set()
        counter.join()
    measured(
        "connections", clients=CLIENTS, backends=max(seen), pages=statuses["200"], refused_503=statuses["503"],
        errors=statuses.total() - statuses["200"] - statuses["503"], pages_per_second=statuses["200"] / seconds,
    )  # fmt: skip
    assert set(statuses) <= {"200", "503"}, statuses
    assert statuses["200"] >= CLIENTS, statuses
    assert 0 < max(seen) <= MOST_BACKENDS


def test_a_pool_of_one_turns_people_away_with_a_time_to_come_back(place: Place) -> None:
    """The way out of the drill above, which a pool as large as the threads never takes."""
    statuses: Counter[str] = Counter()
    with (
        web(place.cluster, WEB_WORKERS="1", DATABASE_POOL_SIZE="1", DATABASE_POOL_WAIT_SECONDS="1") as server,
        place.cluster.connect("quokkaq", autocommit=False) as holder,
    ):
        holder.execute("LOCK TABLE accounts_enrollment IN ACCESS EXCLUSIVE MODE")

        async def everybody() -> None:
            await asyncio.gather(*(_ask(server.port, place.cookies["sam"], 1, statuses) for _ in range(8)))

        asyncio.run(everybody())
        holder.rollback()
    assert set(statuses) == {"503"}, statuses


# The database restarts


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_restarts_costs_a_wait_and_then_nothing(
    place: Place, mode: Literal["fast", "immediate"]
) -> None:
    with web(place.cluster) as server, readers(place, server.port).running() as load:
        time.sleep(2)
        wait_for(lambda: load.counts()[200] > 10, seconds=30, what="pages")
        assert not load.failures(), load.counts()
        gone = time.monotonic()
        place.cluster.stop(mode)
        place.cluster.start()
        up = time.monotonic()
        wait_for(lambda: any(e.status == 200 and e.at >= up for e in list(load.events)), seconds=60)
        usable = load.first_good(up)
        time.sleep(USABLE_SECONDS)
        settled = up + usable
        assert usable < target(USABLE_SECONDS)
    after = load.failures(settled)
    during = [event.status for event in load.failures(gone) if event.at < settled]
    measured(
        "database_restart", note=f"pg_ctl restart -m {mode} under load; seconds from the moment that it accepts connections",
        away_seconds=up - gone, usable_seconds=usable, failures_after=len(after), answered_503_meanwhile=len(during),
        readers_answered_503=sum(e.method == "GET" for e in load.failures(gone)),
        lost_rows=len(load.posted - set(rows(place.cluster, "SELECT body FROM forum_post"))),
    )  # fmt: skip
    assert not after, after[:5]
    assert set(during) <= {503}, Counter(during)
    assert load.posted
    assert all_kept(place, load)
    assert not load.wrong, load.wrong[:3]


def test_after_an_outage_of_half_a_minute_it_is_back_at_once(place: Place) -> None:
    """psycopg's pool by itself would look again after 1, 2, 4, 8, 16 … seconds."""
    with web(place.cluster) as server, readers(place, server.port).running() as load:
        time.sleep(1)
        place.cluster.stop("fast")
        time.sleep(25)
        place.cluster.start()
        up = time.monotonic()
        wait_for(lambda: any(e.status == 200 and e.at >= up for e in list(load.events)), seconds=60)
        time.sleep(2)
    usable = load.first_good(up)
    measured(
        "database_restart", note="25 s away", usable_seconds=usable, failures_after=len(load.failures(up + usable))
    )
    assert usable < target(USABLE_SECONDS)
    assert not load.failures(up + usable)


# Web servers stop, are replaced, and die


class Balancer:
    """Two servers: each is asked every half second whether it is ready, and gets nobody while it isn't."""

    def __init__(self, servers: list[Web]) -> None:
        self.servers, self.ready, self._next = servers, {server.port for server in servers}, 0
        self._last = sorted(self.ready)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for server in self.servers:
                (self.ready.add if server.is_ready() else self.ready.discard)(server.port)

    def port(self) -> int:
        self._next += 1
        if self.ready:
            self._last = sorted(self.ready)
        # Like Amazon's it goes on with the last ones when none is ready. Most requests go where the last one went, over the same connection.
        return self._last[self._next // 7 % len(self._last)]

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def test_a_server_that_is_told_to_stop_drops_nobody(place: Place) -> None:
    with web(place.cluster, WEB_DRAIN_SECONDS="3") as first, web(place.cluster) as second:
        balancer = Balancer([first, second])
        load = Load(balancer.port)
        for name in ("ada", "tim", "noor", "sam"):
            load.reader(place.cookies[name], *READ, holds="</html>")
        load.writer(place.cookies["sam"], place.threads["home"])
        with load.running():
            time.sleep(2)
            first.process.terminate()
            told = time.monotonic()
            wait_for(lambda: first.port not in balancer.ready, seconds=3, what="the balancer to be told")
            first.process.wait(40)
            stopped = time.monotonic() - told
            time.sleep(1)
        balancer.stop()
    dropped = load.failures()
    measured(
        "service_down", note="SIGTERM to one of two servers under load", dropped=len(dropped), requests=len(load.events),
        stopped_seconds=stopped,
    )  # fmt: skip
    assert not dropped, Counter(event.status for event in dropped)
    assert all_kept(place, load)


def test_workers_replaced_by_sighup_drop_nobody(place: Place) -> None:
    with web(place.cluster) as server, readers(place, server.port).running() as load:
        before = set(server.workers())
        time.sleep(1)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: not before & set(server.workers()), seconds=60, what="new workers")
        time.sleep(2)
    assert not load.failures(), load.counts()
    assert all_kept(place, load)
    measured("service_down", note="all workers replaced (SIGHUP) under load", dropped=0, requests=len(load.events))


def test_a_worker_that_is_killed_has_a_successor_in_seconds(place: Place) -> None:
    with web(place.cluster) as server, readers(place, server.port).running() as load:
        time.sleep(1)
        victim, *_ = before = server.workers()
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(
            lambda: len(server.workers()) == len(before) and victim not in server.workers(),
            seconds=60,
            what="a successor",
        )
        successor = time.monotonic() - killed
        wait_for(lambda: any(e.status == 200 and e.at >= killed for e in list(load.events)), seconds=60, what="a page")
        others = load.first_good(killed)
        time.sleep(USABLE_SECONDS)
        assert others < target(USABLE_SECONDS)
    late = load.failures(killed + max(others, 1.0))
    # What the worker was at when it was killed nobody can save; nothing that was acknowledged is lost.
    cut = load.failures(killed)
    measured(
        "service_down", note="kill -9 of one of two web workers under load", usable_seconds=others,
        successor_seconds=successor, requests_cut=len(cut),
        lost_rows=len(load.posted - set(rows(place.cluster, "SELECT body FROM forum_post"))),
    )  # fmt: skip
    assert not late
    assert len(cut) <= 5
    assert all_kept(place, load)


def test_all_of_it_killed_and_started_again_is_back_in_seconds(place: Place) -> None:
    with web(place.cluster) as server, readers(place, server.port).running() as load:
        time.sleep(1)
        os.killpg(server.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        server.process.wait()
        server.start(wait=False)
        wait_for(lambda: any(e.status == 200 and e.at >= killed + 0.2 for e in list(load.events)), seconds=60)
        usable = load.first_good(killed + 0.2) + 0.2
        time.sleep(1)
    measured(
        "service_down", note="every process of the web server killed, and started again by its supervisor", usable_seconds=usable,
        lost_rows=len(load.posted - set(rows(place.cluster, "SELECT body FROM forum_post"))),
    )  # fmt: skip
    assert all_kept(place, load)
    assert not load.failures(killed + usable), load.failures(killed + usable)[:3]
    assert usable < target(USABLE_SECONDS)


def test_a_ready_answer_says_draining_and_pages_still_come(place: Place) -> None:
    with web(place.cluster, WEB_DRAIN_SECONDS="3") as server:
        server.process.terminate()
        wait_for(lambda: get(server.port, "/api/v1/ready")[0] == 503, seconds=2, what="the answer to change")
        assert '"draining"' in get(server.port, "/api/v1/ready")[1]
        assert get(server.port, "/courses/", place.cookies["sam"])[0] == 200
        assert server.process.poll() is None
        assert server.process.wait(20) == 0
