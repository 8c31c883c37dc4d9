"""The spans QuokkaQ makes, by OpenTelemetry's names where it has some. `quokkaq.lib.tracing.export` says what leaves."""

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.signals import got_request_exception
from django.http import FileResponse, HttpRequest, HttpResponseBase, StreamingHttpResponse
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from quokkaq.lib import request_id
from quokkaq.lib.database.watching import Statement
from quokkaq.lib.http import comes_from_our_proxy
from quokkaq.lib.tracing import TRACEPARENT
from quokkaq.lib.tracing.export import provider

# Asked every few seconds by machines.
UNTRACED_PATHS = ("/health", "/metrics", "/api/v1/")

_w3c = TraceContextTextMapPropagator()
_lock = threading.Lock()
_providers: dict[int, TracerProvider] = {}


def tracer() -> Tracer:
    """Return the tracer of this process, which a fork doesn't inherit: its thread that sends would be missing."""
    mine = _providers.get(os.getpid())
    if mine is None:
        with _lock:
            mine = _providers.get(os.getpid())
            if mine is None:
                _providers.clear()
                mine = _providers[os.getpid()] = provider()
                atexit.register(flush)
    return mine.get_tracer("quokkaq")


def flush() -> None:
    """Send what is waiting and end; for a few seconds at most (`quokkaq.lib.tracing.export`)."""
    mine = _providers.pop(os.getpid(), None)
    if mine is not None:
        mine.shutdown()


def carried() -> dict[str, str]:
    headers: dict[str, str] = {}
    _w3c.inject(headers)
    return {TRACEPARENT: headers[TRACEPARENT]} if TRACEPARENT in headers else {}


def _fail(span: Span, error: BaseException) -> None:
    """Mark a span as failed, by the kind of error: its words may hold anything."""
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR))


# Requests


class TracingMiddleware:
    """A span per request, from its first middleware to the last byte of its response; named by method and route."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(UNTRACED_PATHS):
            return self.get_response(request)
        method = request.method or ""
        span = tracer().start_span(
            method,
            context=_joined(request),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "quokkaq.request_id": request_id.current()},
        )
        inside = trace.set_span_in_context(span)
        with _within(inside):
            response = self.get_response(request)
        _describe(span, request, response)
        if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
            response.streaming_content = _written_within(inside, span, response.streaming_content)  # type: ignore[arg-type]  # we have no asynchronous ones
        else:
            span.end()
        return response


def _joined(request: HttpRequest) -> contexts.Context:
    """Return the trace that a proxy of ours began. What strangers send is no trace of ours."""
    if TRACEPARENT in request.headers and comes_from_our_proxy(request):
        return _w3c.extract({TRACEPARENT: request.headers[TRACEPARENT]}, contexts.Context())
    return contexts.Context()


def _describe(span: Span, request: HttpRequest, response: HttpResponseBase) -> None:
    if not span.is_recording():
        return
    match = request.resolver_match
    if match is not None:
        span.update_name(f"{request.method} /{match.route}")
        span.set_attribute("http.route", f"/{match.route}")
    span.set_attribute("http.response.status_code", response.status_code)
    if response.status_code >= 500:
        span.set_status(Status(StatusCode.ERROR))
    # There only when the page asked who it is for.
    user = getattr(request, "_cached_user", None)
    if user is not None and user.is_authenticated:
        span.set_attribute("quokkaq.institution_id", str(user.institution_id))


@contextmanager
def _within(inside: contexts.Context) -> Iterator[None]:
    token = contexts.attach(inside)
    try:
        yield
    finally:
        contexts.detach(token)


def _written_within(inside: contexts.Context, span: Span, content: Iterable[bytes]) -> Iterator[bytes]:
    """Write each piece in the span of its request, and leave it in between: the server's thread does other things, too."""
    pieces = iter(content)
    try:
        while True:
            with _within(inside):
                try:
                    piece = next(pieces)
                except StopIteration:
                    return
            yield piece
    except Exception as error:
        _fail(span, error)
        raise
    finally:
        span.end()


def listen() -> None:
    """Have spans of requests say which kind of error ended them."""
    got_request_exception.connect(_on_exception, dispatch_uid="quokkaq.tracing")


def _on_exception(sender: object, **kwargs: Any) -> None:
    import sys

    error = sys.exc_info()[1]
    if error is not None:
        _fail(trace.get_current_span(), error)


# Statements


def on_statement(statement: Statement) -> None:
    """Make a span of a statement, inside a request or task that is traced."""
    if not trace.get_current_span().is_recording():
        return
    verb = statement.sql[:20].split(None, 1)[0].upper() if statement.sql.strip() else "SQL"
    span = tracer().start_span(
        verb,
        kind=SpanKind.CLIENT,
        start_time=statement.started_ns,
        attributes={"db.system.name": "postgresql", "db.operation.name": verb, "db.query.text": statement.sql},
    )
    if statement.error is not None:
        _fail(span, statement.error)
    span.end(statement.started_ns + int(statement.seconds * 1e9))


# Tasks


@contextmanager
def of_job(job: Any) -> Iterator[None]:
    """Make a span of a job: a child of the request that enqueued it, or the beginning of a trace."""
    carrier = job.task_kwargs.get(TRACEPARENT)
    joined = _w3c.extract({TRACEPARENT: carrier}, contexts.Context()) if carrier else contexts.Context()
    attributes = {
        "quokkaq.task": job.task_name,
        "quokkaq.queue": job.queue,
        "quokkaq.job_id": job.id or 0,
        "quokkaq.attempt": job.attempts,
    }
    working_for = job.task_kwargs.get("request_id")
    if isinstance(working_for, str):
        attributes["quokkaq.request_id"] = working_for
    span = tracer().start_span(job.task_name, context=joined, kind=SpanKind.CONSUMER, attributes=attributes)
    try:
        with _within(trace.set_span_in_context(span)):
            yield
    except BaseException as error:
        _fail(span, error)
        raise
    finally:
        span.end()


# Calls


def calling(method: str, host: str, port: int) -> "TracedCall | None":
    """Begin the span of a call, inside a request or task that is traced."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    span = tracer().start_span(
        f"{method} {host}",
        kind=SpanKind.CLIENT,
        attributes={"http.request.method": method, "server.address": host, "server.port": port},
    )
    return TracedCall(span)


class TracedCall:
    """A call that is a span."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def headers(self) -> dict[str, str]:
        """Return the header that joins the other server's spans to this one."""
        headers: dict[str, str] = {}
        _w3c.inject(headers, trace.set_span_in_context(self._span))
        return headers

    def answered(self, status: int) -> None:
        """Say how the server answered; the body is still to come."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 400:
            self._span.set_status(Status(StatusCode.ERROR))

    def end(self, error: BaseException | None = None) -> None:
        """End the call; the first time counts."""
        if self._span.is_recording():
            if error is not None:
                _fail(self._span, error)
            self._span.end(time.time_ns())
