"""The one way out: every HTTP request this server makes begins here, so that nobody can have it make one for them.

A URL may come from a person (a platform's key set, a webhook). So: https only (http where `EGRESS_ALLOW_HTTP` is on),
port 443, 8443 (and 80) only; the name is looked up here, every address it has must be public, and the connection goes to
an address that was checked: nothing is looked up a second time, which a name server could answer otherwise (DNS
rebinding). TLS is still for the name. Redirects aren't followed, cookies aren't kept, proxies and passwords of the
environment aren't used. A response ends after `seconds` in all and after `most` bytes, compressed ones are refused.

What operators name in `EGRESS_ALLOWED_HOSTS` (`host` or `host:port`) may be inside the network and speak plain HTTP; so
may the `base_url` a client is made for: hand over only what an operator wrote into the settings.

`client()` is for httpx and the SDKs built on it, `requests_session()` for libraries that want `requests`.
Looking up a name takes as long as the system's resolver takes: that time is bounded in `/etc/resolv.conf`.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2
import requests
import urllib3
from django.conf import settings
from requests.adapters import HTTPAdapter

from quokkaq.lib import tracing

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
TOTAL_SECONDS = 20.0
MOST_BYTES = 2 * 1024 * 1024
PORTS = {"https": (443, 8443), "http": (80,)}

Resolver = Callable[[str, int], Sequence[str]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Of IPv6 only what is handed out to networks of the world is public (IANA, "IPv6 Global Unicast Address Space"), less
# what isn't reachable or stands for an IPv4 address: RFC 6890, 3849, 3056, 9637.
_PUBLIC_6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC = [
    ipaddress.ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "192.88.99.0/24")
]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Denied(Exception):
    """This server makes no such request. The sentence names no address."""


def is_public(text: str) -> bool:
    """Tell whether an address, in its usual form, belongs to the public internet."""
    address: Address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            return False
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address not in _PUBLIC_6:
            return False
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses the system knows for a name, also for one written as a number (0x7f.1, 2130706433)."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Door:
    """Decides what may be reached, and connects to it."""

    def __init__(self, *, base_url: str = "", resolver: Resolver | None = None) -> None:
        self._resolver = resolver or resolve
        self._base = _place(base_url) if base_url else None

    def call(self, method: str, url: str) -> tuple[tracing.Call, dict[str, str]]:
        """Begin a call, to be ended; return headers that tell a service operators named which request it works for.

        A stranger is told nothing. Raises `Denied` for what is no address.
        """
        try:
            place = _place(url)
        except ValueError:
            raise Denied("This is not an address.") from None
        call = tracing.calling(method, *place)
        return call, tracing.signature(call) if self._is_named(*place) else {}

    def check_url(self, url: str) -> None:
        """Raise `Denied` when no request may be made to a URL, whatever its name stands for."""
        try:
            parts, place = urlsplit(url), _place(url)
        except ValueError:
            raise Denied("This is not an address.") from None
        if parts.scheme not in PORTS or not place[0] or "@" in parts.netloc:
            raise Denied("Only https addresses, without a password in them, may be called.")
        if self._is_named(*place):
            return
        if parts.scheme == "http" and not settings.EGRESS_ALLOW_HTTP:
            raise Denied("Only https addresses may be called.")
        if place[1] not in PORTS[parts.scheme]:
            raise Denied("Addresses with this port may not be called.")

    def addresses(self, host: str, port: int) -> list[str]:
        """Return where a name leads; raise `Denied` when any of it is inside a network."""
        try:
            found = list(dict.fromkeys(self._resolver(host, port)))
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise Denied("This name leads nowhere.")
        if not self._is_named(host, port) and not all(map(is_public, found)):
            raise Denied("Addresses inside a network may not be called.")
        return found

    def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """Return a connection to one of the checked addresses, the first that answers. Raises `Denied` and OSError."""
        until = time.monotonic() + seconds
        failure: OSError = TimeoutError("timed out")
        for address in self.addresses(host, port):
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                # A number is looked up as itself.
                return socket.create_connection((address, port), left)
            except OSError as error:
                failure = error
        raise failure

    def _is_named(self, host: str, port: int) -> bool:
        host = host.lower().rstrip(".").strip("[]")
        if self._base == (host, port):
            return True
        return any(
            name.lower() in (host, f"{host}:{port}", f"[{host}]:{port}") for name in settings.EGRESS_ALLOWED_HOSTS
        )


def _place(url: str) -> tuple[str, int]:
    """Return the host and port a URL leads to; ValueError when its port is none."""
    parts = urlsplit(url)
    port = parts.port if parts.port is not None else {"https": 443, "http": 80}.get(parts.scheme, 0)
    return (parts.hostname or "").rstrip("."), port


# For httpx


def client(
    *,
    base_url: str = "",
    seconds: float = TOTAL_SECONDS,
    connect_seconds: float = CONNECT_SECONDS,
    read_seconds: float = READ_SECONDS,
    most: int = MOST_BYTES,
    resolver: Resolver | None = None,
    verify: ssl.SSLContext | None = None,
    **options: Any,
) -> httpx2.Client:
    """Return a client that reaches only what it may. What is denied raises `httpx2.ConnectError`.

    Args:
        base_url: an address an operator set, which may be inside the network.
        seconds: for one request with its response.
        verify: another set of certificates than the usual authorities.
    """
    door = Door(base_url=base_url, resolver=resolver)
    return httpx2.Client(
        transport=_Transport(door, seconds=seconds, most=most, context=verify or _authorities()),
        timeout=httpx2.Timeout(min(read_seconds, seconds), connect=min(connect_seconds, seconds)),
        follow_redirects=False,
        trust_env=False,
        **options,
    )


@cache
def _authorities() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Transport(httpx2.HTTPTransport):
    """httpx's own transport over connections of ours: each is used for one request, so each has one deadline."""

    def __init__(self, door: Door, *, seconds: float, most: int, context: ssl.SSLContext) -> None:
        self._door = door
        self._most = most
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context, max_keepalive_connections=0, network_backend=_Backend(door, seconds)
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            self._door.check_url(str(request.url))
        except Denied as denied:
            raise httpx2.ConnectError(str(denied), request=request) from denied
        request.headers["Accept-Encoding"] = "identity"
        call, signature = self._door.call(request.method, str(request.url))
        request.headers.update(signature)
        try:
            response = super().handle_request(request)
        except BaseException as error:
            call.end(error)
            raise
        call.answered(response.status_code)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            call.end()
            raise httpx2.RemoteProtocolError("The response is compressed, which wasn't asked for.", request=request)
        # A client would send it along with the next request.
        response.headers.pop("Set-Cookie", None)
        response.stream = _Bounded(response.stream, self._most, call)
        return response


class _Bounded(httpx2.SyncByteStream):
    """A response that ends after as many bytes as anybody needs."""

    def __init__(self, stream: Any, most: int, call: tracing.Call) -> None:
        self._stream = stream
        self._most = most
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        try:
            for chunk in self._stream:
                read += len(chunk)
                if read > self._most:
                    raise httpx2.ReadError(f"The response has more than {self._most} bytes.")
                yield chunk
        except Exception as error:
            self._call.end(error)
            raise

    def close(self) -> None:
        self._stream.close()
        self._call.end()


class _Backend(httpcore2.NetworkBackend):
    """Connects through the door, and says when the time of a connection is over."""

    def __init__(self, door: Door, seconds: float) -> None:
        self._door = door
        self._seconds = seconds

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        until = time.monotonic() + self._seconds
        try:
            connection = self._door.connect(host, port, timeout or self._seconds)
        except Denied as denied:
            raise httpcore2.ConnectError(str(denied)) from denied
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(connection, until)


class _Stream(httpcore2.NetworkStream):
    """A connection on which every wait ends at the deadline, however the bytes trickle."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._socket = connection
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _errors(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._wait(timeout)
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _errors(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._wait(timeout)
            self._socket.sendall(buffer)

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            with _errors(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                self._wait(timeout)
                secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except Exception:
            self.close()
            raise
        return _Stream(secured, self._until)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info == "client_addr":
            return self._socket.getsockname()
        if info == "server_addr":
            return self._socket.getpeername()
        return self._socket if info == "socket" else None

    def _wait(self, timeout: float | None) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("past the deadline")
        self._socket.settimeout(min(left, timeout) if timeout else left)


class _errors:  # noqa: N801 (used like a function)
    """Turns errors of sockets into those of httpcore."""

    def __init__(self, late: type[Exception], broken: type[Exception]) -> None:
        self._late, self._broken = late, broken

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise self._late(str(error)) from error
        if isinstance(error, OSError):
            raise self._broken(str(error)) from error


# For requests


def requests_session(
    *,
    base_url: str = "",
    seconds: float = TOTAL_SECONDS,
    most: int = MOST_BYTES,
    resolver: Resolver | None = None,
    verify: ssl.SSLContext | None = None,
) -> requests.Session:
    """Return a `requests.Session` with the same rules. What is denied raises `requests.ConnectionError`."""
    door = Door(base_url=base_url, resolver=resolver)
    session = _Session(door, seconds, most)
    adapter = _Adapter(door, verify)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _Session(requests.Session):
    """A session without memory that reads no more than it may."""

    def __init__(self, door: Door, seconds: float, most: int) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Accept-Encoding"] = "identity"
        self._door, self._seconds, self._most = door, seconds, most

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send one request and read its response, as far as it may go."""
        options |= {"allow_redirects": False, "stream": True, "proxies": {}, "verify": True}
        options["timeout"] = (CONNECT_SECONDS, min(READ_SECONDS, self._seconds))
        request.headers["Accept-Encoding"] = "identity"
        try:
            call, signature = self._door.call(str(request.method), str(request.url))
        except Denied as denied:
            raise requests.ConnectionError(str(denied), request=request) from denied
        request.headers.update(signature)
        try:
            response = self._sent(request, **options)
        except BaseException as error:
            call.end(error)
            raise
        call.answered(response.status_code)
        call.end()
        return response

    def _sent(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        until = time.monotonic() + self._seconds
        opened: list[socket.socket] = []
        token = _opened.set(opened)
        # Headers that come a byte at a time pass every time-out between bytes.
        end = threading.Timer(self._seconds, _cut, [opened])
        end.daemon = True
        end.start()
        try:
            response = super().send(request, **options)
            self.cookies.clear()
            try:
                response._content = self._read(response, until)
            finally:
                response.close()
        finally:
            end.cancel()
            _opened.reset(token)
        response._content_consumed = True  # type: ignore[attr-defined]
        return response

    def _read(self, response: requests.Response, until: float) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise requests.ConnectionError("The response is compressed, which wasn't asked for.")
        body = bytearray()
        for chunk in response.iter_content(65536):
            body += chunk
            if len(body) > self._most:
                raise requests.ConnectionError(f"The response has more than {self._most} bytes.")
        if time.monotonic() >= until:
            # Its connection was closed at the deadline: what was read may be a part.
            raise requests.ReadTimeout("past the deadline")
        return bytes(body)


class _Adapter(HTTPAdapter):
    """Connects through the door."""

    def __init__(self, door: Door, context: ssl.SSLContext | None) -> None:
        self._door, self._context = door, context
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context or _authorities(), **options)
        pools: dict[str, Any] = {}
        for scheme, pool, connection in (
            ("http", urllib3.HTTPConnectionPool, _Connection),
            ("https", urllib3.HTTPSConnectionPool, _SecureConnection),
        ):
            made = type(f"_{pool.__name__}", (pool,), {"ConnectionCls": connection})
            pools[scheme] = partial(made, door=self._door)
        self.poolmanager.pool_classes_by_scheme = pools

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the certificates to the context."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send to where one may."""
        try:
            self._door.check_url(str(request.url))
        except Denied as denied:
            raise requests.ConnectionError(str(denied), request=request) from denied
        # One request on one connection.
        request.headers["Connection"] = "close"
        return super().send(request, *args, **options)


# The connections of the request that is being made, to be cut at its deadline.
_opened: ContextVar[list[socket.socket] | None] = ContextVar("opened", default=None)


def _cut(opened: list[socket.socket]) -> None:
    for connection in opened:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _Guarded:
    """A connection of urllib3 that is made through the door."""

    def __init__(self, *args: Any, door: Door, **options: Any) -> None:
        super().__init__(*args, **options)
        self._door = door

    def _new_conn(self: Any) -> socket.socket:
        try:
            made: socket.socket = self._door.connect(self._dns_host, self.port, CONNECT_SECONDS)
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
        except (Denied, OSError) as error:
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error
        made.settimeout(CONNECT_SECONDS)  # the TLS handshake as a whole
        return made

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]
        opened = _opened.get()
        if opened is not None and self.sock is not None:
            opened.append(self.sock)


class _Connection(_Guarded, urllib3.connection.HTTPConnection):
    pass


class _SecureConnection(_Guarded, urllib3.connection.HTTPSConnection):
    pass
