"""JSON log lines with a request id, and the filter that keeps people's data out of them."""

import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from pythonjsonlogger.json import JsonFormatter

from quokkaq.lib import request_id
from quokkaq.lib.pii import scrub, scrub_value

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}

access_log = logging.getLogger("quokkaq.access")


class PIIFilter(logging.Filter):
    """Redact a record in place: message with its arguments, extras by name and by value, exception and stack text.

    It sits on handlers, not on loggers, because records of child loggers pass a parent's handlers but not its filters.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # a wrong format string must not lose the line, nor show its arguments
            message = f"{record.msg} (arguments could not be formatted)"
        record.msg, record.args = scrub(message), None
        if record.exc_info:
            record.exc_text = scrub("".join(traceback.format_exception(*record.exc_info)).rstrip())
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = scrub(record.exc_text)
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        for name, value in list(vars(record).items()):
            if name not in _STANDARD:
                setattr(record, name, scrub_value(name, value))
        return True


class RequestIdFilter(logging.Filter):
    """Put the current request id on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.current()
        return True


class JsonLines(JsonFormatter):
    """One JSON object a line: time (UTC, ISO 8601), level, logger, request_id, message, then the extras."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S",
            # Django puts the request object on its error records; what matters of it is in the access line.
            reserved_attrs=[*_STANDARD, "request", "server_time", "color_message"],
        )
        self.converter = time.gmtime


class AccessLogMiddleware:
    """Write one line per request: method, route (never the query string), status, duration in ms, user and institution id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        response = self.get_response(request)
        extra: dict[str, Any] = {
            "method": request.method,
            "path": request.path,
            "route": request.resolver_match.view_name if request.resolver_match else "unmatched",
            "status": response.status_code,
            "duration_ms": round((time.perf_counter() - started) * 1000, 1),
        }
        # `_cached_user` is there only when the view asked for the user: logging must not cost a query.
        user = getattr(request, "_cached_user", None)
        if user is not None and user.is_authenticated:
            extra["user_id"] = str(user.pk)
            extra["institution_id"] = str(user.institution_id)
        access_log.info("%s %s %s", request.method, request.path, response.status_code, extra=extra)
        return response


def logging_config(*, level: str, pretty: bool) -> dict[str, Any]:
    """Return the `dictConfig` that Django, gunicorn and the task worker share.

    Args:
        level: the lowest level shown, for example `INFO`.
        pretty: one readable line instead of JSON, for a terminal. The filters are the same.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "request_id": {"()": "quokkaq.lib.logs.RequestIdFilter"},
            "pii": {"()": "quokkaq.lib.logs.PIIFilter"},
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
                "filters": ["request_id", "pii"],
                "formatter": "pretty" if pretty else "json",
            }
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            # Their records come to the root handler; their own handlers would print unfiltered.
            **{
                name: {"handlers": [], "propagate": True, "level": level}
                for name in ("django", "gunicorn", "gunicorn.error", "py.warnings")
            },
            # The access middleware writes a better line: with user, route and request id.
            "gunicorn.access": {"handlers": [], "propagate": False},
            "django.server": {"handlers": [], "propagate": False},
            # It writes each job's arguments and result at INFO.
            "procrastinate": {"handlers": [], "propagate": True, "level": "WARNING"},
            # They write addresses at INFO, and whole requests with what people wrote at DEBUG.
            **{
                name: {"handlers": [], "propagate": True, "level": "WARNING"}
                for name in ("openai", "anthropic", "httpx", "httpcore", "httpx2", "httpcore2")
            },
        },
    }
