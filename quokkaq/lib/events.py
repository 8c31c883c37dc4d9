"""Server-sent events over threads: bounded in time and number, so that people who wait can't keep others from a page.

A stream holds a thread of the web server, so a process has few of them and none lasts; whoever gets none asks again now
and then instead. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import connections
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

# Half of the four threads of a web process (ops/gunicorn.conf.py).
AT_ONCE = 2
# Less than gunicorn's graceful time-out: a restart waits for no stream.
LASTS_SECONDS = 25.0
LOOK_EVERY_SECONDS = 0.2
# A comment now and then: proxies keep the connection, and a reader who left is noticed.
HEARTBEAT_SECONDS = 5.0
# How long a browser waits before it comes back.
RETRY_MS = 500

_places = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class Event:
    """What there is to show now. `id` changes when `data` does; `last` says that nothing follows."""

    id: str
    data: str
    last: bool = False


# Returns what there is now; None when it is gone. It may use the database: the connection is given back after each look.
Look = Callable[[], Event | None]


def stream(look: Look, *, seen: str) -> HttpResponseBase:
    """Answer with events until the last one, or a while; with 204 when too many streams are open (browsers don't retry then).

    Args:
        look: asked several times a second.
        seen: the id of the event the browser has already (`Last-Event-ID`).
    """
    if not _places.acquire(blocking=False):
        return HttpResponse(status=204)
    response = StreamingHttpResponse(_Stream(look, seen), content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


class _Stream:
    """The body of a stream. Its place is given back by `close()`, which the server calls whatever happens."""

    def __init__(self, look: Look, seen: str) -> None:
        self._events = _events(look, seen)
        self._lock = threading.Lock()
        self._holds_place = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._events)

    def close(self) -> None:
        with self._lock:
            held, self._holds_place = self._holds_place, False
        if held:
            _places.release()

    def __del__(self) -> None:
        """Give it back also when a response is dropped unsent."""
        self.close()


def _events(look: Look, seen: str) -> Iterator[bytes]:
    started = spoke = time.monotonic()
    yield f"retry: {RETRY_MS}\n\n".encode()
    while time.monotonic() - started < LASTS_SECONDS:
        event = look()
        # Nobody waits for a connection that only sleeps. (Inside a transaction, as in tests, it is kept.)
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
        if event is None:
            yield b"event: gone\ndata: \n\n"
            return
        if event.id != seen:
            seen, spoke = event.id, time.monotonic()
            yield _written(event)
        if event.last:
            yield b"event: done\ndata: \n\n"
            return
        if time.monotonic() - spoke >= HEARTBEAT_SECONDS:
            spoke = time.monotonic()
            yield b": still here\n\n"
        time.sleep(LOOK_EVERY_SECONDS)


def _written(event: Event) -> bytes:
    lines = "".join(f"data: {line}\n" for line in event.data.splitlines())
    return f"id: {event.id}\nevent: shown\n{lines}\n".encode()
