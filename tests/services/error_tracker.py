"""A service on this machine that takes error reports: Sentry's envelopes, unpacked."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import brotli


@dataclass
class Tracker:
    """Keeps events, and everything that was sent, as text."""

    dsn: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    other_items: list[str] = field(default_factory=list)
    status: int = 200

    def take(self, body: bytes) -> None:
        """Unpack an envelope: a line for it, then for each item a line about it and its payload."""
        _, _, rest = body.partition(b"\n")
        while rest.strip():
            line, _, rest = rest.partition(b"\n")
            about = json.loads(line)
            payload = rest[: about["length"]]
            rest = rest[about["length"] + 1 :]
            if about["type"] == "event":
                self.events.append(json.loads(payload))
            else:
                self.other_items.append(about["type"])


@contextmanager
def tracking() -> Iterator[Tracker]:
    """Run the service until the block ends."""
    tracker = Tracker()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            match self.headers.get("Content-Encoding"):
                case "gzip":
                    body = gzip.decompress(body)
                case "br":
                    body = brotli.decompress(body)
            tracker.sent.append(f"{self.path}\n{self.headers}\n{body.decode()}")
            if self.path == "/7/api/42/envelope/":
                tracker.take(body)
            said = b"{}"
            with suppress(OSError):
                self.send_response(tracker.status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    tracker.dsn = f"http://public@127.0.0.1:{server.server_address[1]}/7/42"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield tracker
    finally:
        server.shutdown()
        server.server_close()
