"""Traces: which request asked for which statements, tasks and calls, and how long each took; off unless a receiver is set.

While they are off, nothing of OpenTelemetry is imported, and what stands here costs a comparison. `switch_on()`, once at
the start, brings `quokkaq.lib.tracing.spans`; processes that make no span start no thread.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from quokkaq.lib import request_id

TRACEPARENT = "traceparent"


class Call(Protocol):
    """One request to another server, while it lasts."""

    def headers(self) -> dict[str, str]: ...

    def answered(self, status: int) -> None: ...

    def end(self, error: BaseException | None = None) -> None: ...


class _Untraced:
    def headers(self) -> dict[str, str]:
        return {}

    def answered(self, status: int) -> None:
        pass

    def end(self, error: BaseException | None = None) -> None:
        pass


_UNTRACED = _Untraced()
_spans: Any = None


def switch_on() -> None:
    """Trace requests, statements, tasks and calls of this process from now on."""
    global _spans  # noqa: PLW0603 (a module is imported, or not)
    from quokkaq.lib.database import watching
    from quokkaq.lib.tracing import spans

    if _spans is None:
        watching.observers.append(spans.on_statement)
        spans.listen()
    _spans = spans


def carried() -> dict[str, str]:
    """Return what a job carries so that its task joins the trace in force; nothing where there is none."""
    return _spans.carried() if _spans is not None else {}


def calling(method: str, host: str, port: int) -> Call:
    """Begin a call to another server. What comes back must be ended."""
    call: Call | None = _spans.calling(method, host, port) if _spans is not None else None
    return call if call is not None else _UNTRACED


def signature(call: Call) -> dict[str, str]:
    """Return the headers by which a service that operators named knows the request (and span) it works for."""
    working_for = request_id.current()
    named = {} if working_for == request_id.NONE else {request_id.HEADER: working_for}
    return {**named, **call.headers()}


async def around_task(call_next: Callable[[], Awaitable[Any]], context: Any, worker: Any) -> Any:
    """Run a job in a span; a middleware of the task worker."""
    if _spans is None:
        return await call_next()
    with _spans.of_job(context.job):
        return await call_next()
