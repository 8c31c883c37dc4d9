"""gunicorn as shipped on a generated forum, people who are signed in there, and what their server's processes cost.

For benchmarks. Needs Linux (`/proc`).
"""

import os
import random
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from ops.load.acts import Place
from tests.benchmarks.forum_data import HOT, HOT_THREAD, ROOT, Sizes, variables

SEED = 36
CSRF = "q" * 32
TICKS = os.sysconf("SC_CLK_TCK")
# Nobody is slowed down: the limits are counted as ever, and are far away.
NO_LIMITS = {
    "RATE_READS_PER_MINUTE": "100000000",
    "RATE_WRITES_PER_MINUTE": "100000000",
    "RATE_BACKGROUND_PER_MINUTE": "100000000",
}


@dataclass(frozen=True)
class Person:
    """Somebody signed in: what they know of a course of theirs, and their cookies."""

    email: str
    place: Place
    is_staff: bool
    cookies: str


@dataclass
class Server:
    """A running gunicorn. `pid` is its master's."""

    process: subprocess.Popen[bytes]
    port: int

    def workers(self) -> list[int]:
        return children(self.process.pid)


@contextmanager
def serving(found: Any, sizes: Sizes, **changes: str) -> Iterator[Server]:
    """gunicorn with the settings it ships with, on a generated forum, as the web role; yields it when it is ready."""
    from django.conf import settings

    from tests.processes import free_port

    port = free_port()
    environment = {
        **os.environ, **variables(found, sizes), **NO_LIMITS, "PORT": str(port), "SECRET_KEY": settings.SECRET_KEY,
        "LOG_LEVEL": "CRITICAL", **changes,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"],
        cwd=ROOT, env=environment, start_new_session=True,
    )  # fmt: skip
    server = Server(process, port)
    try:
        deadline = time.monotonic() + 90
        while not _is_ready(port):
            assert process.poll() is None, "gunicorn ended"
            assert time.monotonic() < deadline, "gunicorn isn't ready after 90 s"
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(45)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(port: int) -> bool:
    with suppress(OSError, HTTPException):
        return fetch(port, "/api/v1/ready")[0] == 200
    return False


def fetch(port: int, path: str, cookies: str = "") -> tuple[int, str]:
    client = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("GET", path, headers={"Cookie": cookies} if cookies else {})
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


@contextmanager
def signed_in(count: int) -> Iterator[list[Person]]:
    """Sign people in, a tenth of them staff, a third in the hot course; their sessions are gone afterwards."""
    from django.conf import settings
    from django.contrib.sessions.models import Session
    from django.test import Client

    from accounts.models import Enrollment, User
    from accounts.signing_in import SECOND_FACTOR
    from quokkaq.lib import tenancy

    draw = random.Random(SEED)
    keys: list[str] = []
    people: list[Person] = []
    places: dict[str, Place] = {}
    with tenancy.scope(tenancy.EVERY):
        rows = list(
            Enrollment.objects.filter(status="active")
            .order_by("pk")
            .values_list("user", "course", "course__slug", "role")
        )
        draw.shuffle(rows)
        staff = [row for row in rows if row[3] != "student"]
        hot = [row for row in rows if row[2] == HOT and row[3] == "student"]
        other = [row for row in rows if row[2] != HOT and row[3] == "student"]
        many_staff, many_hot = max(1, count // 10), max(1, count // 3)
        for key, course, slug, role in staff[:many_staff] + hot[:many_hot] + other[: count - many_staff - many_hot]:
            if slug not in places:
                places[slug] = _place(course, slug, draw)
            client = Client()
            user = User.objects.get(pk=key)
            client.force_login(user)
            session = client.session
            session[SECOND_FACTOR] = str(key)
            session.save()
            keys.append(str(session.session_key))
            cookies = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
            people.append(Person(user.email, places[slug], role != "student", f"{cookies}; csrftoken={CSRF}"))
    try:
        yield people
    finally:
        with tenancy.scope(tenancy.EVERY):
            Session.objects.filter(session_key__in=keys).delete()


def _place(course: uuid.UUID, slug: str, draw: random.Random) -> Place:
    """Return what people of a course know of it: its newest threads, and others by chance."""
    from forum.models import Thread

    rows = Thread.objects.filter(course=course, visibility="course").order_by("-number")
    newest = list(rows.values_list("number", "title")[:100])
    last = newest[0][0]
    chance = list(
        rows.filter(number__in=draw.sample(range(1, last + 1), min(last, 300))).values_list("number", "title")
    )
    found = newest + [row for row in chance if row not in newest]
    numbers = [number for number, _ in found]
    if slug == HOT:
        # Among the ten that everybody looks at.
        numbers.insert(5, HOT_THREAD)
    words = sorted({word.strip("?.,:;").lower() for _, title in found for word in title.split()})
    return Place(slug, numbers, [word for word in words if len(word) > 2 and word.isalpha()])


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def processor_seconds(pid: int) -> float:
    """Return what a process has used of the processor, its own code and the kernel's for it; 0 when it has ended."""
    return sum(_times(pid)[:2])


def family_seconds(pid: int) -> float:
    """Return what a process and its children have used, also those that have ended: gunicorn makes new workers now and then."""
    return sum(_times(pid)) + sum(processor_seconds(child) for child in children(pid))


def _times(pid: int) -> tuple[float, ...]:
    """Return the seconds of a process in its code and in the kernel, and the same for its children that have ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return tuple(int(field) / TICKS for field in fields[11:15])
    return (0.0,) * 4


def machine_seconds() -> tuple[float, float]:
    """Return for how many seconds all cores of this machine together were busy, and idle."""
    user, nice, system, idle, waiting, interrupts, soft, stolen = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + interrupts + soft + stolen) / TICKS, (idle + waiting) / TICKS


def postmaster(found: Any) -> int:
    """Return the process of the database server that the others are children of."""
    return int((found.data / "postmaster.pid").read_text().split()[0])


_KIB = re.compile(r"^(\w+): +(\d+) kB$", re.M)


def memory(pid: int) -> dict[str, float]:
    """Return the memory of a process in MB (of 10⁶ bytes).

    `rss` is all that is mapped and present; `pss` counts what several processes share by its part; `uss` is what would be
    free if this process ended; `files` is the part of `rss` that lies in files, which processes share.
    """
    found = {name: int(kib) * 1024 / 1e6 for name, kib in _KIB.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())}
    return {
        "rss": found["Rss"],
        "pss": found["Pss"],
        "uss": found["Private_Clean"] + found["Private_Dirty"],
        "files": found["Rss"] - found["Anonymous"],
    }
