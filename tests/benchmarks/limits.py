"""What a limit costs a request: `QUOKKAQ_MODE=test python -m tests.benchmarks.limits` (REDIS_URL= for Redis).

Works in the database of the settings, on keys of its own, which it deletes.
"""

import statistics
import time

import django

django.setup()

from django.conf import settings  # noqa: E402 (Django first)

from quokkaq.lib.ratelimit import Limit, forget, hit  # noqa: E402 (Django first)

ROUNDS = 2000


def main() -> None:
    kinds = {"logged table": Limit("benchmark", 100, 1, durable=True)}
    kinds["Redis" if settings.REDIS_URL else "unlogged table"] = Limit("benchmark", 100, 1)
    for name, limit in kinds.items():
        times = []
        for round_ in range(ROUNDS):
            began = time.perf_counter()
            hit(limit, f"person-{round_ % 15}")
            times.append((time.perf_counter() - began) * 1000)
        for person in range(15):
            forget(limit, f"person-{person}")
        cuts = statistics.quantiles(times, n=100)
        print(f"{name}: p50 {cuts[49]:.3f} ms, p95 {cuts[94]:.3f} ms, p99 {cuts[98]:.3f} ms")


if __name__ == "__main__":
    main()
