"""The database's primary is killed, cut off or changed, under writes: nothing that was acknowledged is lost, nobody acknowledges twice."""

import os
import statistics
import time

import pytest

from tests.conftest import needed
from tests.processes import wait_for
from tests.recovery import measured
from tests.services.failover import Pair, Writer, entries, lost, pair

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("failover")]

ROUNDS = int(os.environ.get("FAILOVER_ROUNDS", "6"))


def failover(drill: Pair, writers: list[Writer]) -> float:
    """Kill the primary; return seconds until the next write is acknowledged. The old primary is a synchronous standby then."""
    old = drill.primary
    killed = time.monotonic()
    old.kill()
    dead = time.monotonic()
    wait_for(lambda: first(writers, dead) < float("inf"), seconds=30, what="a write")
    took = first(writers, dead) - killed
    wait_for(lambda: drill.primary is not old, what="the state to say so")
    drill.script("rejoin.sh", old.name, on=old.name)
    drill.wait_for_sync()
    assert old.ask("SELECT pg_is_in_recovery()") is True
    return took


def first(writers: list[Writer], moment: float) -> float:
    return min(writer.first_after(moment) for writer in writers)


def test_killed_primaries_lose_nothing_that_was_acknowledged() -> None:
    needed("pgbouncer")
    with pair() as drill:
        writers = [Writer(f"w{number}", drill.pooled).start() for number in range(3)]
        wait_for(lambda: all(len(writer.acknowledged) > 50 for writer in writers), what="writes")
        times = [failover(drill, writers) for _ in range(ROUNDS)]
        for writer in writers:
            writer.stop()
        there = entries(drill.primary)
        missing = lost(writers, there)
        acknowledged = sum(len(writer.acknowledged) for writer in writers)
        wait_for(lambda: entries(drill.standby) == there, what="the standby to have the same")
        measured(
            "database_failure", rounds=ROUNDS, median_seconds=statistics.median(times), longest_seconds=max(times),
            acknowledged_rows=acknowledged, lost_rows=len(missing),
            note="kill -9 of the primary under writes through PgBouncer; until the first write is acknowledged",
        )  # fmt: skip
    assert missing == set()
    assert max(times) < 10
