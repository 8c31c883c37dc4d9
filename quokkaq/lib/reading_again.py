"""A page whose database connection broke while it was read is read once more, on a fresh connection (ADR 25).

Only what was being read: a GET or HEAD in which nothing was written yet. What may have been written is never sent twice.
"""

import logging
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

import psycopg
from django.db import InterfaceError, OperationalError, close_old_connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from quokkaq.lib.database.watching import Statement
from quokkaq.lib.ratelimit import PASSING_TABLE

log = logging.getLogger(__name__)

# The server ends, crashed or starts; the last two are how a standby takes back what a reader still looks at.
_LOST = {"57P01", "57P02", "57P03", "57P05", "40001"}
_READS = re.compile(r"\s*(SELECT|SHOW|EXPLAIN|SAVEPOINT|RELEASE|ROLLBACK|DECLARE|FETCH|CLOSE|SET)\b", re.I)
# Functions of the task engine, which SELECT calls and which write.
_CALLS_WRITER = re.compile(r"\bprocrastinate_\w+\s*\(", re.I)


@dataclass(slots=True)
class _Reading:
    """What is known of the request under way."""

    may_again: bool = False
    wrote: bool = False
    is_again: bool = False


_current: ContextVar[_Reading | None] = ContextVar("reading", default=None)


class LostWhileReading(HttpResponse):
    """Stands for a page that is to be read again; `ReadAgainMiddleware` lets none out. Sessions aren't saved at a 500."""

    status_code = 500
    # For Django: this is no error yet.
    _has_been_logged = True


def is_lost(error: BaseException) -> bool:
    """Tell whether an error says that the connection broke, rather than what a statement did, or that all are in use."""
    cause = error.__cause__ or error
    if isinstance(cause, PoolTimeout | TooManyRequests | PoolClosed):
        return False
    if isinstance(cause, psycopg.InterfaceError | InterfaceError):
        return True
    if not isinstance(cause, psycopg.OperationalError):
        return False
    return cause.sqlstate is None or cause.sqlstate in _LOST or cause.sqlstate.startswith("08")


def writes(sql: str) -> bool:
    """Tell whether a statement may change something that outlives its connection. Counts of limits don't matter here."""
    if _READS.match(sql):
        return _CALLS_WRITER.search(sql) is not None
    return PASSING_TABLE not in sql


def note(statement: Statement) -> None:
    """Note that something was, or may have been, written: an observer of statements."""
    reading = _current.get()
    if reading is not None and not reading.wrote:
        reading.wrote = writes(statement.sql)


def has_written() -> bool:
    """Tell whether the request under way wrote something, or may have."""
    reading = _current.get()
    return reading is not None and reading.wrote


def is_again() -> bool:
    """Tell whether the request under way is read for the second time."""
    reading = _current.get()
    return reading is not None and reading.is_again


def answer(error: OperationalError | InterfaceError) -> LostWhileReading | None:
    """Return what has the page read again; None where it can't be."""
    reading = _current.get()
    if reading is None or not reading.may_again or reading.wrote or not is_lost(error):
        return None
    log.warning("a connection was lost, the page is read again: %s", error)
    return LostWhileReading()


class ReadAgainMiddleware:
    """Reads a page again when its connection broke. It stands above all that asks the database.

    The request is given back as it came: what the middlewares below hung on it was made from the lost connection.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        came = dict(request.__dict__)
        token = _current.set(_Reading(may_again=request.method in ("GET", "HEAD")))
        try:
            response = self.get_response(request)
            if isinstance(response, LostWhileReading):
                close_old_connections()
                request.__dict__.clear()
                request.__dict__.update(came)
                _current.set(_Reading(is_again=True))
                response = self.get_response(request)
            return response
        finally:
            _current.reset(token)
