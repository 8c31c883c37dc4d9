"""The load test that operators send (ops/load), rehearsed against gunicorn as shipped."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.load import acts
from tests.clusters import variables
from tests.processes import ROOT, environment
from tests.serving import Place, Web, command, web

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("load")]

PEOPLE = 6


def locust() -> str:
    found = ROOT / ".local" / "load" / "bin" / "locust"
    if found.exists():
        return str(found)
    if program := shutil.which("locust"):
        return program
    if os.environ.get("CI"):
        pytest.fail("Locust is not installed: run `make load-tools`")
    pytest.skip("Locust is not installed: run `make load-tools`")


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Path]]:
    """gunicorn on a database of its own, and the file that says who is in it."""
    people, where = tmp_path_factory.mktemp("load") / "people.csv", variables(place.cluster, "load")
    place.cluster.copy("load")
    command("make_load_people", "--people", str(PEOPLE), "--courses", "2", "--out", str(people), **where)
    with web(place.cluster, None, **where) as running:
        yield running, people


def send(server: tuple[Web, Path], *options: str) -> subprocess.CompletedProcess[str]:
    """Run Locust without its page; its numbers are on standard output."""
    running, people = server
    return subprocess.run(
        [
            locust(), "-f", "ops/load/locustfile.py", "--headless", "--only-summary", "--json",
            "--host", f"http://127.0.0.1:{running.port}", "--people", str(people), "--users", str(PEOPLE),
            "--spawn-rate", str(PEOPLE), "--run-time", "100s", "--stop-timeout", "10s", "--think", "0.05", *options,
        ],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip


def test_every_kind_of_act_is_done_and_none_fails(server: tuple[Web, Path]) -> None:
    done = send(server, "--allow", "127.0.0.1", "--rehearse")
    assert done.returncode == 0, done.stderr[-3000:]
    counts = {row["name"]: (row["num_requests"], row["num_failures"]) for row in json.loads(done.stdout)}
    assert {*acts.mix(), "sign_in page"} <= set(counts)
    assert all(failures == 0 for _, failures in counts.values()), counts


def test_a_host_that_was_not_named_twice_is_left_alone(server: tuple[Web, Path]) -> None:
    done = send(server, "--allow", "localhost")
    assert done.returncode == 2
    assert "--allow 127.0.0.1" in done.stderr
    assert not done.stdout.strip()
