"""How well `similar_threads` finds duplicates, on the Ask Ubuntu titles of ../shared/data, and how fast.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.similar_threads [--queries 1499]

Prints recall at 1, 5 and 10, MRR and MAP as BENCH.md counts them (any member of the query's duplicate cluster is
right; the query itself is left out), then what a warning at each likeness would have been worth: on the queries in even
places, where the thresholds are chosen, and on those in odd ones, where they are checked.
"""

import argparse
import json
import time
import uuid

from tests.benchmarks.scratch import ROOT, percentile, scratch_database

DATA = ROOT.parent / "shared" / "data" / "duplicates"
RECALL = (1, 5, 10)
DEPTH = 100
THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.95)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--queries", type=int, default=1499)
    wanted = arguments.parse_args().queries
    if not DATA.exists():
        print(f"Nothing measured: there is no {DATA.name} data beside the project.")
        return
    titles = (DATA / "askubuntu_titles.txt").read_text(encoding="utf-8").splitlines()
    queries = [json.loads(line) for line in (DATA / "askubuntu_dev.jsonl").read_text(encoding="utf-8").splitlines()]
    with scratch_database():
        measure(titles, queries[:wanted])


def measure(titles: list[str], queries: list[dict[str, list[int]]]) -> None:
    from django.db import connection

    from accounts.access import Member
    from accounts.models import Role
    from forum import actions
    from forum.models import Thread
    from forum.search import meaning, similar
    from quokkaq.lib.uuid7 import uuid7
    from tests import factories

    world = factories.make_world()
    member = Member(world.user("sam"), world.course, Role.STUDENT)
    rows = [
        Thread(
            id=uuid7(), institution=world.institution, course=world.course, number=number + 1, title=title.ljust(5),
            body="-", body_html="", author=world.user("noor"), submission_key=uuid.uuid4(),
        )
        for number, title in enumerate(titles)
    ]  # fmt: skip
    Thread.objects.bulk_create(rows, batch_size=2000)
    start = time.perf_counter()
    while actions.index_threads():
        pass
    print(f"{len(titles) / (time.perf_counter() - start):.0f} threads embedded per second")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    similar.TIMEOUT_MS = 10_000
    # How many are compared by meaning; more than the page shows, as MAP counts all of a cluster.
    meaning.NEAREST = DEPTH + 1
    similar.similar_threads(member, title="warm up the statistics")
    hits = dict.fromkeys(RECALL, 0)
    reciprocal = precision = 0.0
    times: list[float] = []
    flags: list[tuple[int, float, bool]] = []
    for place, query in enumerate(queries):
        own, cluster = int(query["query"]), set(query["cluster"])  # type: ignore[call-overload]
        start = time.perf_counter()
        found = similar.similar_threads(member, title=titles[own], limit=DEPTH + 1)
        times.append(time.perf_counter() - start)
        ranked = [item for item in found if item.thread.number - 1 != own][:DEPTH]
        right = [position for position, item in enumerate(ranked, 1) if item.thread.number - 1 in cluster]
        for depth in RECALL:
            hits[depth] += bool(right and right[0] <= depth)
        reciprocal += 1 / right[0] if right else 0
        precision += sum(n / position for n, position in enumerate(right, 1)) / max(1, len(cluster))
        if ranked and ranked[0].words >= similar.SURE_WORDS:
            flags.append((place % 2, ranked[0].sureness, bool(right and right[0] == 1)))
    count = len(queries)
    print(f"{count} queries, {len(titles)} threads")
    print("  ".join(f"R@{depth} {100 * hits[depth] / count:.1f}" for depth in RECALL), end="  ")
    print(f"MRR {100 * reciprocal / count:.1f}  MAP {100 * precision / count:.1f}")
    print(
        f"one call (of {DEPTH + 1} rows): p50 {1000 * percentile(times, 0.5):.0f} ms, p95 {1000 * percentile(times, 0.95):.0f} ms"
    )
    times = []
    for query in queries[:300]:
        start = time.perf_counter()
        similar.similar_threads(member, title=titles[int(query["query"])])  # type: ignore[call-overload]
        times.append(time.perf_counter() - start)
    print(
        f"one call (of 5 rows): p50 {1000 * percentile(times, 0.5):.0f} ms, p95 {1000 * percentile(times, 0.95):.0f} ms"
    )
    for half, name in enumerate(("even: to choose by", "odd: to check on")):
        print(f"{name}\nlikeness  flagged  right  of all duplicates")
        for likeness in THRESHOLDS:
            flagged = [right for which, share, right in flags if which == half and share >= likeness]
            if flagged:
                print(
                    f"  {likeness:.2f}   {200 * len(flagged) / count:5.1f} %"
                    f"  {100 * sum(flagged) / len(flagged):5.1f} %  {200 * sum(flagged) / count:5.1f} %"
                )


if __name__ == "__main__":
    main()
