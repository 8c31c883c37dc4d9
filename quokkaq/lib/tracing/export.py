"""What of a span leaves this server, and how: cleaned, in batches, by a thread of its own, and never waited for."""

import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import unquote

from django.conf import settings
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Status

from quokkaq.lib import egress
from quokkaq.lib.pii import scrub

log = logging.getLogger(__name__)

# One batch may take so long; so may the last ones when the process ends.
SEND_SECONDS = 3.0
# Spans that wait; more are dropped. About 20 MB at most.
MOST_WAITING = 8192
LONGEST_TEXT = 4000

# Nothing else leaves. None of them holds what people typed: ids, routes, statements without values, kinds of errors.
ATTRIBUTES = frozenset(
    {
        "http.request.method", "http.route", "http.response.status_code", "db.system.name", "db.operation.name",
        "db.query.text", "server.address", "server.port", "error.type", "quokkaq.request_id", "quokkaq.institution_id",
        "quokkaq.task", "quokkaq.queue", "quokkaq.job_id", "quokkaq.attempt",
    }
)  # fmt: skip
# Values written into a statement as text: 'it''s', $$it's$$, 42. Not parts of names (T4, col_1) and of parameters (%s).
_CONSTANTS = re.compile(r"'(?:[^']|'')*(?:'|\Z)|\$(\w*)\$.*?\$\1\$|(?<![\w\"%.$])\d+(?:\.\d+)?\b", re.DOTALL)


def provider() -> TracerProvider:
    """Return what makes spans and sends them to the receiver of the settings."""
    # It says the same for each batch, with addresses; `CleaningExporter` says it once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    endpoint = f"{settings.TRACES_ENDPOINT}/v1/traces"
    made = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.TRACES_RATIO)),
        resource=Resource.create({"service.name": settings.TRACES_SERVICE_NAME}),
        shutdown_on_exit=False,
    )
    sender = OTLPSpanExporter(
        endpoint=endpoint,
        headers=headers(settings.TRACES_HEADERS),
        timeout=SEND_SECONDS * 0.9,  # less than the session takes, which would be tried again
        session=egress.requests_session(base_url=endpoint, seconds=SEND_SECONDS),
    )
    made.add_span_processor(_Processor(CleaningExporter(sender), max_queue_size=MOST_WAITING))
    return made


def headers(text: str) -> dict[str, str]:
    """Return the headers of `name=value,name=value`, percent-encoded, as OpenTelemetry writes them."""
    pairs = (item.partition("=") for item in text.split(",") if "=" in item)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


class _Processor(BatchSpanProcessor):
    """Batches that don't hold up the end of a process whose receiver hangs."""

    def shutdown(self) -> None:
        exporter = self.span_exporter
        if isinstance(exporter, CleaningExporter):
            exporter.until = time.monotonic() + SEND_SECONDS
        super().shutdown()  # type: ignore[no-untyped-call]


class CleaningExporter(SpanExporter):
    """Sends what `cleaned` leaves of spans, and says once when that fails and once when it works again."""

    def __init__(self, sender: SpanExporter) -> None:
        self._sender = sender
        self._is_failing = False
        # Nothing is begun any more after this.
        self.until = math.inf

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if time.monotonic() > self.until:
            return SpanExportResult.FAILURE
        result = self._sender.export([cleaned(span) for span in spans])
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._is_failing:
            log.warning("traces can't be delivered; they are dropped until they can")
        if self._is_failing and not failed:
            log.info("traces are delivered again")
        self._is_failing = failed
        return result

    def shutdown(self) -> None:
        self._sender.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._sender.force_flush(timeout_millis)


def cleaned(span: ReadableSpan) -> ReadableSpan:
    """Return a span with the attributes that may leave, scrubbed; without events and words of errors."""
    return ReadableSpan(
        name=_text(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={name: _value(name, value) for name, value in _attributes(span).items() if name in ATTRIBUTES},
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(span: ReadableSpan) -> Mapping[str, object]:
    return span.attributes or {}


def _value(name: str, value: object) -> str | int:
    if isinstance(value, int):
        return value
    return _statement(str(value)) if name == "db.query.text" else _text(str(value))


@lru_cache(maxsize=1024)
def _text(text: str) -> str:
    return scrub(text)[:LONGEST_TEXT]


@lru_cache(maxsize=1024)
def _statement(sql: str) -> str:
    """Return a statement without the values that were written into it."""
    return scrub(_CONSTANTS.sub("?", sql[: 4 * LONGEST_TEXT]))[:LONGEST_TEXT]
