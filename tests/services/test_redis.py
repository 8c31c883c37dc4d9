"""With a real Redis: cache and sessions use it, and pages survive losing it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.test import Client

from quokkaq.lib.cache import ForgivingRedisCache
from quokkaq.lib.health import watching
from quokkaq.lib.sessions.cached_db import BELIEVED_SECONDS
from tests.factories import World
from tests.processes import free_port, wait_for


@pytest.fixture
def server(redis_server: str, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    process = subprocess.Popen(
        [redis_server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(port=port)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    wait_for(answers, what="Redis")
    yield f"redis://127.0.0.1:{port}/0", process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


OPTIONS = {"OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}}


def test_the_cache_works_and_forgives(server: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = server
    cache = ForgivingRedisCache(url, OPTIONS)
    cache.set("k", 1)
    assert cache.incr("k") == 2
    assert cache.add("k", 5) is False
    assert cache.has_key("k")
    assert cache.touch("k")
    assert cache.set_many({"a": 1, "b": 2}) == []
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert cache.delete("a")
    os.kill(process.pid, signal.SIGSTOP)  # hung: accepts, never answers
    assert cache.get("k", "miss") == "miss"


def test_sessions_outlive_redis(server: tuple[str, subprocess.Popen[bytes]], world: World, settings: object) -> None:
    url, process = server
    settings.REDIS_URL = url  # type: ignore[attr-defined]
    settings.CACHES = {"default": {"BACKEND": "quokkaq.lib.cache.ForgivingRedisCache", "LOCATION": url, **OPTIONS}}  # type: ignore[attr-defined]  # set at run time, or typed as its base
    settings.SESSION_ENGINE = "quokkaq.lib.sessions.cached_db"  # type: ignore[attr-defined]  # set at run time, or typed as its base
    client = Client()
    client.force_login(world.user("sam"))
    assert client.get("/courses/").status_code == 200
    assert redis.Redis.from_url(url).keys("*")
    assert client.get("/api/v1/ready").status_code == 200
    process.kill()
    process.wait()
    assert client.get("/courses/").status_code == 200
    watching.forget()
    assert client.get("/api/v1/ready").json()["checks"]["cache"] == "down"


def test_what_could_not_be_deleted_is_gone_before_anything_else_is_asked(
    server: tuple[str, subprocess.Popen[bytes]],
) -> None:
    url, process = server
    cache = ForgivingRedisCache(url, OPTIONS)
    cache.set_many({"deleted": "old", "written": "old", "other": "old"})
    os.kill(process.pid, signal.SIGSTOP)
    cache.delete("deleted")
    cache.set("written", "new")
    os.kill(process.pid, signal.SIGCONT)
    wait_for(lambda: cache.get("other") == "old", what="Redis")
    redis_again = redis.Redis.from_url(url)
    assert [redis_again.exists(cache.make_key(name)) for name in ("deleted", "written")] == [0, 0]


def test_a_cached_session_is_believed_for_half_a_minute_only(
    server: tuple[str, subprocess.Popen[bytes]], world: World, settings: object
) -> None:
    url, _ = server
    settings.CACHES = {"default": {"BACKEND": "quokkaq.lib.cache.ForgivingRedisCache", "LOCATION": url, **OPTIONS}}  # type: ignore[attr-defined]  # set at run time, or typed as its base
    settings.SESSION_ENGINE = "quokkaq.lib.sessions.cached_db"  # type: ignore[attr-defined]  # set at run time, or typed as its base
    client = Client()
    client.force_login(world.user("sam"))
    assert client.get("/courses/").status_code == 200
    found = redis.Redis.from_url(url)
    (key,) = found.keys("*cached_db*")
    assert 0 < found.ttl(key) <= BELIEVED_SECONDS
