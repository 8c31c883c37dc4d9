"""What a large material costs the web process: sent straight to the bucket, or through the site with the form.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.uploads [--megabytes 100] [--rounds 3]

The S3 endpoint, gunicorn (one worker process with threads, as `ops/gunicorn.conf.py` says) and the browser (an HTTP client that
does what the page's script does) are processes of their own. Prints for each way its seconds and the resident memory of the
worker process, in MB (10⁶ bytes): before, after, and the most there was meanwhile (Linux only).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from tests.benchmarks.scratch import ROOT, scratch_database

# Signs in, then sends a file: to where the ticket says, or with the form. Prints the status of the last answer.
BROWSER = """
import json, sys, httpx
asked = json.load(sys.stdin)
client = httpx.Client(base_url=asked["site"], follow_redirects=False, timeout=300)
def csrf(): return {"X-CSRFToken": client.cookies["csrftoken"]}
client.get("/sign-in/")
client.post("/sign-in/", data={"email": asked["email"], "password": asked["password"]}, headers=csrf())
form = "/c/cs-101/materials/add/"
client.get(form)
with open(asked["path"], "rb") as file:
    if asked["way"] == "form":
        fields = {"title": asked["name"], "kind": "reading"}
        answer = client.post(form, data=fields, files={"files": (asked["name"], file)}, headers=csrf())
        sys.exit(0 if answer.status_code == 302 else f"{answer.status_code} {answer.text[:2000]}")
    fields = {"purpose": "material", "course": "cs-101", "name": asked["name"], "size": asked["size"]}
    told = client.post("/uploads/", data=fields, headers=csrf()).json()
    sent = httpx.post(told["url"], data=told["fields"], files={"file": ("x", file)}, timeout=300)
    answer = client.post(told["confirm"], headers=csrf())
    sys.exit(0 if (sent.status_code, answer.status_code) == (201, 200) else f"{sent.text} {answer.text}")
"""


def memory(pid: int, field: str) -> float:
    """Return `VmRSS` (now) or `VmHWM` (the most there was since `forget_peak`), in MB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found, field
    return int(found[1]) * 1024 / 1e6


def forget_peak(pid: int) -> None:
    """Let `VmHWM` begin again at what is resident now. Source: proc(5), /proc/pid/clear_refs, 5."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextmanager
def endpoint() -> Iterator[dict[str, str]]:
    """Run the S3 endpoint beside; say what points a process at it."""
    command = [sys.executable, "-m", "tests.services.s3_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            told: dict[str, str] = json.loads(server.stdout.readline())
            del told["endpoint"]
            yield told
        finally:
            server.terminate()


@contextmanager
def site(bucket: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run gunicorn with one worker process; give its address and the worker's id."""
    import httpx

    from tests.processes import environment, free_port

    port = free_port()
    settings = environment(**bucket, PORT=str(port), HOST="127.0.0.1", WEB_CONCURRENCY="1", BASE_URL="")
    command = [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"]
    with subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    httpx.get(f"{address}/health")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            yield address, int(children[0])
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with endpoint() as bucket, scratch_database(), tempfile.TemporaryDirectory() as folder:
        from tests import factories

        world = factories.make_world()
        path, small = Path(folder) / "large.pdf", Path(folder) / "small.pdf"
        small.write_bytes(b"%PDF-1.4 small")
        with path.open("wb") as file:
            for _ in range(wanted.megabytes):
                file.write(os.urandom(1_000_000))
        with site(bucket) as (address, pid):

            def send(way: str, file: Path) -> None:
                asked = {
                    "site": address, "email": world.user("tim").email, "password": factories.PASSWORD, "way": way,
                    "path": str(file), "name": f"{uuid.uuid4()}.pdf", "size": file.stat().st_size,
                }  # fmt: skip
                subprocess.run([sys.executable, "-c", BROWSER], input=json.dumps(asked), text=True, check=True)

            for way in ("bucket", "form"):
                send(way, small)  # what loads once isn't counted
            for way, name in (("bucket", "browser → bucket"), ("form", "browser → site → bucket")):
                measure(f"{wanted.megabytes} MB, {name}", pid, wanted.rounds, partial(send, way, path))


def measure(name: str, pid: int, rounds: int, act: Callable[[], None]) -> None:
    rows = []
    for _ in range(rounds):
        forget_peak(pid)
        before, began = memory(pid, "VmRSS"), time.perf_counter()
        act()
        rows.append((time.perf_counter() - began, before, memory(pid, "VmRSS"), memory(pid, "VmHWM")))
    seconds, before, after, peak = (median(column) for column in zip(*rows, strict=True))
    print(
        f"{name:<34} {seconds:6.2f} s   RSS {before:6.1f} → {after:6.1f} MB   peak {peak:6.1f} (+{peak - before:.1f})"
    )


if __name__ == "__main__":
    main()
