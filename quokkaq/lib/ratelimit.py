"""How often something may be done: at most `most` times in any `seconds`, over all processes.

Sliding window log, exact: the times of the last `most` hits are kept, newest first, and a new one is let through when
the oldest of them has left the window. So never more than `most` pass in any window, however it is placed (GCRA and
fixed windows, with one number for each key, let nearly twice as many pass). What is refused isn't counted: who waits
as long as they are told gets in.

Where the times are kept:

- `durable` limits (signing in): in a table that survives a crash of the database; Redis isn't asked.
- others: in Redis when `REDIS_URL` is set, by one script; else, and while Redis is away, in an unlogged table, which
  costs no flush to disk. The two don't know of each other: in the window in which Redis goes or comes back, up to twice
  `most` may pass. Of a `loose` limit each process lets a twentieth pass by itself before it asks either: who reads as people read
  costs no statement, and who asks for as much as they can gets a twentieth more from each process.

Call it outside a transaction: what a rollback undoes wasn't counted, and the key is locked until the commit.
To limit failures, `hit` before the try, and `forget` when it went well: a `check` alone lets those in that come together.
"""

import logging
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.utils.crypto import salted_hmac
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)

# Connecting and reading together: a hung Redis costs a page half a second, once in `REST_SECONDS`.
TIMEOUT_SECONDS = 0.25
REST_SECONDS = 10
DURABLE_TABLE = "accounts_ratecount"
PASSING_TABLE = "accounts_passingratecount"

# KEYS[1]; ARGV: most, window in microseconds, 1 to count. Answers the microseconds to wait. Redis's own clock is used.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local most, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = redis.call('LINDEX', KEYS[1], most - 1)
if oldest and tonumber(oldest) > now - window then
  return tonumber(oldest) + window - now
end
if ARGV[3] == '1' then
  redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
  redis.call('LTRIM', KEYS[1], 0, most - 1)
  redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
end
return 0
"""

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@dataclass(frozen=True)
class Limit:
    """At most `most` in any `seconds`; 0 means no limit. Keys of limits with other names are other keys."""

    name: str
    most: int
    seconds: int
    durable: bool = False
    loose: bool = False


def check(limit: Limit, *key: str) -> int:
    """Return how many seconds to wait; 0 when the next one would be let through. Counts nothing."""
    return _ask(limit, key, counts=False)


def hit(limit: Limit, *key: str) -> int:
    """Count one and return 0; or count nothing and return how many seconds to wait. Atomic."""
    if limit.loose and _few.lets_through(limit, key):
        return 0
    return _ask(limit, key, counts=True)


def forget(limit: Limit, *key: str) -> None:
    """Begin anew for one key."""
    _few.forget(limit, key)
    digest = _digest(limit, key)
    if not limit.durable and settings.REDIS_URL:
        _redis(lambda client: client.delete(digest))
    with connection.cursor() as cursor:
        cursor.execute(_FORGET[limit.durable], [digest])  # rule: raw-sql (one of the constants above)


def sweep() -> int:
    """Delete the keys whose window has passed; return how many."""
    swept = 0
    with connection.cursor() as cursor:
        for statement in _SWEEP:
            cursor.execute(statement)  # rule: raw-sql (one of the constants below)
            swept += cursor.rowcount
    return swept


class _Few:
    """What this process let through by itself lately: the times, by limit and key. They are in memory only."""

    MOST_KEYS = 20_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[tuple[str, tuple[str, ...]], deque[float]] = {}

    def lets_through(self, limit: Limit, key: tuple[str, ...]) -> bool:
        most = limit.most // 20
        if not most:
            return False
        now = time.monotonic()
        with self._lock:
            if len(self._times) >= self.MOST_KEYS:
                self._times.clear()
            times = self._times.setdefault((limit.name, key), deque())
            while times and times[0] <= now - limit.seconds:
                times.popleft()
            if len(times) >= most:
                return False
            times.append(now)
            return True

    def forget(self, limit: Limit, key: tuple[str, ...]) -> None:
        with self._lock:
            self._times.pop((limit.name, key), None)


_few = _Few()


def _ask(limit: Limit, key: tuple[str, ...], *, counts: bool) -> int:
    if limit.most <= 0:
        return 0
    digest = _digest(limit, key)
    wait = None
    if not limit.durable and settings.REDIS_URL:
        arguments = [limit.most, limit.seconds * 1_000_000, int(counts)]
        wait = _redis(lambda client: _script(client)(keys=[digest], args=arguments))
    if wait is None:
        wait = _ask_database(limit, digest, counts=counts)
    return math.ceil(wait / 1_000_000)


def _digest(limit: Limit, key: tuple[str, ...]) -> str:
    # Keyed: who reads the table can't try addresses against it.
    return salted_hmac(f"quokkaq.ratelimit.{limit.name}", "\0".join(key), algorithm="sha256").hexdigest()


# In PostgreSQL


def _statements(table: str) -> tuple[str, str, str, str]:
    """Return what counts, looks, forgets and sweeps in one of our two tables (no name comes from outside)."""
    count = (
        f"INSERT INTO {table} AS kept (key, hits, expires_at) "  # noqa: S608
        f"VALUES (%(key)s, ARRAY[{_NOW}], clock_timestamp() + %(seconds)s * interval '1 second') "
        "ON CONFLICT (key) DO UPDATE SET "
        f"hits = ({_NOW} || kept.hits)[1:%(most)s], expires_at = clock_timestamp() + %(seconds)s * interval '1 second' "
        f"WHERE kept.hits[%(most)s] IS NULL OR kept.hits[%(most)s] <= {_NOW} - %(seconds)s * 1000000::bigint"
    )
    look = (
        f"SELECT hits[%(most)s] + %(seconds)s * 1000000::bigint - {_NOW} "  # noqa: S608
        f"FROM {table} WHERE key = %(key)s"
    )
    return count, look, f"DELETE FROM {table} WHERE key = %s", f"DELETE FROM {table} WHERE expires_at < now()"  # noqa: S608


_OF_TABLE = {True: _statements(DURABLE_TABLE), False: _statements(PASSING_TABLE)}
_FORGET = {durable: statements[2] for durable, statements in _OF_TABLE.items()}
_SWEEP = [statements[3] for statements in _OF_TABLE.values()]


def _ask_database(limit: Limit, digest: str, *, counts: bool) -> int:
    """Return the microseconds to wait. The row is locked by the statement that counts, so two can't pass as one."""
    count, look, _, _ = _OF_TABLE[limit.durable]
    values: dict[str, str | int] = {"key": digest, "most": limit.most, "seconds": limit.seconds}
    with connection.cursor() as cursor:
        if counts:
            cursor.execute(count, values)  # rule: raw-sql (one of the constants above)
            if cursor.rowcount:
                return 0
        cursor.execute(look, values)  # rule: raw-sql (one of the constants above)
        row = cursor.fetchone()
    wait = row[0] if row and row[0] is not None else 0
    # What was refused a moment ago waits at least that moment.
    return max(wait, 1 if counts else 0)


# In Redis


class _Breaker:
    """Leaves a Redis that failed alone for a while; then one caller tries it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rests_until = 0.0
        self._failing = False

    def lets_through(self) -> bool:
        with self._lock:
            if not self._failing:
                return True
            if time.monotonic() < self._rests_until:
                return False
            self._rests_until = time.monotonic() + REST_SECONDS
            return True

    def failed(self) -> None:
        with self._lock:
            self._failing, self._rests_until = True, time.monotonic() + REST_SECONDS

    def went_well(self) -> None:
        self._failing = False


breaker = _Breaker()


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


@lru_cache(maxsize=4)
def _script(client: redis.Redis) -> Any:
    return client.register_script(_SCRIPT)


def _redis(call: Any) -> int | None:
    """Return what Redis answers; None while it is away."""
    if not breaker.lets_through():
        return None
    try:
        answer = call(_client(settings.REDIS_URL))
    except (redis.RedisError, OSError) as error:
        breaker.failed()
        log.warning("limits are counted in the database: Redis is away (%s)", error)
        return None
    breaker.went_well()
    return int(answer)
