"""Limits let through exactly what they say, over processes and threads, in PostgreSQL and in a real Redis."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.db import connection

from quokkaq.lib import ratelimit
from quokkaq.lib.ratelimit import Limit, check, forget, hit
from tests.processes import ROOT, environment, free_port, wait_for

DURABLE = Limit("test", most=5, seconds=900, durable=True)
PASSING = Limit("test", most=5, seconds=900)


class Server:
    """A Redis of our own, to be stopped, hung and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.port)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

        wait_for(answers, what="Redis")

    def hang(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(redis_server: str, tmp_path: Path, settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(redis_server, tmp_path)
    settings.REDIS_URL = server.url  # type: ignore[attr-defined]  # set at run time, or typed as its base
    monkeypatch.setattr(ratelimit, "breaker", ratelimit._Breaker())
    yield server
    server.kill()


def rows() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM accounts_ratecount) + (SELECT count(*) FROM accounts_passingratecount)"
        )
        return int(cursor.fetchone()[0])


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [DURABLE, PASSING])
def test_as_many_pass_as_may_and_no_more(limit: Limit) -> None:
    assert check(limit, "sam") == 0
    assert [hit(limit, "sam") for _ in range(5)] == [0] * 5
    assert 890 < hit(limit, "sam") <= 900
    assert 890 < check(limit, "sam") <= 900
    assert hit(limit, "noor") == 0  # a limit is one key's own
    assert hit(Limit("other", 5, 900, limit.durable), "sam") == 0
    forget(limit, "sam")
    assert check(limit, "sam") == 0
    assert hit(limit, "sam") == 0


@pytest.mark.django_db
def test_zero_means_no_limit() -> None:
    assert [hit(Limit("test", 0, 60), "sam") for _ in range(50)] == [0] * 50
    assert rows() == 0


@pytest.mark.django_db
def test_parts_of_a_key_do_not_run_together() -> None:
    limit = Limit("test", 1, 60)
    assert hit(limit, "a", "bc") == 0
    assert hit(limit, "ab", "c") == 0


@pytest.mark.django_db
def test_no_address_can_be_read_from_the_table() -> None:
    hit(DURABLE, "sam@example.edu", "192.0.2.7")
    with connection.cursor() as cursor:
        cursor.execute("SELECT key, hits::text FROM accounts_ratecount")
        assert "sam" not in str(cursor.fetchall())


def who_waits_gets_in(limit: Limit) -> None:
    """Two in a second: refused tries don't push the time back, and no window of a second ever holds three."""
    passed: list[float] = []
    until = time.monotonic() + 2.6
    while time.monotonic() < until:
        if hit(limit, "sam") == 0:
            passed.append(time.monotonic())
        time.sleep(0.02)
    assert 5 <= len(passed) <= 6
    # Measured after the answer, so a little closer together than they were counted.
    assert all(third - first > 0.9 for first, third in zip(passed, passed[2:], strict=False))


@pytest.mark.django_db
def test_who_waits_gets_in() -> None:
    who_waits_gets_in(Limit("test", 2, 1, durable=True))


@pytest.mark.django_db
def test_who_waits_gets_in_with_redis(server: Server) -> None:
    who_waits_gets_in(Limit("test", 2, 1))
    assert rows() == 0


@pytest.mark.django_db
def test_what_has_passed_is_swept() -> None:
    hit(Limit("short", 1, 1, durable=True), "sam")
    hit(Limit("short", 1, 1), "sam")
    hit(PASSING, "sam")
    assert ratelimit.sweep() == 0
    with connection.cursor() as cursor:
        # now() is when the test's transaction began.
        for table in (ratelimit.DURABLE_TABLE, ratelimit.PASSING_TABLE):
            cursor.execute(
                f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE expires_at < now() + interval '1 minute'"
            )
    assert ratelimit.sweep() == 2
    assert rows() == 1


HAMMER = """
import os, sys, threading
from urllib.parse import unquote
from django.conf import settings
from environ import Env
# Of the product, the limits alone: a process starts in a fraction of a second.
address = Env().db("DATABASE_URL")
address["HOST"] = unquote(address["HOST"])
settings.configure(DATABASES={"default": address}, REDIS_URL=os.environ["REDIS_URL"], SECRET_KEY="k" * 50)
from django.db import connection
from quokkaq.lib.ratelimit import Limit, hit
limit = Limit("hammer", 25, 600, durable=sys.argv[1] == "durable")
passed = []
def work():
    passed.extend(hit(limit, sys.argv[2]) == 0 for _ in range(12))
    connection.close()
threads = [threading.Thread(target=work) for _ in range(4)]
sys.stdin.readline()
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sum(passed))
"""


def hammered(kind: str, **changes: str) -> int:
    """Return how many of 192 hits of 16 threads in 4 processes pass a limit of 25."""
    command = [sys.executable, "-c", HAMMER, kind, uuid.uuid4().hex]
    env = environment(**changes)
    running = [
        subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    return sum(int(process.communicate("go\n", timeout=60)[0]) for process in running)


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_no_race_lets_one_more_through() -> None:
    assert hammered("durable", REDIS_URL="") == 25
    assert hammered("passing", REDIS_URL="") == 25


@pytest.mark.drill
@pytest.mark.django_db(transaction=True)
def test_no_race_lets_one_more_through_with_redis(server: Server) -> None:
    assert hammered("passing", REDIS_URL=server.url) == 25
    assert rows() == 0


@pytest.mark.django_db
def test_redis_counts_what_passes_and_the_database_what_must_hold(server: Server) -> None:
    assert [hit(PASSING, "sam") for _ in range(5)] == [0] * 5
    assert 890 < hit(PASSING, "sam") <= 900
    assert 890 < check(PASSING, "sam") <= 900
    client = redis.Redis(port=server.port)
    (key,) = client.keys("*")
    assert 0 < client.pttl(key) <= 900_000
    forget(PASSING, "sam")
    assert check(PASSING, "sam") == 0
    assert client.keys("*") == []
    hit(DURABLE, "sam")
    assert client.keys("*") == []
    assert rows() == 1


@pytest.mark.django_db
def test_limits_hold_when_redis_dies_and_comes_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [hit(PASSING, "sam") for _ in range(5)] == [0] * 5
    server.kill()
    # The database begins a count of its own: never more than once again as many.
    assert [hit(PASSING, "sam") > 0 for _ in range(7)] == [False] * 5 + [True] * 2
    assert hit(DURABLE, "sam") == 0
    server.start()
    assert check(PASSING, "sam") > 0  # Redis is left alone for a while
    monkeypatch.setattr(ratelimit.breaker, "_rests_until", 0.0)
    assert check(PASSING, "sam") == 0  # and asked again after it: it has forgotten
    assert hit(PASSING, "sam") == 0
    assert redis.Redis(port=server.port).keys("*")


@pytest.mark.django_db
@pytest.mark.clocked
def test_a_hung_redis_costs_half_a_second_once(server: Server) -> None:
    assert hit(PASSING, "sam") == 0
    server.hang()
    began = time.monotonic()
    assert hit(PASSING, "sam") == 0
    assert time.monotonic() - began < 0.55
    began = time.monotonic()
    assert [hit(PASSING, "sam") > 0 for _ in range(20)] == [False] * 4 + [True] * 16
    assert time.monotonic() - began < 0.5
