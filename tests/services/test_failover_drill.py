"""The database's primary is killed, cut off or changed, under writes: nothing that was acknowledged is lost, nobody acknowledges twice."""

import os
import statistics
import time
from collections.abc import Iterator

import pytest

from tests.conftest import needed
from tests.processes import wait_for
from tests.recovery import measured
from tests.services.failover import Pair, Writer, entries, lost, pair
from tests.services.network import Network, network

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
        writers = [drill.write(f"w{number}") for number in range(3)]
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


# The network is cut


@pytest.fixture
def wires() -> Iterator[Network]:
    needed("ip")
    needed("iptables")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with network("alpha", "beta", "watch", "clients") as made:
        yield made


def test_a_cut_network_never_has_two_that_acknowledge(wires: Network) -> None:
    needed("pgbouncer")
    hosts = wires.addresses
    with pair(
        "debian", hosts=(hosts["alpha"], hosts["beta"]), namespaces=(wires.namespace("alpha"), wires.namespace("beta")),
        watcher=wires.namespace("watch"), pooler_host=hosts["watch"], pooler_port=6432,
        # Nobody can be stopped through a network that is cut.
        settings={"FENCE_COMMAND": "false", "STANDBY_LOST": "wait"},
    ) as drill:  # fmt: skip
        alpha, beta = drill.nodes["alpha"], drill.nodes["beta"]
        # As QuokkaQ has it: a time limit on statements must not end the wait for the standby with an acknowledgement.
        to_alpha, to_beta = (
            drill.write(f"to_{server.name}", server.url("ledger"), wires.namespace("clients"), "-c statement_timeout=1000")
            for server in (alpha, beta)
        )
        pooled = drill.write("pooled", namespace=wires.namespace("clients"))
        writers = [to_alpha, to_beta, pooled]
        wait_for(lambda: len(to_alpha.acknowledged) > 20 < len(pooled.acknowledged), what="writes")

        # Primary and standby don't see each other, everybody else sees both; by the rule, writes wait.
        wires.cut("alpha", "beta")
        time.sleep(1)
        quiet = time.monotonic()
        time.sleep(7)
        assert first(writers, quiet) == float("inf"), "a commit was acknowledged that is in one place only"
        assert drill.primary is alpha
        wires.heal()
        wait_for(lambda: first(writers, quiet) < float("inf"), what="writes to go on")
        drill.wait_for_sync()

        # The standby is cut off; by the other rule, the primary goes on alone, and nobody may be promoted from then on.
        drill.watch_by(STANDBY_LOST="continue")
        cut = time.monotonic()
        wires.cut("beta", "alpha", "watch")
        wait_for(lambda: to_alpha.first_after(cut + 2) < float("inf"), what="writes to go on alone")
        alone = min(first([to_alpha], cut + 2), first([pooled], cut + 2)) - cut
        assert drill.state["mode"] == "alone"
        # Now the primary is cut off from where it is watched, and the standby is back there: it lacks what was written meanwhile.
        wires.heal("beta", "watch")
        wires.cut("alpha", "watch")
        wait_for(lambda: "lose data" in drill.said(), what="a promotion to be refused")
        time.sleep(3)
        assert beta.ask("SELECT pg_is_in_recovery()") is True
        moment = time.monotonic()
        wait_for(lambda: to_alpha.first_after(moment) < float("inf"), what="the primary to go on for who reaches it")
        assert drill.script("promote.sh", "--data-loss-accepted", check=False).returncode == 1, "not fenced"
        wires.heal()
        drill.wait_for_sync()
        assert not to_beta.acknowledged

        # The primary is cut off from its standby and from where it is watched; clients still reach it.
        cut = time.monotonic()
        wires.cut("alpha", "beta", "watch")
        wait_for(lambda: first([to_beta, pooled], cut) < float("inf"), seconds=30, what="the other side to take over")
        took = first([to_beta, pooled], cut) - cut
        wait_for(lambda: drill.primary is beta, what="the state to say so")
        time.sleep(3)
        wires.heal()
        time.sleep(3)
        assert to_alpha.first_after(cut + 1) == float("inf")
        assert _last(to_alpha) < first([to_beta], 0), "both acknowledged"
        assert alpha.ask("SELECT pg_is_in_recovery()") is False, "the former primary still believes it is one"
        said = drill.script("rejoin.sh", "alpha", on="alpha").stdout
        assert "rewinding" in said, "nothing was to be taken back"
        drill.wait_for_sync()

        # The primary hangs, is replaced, and wakes up.
        for writer in (to_alpha, to_beta):
            writer.stop()
        past = [to_alpha, to_beta]
        to_alpha, to_beta = (drill.write(f"again_{writer.name}", writer.url, writer.namespace) for writer in past)
        writers = [to_alpha, to_beta, pooled]
        wait_for(lambda: len(to_beta.acknowledged) > 20, what="writes")
        frozen = time.monotonic()
        beta.freeze()
        wait_for(lambda: first([to_alpha, pooled], frozen + 1) < float("inf"), seconds=30, what="the other to take over")
        hung = first([to_alpha, pooled], frozen + 1) - frozen
        beta.thaw()
        time.sleep(3)
        assert _last(to_beta) < first([to_alpha], 0), "both acknowledged"
        drill.script("rejoin.sh", "beta", on="beta")
        drill.wait_for_sync()

        for writer in writers:
            writer.stop()
        there = entries(drill.primary)
        missing = lost(drill.writers, there)
        wait_for(lambda: entries(drill.standby) == there, what="both to hold the same")
        measured(
            "partition", shapes=4, acknowledged_by_both=0, lost_rows=len(missing), first_write_seconds=took,
            first_write_hung_seconds=hung, alone_seconds=alone,
            note="primary and standby cut off from each other, from the pooler, and hung; writers attached to each side",
        )  # fmt: skip
    assert missing == set()
    assert max(took, hung) < 10


def _last(writer: Writer) -> float:
    """When it was told last that a row is saved."""
    return max(ended for _, ended in writer.acknowledged.values())


# A planned change


def test_a_planned_switch_is_a_wait_and_no_error() -> None:
    needed("pgbouncer")
    with pair("debian") as drill:
        writers = [drill.write(f"w{number}") for number in range(3)]
        wait_for(lambda: all(len(writer.acknowledged) > 50 for writer in writers), what="writes")
        for _ in range(2):
            before = drill.primary
            drill.script("switch.sh")
            assert drill.primary is not before
            drill.wait_for_sync()
        moment = time.monotonic()
        wait_for(lambda: first(writers, moment) < float("inf"), what="writes after it")
        for writer in writers:
            writer.stop()
        errors = [error for writer in writers for error in writer.errors]
        there = entries(drill.primary)
        missing = lost(writers, there)
        measured(
            "planned_switch", switches=2, errors=len(errors), lost_rows=len(missing),
            longest_wait_seconds=max(writer.longest for writer in writers),
            acknowledged_rows=sum(len(writer.acknowledged) for writer in writers),
        )  # fmt: skip
        assert drill.script("rejoin.sh", drill.primary.name, check=False, on=drill.primary.name).returncode == 1
    assert (errors, missing) == ([], set())
