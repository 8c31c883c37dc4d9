"""The guarded page for Prometheus: `/metrics` of the web server, and a port of its own for a task worker."""

import hmac
import logging
import os
import threading
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from quokkaq.lib.metrics import machine, process
from quokkaq.lib.metrics.state import StateCollector

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

# Registers what it knows.
__all__ = ["machine", "metrics", "serve_worker"]
_state = CollectorRegistry()
_state.register(StateCollector())


def metrics(request: HttpRequest) -> HttpResponse:
    """Return all metrics to a caller that sends `Authorization: Bearer <METRICS_TOKEN>`; 404 to everyone else.

    Without a token in the settings the page doesn't exist.
    """
    if not is_allowed(request.headers.get("Authorization", "")):
        raise Http404
    return HttpResponse(of_processes() + generate_latest(_state), content_type=CONTENT_TYPE_LATEST)


def is_allowed(authorization: str) -> bool:
    expected = f"Bearer {settings.METRICS_TOKEN}"
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(authorization.encode(), expected.encode())


def of_processes() -> bytes:
    """Return what this process counted; where several share a folder, what all of them did."""
    process.this.refresh()
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is no news."""


def _answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> list[bytes]:
    if environ.get("PATH_INFO") != "/metrics" or not is_allowed(str(environ.get("HTTP_AUTHORIZATION", ""))):
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"Not found\n"]
    start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
    return [of_processes()]


def serve_worker(host: str, port: int) -> WSGIServer | None:
    """Show what this process counts at a port of its own, in a thread. State is the web server's to tell.

    A second worker on the machine finds the port taken, and goes on without.
    """
    try:
        server = make_server(host, port, _answer, handler_class=_Quiet)
    except OSError as error:
        log.warning("the worker shows no metrics: port %d can't be used (%s)", port, error.strerror)
        return None
    threading.Thread(target=server.serve_forever, name="metrics-port", daemon=True).start()
    return server
