"""Streams over gunicorn as shipped, two workers of four threads: whoever waits for an answer keeps nobody from a page."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse

from ai_answers import actions
from ai_answers.models import Message, MessageState
from quokkaq.lib import events
from tests import factories
from tests.processes import ROOT, environment, free_port, wait_for

pytestmark = pytest.mark.drill
WORKERS, THREADS, STREAMS = 2, 4, 8


@pytest.fixture
def web(transactional_db: None) -> Iterator[tuple[int, str, Message]]:
    """A web server, the cookie of somebody signed in, and an answer of theirs that is being written."""
    world = factories.make_world()
    sam = world.member("sam")
    talk = actions.start_conversation(by=sam, text="When is it evaluated?", form_key=uuid.uuid4())
    message = Message.objects.get(conversation=talk, speaker="machine")
    Message.objects.filter(pk=message.pk).update(state=MessageState.WRITING)
    client = Client()
    client.force_login(sam.user)
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    port = free_port()
    variables = environment(
        QUOKKAQ_MODE="demo", PORT=str(port), WEB_WORKERS=str(WORKERS), WEB_THREADS=str(THREADS),
        # Fewer than there are streams in a process: one that kept its connection would be felt at once.
        DATABASE_POOL_SIZE="2", DATABASE_POOL_WAIT_SECONDS="1", SECRET_KEY=settings.SECRET_KEY, LOG_LEVEL="ERROR",
        RATE_READS_PER_MINUTE="0", RATE_BACKGROUND_PER_MINUTE="0",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"], cwd=ROOT, env=variables
    )
    wait_for(lambda: up(port), what="the web server")
    yield port, cookie, message
    process.terminate()
    process.wait(40)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


def up(port: int) -> bool:
    try:
        return ask(port, "/health").status == 200
    except OSError:
        return False


def ask(port: int, path: str, cookie: str = "") -> HTTPResponse:
    client = HTTPConnection("127.0.0.1", port, timeout=40)
    client.request("GET", path, headers={"Cookie": cookie, "Connection": "close"})
    return client.getresponse()


def slowest_of(port: int, cookie: str, count: int = 40) -> float:
    """Return the time in seconds of the third slowest of `count` pages; every one of them is there."""
    times = []
    for _ in range(count):
        started = time.monotonic()
        response = ask(port, "/c/cs-101/", cookie)
        assert response.status == 200
        response.read()
        times.append(time.monotonic() - started)
    return sorted(times)[-3]


def test_eight_streams_starve_nobody(web: tuple[int, str, Message]) -> None:
    port, cookie, message = web
    address = reverse("ai_answers:message-stream", args=["cs-101", message.pk])
    slowest_of(port, cookie)  # warm
    before = slowest_of(port, cookie)
    opened = [ask(port, address, cookie) for _ in range(STREAMS)]
    statuses = [response.status for response in opened]
    held = [response for response in opened if response.status == 200]
    assert set(statuses) <= {200, 204}
    assert 1 <= len(held) <= WORKERS * events.AT_ONCE
    for response in held:
        assert b"retry" in response.readline()
    during = slowest_of(port, cookie)
    print(
        f"{len(held)} streams held, third slowest page of 40: {before * 1000:.0f} ms before, {during * 1000:.0f} ms during"
    )
    assert during < max(5 * before, 0.5)
    # What is written meanwhile comes through, on every one of them.
    Message.objects.filter(pk=message.pk).update(state=MessageState.ABSTAINED)
    for response in held:
        rest = response.read()
        assert b"seem to say" in rest
        assert b"event: done" in rest
    # And their places are free again.
    wait_for(lambda: ask(port, address, cookie).status == 200, what="a place for a stream")


def test_a_reader_who_leaves_gives_the_place_back(web: tuple[int, str, Message]) -> None:
    port, cookie, message = web
    address = reverse("ai_answers:message-stream", args=["cs-101", message.pk])
    for _ in range(4):
        opened = [ask(port, address, cookie) for _ in range(STREAMS)]
        assert any(response.status == 200 for response in opened)
        for response in opened:
            response.close()
        # Noticed at the next heartbeat.
        time.sleep(events.HEARTBEAT_SECONDS + 2)
