"""What traces cost a thread page: on and off, turn by turn, in one run; the receiver is a process of its own.

QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.tracing [--replies 50 --rounds 20 --requests 15]
"""

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

from tests.benchmarks.scratch import scratch_database
from tests.services.otlp_receiver import receiving


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--replies", type=int, default=50)
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--requests", type=int, default=15)
    wanted = arguments.parse_args()
    near, far = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=receive, args=[far], daemon=True)
    process.start()
    with scratch_database():
        compare(near.recv(), wanted.replies, wanted.rounds, wanted.requests)
    near.send("how many?")
    print(f"spans received: {near.recv()}")
    process.terminate()


def receive(asked: Connection) -> None:
    with receiving() as receiver:
        asked.send(receiver.url)
        asked.recv()
        asked.send(len(receiver.spans))


def compare(url: str, replies: int, rounds: int, requests: int) -> None:
    from django.conf import settings
    from django.test import override_settings

    from quokkaq.lib import tracing
    from quokkaq.lib.database import watching
    from quokkaq.lib.tracing import spans
    from tests import factories

    world = factories.make_world()
    sam = world.member("sam")
    thread = factories.make_thread(sam, "Why does this happen?", "It does.")
    for number in range(replies):
        factories.make_post(sam, thread, f"Reply {number}.")
    page = f"/c/cs-101/{thread.number}/"
    where = settings.MIDDLEWARE.index("quokkaq.lib.request_id.RequestIdMiddleware") + 1
    traced = [*settings.MIDDLEWARE]
    traced.insert(where, "quokkaq.lib.tracing.spans.TracingMiddleware")

    clients: dict[str, Any] = {}
    with override_settings(TRACES_ENDPOINT=url):
        tracing.switch_on()
        for name, middleware in (("off", settings.MIDDLEWARE), ("on", traced)):
            with override_settings(MIDDLEWARE=middleware):
                clients[name] = factories.browser(world.user("noor"))
                assert clients[name].get(page).status_code == 200
        taken: dict[str, list[float]] = {"off": [], "on": []}
        # Of the processor, with the thread that sends: tells more than the clock on a busy machine.
        worked: dict[str, list[float]] = {"off": [], "on": []}
        for round_ in range(rounds):
            for name in ("off", "on") if round_ % 2 else ("on", "off"):
                watching.observers[:] = [spans.on_statement] if name == "on" else []
                tracing._spans = spans if name == "on" else None
                for _ in range(requests):
                    started, began = time.perf_counter(), time.process_time()
                    clients[name].get(page)
                    taken[name].append((time.perf_counter() - started) * 1000)
                    worked[name].append((time.process_time() - began) * 1000)
        spans.flush()
    print(f"thread page with {replies} replies, median of {rounds * requests} each:")
    for what, measured in (("by the clock", taken), ("of the processor", worked)):
        off, on = statistics.median(measured["off"]), statistics.median(measured["on"])
        print(f"  {what}: off {off:.2f} ms, on {on:.2f} ms: {on / off - 1:+.1%}")


if __name__ == "__main__":
    main()
