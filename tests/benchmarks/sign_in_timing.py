"""Whether the time of an answer tells which addresses have an account.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.sign_in_timing [--tries 500]

Asks for a known and an unknown address by turns, in an order drawn with a fixed seed, and compares the two sets of times
by a rank test (Mann-Whitney U, two-sided). A p-value above 0.05 says that they can't be told apart by that many tries.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

from tests.benchmarks.scratch import scratch_database

SEED = 11


# Fewer than block an account, or an address of mail: past that the answers are others.
TRIES_PER_PERSON = 2


def measure(ask: Callable[[str, str], None], tries: int) -> tuple[list[float], list[float]]:
    """Return the times of known and of unknown addresses, in seconds. Each try comes from another machine."""
    known: list[float] = []
    unknown: list[float] = []
    turns = [True, False] * (tries // 2)
    random.Random(SEED).shuffle(turns)
    asked = {True: 0, False: 0}
    for number, is_known in enumerate([True, False] * 5 + turns):
        email = f"p{asked[is_known] // TRIES_PER_PERSON:04}@{'known' if is_known else 'other'}.example"
        asked[is_known] += 1
        machine = f"10.0.{number // 250}.{number % 250}"
        began = time.perf_counter()
        ask(email, machine)
        took = time.perf_counter() - began
        if number >= 10:  # the first ones load what is loaded once
            (known if is_known else unknown).append(took)
    return known, unknown


def run(tries: int) -> int:
    """Print the comparison; return how many of the ways tell known from unknown."""
    from django.core.cache import cache
    from django.test import Client
    from scipy.stats import mannwhitneyu

    from accounts import actions
    from accounts.models import Institution

    home = Institution.objects.create(name="Home", slug="home")
    for number in range((tries // 2 + 5) // TRIES_PER_PERSON + 1):
        actions.register_person(
            institution=home, email=f"p{number:04}@known.example", display_name="P", password="a long password"
        )
    client = Client()

    def sign_in(email: str, machine: str) -> None:
        cache.clear()
        form = {"email": email, "password": "a wrong password"}
        assert client.post("/sign-in/", form, REMOTE_ADDR=machine).status_code == 422

    def ask(path: str) -> Callable[[str, str], None]:
        def post(email: str, machine: str) -> None:
            cache.clear()
            assert client.post(path, {"email": email}, REMOTE_ADDR=machine).status_code == 302

        return post

    told = 0
    for name, way in (("sign-in", sign_in), ("reset", ask("/sign-in/reset/")), ("sign-up", ask("/sign-up/"))):
        known, unknown = measure(way, tries)
        p = float(mannwhitneyu(known, unknown, alternative="two-sided").pvalue)
        told += p <= 0.05
        medians = f"known {statistics.median(known) * 1000:.2f} ms, unknown {statistics.median(unknown) * 1000:.2f} ms"
        print(f"{name}: {medians} (medians of {len(known)} and {len(unknown)}), p = {p:.3f}", flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=500)
    options = parser.parse_args()
    with scratch_database():
        raise SystemExit(run(options.tries))


if __name__ == "__main__":
    main()
