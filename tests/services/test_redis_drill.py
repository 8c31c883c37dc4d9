"""Redis killed, and stopped, while people read and write: nobody is signed out, and no page fails."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.processes import free_port, wait_for
from tests.recovery import measured
from tests.serving import Browser, Load, Place, rows, web

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("connections")]


class Redis:
    """A Redis server that keeps what it holds when it is killed, as one with a disk does."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder, self.port = program, folder, free_port()
        self.client = redis.Redis(port=self.port, socket_timeout=1)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
                "--appendonly", "yes", "--appendfsync", "always",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._answers, what="Redis")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(redis_server: str, tmp_path: Path) -> Iterator[Redis]:
    made = Redis(redis_server, tmp_path)
    yield made
    made.kill()


def test_redis_killed_and_stopped_under_load_signs_nobody_out(place: Place, server: Redis) -> None:
    with web(place.cluster, REDIS_URL=f"redis://127.0.0.1:{server.port}/0") as site:
        load = Load(lambda: site.port)
        # A page with somebody's own name: for who is signed out there is none.
        for name in ("ada", "tim", "noor", "sam"):
            load.reader(
                place.cookies[name], "/c/cs-101/", "/c/cs-101/1/", "/me/", holds="</html>", lacks="Sign in</h1>"
            )
        load.writer(place.cookies["sam"], place.threads["home"])
        leaving = Browser(lambda: site.port, place.cookies["leaving"])
        assert leaving.ask("GET", "/courses/")[0] == 200
        with load.running():
            time.sleep(2)
            assert server.client.keys("*session*") or server.client.dbsize()
            server.kill()
            killed = time.monotonic()
            time.sleep(3)
            # Signed out while Redis is away: the session that Redis still holds must be worth nothing later.
            signed_out = leaving.ask("POST", "/sign-out/", {})
            server.start()
            time.sleep(3)
            server.process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            time.sleep(4)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(3)
        again = Browser(lambda: site.port, place.cookies["leaving"]).ask("GET", "/courses/")[0]
    statuses = load.counts()
    signed_outs = [event for event in load.events if event.status == 302 and event.method == "GET"]
    measured(
        "redis_away", note="kill -9 for 3 s, then SIGSTOP for 4 s, under load", sign_outs=len(signed_outs),
        errors=len(load.failures()), requests=len(load.events),
        slowest_seconds=max(event.seconds for event in load.events if event.at >= killed),
        slowest_while_hung_seconds=max(event.seconds for event in load.events if event.at >= stopped - 1),
    )  # fmt: skip
    assert signed_out[0] == 302
    assert again == 302, "a session that had ended came back from the cache"
    assert set(statuses) <= {200, 302}, statuses
    assert not signed_outs
    assert not load.wrong, load.wrong[:3]
    kept = set(rows(place.cluster, "SELECT body FROM forum_post"))
    assert load.posted
    assert load.posted <= kept
