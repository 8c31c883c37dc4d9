"""Who a load test is sent as, and at what: only at a host that was named twice."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


class Refused(Exception):
    """The test mustn't be sent; the message says why."""


@dataclass(frozen=True)
class Tester:
    """Somebody of `manage.py make_load_people`."""

    email: str
    password: str
    name: str
    role: str
    course: str

    @property
    def is_staff(self) -> bool:
        return self.role != "student"


def check_target(url: str | None, allowed: Sequence[str]) -> None:
    """Raise `Refused` unless a URL's host was allowed by its exact name."""
    parts = urlsplit(url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused("Say what to test: --host https://staging.example.edu")
    if parts.username or parts.password:
        raise Refused("--host must hold no name or password.")
    if parts.hostname not in allowed:
        raise Refused(
            f"{parts.hostname} wasn't allowed. If that server is yours and no production, say its name once more: "
            f"--allow {parts.hostname}"
        )


def read_testers(path: str) -> list[Tester]:
    """Return the people of a CSV file with the columns email, password, name, role, course. Raises `Refused`."""
    if not path:
        raise Refused("Say who to be: --people people.csv (manage.py make_load_people writes it)")
    try:
        with Path(path).open(newline="") as file:
            found = [Tester(**row) for row in csv.DictReader(file)]
    except OSError as error:
        raise Refused(f"{path} can't be read: {error.strerror}.") from error
    except TypeError as error:
        raise Refused(f"{path} must have the columns email, password, name, role, course.") from error
    if not found:
        raise Refused(f"{path} names nobody.")
    return found
