"""Health checks that answer in bounded time, in JSON, without host names, with 503 when something needed is down."""

import asyncio
import dataclasses
import datetime
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from django.conf import settings
from django.core.cache import cache
from django.db import connections
from django.http import HttpRequest, JsonResponse
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable
from health_check.views import HealthCheckView

# Every probe answers within this, whatever hangs behind it.
DEADLINE_SECONDS = 1.2

# Checks that hang keep their thread until their own time-out; a pool of their own keeps request threads free.
_executor = ThreadPoolExecutor(max_workers=8, thread_name_prefix="health")
_started = time.monotonic()


@dataclasses.dataclass
class DatabaseCheck(HealthCheck):
    """A real query over a connection of its own, so that an exhausted pool doesn't look like a dead server."""

    name = "database"

    def run(self) -> None:
        parameters = connections["default"].get_connection_params()
        for name in ("pool", "cursor_factory", "context", "prepare_threshold", "options"):
            parameters.pop(name, None)
        parameters["connect_timeout"] = 1
        # A stopped server accepts the connection in the kernel and then says nothing: tcp_user_timeout doesn't see
        # that, so the deadline of the view ends the wait and psycopg's own limit (2 s at least) frees the thread.
        try:
            with psycopg.connect(**parameters, options="-c statement_timeout=1000", autocommit=True) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            raise ServiceUnavailable("unreachable") from error


@dataclasses.dataclass
class CacheCheck(HealthCheck):
    """Write and read one key; a cache that swallows its errors shows here as a value that didn't come back."""

    name = "cache"

    def run(self) -> None:
        stamp = str(time.time_ns())
        cache.set("quokkaq.health", stamp, timeout=30)
        # Another probe may have written in between; only silence is a fault.
        if cache.get("quokkaq.health") is None:
            raise ServiceUnavailable("unreachable")


@dataclasses.dataclass
class StorageCheck(HealthCheck):
    """Ask whether the bucket is there (HeadBucket); on a local disk, whether the folder can be written."""

    name = "storage"

    def run(self) -> None:
        from quokkaq.lib.storage import check_reachable

        if not check_reachable():
            raise ServiceUnavailable("unreachable")


def readiness_checks() -> list[type[HealthCheck]]:
    """Return what must work before requests are let in: the database always, cache and bucket when configured."""
    checks: list[type[HealthCheck]] = [DatabaseCheck]
    if settings.REDIS_URL:
        checks.append(CacheCheck)
    checks.append(StorageCheck)
    return checks


class ReadinessView(HealthCheckView):
    """200 when every check passes, else 503; always JSON: `{"status": …, "checks": {name: "up" | "down"}}`."""

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
        results = await asyncio.gather(*(self._one(check()) for check in readiness_checks()))
        checks = dict(results)
        ready = all(state == "up" for state in checks.values())
        body = {"status": "ready" if ready else "unavailable", "checks": checks}
        return JsonResponse(body, status=200 if ready else 503)

    async def _one(self, check: Any) -> tuple[str, str]:
        check.timeout = datetime.timedelta(seconds=0)  # get_result adds one second
        try:
            result = await asyncio.wait_for(check.get_result(_executor), DEADLINE_SECONDS)
        except TimeoutError:
            return check.name, "down"
        return check.name, "down" if result.error else "up"


def live(request: HttpRequest) -> JsonResponse:
    """`/health`: the process answers. Touches nothing else, so an outage behind it doesn't get it restarted."""
    return JsonResponse({"status": "ok"})


def ping(request: HttpRequest) -> JsonResponse:
    """`/api/v1/ping`: the way through the balancer works. Uptime of this process in seconds."""
    return JsonResponse({"pong": True, "uptime_seconds": round(time.monotonic() - _started, 1)})
