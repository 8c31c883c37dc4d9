"""Statements, connections and pools."""

from typing import Any

import psycopg
from django.db import DatabaseError, InterfaceError
from django.db.backends.postgresql.base import DatabaseWrapper

from quokkaq.lib.database.watching import Statement
from quokkaq.lib.metrics.definitions import (
    POOL_CONNECTIONS,
    POOL_MAX,
    POOL_WAITING,
    QUERY_ERRORS,
    QUERY_SECONDS,
    SLOW_QUERIES,
)

SLOW_SECONDS = 0.5
# Its stubs leave out the pools.
_Wrapper: Any = DatabaseWrapper
_series = QUERY_SECONDS.of()


def observe(statement: Statement) -> None:
    """Count one statement."""
    _series.observe(statement.seconds)
    if statement.seconds > SLOW_SECONDS:
        SLOW_QUERIES.inc()
    if statement.error is not None:
        count_error(statement.error)


def count_error(error: BaseException) -> None:
    """Count an error by psycopg's name for it, which is one of a few hundred; what isn't the database's counts as `other`."""
    for kind in (error.__cause__, error):
        if isinstance(kind, psycopg.Error | DatabaseError | InterfaceError):
            QUERY_ERRORS.inc(type(kind).__name__)
            return
    QUERY_ERRORS.inc("other")


def refresh() -> None:
    """Set the gauges of this process's pools."""
    used = idle = waiting = most = 0
    # Looks, and makes no pool that nobody needed yet.
    for pool in list(_Wrapper._connection_pools.values()):
        stats = pool.get_stats()
        size, available = stats.get("pool_size", 0), stats.get("pool_available", 0)
        used, idle = used + size - available, idle + available
        waiting, most = waiting + stats.get("requests_waiting", 0), most + stats.get("pool_max", 0)
    POOL_CONNECTIONS.set(used, "used")
    POOL_CONNECTIONS.set(idle, "idle")
    POOL_WAITING.set(waiting)
    POOL_MAX.set(most)
