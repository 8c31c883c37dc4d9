"""One process works off all lanes side by side, so that none of them waits for another (ADR 33)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from procrastinate.signals import on_stop

from quokkaq.lib.jobs import LANES, OPERATIONS, RESCUE

# Threads beside those of the jobs, for what procrastinate itself does in one.
_SPARE = 2


def lanes_of(queues: Collection[str]) -> dict[str, list[str]]:
    """Return which of some queues each lane serves; what belongs to none is `bulk`, but for the keeper's `operations`."""
    lane_of = {queue: lane for lane, found in LANES.items() for queue in found}
    lanes: dict[str, list[str]] = {lane: [RESCUE] for lane in LANES}
    for queue in sorted({*queues, *lane_of} - {RESCUE, OPERATIONS}):
        lanes[lane_of.get(queue, "bulk")].append(queue)
    return lanes


async def run_side_by_side(
    run: Callable[..., Awaitable[None]], workers: Sequence[dict[str, Any]], *, slots: int, wait: bool = True
) -> None:
    """Run several workers in this process until it is told to stop; when one of them ends, the others do, too.

    Told to stop (SIGTERM, SIGINT), they take no more jobs and finish those they have.

    Args:
        run: `App.run_worker_async`.
        workers: what to call it with, once for each worker.
        slots: how many jobs all of them may run at once.
        wait: False: each ends when its queues are empty.
    """
    # The default has as many threads as cores plus four, whichever lane comes first.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(slots + _SPARE, thread_name_prefix="job"))
    runs = [asyncio.ensure_future(run(**worker, wait=wait, install_signal_handlers=False)) for worker in workers]
    stopping = False

    def stop() -> None:
        # Once: cancelled again, a worker would leave its jobs behind.
        nonlocal stopping
        if not stopping:
            stopping = True
            for each in runs:
                each.cancel()

    with on_stop(stop):
        await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED if wait else asyncio.ALL_COMPLETED)
        stop()
        ended = await asyncio.gather(*runs, return_exceptions=True)
    for one in ended:
        if isinstance(one, Exception):
            raise one
