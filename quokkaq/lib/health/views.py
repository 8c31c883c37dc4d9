"""The probes: JSON, in bounded time, without names of hosts, with 503 when something needed is down."""

import hmac
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import ResolverMatch
from django.views.decorators.http import require_safe

from quokkaq.lib.health import draining
from quokkaq.lib.health.checks import WarmCheck
from quokkaq.lib.health.watching import Outcome, State, configured, is_ready, look
from quokkaq.lib.version import commit

_started = time.monotonic()
_has_been_ready = threading.Event()


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """`/health`: the process answers. Touches nothing else, so an outage behind it doesn't get it restarted."""
    return JsonResponse({"status": "ok"})


@require_safe
def ping(request: HttpRequest) -> JsonResponse:
    """`/api/v1/ping`: the way through the balancer works. Uptime of this process in seconds."""
    return JsonResponse({"pong": True, "uptime_seconds": uptime()})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """`/api/v1/ready`: 200 when all that is needed works, else 503: `{"status": …, "checks": {name: state}}`.

    `degraded` (200): something that QuokkaQ goes on without is down, or something needs a look. `draining` (503): this server
    is about to stop, and still answers whatever comes.
    """
    if draining.has_begun():
        return JsonResponse({"status": "draining", "checks": {}}, status=503)
    return _answer(look())


@require_safe
def startup(request: HttpRequest) -> JsonResponse:
    """`/api/v1/startup`: 503 until this process is warm and has been ready once, then 200 whatever happens behind it."""
    if _has_been_ready.is_set():
        return JsonResponse({"status": "started"})
    found = look([*configured(), WarmCheck])
    if is_ready(found) and found[WarmCheck.name].state is State.UP:
        _has_been_ready.set()
        return JsonResponse({"status": "started"})
    return JsonResponse({"status": "starting", "checks": _states(found)}, status=503)


@require_safe
def status(request: HttpRequest) -> JsonResponse:
    """`/api/v1/_status`: everything at once, always 200. Who sends METRICS_TOKEN as a bearer also gets the numbers."""
    found = look()
    body: dict[str, Any] = {"status": _summary(found)}
    if not _has_token(request):
        return JsonResponse({**body, "checks": _states(found)})
    now = time.monotonic()
    checks = {
        name: {
            "state": outcome.state,
            "needed": name in settings.HEALTH_NEEDED,
            "duration_ms": round(outcome.milliseconds, 1),
            "age_ms": round((now - outcome.at) * 1000),
            "detail": outcome.detail,
        }
        for name, outcome in found.items()
    }
    about = {"version": settings.VERSION, "commit": commit(), "uptime_seconds": uptime()}
    return JsonResponse({**body, **about, "checks": checks})


# By path, with the name of the route.
PROBES: dict[str, tuple[str, Callable[[HttpRequest], HttpResponseBase]]] = {
    "/health": ("health", live),
    "/api/v1/ready": ("ready", ready),
    "/api/v1/startup": ("startup", startup),
    "/api/v1/_status": ("status", status),
    "/api/v1/ping": ("ping", ping),
}


class HealthMiddleware:
    """Answer probes above sessions, rate limits and the check of the host's name.

    Balancers probe by address, which isn't in ALLOWED_HOSTS. No answer depends on the host, so any will do. Anything but
    a GET or HEAD takes the usual way.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        if probe is None or request.method not in ("GET", "HEAD"):
            return self.get_response(request)
        name, view = probe
        request.resolver_match = ResolverMatch(view, (), {}, url_name=name, route=request.path_info.removeprefix("/"))
        return view(request)


def uptime() -> float:
    """Return for how many seconds this process has been running."""
    return round(time.monotonic() - _started, 1)


def _answer(found: Mapping[str, Outcome]) -> JsonResponse:
    body = {"status": _summary(found), "checks": _states(found)}
    return JsonResponse(body, status=200 if is_ready(found) else 503)


def _summary(found: Mapping[str, Outcome]) -> str:
    if not is_ready(found):
        return "unavailable"
    return "ready" if all(outcome.state is State.UP for outcome in found.values()) else "degraded"


def _states(found: Mapping[str, Outcome]) -> dict[str, str]:
    return {name: outcome.state for name, outcome in found.items()}


def _has_token(request: HttpRequest) -> bool:
    expected = f"Bearer {settings.METRICS_TOKEN}"
    given = request.headers.get("Authorization", "")
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(given.encode(), expected.encode())
