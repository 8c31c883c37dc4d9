"""Gauges of what is so now: computed when somebody asks, kept for some seconds, and never waited for longer than a second.

Each source is read in a thread of its own, and by one thread at a time: one that hangs costs that thread. What it said
before stands in for `keep` seconds; then its gauges are absent, which is what is known.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from quokkaq.lib.database.aside import connect_aside
from quokkaq.lib.metrics.definitions import Definition

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 1.25
# A gauge, the values of its labels, its value.
Reading = tuple[Definition, tuple[str, ...], float]


class Source:
    """Something that tells readings, asked at most once in `every` seconds."""

    def __init__(self, name: str, read: Callable[[], Iterable[Reading]], every: float, keep: float) -> None:
        self.name = name
        self._read, self._every, self._keep = read, every, keep
        self._readings: list[Reading] = []
        self._read_at = float("-inf")
        self._lock = threading.Lock()
        self._done: threading.Event | None = None

    def begin(self) -> threading.Event | None:
        """Have it read unless it was a moment ago; return what says when that is done."""
        with self._lock:
            if self._done is None and time.monotonic() - self._read_at >= self._every:
                self._done = threading.Event()
                threading.Thread(target=self._run, args=(self._done,), name=f"metrics-{self.name}", daemon=True).start()
            return self._done

    def readings(self) -> list[Reading]:
        """Return what it said last, unless that is too old."""
        with self._lock:
            return self._readings if time.monotonic() - self._read_at < max(self._every, self._keep) else []

    def forget(self) -> None:
        with self._lock:
            self._read_at = float("-inf")

    def _run(self, done: threading.Event) -> None:
        found: list[Reading] | None = None
        try:
            found = list(self._read())
        except Exception as error:  # one source must not take the others with it
            log.warning("no metrics of the %s: %s", self.name, type(error).__name__)
        with self._lock:
            if found is not None:
                self._readings, self._read_at = found, time.monotonic()
            self._done = None
        done.set()


_sources: dict[str, Source] = {}
_queries: dict[str, Callable[[Any], Iterable[Reading]]] = {}


def register(name: str, read: Callable[[], Iterable[Reading]], *, every: float = 10, keep: float = 0) -> None:
    """Let `read` tell readings, at most once in `every` seconds. It runs in a thread and uses no connection of Django's."""
    _sources[name] = Source(name, read, every, keep)


def register_query(name: str, read: Callable[[Any], Iterable[Reading]]) -> None:
    """Let `read` tell readings from the database; it is given a cursor that sees no institution's rows."""
    _queries[name] = read


def ask_database() -> Iterator[Reading]:
    """Yield what all queries tell, over one connection, each statement within a second."""
    with connect_aside() as connection, connection.cursor() as cursor:
        for read in _queries.values():
            yield from read(cursor)


def forget() -> None:
    """Compute everything anew when asked next."""
    for source in _sources.values():
        source.forget()


class StateCollector(Collector):
    """Shows what the sources tell."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        for done in [source.begin() for source in _sources.values()]:
            if done is not None:
                done.wait(max(0.0, deadline - time.monotonic()))
        families: dict[str, GaugeMetricFamily] = {}
        for source in _sources.values():
            for gauge, labels, value in source.readings():
                family = families.get(gauge.name)
                if family is None:
                    family = GaugeMetricFamily(gauge.name, gauge.help, labels=list(gauge.labels))
                    families[gauge.name] = family
                family.add_metric(labels, value)
        yield from families.values()


register("database", ask_database)
