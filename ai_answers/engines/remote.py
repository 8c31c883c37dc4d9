"""What both engines outside this server have in common: one attempt, streamed, within its limits, errors as short codes."""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from ai_answers.engines import prompting
from ai_answers.engines.base import Abstention, Request, Statement, Unavailable, Usage
from ai_answers.engines.limits import CONNECT_SECONDS, MAX_RESPONSE_BYTES, REQUEST_SECONDS
from ai_answers.engines.lines import LineReader
from ai_answers.engines.prompting import Prompt
from quokkaq.lib import egress


class Failed(Unavailable):
    """One attempt failed.

    `is_temporary`: another may work (429, 5xx, too slow). `wait`: seconds the server asked for. `may_cost`: the provider
    may have worked for it, and may charge for it.
    """

    def __init__(self, code: str, *, is_temporary: bool = False, wait: float = 0.0, may_cost: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.is_temporary = is_temporary
        self.wait = wait
        self.may_cost = may_cost


@dataclass(frozen=True)
class Connection:
    """Where a provider is, and what opens its door. `repr` doesn't show the key."""

    model: str
    base_url: str
    key: str
    max_output_tokens: int

    def __repr__(self) -> str:
        return f"Connection({self.model})"


@dataclass(frozen=True)
class Piece:
    """A piece of a stream: text, what was used so far, or why it ended (`stop`, `length`, `refused`)."""

    text: str = ""
    usage: Usage | None = None
    end: str = ""


class RemoteEngine(ABC):
    """An engine at a provider. It makes one attempt; who calls it retries (`ai_answers.actions.calls`)."""

    name: str
    is_remote = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.model = connection.model
        # Known once a request is composed.
        self.prompt = ""

    def compose(self, request: Request) -> Prompt:
        """Return exactly what would be sent for a request."""
        prompt = prompting.compose(request)
        self.prompt = prompt.name
        return prompt

    def most(self, request: Request) -> Usage:
        """Return the most tokens a request can use: a byte is at least a token, and writing is capped."""
        return self.most_of(self.compose(request))

    def most_of(self, prompt: Prompt) -> Usage:
        return Usage(prompt.most_tokens, self._connection.max_output_tokens)

    def write(self, request: Request, *, deadline: float) -> Iterator[Statement | Abstention | Usage]:
        yield from self.send(self.compose(request), deadline=deadline)

    def send(self, prompt: Prompt, *, deadline: float) -> Iterator[Statement | Abstention | Usage]:
        """Yield statements as their lines become whole, then the usage where the provider says it. Raises `Failed`.

        A stream that breaks off is `truncated`; one that ran into the cap on tokens keeps its whole statements.
        """
        reader, usage, end = LineReader(), None, ""
        pieces = self._pieces(prompt, deadline)
        with contextlib.closing(pieces):
            for piece in pieces:
                usage, end = piece.usage or usage, piece.end or end
                yield from reader.take(piece.text)
                if reader.is_full:
                    end = end or "length"
                    break
        if not end:
            raise Failed("truncated", may_cost=True)
        yield from reader.end()
        if not reader.said:
            if end == "refused":
                yield Abstention("refused")
            else:
                raise Failed("too_long" if end == "length" else "garbled", may_cost=True)
        if usage is not None:
            yield usage

    def _pieces(self, prompt: Prompt, deadline: float) -> Generator[Piece]:
        """Yield the stream, with everything that can go wrong as a `Failed` without the provider's words."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise Failed("timeout")
        began = False
        closing = threading.Timer(left, lambda: None)
        try:
            with self._client(deadline, left) as client:
                # A server may send its headers a byte at a time, which no time-out between bytes notices.
                closing = threading.Timer(left, client.close)
                closing.daemon = True
                closing.start()
                for piece in self._stream(client, prompt):
                    began = began or bool(piece.text)
                    yield piece
        except Exception as error:
            raise _failure(error, began=began, late=time.monotonic() >= deadline) from None
        finally:
            closing.cancel()

    @contextlib.contextmanager
    def _client(self, deadline: float, left: float) -> Iterator[httpx2.Client]:
        def bound(response: httpx2.Response) -> None:
            response.stream = _Bounded(response.stream, deadline)

        with egress.client(
            base_url=self._connection.base_url,
            seconds=left,
            connect_seconds=CONNECT_SECONDS,
            read_seconds=REQUEST_SECONDS,
            most=2 * MAX_RESPONSE_BYTES,  # `_Bounded` counts closer, and tells this from other failures
            event_hooks={"response": [bound]},
        ) as client:
            yield client

    @abstractmethod
    def _stream(self, client: httpx2.Client, prompt: Prompt) -> Iterator[Piece]: ...


class _TooMuch(Exception):
    """The server sends more than any model writes."""


class _Bounded(httpx2.SyncByteStream):
    """A response that ends at its deadline, and after as many bytes as anybody needs."""

    def __init__(self, stream: Any, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        for chunk in self._stream:
            read += len(chunk)
            if read > MAX_RESPONSE_BYTES:
                raise _TooMuch
            if time.monotonic() >= self._deadline:
                raise httpx2.ReadTimeout("past the deadline")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _failure(error: Exception, *, began: bool, late: bool) -> Failed:
    """Return what an error of the SDK or of the connection means. Its words aren't kept: they may quote the request."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", None)
    if isinstance(error, Failed):
        return error
    # Nothing was sent where no connection came about.
    sent = type(error.__cause__ or error).__name__ not in ("ConnectError", "ConnectTimeout")
    if late or kinds & {"APITimeoutError", "TimeoutException"}:
        return Failed("timeout", is_temporary=not began, may_cost=sent)
    if isinstance(error, _TooMuch):
        return Failed("too_long", may_cost=True)
    if kinds & {"APIConnectionError", "TransportError"}:
        return Failed("truncated" if began else "connection", may_cost=sent)
    if status == 429:
        return Failed("rate_limited", is_temporary=True, wait=_wait(error))
    if status in (401, 403):
        return Failed("not_authorised")
    if isinstance(status, int) and status >= 500:
        return Failed(f"http_{status}", is_temporary=True, wait=_wait(error))
    if isinstance(status, int) and status >= 300:
        return Failed(f"http_{status}")
    if "APIError" in kinds:  # said inside the stream, after a 200
        return Failed("stream_error", is_temporary=True, may_cost=True)
    return Failed("garbled", may_cost=True)


def _wait(error: Any) -> float:
    """Return the seconds of a Retry-After header, which names seconds or a date (RFC 9110, 10.2.3); 0 without one."""
    value = error.response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value[:6])
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return 0.0
