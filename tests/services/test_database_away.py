"""gunicorn whose database goes away: pages say so whole, with their styles, at once, and come back by themselves."""

import contextlib
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from tests import factories
from tests.processes import ROOT, environment, free_port, wait_for


class Cable:
    """What connects a server to the database of the tests; it can be cut and mended."""

    def __init__(self) -> None:
        address = connection.settings_dict
        self._socket = f"{address['HOST']}/.s.PGSQL.{address['PORT'] or 5432}"
        self.port = free_port()
        self._ends: list[socket.socket] = []
        self.mend()

    @property
    def url(self) -> str:
        address = connection.settings_dict
        return f"postgres://{quote(address['USER'])}@127.0.0.1:{self.port}/{address['NAME']}"

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut(self) -> None:
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._socket)
                self._ends += [near, far]
                threading.Thread(target=_relay, args=[near, far], daemon=True).start()


def _relay(near: socket.socket, far: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as waiting:
        waiting.register(near, selectors.EVENT_READ, far)
        waiting.register(far, selectors.EVENT_READ, near)
        while True:
            for key, _ in waiting.select():
                sent = key.fileobj.recv(65536)  # type: ignore[union-attr]  # sockets are registered only
                if not sent:
                    near.close()
                    far.close()
                    return
                key.data.sendall(sent)


@pytest.fixture
def web(transactional_db: None) -> Iterator[tuple[int, str, Cable]]:
    """A web server behind a cable, and the cookie of somebody signed in."""
    world = factories.make_world()
    client = Client()
    client.force_login(world.user("sam"))
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    cable, port = Cable(), free_port()
    variables = environment(
        QUOKKAQ_MODE="demo", PORT=str(port), WEB_WORKERS="1", DATABASE_URL=cable.url, OWNER_DATABASE_URL=cable.url,
        DATABASE_POOL_WAIT_SECONDS="1", SECRET_KEY=settings.SECRET_KEY, LOG_LEVEL="ERROR",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"], cwd=ROOT, env=variables
    )

    def up() -> bool:
        with contextlib.suppress(OSError):
            return get(port, "/health")[0] == 200
        return False

    wait_for(up, seconds=60, what="the web server")
    yield port, cookie, cable
    process.terminate()
    process.wait(30)
    cable.cut()


def get(port: int, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    client = HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = client.getresponse()
    found = response.status, response.read().decode(), {name.lower(): value for name, value in response.getheaders()}
    client.close()
    return found


@pytest.mark.drill
def test_pages_say_so_with_their_styles_and_come_back(web: tuple[int, str, Cable]) -> None:
    port, cookie, cable = web
    assert get(port, "/courses/", Cookie=cookie)[0] == 200
    cable.cut()
    for path in ("/courses/", "/c/cs-101/", "/c/cs-101/1/", "/inbox/", "/nowhere/"):
        started = time.monotonic()
        status, page, headers = get(port, path, Cookie=cookie, X_Request_ID="request-0048")
        assert (path, status, headers["retry-after"]) == (path, 503, "5")
        assert time.monotonic() - started < 10
        assert "<code>request-0048</code>" in page
        assert page.rstrip().endswith("</html>")
        assert "content-security-policy" in headers
    links = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert {"/static/css/site.css", "/static/img/quokka.svg"} <= {link.partition("?")[0] for link in links}
    assert {get(port, link)[0] for link in links} == {200}
    status, piece, _ = get(port, "/inbox/count/", Cookie=cookie, HX_Request="true")
    assert (status, piece[:2]) == (503, "<p")
    status, said, _ = get(port, "/courses/", Cookie=cookie, Accept="application/json")
    assert (status, '"request_id"' in said) == (503, True)
    # Who isn't signed in is told as much where a page needs the database.
    assert get(port, "/sign-in/")[0] in (200, 503)
    assert get(port, "/health")[0] == 200
    cable.mend()
    wait_for(lambda: get(port, "/courses/", Cookie=cookie)[0] == 200, what="the pages to come back")
