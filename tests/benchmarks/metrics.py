"""What metrics cost a page: with and without them, turn by turn, in one run; and how long a scrape takes.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.metrics [--threads 200 --replies 50 --requests 300]

Values are kept in files, as where several processes serve. Without: requests pass the middleware by, statements aren't
told of, and counting does nothing.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.row_security import fill
from tests.benchmarks.scratch import scratch_database

PAGES = {"thread list": "/c/cs-101/", "thread": "/c/cs-101/1/", "nothing": "/health"}
MOST = 0.05


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=200)
    arguments.add_argument("--replies", type=int, default=50)
    arguments.add_argument("--requests", type=int, default=300)
    wanted = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Before anything is defined: it decides where values are kept.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        with scratch_database():
            fill(wanted.threads, wanted.replies)
            costs = {name: cost(name, url, wanted.requests) for name, url in PAGES.items()}
            scrape(20)
    print(f"a thread page costs {costs['thread']:+.1%} (at most {MOST:.0%})")
    raise SystemExit(costs["thread"] > MOST)


@contextmanager
def counted(on: bool) -> Iterator[None]:
    from quokkaq.lib.database.watching import observers
    from quokkaq.lib.metrics.database import observe
    from quokkaq.lib.metrics.definitions import CounterSeries, HistogramSeries
    from quokkaq.lib.metrics.middleware import RequestMetricsMiddleware

    def nothing(*args: Any, **kwargs: Any) -> None:
        """Count nothing."""

    def pass_by(self: Any, request: Any) -> Any:
        return self.get_response(request)

    kept: list[tuple[Any, str, Any]] = [
        (RequestMetricsMiddleware, "__call__", pass_by),
        (CounterSeries, "inc", nothing),
        (HistogramSeries, "observe", nothing),
    ]
    before = [getattr(where, name) for where, name, _ in kept]
    if not on:
        observers.remove(observe)
        for where, name, instead in kept:
            setattr(where, name, instead)
    try:
        yield
    finally:
        if not on:
            observers.append(observe)
            for (where, name, _), was in zip(kept, before, strict=True):
                setattr(where, name, was)


def cost(name: str, url: str, requests: int) -> float:
    """Return by how much the median request for a page takes longer with metrics.

    One with and one without, in turn: what else the machine does falls on both alike. CPU is timed, which waiting for it
    doesn't change.
    """
    from accounts.models import User
    from tests import factories

    client = factories.browser(User.objects.get(email="noor@example.edu"))
    assert client.get(url).status_code == 200, url
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(requests * 2):
        on = turn % 4 in (1, 2)
        with counted(on):
            started = time.process_time()
            client.get(url)
            times[on].append((time.process_time() - started) * 1000)
    without, with_them = statistics.median(times[False]), statistics.median(times[True])
    more = with_them / without - 1
    print(f"{name:12} without {without:7.3f} ms, with {with_them:7.3f} ms of CPU: {more:+.1%}")
    return more


def scrape(rounds: int) -> None:
    from django.conf import settings
    from django.test import Client

    from quokkaq.lib.metrics import state

    times: dict[str, list[float]] = {"anew": [], "kept": []}
    for _ in range(rounds):
        state.forget()
        for how, taken in times.items():
            started = time.perf_counter()
            response = Client().get("/metrics", headers={"Authorization": f"Bearer {settings.METRICS_TOKEN}"})
            taken.append((time.perf_counter() - started) * 1000)
            assert response.status_code == 200, how
    size = len(response.content) / 1024
    print(f"a scrape: {statistics.median(times['anew']):.0f} ms, {statistics.median(times['kept']):.0f} ms when state is kept ({size:.0f} kB)")  # fmt: skip


if __name__ == "__main__":
    main()
