"""One id per request, on every log line, returned to the caller and carried into tasks."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponseBase

from quokkaq.lib.uuid7 import uuid7

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{7,63}")
_current: ContextVar[str] = ContextVar("request_id", default="-")


def current() -> str:
    """Return the id of the request (or task) being worked on, `-` outside of one."""
    return _current.get()


def accept(value: str | None) -> str:
    """Return `value` if it looks like a request id (8-64 safe characters), else a new one."""
    if value is not None and _SANE.fullmatch(value):
        return value
    return uuid7().hex


@contextmanager
def working_on(request_id: str | None) -> Iterator[str]:
    """Put an id on everything logged inside the block."""
    accepted = accept(request_id)
    token = _current.set(accepted)
    try:
        yield accepted
    finally:
        _current.reset(token)


class RequestIdMiddleware:
    """Accept a sane incoming `X-Request-ID` or mint one; return it with the response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with working_on(request.headers.get(HEADER)) as request_id:
            response = self.get_response(request)
            response[HEADER] = request_id
            return response
