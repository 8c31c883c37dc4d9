"""Reading from a replica of the database what may be a few seconds old (ADR 25).

A view marked with `may_be_stale` reads from the replica of `DATABASE_REPLICA_URL` when it is there and near enough. All else
(other pages, everything written, sessions, admin, tasks) uses the primary. The replica is near enough when it has replayed

- a position of the primary's log that the primary had within the last `REPLICA_MAX_LAG_SECONDS`: the primary is asked once a
  second, so neither a paused nor a cut-off replica can pass for a fresh one, as it could by its own clock; and
- what this browser's last writing request wrote: that position is in a cookie. Who writes reads what they wrote.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.http import HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse

from quokkaq.lib import reading_again

ALIAS = "replica"
COOKIE = "quokkaq_written"
# A replica that hasn't replayed what somebody wrote so long ago is left alone anyway.
COOKIE_SECONDS = 60
# How often the primary is asked where it is, and how long a replica that failed is left alone.
SAMPLE_SECONDS, REST_SECONDS = 1.0, 2.0
_POSITION = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")

_reading: ContextVar[str] = ContextVar("reading", default=DEFAULT_DB_ALIAS)


def reading() -> str:
    """Return the alias of the database that is read from now, for what doesn't ask through the ORM."""
    return _reading.get()


class Router:
    """Sends the ORM's reads where `reading()` says, and everything else to the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return reading()

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return DEFAULT_DB_ALIAS

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == DEFAULT_DB_ALIAS


def may_be_stale(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let a view's GET read from the replica."""

    @wraps(view)
    def routed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not is_configured() or request.method not in ("GET", "HEAD") or reading_again.is_again():
            return view(request, *args, **kwargs)
        with _reading_from(ALIAS if _near.enough_for(_written_by(request)) else DEFAULT_DB_ALIAS):
            response = view(request, *args, **kwargs)
            return response.render() if isinstance(response, SimpleTemplateResponse) else response

    return routed


def is_configured() -> bool:
    return ALIAS in settings.DATABASES


class WrittenMiddleware:
    """Tells a browser, after a request that wrote, how far a replica has to be before it is read from."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if is_configured() and reading_again.has_written():
            try:
                position = _primary_position()
            except (DatabaseError, InterfaceError):
                # It was written; nothing is read from anywhere for now.
                position = "FFFFFFFF/FFFFFFFF"
            response.set_cookie(
                COOKIE, position, max_age=COOKIE_SECONDS, httponly=True, secure=settings.SESSION_COOKIE_SECURE,
                samesite="Lax",
            )  # fmt: skip
        return response


def _written_by(request: HttpRequest) -> str:
    """Return the position up to which the replica must be for this browser. A made-up one is worth nothing but a visit
    to the primary, or an older page of one's own."""
    written = request.COOKIES.get(COOKIE, "")
    return written if _POSITION.fullmatch(written) else "0/0"


@contextmanager
def _reading_from(alias: str) -> Iterator[None]:
    token = _reading.set(alias)
    try:
        yield
    finally:
        _reading.reset(token)


def _primary_position() -> str:
    # Where the next record goes, not what is on disk: it is past everything that was committed, also asynchronously.
    return _one(DEFAULT_DB_ALIAS, "SELECT pg_current_wal_insert_lsn()::text")


def _one(alias: str, sql: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)  # rule: raw-sql (constants of this file)
        return str(cursor.fetchone()[0])


def _number(position: str) -> int:
    high, _, low = position.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


class _Nearness:
    """Where the primary was within the last seconds, and whether the replica has come as far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque()
        self._rests_until = 0.0

    def enough_for(self, written: str) -> bool:
        now = time.monotonic()
        if now < self._rests_until:
            return False
        self._sample(now)
        try:
            replayed = _number(_one(ALIAS, "SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')::text"))
        except (DatabaseError, InterfaceError):
            self._rests_until = now + REST_SECONDS
            connections[ALIAS].close_if_unusable_or_obsolete()
            return False
        with self._lock:
            while self._samples and self._samples[0][0] < now - settings.REPLICA_MAX_LAG_SECONDS:
                self._samples.popleft()
            is_fresh = bool(self._samples) and replayed >= self._samples[0][1]
        return is_fresh and replayed >= _number(written)

    def _sample(self, now: float) -> None:
        """Ask the primary where it is, unless somebody did within the last second."""
        with self._lock:
            if self._samples and now - self._samples[-1][0] < SAMPLE_SECONDS:
                return
        # The time before the question: the primary was there at that moment or later.
        position = _number(_primary_position())
        with self._lock:
            self._samples.append((now, position))


_near = _Nearness()
