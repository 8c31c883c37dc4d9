"""Some seeded faults under load, and every promise checked; `python -m tests.crashes --faults 1000` does them all."""

import os
import signal
import subprocess
import sys

import pytest

from tests.crashes.faults import WEIGHTS, schedule
from tests.processes import ROOT

pytestmark = pytest.mark.drill
SEED, FAULTS = 8, 60
# No batch begins after so long: in all it takes four to five minutes on two idle cores. The second is for what hangs.
SECONDS, SECONDS_AT_MOST = 140, 420


def test_a_seed_makes_the_same_faults_again_and_the_first_of_more() -> None:
    assert schedule(7, 50) == schedule(7, 200)[:50]
    assert schedule(7, 50) != schedule(8, 50)
    assert {fault.kind for fault in schedule(7, 1000)} == set(WEIGHTS)


def test_nothing_is_lost_doubled_or_shown_whatever_dies() -> None:
    command = [sys.executable, "-m", "tests.crashes", "--seed", str(SEED), "--faults", str(FAULTS), "--batch", "20"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE", "PYTEST"))}
    process = subprocess.Popen(
        [*command, "--seconds", str(SECONDS), "--prove"], cwd=ROOT, env=kept, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=SECONDS_AT_MOST)
    except subprocess.TimeoutExpired:
        # Interrupted, it takes down what it has started.
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    print(said)
    assert process.returncode == 0, f"seed {SEED}:\n{said}"
