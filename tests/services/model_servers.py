"""Real HTTP servers on this machine that speak the protocols of model providers, well and badly.

A `Script` says how one request is answered; a server plays its scripts in order and repeats the last one.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Script:
    """What a server does with one request."""

    text: str = ""
    # Makes the text out of the request.
    obeys: Callable[[dict[str, Any]], str] | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    # What is sent in one piece.
    piece: int = 40
    pause: float = 0.0
    before: float = 0.0
    usage: tuple[int, int] | None = (120, 30)
    end: str | None = "stop"
    # Close the connection after so many pieces, without an end.
    breaks_after: int | None = None
    # Sent as it is, instead of a stream.
    raw: Sequence[bytes] = ()
    refuses_usage: bool = False
    error: dict[str, Any] | None = None


@dataclass
class Seen:
    """What a server was asked."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ModelServer:
    """Plays scripts; `seen` keeps the requests."""

    def __init__(self, protocol: str, scripts: Sequence[Script]) -> None:
        self.protocol = protocol
        self.scripts = list(scripts)
        self.seen: list[Seen] = []
        self.url = ""

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1" if self.protocol == "openai" else self.url

    def next_script(self) -> Script:
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


@contextmanager
def serve(protocol: str, *scripts: Script) -> Iterator[ModelServer]:
    """Run a server for `openai` or `anthropic` until the block ends."""
    model = ModelServer(protocol, scripts)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model.seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            with suppress(BrokenPipeError, ConnectionResetError):
                self.play(model.next_script(), body)
            self.close_connection = True

        def play(self, script: Script, body: dict[str, Any]) -> None:
            time.sleep(script.before)
            if script.obeys is not None:
                script = replace(script, text=script.obeys(body), obeys=None)
            if script.refuses_usage and "stream_options" in body:
                self.plain(400, {"error": {"message": "unknown field stream_options"}})
            elif script.status != 200:
                self.plain(
                    script.status,
                    {"error": {"message": f"secret words of the provider: {dict(self.headers)}"}},
                    script.headers,
                )
            else:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                for number, chunk in enumerate(script.raw or stream(model.protocol, script)):
                    if script.breaks_after is not None and number >= script.breaks_after:
                        return
                    self.wfile.write(chunk)
                    self.wfile.flush()
                    time.sleep(script.pause)

        def plain(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            for name, said in (headers or {}).items():
                self.send_header(name, said)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            # Said, so that no client sends its next request into a connection that is about to close.
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    model.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()


def stream(protocol: str, script: Script) -> Iterator[bytes]:
    """Yield the events of a stream, as each provider sends them."""
    pieces = [script.text[i : i + script.piece] for i in range(0, len(script.text), script.piece)]
    yield from (openai_events if protocol == "openai" else anthropic_events)(script, pieces)


def openai_events(script: Script, pieces: Sequence[str]) -> Iterator[bytes]:
    def event(choices: list[Any], **more: Any) -> bytes:
        value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
        return f"data: {json.dumps(value)}\n\n".encode()

    yield event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    for piece in pieces:
        yield event([{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
    if script.error is not None:
        yield f"data: {json.dumps({'error': script.error})}\n\n".encode()
    if script.end is None:
        return
    end = {"stop": "stop", "length": "length", "refused": "content_filter"}[script.end]
    yield event([{"index": 0, "delta": {}, "finish_reason": end}])
    if script.usage is not None:
        read, written = script.usage
        counts = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        yield event([], usage=counts)
    yield b"data: [DONE]\n\n"


def anthropic_events(script: Script, pieces: Sequence[str]) -> Iterator[bytes]:
    def event(kind: str, **more: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()

    read, written = script.usage or (0, 0)
    message: dict[str, Any] = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": read, "output_tokens": 1},
    }  # fmt: skip
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for piece in pieces:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    if script.error is not None:
        yield event("error", error=script.error)
    if script.end is None:
        return
    end = {"stop": "end_turn", "length": "max_tokens", "refused": "refusal"}[script.end]
    yield event("content_block_stop", index=0)
    yield event("message_delta", delta={"stop_reason": end, "stop_sequence": None}, usage={"output_tokens": written})
    yield event("message_stop")


def lines(*values: Any) -> str:
    """Return JSON lines, as a model is told to write."""
    return "".join(f"{json.dumps(value)}\n" for value in values)
