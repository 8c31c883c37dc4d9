"""Find lines in logs: a line at a time, so that files may be as large as they like."""

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from quokkaq.lib.logs import STREAMS

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_STATUS = re.compile(r"[1-5](?:xx|\d\d)|succeeded|failed")
_SHOWN = ("level", "stream", "logger", "request_id", "user_id", "route", "status", "duration_ms", "message")


class BadQuestion(ValueError):
    """What was asked for can't be; the message says how to ask."""


@dataclass(frozen=True)
class Question:
    """Which lines are wanted; empty: any."""

    request: str = ""
    user: str = ""
    route: str = ""
    status: str = ""
    stream: str = ""
    since: datetime | None = None

    def __post_init__(self) -> None:
        if self.status and not _STATUS.fullmatch(self.status):
            raise BadQuestion(
                "--status takes a status such as 404, a class such as 5xx, or of tasks: succeeded, failed."
            )
        if self.stream and self.stream not in STREAMS:
            raise BadQuestion(f"--stream is one of {', '.join(STREAMS)}.")

    def needles(self) -> list[bytes]:
        """Return what a line must hold somewhere to be worth reading."""
        words = [self.request, self.user, self.route, self.stream]
        return [json.dumps(word)[1:-1].encode() for word in words if word]

    def matches(self, line: dict[str, Any]) -> bool:
        """Tell whether a line is wanted."""
        status = str(line.get("status", ""))
        return (
            self.request in ("", line.get("request_id"))
            and self.user in ("", line.get("user_id"))
            and self.route in ("", line.get("route"))
            and self.stream in ("", line.get("stream"))
            and (not self.status or status == self.status or (self.status[1:] == "xx" and _is_in(status, self.status)))
            and (self.since is None or _time_of(line) >= self.since)
        )


def _is_in(status: str, wanted: str) -> bool:
    return len(status) == 3 and status.isdigit() and status[0] == wanted[0]


def _time_of(line: dict[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(str(line.get("time"))).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def moment(text: str, now: datetime) -> datetime:
    """Return the moment that `90m`, `1h`, `7d` ago was, or that an ISO time names (UTC when it doesn't say)."""
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if found:
        return now - timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        raise BadQuestion("--since takes a time such as 30m, 1h, 7d or 2026-11-27T03:00.") from None
    return named if named.tzinfo else named.replace(tzinfo=UTC)


def files_of(places: Iterable[str], question: Question) -> list[Path]:
    """Return the files that may hold what is wanted, the oldest first.

    Of a folder these are its logs with what was rotated, less streams that weren't asked for and what was last written too
    long ago. A file that was named is always read.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise BadQuestion(f"There is no {place}.")
        if not place.is_dir():
            found.append(place)
            continue
        streams = [question.stream] if question.stream else STREAMS
        inside = [file for stream in streams for file in place.glob(f"{stream}.log*") if file.is_file()]
        since = question.since.timestamp() if question.since else 0
        kept = [file for file in inside if file.stat().st_mtime >= since]
        found += sorted(kept, key=lambda file: file.stat().st_mtime)
    return found


def opened(file: Path) -> BinaryIO:
    """Open a log, compressed or not."""
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]  # it reads like one


def search(lines: Iterable[bytes], question: Question) -> Iterator[dict[str, Any]]:
    """Yield the lines that are wanted. What isn't one of our lines is passed over."""
    needles = question.needles()
    for raw in lines:
        if not all(needle in raw for needle in needles):
            continue
        # Docker and systemd put their own words before a line.
        start = raw.find(b"{")
        try:
            line = json.loads(raw[start:]) if start >= 0 else None
        except ValueError:
            continue
        if isinstance(line, dict) and question.matches(line):
            yield line


def readable(line: dict[str, Any]) -> str:
    """Return a line for people: when, what, and below it the exception."""
    shown = [f"{line[name]}" for name in _SHOWN if name in line]
    known = {*_SHOWN, "time", "exc_info", "stack_info"}
    more = [f"{name}={_plain(value)}" for name, value in line.items() if name not in known]
    below = [str(line[name]) for name in ("exc_info", "stack_info") if line.get(name)]
    return "\n".join([" ".join([str(line.get("time", "")), *shown, *more]), *below])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
