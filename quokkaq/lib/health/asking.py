"""One statement over a database connection of its own, that ends in time whatever happens to the server or the network."""

import select
import time

from django.conf import settings
from django.db import connections
from psycopg import Error, conninfo, pq

# What the driver and the pool read, and libpq doesn't know.
_NOT_LIBPQ = ("pool", "cursor_factory", "context", "prepare_threshold", "options", "connect_timeout")
# A statement that waits for a lock must not stay behind in the server when its asker is gone.
_OPTIONS = "-c statement_timeout=1000 -c lock_timeout=500"

Row = tuple[str | None, ...]


class Unanswered(Exception):
    """The database refused, or said nothing in time."""


def ask(query: str, *values: str, seconds: float) -> list[Row]:
    """Return the rows of one statement, as text, or raise `Unanswered` after `seconds` at the latest.

    It doesn't go through the pool, so that a pool that is used up doesn't look like a server that is down. Neither does
    it wait in the driver: `connect_timeout` is two seconds at least, and a reading connection waits for as long as the
    network keeps silent. Only a look-up of the host's name may take longer, by the resolver's own limits.

    Args:
        values: what stands for `$1`, `$2`, … in the statement.
    """
    parameters = connections["default"].get_connection_params()
    for name in _NOT_LIBPQ:
        parameters.pop(name, None)
    ends = time.monotonic() + seconds
    options = "" if settings.DATABASE_BEHIND_PGBOUNCER else _OPTIONS  # it knows none
    link = pq.PGconn.connect_start(conninfo.make_conninfo("", options=options, **parameters).encode())
    try:
        _connect(link, ends)
        link.nonblocking = 1
        link.send_query_params(query.encode(), [value.encode() for value in values] or None)
        return _rows(_result(link, ends))
    except Error as error:
        raise Unanswered(type(error).__name__) from error
    finally:
        link.finish()


def _connect(link: pq.abc.PGconn, ends: float) -> None:
    waits_to_write = True
    while True:
        _wait(link, ends, write=waits_to_write)
        status = link.connect_poll()
        if status == pq.PollingStatus.OK:
            return
        if status == pq.PollingStatus.FAILED:
            raise Unanswered("refused")
        waits_to_write = status == pq.PollingStatus.WRITING


def _result(link: pq.abc.PGconn, ends: float) -> pq.abc.PGresult:
    while link.flush():
        _wait(link, ends, write=True)
    while link.is_busy():
        _wait(link, ends)
        link.consume_input()
    result = link.get_result()
    if result is None or result.status != pq.ExecStatus.TUPLES_OK:
        raise Unanswered("failed")
    return result


def _wait(link: pq.abc.PGconn, ends: float, *, write: bool = False) -> None:
    if link.status == pq.ConnStatus.BAD:
        raise Unanswered("refused")
    poll = select.poll()
    poll.register(link.socket, select.POLLOUT if write else select.POLLIN)
    if not poll.poll(max(0.0, ends - time.monotonic()) * 1000):
        raise Unanswered("silent")


def _rows(result: pq.abc.PGresult) -> list[Row]:
    def text(row: int, column: int) -> str | None:
        value = result.get_value(row, column)
        return None if value is None else bytes(value).decode()

    return [tuple(text(row, column) for column in range(result.nfields)) for row in range(result.ntuples)]
