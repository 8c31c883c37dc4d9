"""What memory each web process takes under a mixed load, and whether it grows.

    python -m tests.benchmarks.memory [--threads 1000000 --minutes 10 --rate 25 --json memory.json]

gunicorn as shipped on the generated forum; the mix of ops/load/capacity.toml at a rate that leaves the machine some room.
Read every 5 seconds: RSS (what is present), PSS (what is shared counts by its part), USS (what ends with the process). The
first two minutes are left out of median and growth: each kind of page has then been made at least once. Targets: RSS below
150 MB, and flat, which here says less than 0.5 MB a minute. `files` is the part of RSS that lies in files, which all
processes share: libraries, and the weights of the embedded model.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.forum_data import Sizes, generated
from tests.benchmarks.mixed import Taken, offer
from tests.benchmarks.served import Server, memory, serving, signed_in

EVERY_SECONDS = 5.0
WARM_SECONDS = 120.0
MOST_MB, MOST_GROWTH = 150.0, 0.5
MEASURES = ("rss", "pss", "uss", "files")


def watch(server: Server, ended: threading.Event) -> dict[int, list[tuple[float, dict[str, float]]]]:
    """Return each worker's memory, in MB, with the second it was read."""
    begin = time.monotonic()
    samples: dict[int, list[tuple[float, dict[str, float]]]] = {}
    while not ended.is_set():
        for pid in server.workers():
            samples.setdefault(pid, []).append((time.monotonic() - begin, memory(pid)))
        ended.wait(EVERY_SECONDS)
    return samples


def growth(samples: list[tuple[float, float]]) -> float:
    """Return by how much a value grows in a minute: the median of the slopes of all pairs of (seconds, value) (Theil-Sen).

    A sign-in takes 100 MB for a moment: what is seen of that now and then doesn't sway a median.
    """
    slopes = [(to - was) / (later - at) for (at, was), (later, to) in itertools.combinations(samples, 2) if later > at]
    return statistics.median(slopes) * 60 if slopes else 0.0


def report(samples: dict[int, list[tuple[float, dict[str, float]]]], warm: float) -> list[dict[str, Any]]:
    """Print a row for each process and each measure; return them."""
    rows = []
    print(f"  {'':<10}{'MB':<6}{'start':>10}{'end':>10}{'most':>10}{'median':>10}{'a minute':>10}")
    for pid, read in samples.items():
        row: dict[str, Any] = {
            "pid": pid,
            "samples": [[round(at), *(round(m[x], 1) for x in MEASURES)] for at, m in read],
        }
        for measure in MEASURES:
            values = [(at, found[measure]) for at, found in read]
            after = [value for value in values if value[0] >= warm] or values[-1:]
            row[measure] = {
                "start": values[0][1],
                "end": values[-1][1],
                "most": max(value for _, value in values),
                "median": statistics.median(value for _, value in after),
                "a_minute": growth(after),
            }
            print(f"  {pid:<10}{measure:<6}" + "".join(f"{figure:10.1f}" for figure in row[measure].values()))
        row["small_and_flat"] = row["rss"]["median"] < MOST_MB and row["rss"]["a_minute"] < MOST_GROWTH
        rows.append(row)
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=1_000_000)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--rate", type=float, default=25)
    arguments.add_argument("--people", type=int, default=200)
    arguments.add_argument("--json", type=Path)
    wanted = arguments.parse_args()
    sizes = Sizes(wanted.threads)
    with generated(sizes) as found, signed_in(wanted.people) as people, serving(found, sizes) as server:
        ended, kept = threading.Event(), dict[int, list[tuple[float, dict[str, float]]]]()
        watcher = threading.Thread(target=lambda: kept.update(watch(server, ended)))
        watcher.start()
        taken: Taken = asyncio.run(offer(server.port, people, wanted.rate, wanted.minutes * 60))
        ended.set()
        watcher.join()
    print(
        f"{wanted.minutes:g} minutes at {wanted.rate:g} requests a second: {taken.served} right, {taken.problems or 'none wrong'}"
    )
    rows = report(kept, min(WARM_SECONDS, wanted.minutes * 60 / 3))
    print("  below 150 MB and flat" if all(row["small_and_flat"] for row in rows) else "  NOT below 150 MB and flat")
    if wanted.json:
        wanted.json.write_text(json.dumps({"served": taken.served, "problems": taken.problems, "workers": rows}) + "\n")


if __name__ == "__main__":
    main()
