"""What every statement passes on its way to the database: it is signed with the request it works for, timed, and told of."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quokkaq.lib import request_id


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that the database answered or refused. `sql` holds no values, but for what was written into it as text."""

    sql: str
    # When it was sent, in nanoseconds since the epoch, and how long the answer took.
    started_ns: int
    seconds: float
    error: BaseException | None
    alias: str


# Called after each statement, in its thread: they must be quick, and must not use the database.
observers: list[Callable[[Statement], None]] = []


def watch(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Send a statement, signed, and tell the observers; an execute wrapper of Django's."""
    started_ns, started = time.time_ns(), time.perf_counter()
    error: BaseException | None = None
    try:
        return execute(signed(sql) if isinstance(sql, str) else sql, params, many, context)
    except BaseException as raised:
        error = raised
        raise
    finally:
        # What has values written into it says what may be told of it.
        told = getattr(sql, "told", None) or str(sql)
        statement = Statement(told, started_ns, time.perf_counter() - started, error, context["connection"].alias)
        for observer in observers:
            observer(statement)


def signed(sql: str) -> str:
    """Return a statement with the id of the request (or task) it works for as a comment, for whoever watches the server.

    Ids are made of safe characters (`request_id.accept`), so they can't end the comment.
    """
    working_for = request_id.current()
    return sql if working_for == request_id.NONE else f"{sql} /* request_id={working_for} */"
