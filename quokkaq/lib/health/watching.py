"""What is looked at, and how: each check runs at most once at a time, ends in time, and answers everybody who asks meanwhile."""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.conf import settings
from health_check.base import HealthCheck
from health_check.exceptions import HealthCheckException, ServiceWarning

from quokkaq.lib.redacting import Safe

# Every probe answers within this, whatever hangs behind it.
DEADLINE_SECONDS = 0.9
# For so long an answer is taken as it is. Together with the deadline: how late a fault shows.
FRESH_SECONDS = 0.3
# Whoever comes while a check runs is told what it found before, unless that is older.
STALE_SECONDS = 3.0

log = logging.getLogger(__name__)


class State(StrEnum):
    """`DEGRADED`: it works, and somebody should look."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True)
class Outcome:
    """What a check found. `detail` holds numbers and codes for operators, never names of hosts or texts of errors."""

    state: State
    milliseconds: float
    at: float
    detail: Mapping[str, Any] = field(default_factory=dict)


class Check(HealthCheck):
    """One thing QuokkaQ stands on. `run` raises `ServiceWarning` for degraded and anything else for down.

    `run` limits its own waiting, to less than `DEADLINE_SECONDS` where it can: what hangs for longer counts as down, and
    isn't asked again before it has come back.
    """

    name = ""
    # Some are asked less often: a good answer holds for so long.
    fresh_seconds = 0.0

    def __init__(self) -> None:
        self.detail: dict[str, Any] = {}

    @classmethod
    def is_configured(cls) -> bool:
        """Tell whether this installation has it."""
        return True

    def run(self) -> None:
        raise NotImplementedError


class _Watched:
    """One check, what it found last, and whether it runs now."""

    def __init__(self, check: type[Check]) -> None:
        self.check = check
        self.lock = threading.Lock()
        self.last: Outcome | None = None
        self.started: float | None = None
        self.done = threading.Event()

    def begin(self) -> float | None:
        """Start the check if what it found is old and it isn't running; return until when the caller has to wait for it."""
        with self.lock:
            now = time.monotonic()
            if self.last is not None and now - self.last.at < self._fresh(self.last):
                return None
            if self.started is not None:
                is_known = self.last is not None and now - self.last.at < STALE_SECONDS
                return None if is_known else self.started + DEADLINE_SECONDS
            self.started = now
            self.done.clear()
        _executor.submit(self._run)
        return now + DEADLINE_SECONDS

    def outcome(self) -> Outcome:
        with self.lock:
            now = time.monotonic()
            is_known = self.last is not None and now - self.last.at < STALE_SECONDS
            if self.started is not None and (not is_known or now - self.started >= DEADLINE_SECONDS):
                return Outcome(State.DOWN, (now - self.started) * 1000, now, {"overdue": True})
            return self.last or Outcome(State.DOWN, 0, now)

    def _fresh(self, last: Outcome) -> float:
        return max(self.check.fresh_seconds, FRESH_SECONDS) if last.state is State.UP else FRESH_SECONDS

    def _run(self) -> None:
        check = self.check()
        started = time.monotonic()
        state = State.UP
        try:
            check.run()
        except ServiceWarning:
            state = State.DEGRADED
        except HealthCheckException:
            state = State.DOWN
        except Exception as error:  # whatever it is, it doesn't work
            state = State.DOWN
            check.detail["error"] = type(error).__name__
        ended = time.monotonic()
        if state is not (self.last.state if self.last else State.UP):
            log.warning(
                Safe(f"health of {check.name}: {state}"), extra={"check": Safe(check.name), "state": Safe(state)}
            )
        with self.lock:
            self.last = Outcome(state, (ended - started) * 1000, ended, dict(check.detail))
            self.started = None
            self.done.set()


# As many threads as checks: none waits for another's.
_executor = ThreadPoolExecutor(max_workers=32, thread_name_prefix="health")
_registered: list[type[Check]] = []
_watched: dict[type[Check], _Watched] = {}
_lock = threading.Lock()


def register(*checks: type[Check]) -> None:
    """Have something looked at, where it is configured."""
    _registered.extend(check for check in checks if check not in _registered)


def configured() -> list[type[Check]]:
    """Return what this installation has, in the order of their registration."""
    return [check for check in _registered if check.is_configured()]


def look(checks: list[type[Check]] | None = None) -> dict[str, Outcome]:
    """Return what is found now, by name, within `DEADLINE_SECONDS`.

    However many ask, each check runs at most once at a time, and at most once in `FRESH_SECONDS`. One caller waits for
    it; the others are told what it found before.
    """
    with _lock:
        watched = [_watched.setdefault(check, _Watched(check)) for check in checks or configured()]
    for one, ends in [(one, one.begin()) for one in watched]:
        if ends is not None:
            one.done.wait(max(0.0, ends - time.monotonic()))
    return {one.check.name: one.outcome() for one in watched}


def states() -> dict[str, bool]:
    """Return whether each configured thing works, degraded or not, within `DEADLINE_SECONDS`."""
    return {name: outcome.state is not State.DOWN for name, outcome in look().items()}


def is_ready(found: Mapping[str, Outcome]) -> bool:
    """Tell whether all that is needed works. What is needed, and what QuokkaQ goes on without, says `HEALTH_NEEDED`."""
    return not any(found[name].state is State.DOWN for name in settings.HEALTH_NEEDED if name in found)


def forget() -> None:
    """Look afresh at everything the next time."""
    with _lock:
        _watched.clear()
