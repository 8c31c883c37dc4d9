"""What this thread (or task) is at work on: one id per request, returned to the caller, on every log line and carried into
tasks, and beside it for whom and on which route, as far as that is known."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import UUID

from django.http import FileResponse, HttpRequest, HttpResponseBase, StreamingHttpResponse

from quokkaq.lib.uuid7 import uuid7

HEADER = "X-Request-ID"
# Outside of a request.
NONE = "-"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{7,63}")


@dataclass(slots=True)
class Work:
    """A request, or a task, under way. `route` is the name of the view or of the task; what isn't known is empty."""

    request_id: str = NONE
    route: str = ""
    user_id: str = ""
    institution_id: str = ""


_current: ContextVar[Work | None] = ContextVar("work", default=None)


def current() -> str:
    """Return the id of the request (or task) being worked on, `-` outside of one."""
    return work().request_id


def work() -> Work:
    """Return what is being worked on; outside of a request and a task nothing is known of it."""
    return _current.get() or Work()


def note(*, route: str = "", user: UUID | None = None, institution: UUID | None = None) -> None:
    """Add to what is known of the work under way, for the lines from here on. Outside of any it is lost."""
    known = _current.get()
    if known is None:
        return
    known.route = route or known.route
    known.user_id = str(user or known.user_id)
    known.institution_id = str(institution or known.institution_id)


def accept(value: str | None) -> str:
    """Return `value` if it looks like a request id (8-64 safe characters), else a new one."""
    if value is not None and _SANE.fullmatch(value):
        return value
    return uuid7().hex


@contextmanager
def working_on(request_id: str | None, *, route: str = "", institution: UUID | None = None) -> Iterator[str]:
    """Put an id on everything logged inside the block, beside what is known already."""
    accepted = accept(request_id)
    token = _current.set(replace(work(), request_id=accepted))
    note(route=route, institution=institution)
    try:
        yield accepted
    finally:
        _current.reset(token)


@contextmanager
def _going_on_with(under_way: Work) -> Iterator[None]:
    token = _current.set(under_way)
    try:
        yield
    finally:
        _current.reset(token)


class RequestIdMiddleware:
    """Accept a sane incoming `X-Request-ID` or mint one; return it with the response, whoever gives it.

    It stands above all others. What is streamed is written when it has long returned, and still belongs to the request.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with working_on(request.headers.get(HEADER)) as request_id:
            response = self.get_response(request)
            response[HEADER] = request_id
            if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
                response.streaming_content = _written_for(work(), response.streaming_content)  # type: ignore[arg-type]  # we have no asynchronous ones
            return response


def _written_for(under_way: Work, content: Iterable[bytes]) -> Iterator[bytes]:
    """Write each piece as part of the request; in between the server's thread does other things, too."""
    pieces = iter(content)
    while True:
        with _going_on_with(under_way):
            try:
                piece = next(pieces)
            except StopIteration:
                return
        yield piece
