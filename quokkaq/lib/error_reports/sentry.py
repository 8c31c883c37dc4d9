"""Errors of requests and tasks, reported with kind, scrubbed words, lines of our code and the id of the request.

No integration of the SDK is on: no form, query string, header, cookie, person, local variable or log line is looked at.
What it adds by itself is dropped: `cleaned` says what stays.
"""

import atexit
import logging
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import sentry_sdk
from django.conf import settings
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from procrastinate.exceptions import JobAborted
from sentry_sdk.transport import HttpTransport

from quokkaq.lib import egress, request_id
from quokkaq.lib.pii import scrub

log = logging.getLogger(__name__)

SEND_SECONDS = 5.0
FLUSH_SECONDS = 3.0
LONGEST_TEXT = 1000
KEPT = ("event_id", "timestamp", "platform", "level", "release", "environment", "sdk")
KEPT_OF_FRAMES = (
    "filename", "module", "function", "lineno", "pre_context", "context_line", "post_context", "in_app",
)  # fmt: skip
TAGS = frozenset({"request_id", "method", "route", "task", "queue", "job_id", "release"})


def begin() -> None:
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment=settings.SENTRY_ENVIRONMENT,
        release=settings.SENTRY_RELEASE,
        default_integrations=False,
        auto_enabling_integrations=False,
        # What `send_default_pii=False` was, and more.
        data_collection={
            "user_info": False,
            "http_bodies": [],
            "cookies": {"mode": "off"},
            "http_headers": {"request": {"mode": "off"}},
            "url_query_params": {"mode": "off"},
            "database_query_data": False,
            "stack_frame_variables": False,
        },
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        send_client_reports=False,
        spotlight=False,
        before_send=cleaned,
        transport=GuardedTransport,
        # Frames of this code are ours, those of libraries aren't.
        project_root=str(settings.BASE_DIR),
    )
    got_request_exception.connect(_on_exception, dispatch_uid="quokkaq.error_reports")
    atexit.register(sentry_sdk.flush, FLUSH_SECONDS)


def _on_exception(sender: object, request: HttpRequest | None = None, **kwargs: Any) -> None:
    error = sys.exc_info()[1]
    # A database that is away fails every request: alerts and logs say so, once is enough.
    if error is None or isinstance(error, OperationalError | InterfaceError):
        return
    match = request.resolver_match if request is not None else None
    report(
        error,
        request_id=request_id.current(),
        method=request.method if request is not None else "",
        route=match.view_name if match else "",
    )


def report_task(error: Exception, job: Any) -> None:
    """Report what ended a job."""
    if isinstance(error, JobAborted):
        return
    working_for = job.task_kwargs.get("request_id")
    report(
        error,
        request_id=working_for if isinstance(working_for, str) else "",
        task=job.task_name,
        queue=job.queue,
        job_id=str(job.id),
    )


def report(error: BaseException, **tags: str | None) -> None:
    """Hand an error to the thread that sends."""
    with sentry_sdk.new_scope() as scope:
        scope.set_tags({name: value for name, value in tags.items() if value and value != request_id.NONE})
        scope.set_transaction_name(tags.get("route") or tags.get("task") or "unmatched")
        scope.capture_exception(error)


# What leaves


def cleaned(event: Any, hint: Mapping[str, Any]) -> Any:
    """Return an event with what may leave, scrubbed like log lines."""
    tags = {name: _text(value) for name, value in (event.get("tags") or {}).items() if name in TAGS}
    if event.get("release"):
        tags["release"] = _text(event["release"])
    return {
        **{name: event[name] for name in KEPT if event.get(name)},
        "transaction": _text(event.get("transaction") or ""),
        "tags": tags,
        "exception": {"values": [_exception(value) for value in (event.get("exception") or {}).get("values", [])]},
    }


def _exception(value: Mapping[str, Any]) -> dict[str, Any]:
    frames = (value.get("stacktrace") or {}).get("frames") or []
    return {
        "type": _text(value.get("type")),
        "module": _text(value.get("module")),
        "value": _text(value.get("value")),
        "stacktrace": {"frames": [{name: frame.get(name) for name in KEPT_OF_FRAMES} for frame in frames]},
    }


def _text(value: object) -> str:
    return scrub(str(value or ""))[:LONGEST_TEXT]


# How it leaves


class GuardedTransport(HttpTransport):
    """The SDK's own transport, whose requests go by the one way out, to the host of the DSN alone."""

    def _make_pool(self) -> Any:
        return _Pool(settings.SENTRY_DSN)


class _Pool:
    """What the transport takes for urllib3's pool."""

    def __init__(self, dsn: str) -> None:
        self._session = egress.requests_session(base_url=dsn, seconds=SEND_SECONDS)
        self._is_failing = False

    def request(self, method: str, url: str, *, body: bytes, headers: Mapping[str, str]) -> Any:
        try:
            response = self._session.request(method, url, data=body, headers=dict(headers))
        except Exception:
            if not self._is_failing:
                log.warning("error reports can't be delivered; they are dropped until they can")
            self._is_failing = True
            raise
        self._is_failing = False
        # The SDK would log what the server says.
        return SimpleNamespace(status=response.status_code, headers=response.headers, data=b"", close=response.close)
