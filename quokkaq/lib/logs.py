"""The log lines of web server and workers: JSON with what was being worked on, in three streams, and nobody's data in them."""

import logging
import logging.handlers
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve
from django.views.decorators.debug import sensitive_post_parameters
from pythonjsonlogger.json import JsonFormatter

from quokkaq.lib import request_id, tenancy
from quokkaq.lib.redacting import STANDARD, Safe, method_of, redact

access_log = logging.getLogger("quokkaq.access")
security_log = logging.getLogger("quokkaq.security")
error_log = logging.getLogger("quokkaq.errors")

STREAMS = ("access", "application", "security")
_SECURITY = ("quokkaq.security", "django.security")


def stream_of(logger: str) -> str:
    """Return which stream a logger's lines belong to."""
    if logger == access_log.name:
        return "access"
    return "security" if logger.startswith(_SECURITY) else "application"


class PIIFilter(logging.Filter):
    """Leave of a record what may be printed.

    It sits on handlers, not on loggers, because records of child loggers pass a parent's handlers but not its filters.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        redact(record)
        return True


class ContextFilter(logging.Filter):
    """Put on every record its stream and what is being worked on, as far as it is known. It costs no query."""

    def filter(self, record: logging.LogRecord) -> bool:
        work = request_id.work()
        record.stream = stream_of(record.name)
        record.request_id = work.request_id
        # Who is in scope isn't who is signed in: somebody who writes by mail, perhaps without their name, stays unnamed here.
        user = work.user_id
        # A periodic task visits one institution after the other.
        institution = str(tenancy.institution() or work.institution_id)
        for name, value in (("user_id", user), ("institution_id", institution), ("route", work.route)):
            if value:
                setattr(record, name, value)
        if record.levelno >= logging.WARNING:
            record.at = f"{record.pathname}:{record.lineno} {record.funcName}"
        return True


class StreamFilter(logging.Filter):
    """Let through the lines of one stream."""

    def __init__(self, stream: str) -> None:
        super().__init__()
        self.stream = stream

    def filter(self, record: logging.LogRecord) -> bool:
        return stream_of(record.name) == self.stream


class JsonLines(JsonFormatter):
    """One JSON object a line: time (UTC, ISO 8601), level, stream, logger, request_id, message, then the rest."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(stream)s %(name)s %(request_id)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S",
            # Django puts the request object on its error records; what matters of it is in the access line.
            reserved_attrs=[*STANDARD, "request", "server_time", "color_message"],
        )
        self.converter = time.gmtime


class LogFile(logging.handlers.WatchedFileHandler):
    """A file that several processes write to and that is rotated from outside: each line is one write at its end."""

    def _open(self) -> TextIOWrapper:
        raw = FileIO(self.baseFilename, "a", opener=lambda path, flags: os.open(path, flags, 0o640))
        # Without a buffer in between, which would cut long lines in two.
        return TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


# What people do on a route that isn't logged: their path opens doors, their forms hold secrets.


View = TypeVar("View", bound=Callable[..., Any])


def unlogged(view: View) -> View:
    """Mark a view as one of which nothing but method, route and status is logged, nor its form shown in error reports."""
    marked = sensitive_post_parameters()(view)
    marked.unlogged = True  # type: ignore[attr-defined]
    return marked


def is_unlogged(match: ResolverMatch | None) -> bool:
    """Tell whether the view a request was led to is marked, itself or the method of its class."""
    return bool(match and getattr(match.func, "unlogged", False))


_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def safe_path(match: ResolverMatch, status: int) -> str:
    """Return a request's path. A word in it stands there only when a page was found by it: anybody may type anything."""

    def value_of(parameter: re.Match[str]) -> str:
        value = match.kwargs.get(parameter[1])
        if isinstance(value, str) and not (status < 300 and _WORD.fullmatch(value)):
            return f"<{parameter[1]}>"
        return str(value)

    return "/" + _PARAMETER.sub(value_of, match.route)


class AccessLogMiddleware:
    """Write one line per request: method, route, path (never the query string), status, and duration in ms."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        response = self.get_response(request)
        match = request.resolver_match or _match_of(request)
        request_id.note(route=_route(request, match))
        method, status = method_of(request), response.status_code
        extra: dict[str, Any] = {
            "method": method,
            "status": status,
            "duration_ms": round((time.perf_counter() - started) * 1000, 1),
        }
        if match and not is_unlogged(match):
            extra["path"] = safe_path(match, status)
        access_log.info(Safe(f"{method} {request_id.work().route} {status}"), extra=extra)
        # Django would write another line for each 4xx and 5xx, with the path that was typed.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        match = request.resolver_match
        request_id.note(route=match.view_name if match else "")


def _route(request: HttpRequest, match: ResolverMatch | None) -> str:
    if match is None:
        return "static" if request.path_info.startswith(settings.STATIC_URL) else "unmatched"
    return match.view_name or "unnamed"


def _match_of(request: HttpRequest) -> ResolverMatch | None:
    """Return where a request would have been led that was answered before."""
    try:
        return resolve(request.path_info)
    except Resolver404:
        return None


def security_event(event: str, *, level: int = logging.INFO, **codes: Any) -> None:
    """Write a line to the security stream.

    Args:
        event: a literal such as `sign_in.failed`; what somebody typed never.
        level: WARNING for what was refused.
        codes: ids and codes, under names of `redacting.CODES`.
    """
    security_log.log(level, Safe(event), extra={"event": event, **codes})


def refused(event: str, **codes: Any) -> None:
    """Write a warning to the security stream, like `security_event`."""
    security_event(event, level=logging.WARNING, **codes)


def catch_strays() -> None:
    """Log exceptions that nothing caught, which Python would print with their values: of the process, its threads, its finalisers."""

    def log_it(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
            error_log.critical("not caught", exc_info=(kind, error, trace))

    sys.excepthook = log_it
    threading.excepthook = lambda args: log_it(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: log_it(args.exc_type, args.exc_value, args.exc_traceback)
    logging.captureWarnings(True)
    # Its own report of a broken handler prints the record's arguments.
    logging.raiseExceptions = False


# They write addresses at INFO, and whole requests with what people wrote at DEBUG; procrastinate each job's arguments.
TALKATIVE = ("procrastinate", "openai", "anthropic", "httpx", "httpcore", "httpx2", "httpcore2", "botocore", "urllib3")


def logging_config(*, level: str, pretty: bool, directory: str = "") -> dict[str, Any]:
    """Return the `dictConfig` that Django, gunicorn and the task worker share.

    Args:
        level: the lowest level shown, for example `INFO`.
        pretty: one readable line instead of JSON, for a terminal. The filters are the same.
        directory: where each stream is written to a file of its own, too: `access.log`, `application.log`, `security.log`.
    """
    files = STREAMS if directory else ()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "pii": {"()": "quokkaq.lib.logs.PIIFilter"},
            "context": {"()": "quokkaq.lib.logs.ContextFilter"},
            **{stream: {"()": "quokkaq.lib.logs.StreamFilter", "stream": stream} for stream in files},
        },
        "formatters": {
            "json": {"()": "quokkaq.lib.logs.JsonLines"},
            "pretty": {
                "format": "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s",
                "datefmt": "%H:%M:%S",
            },
        },
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "filters": ["pii", "context"],
                "formatter": "pretty" if pretty else "json",
            },
            **{
                stream: {
                    "()": "quokkaq.lib.logs.LogFile",
                    "filename": str(Path(directory) / f"{stream}.log"),
                    "delay": True,
                    "filters": [stream, "pii", "context"],
                    "formatter": "json",
                }
                for stream in files
            },
        },
        "root": {"handlers": ["stdout", *files], "level": level},
        "loggers": {
            # Their records come to the root handler; their own handlers would print unfiltered.
            **{
                name: {"handlers": [], "propagate": True, "level": level}
                for name in ("django", "gunicorn", "gunicorn.error", "py.warnings")
            },
            # The access middleware writes a better line: with user, route and request id.
            "gunicorn.access": {"handlers": [], "propagate": False},
            "django.server": {"handlers": [], "propagate": False},
            **{name: {"handlers": [], "propagate": True, "level": "WARNING"} for name in TALKATIVE},
        },
    }
