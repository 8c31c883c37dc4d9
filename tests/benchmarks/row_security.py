"""What row-level security costs a page: with and without it, turn by turn, in one run.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.row_security [--threads 2000 --replies 50 --rounds 15]

With: requests take the web role, below the policies, and tell the connection for whom they work. Without: they work as
the owner, who is below none, and tell nothing.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.scratch import scratch_database

PAGES = {"thread list": "/c/cs-101/", "thread": "/c/cs-101/1/", "search": "/c/cs-101/search/?q=word7"}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=2000)
    arguments.add_argument("--replies", type=int, default=50)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--requests", type=int, default=20)
    wanted = arguments.parse_args()
    with scratch_database():
        fill(wanted.threads, wanted.replies)
        for name, url in PAGES.items():
            compare(name, url, wanted.rounds, wanted.requests)


def fill(threads: int, replies: int) -> None:
    from django.db import connection

    from tests import factories

    world = factories.make_world()
    sam, noor = world.member("sam"), world.member("noor")
    for place in range(threads):
        thread = factories.make_thread(sam, f"Question {place} about word{place % 97}", f"What is word{place % 89}?")
        if place == 0:
            for reply in range(replies):
                factories.make_post(noor, thread, f"Reply {reply} with word{reply}.")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@contextmanager
def wall(standing: bool) -> Iterator[None]:
    """Let requests work below the policies, or around them, on a connection that wasn't told anything before."""
    from django.db import connection

    from quokkaq.lib.database.base import DatabaseWrapper

    connection.close()
    tell = DatabaseWrapper._tell
    if not standing:
        DatabaseWrapper._tell = lambda self: None  # type: ignore[method-assign]  # the control
    try:
        yield
    finally:
        DatabaseWrapper._tell = tell  # type: ignore[method-assign]  # as it was


def compare(name: str, url: str, rounds: int, requests: int) -> None:
    from accounts.models import User
    from tests import factories

    client = factories.browser(User.objects.get(email="noor@example.edu"))
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(rounds * 2):
        standing = bool(turn % 2)
        with wall(standing):
            client.get(url)
            started = time.perf_counter()
            answers = [client.get(url).status_code for _ in range(requests)]
            times[standing].append((time.perf_counter() - started) / requests * 1000)
        assert answers == [200] * requests, f"{url} answered {set(answers)}"
    without, with_it = statistics.median(times[False]), statistics.median(times[True])
    print(f"{name:12} without {without:6.2f} ms, with {with_it:6.2f} ms: {with_it / without - 1:+.1%}")


if __name__ == "__main__":
    main()
