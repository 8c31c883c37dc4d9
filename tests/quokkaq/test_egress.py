"""What leaves this server goes where it may, and comes back within bounds. Servers, names and keys are real ones."""

import ast
import datetime
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from quokkaq.lib import egress
from tests.processes import ROOT

PUBLIC = "93.184.215.14"


class Handler(BaseHTTPRequestHandler):
    """Plays well-meaning and hostile servers, by path."""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]  # set at run time, or typed as its base
        with suppress(OSError):
            getattr(self, f"play_{self.path.strip('/').split('?')[0]}")()

    def say(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def play_well(self) -> None:
        self.say(b"fine", Set_Cookie="a=b")

    def play_redirect(self) -> None:
        self.say(b"", 302, Location="http://127.0.0.1:9/secret")

    def play_large(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(200):
            self.wfile.write(b"x" * 65536)

    def play_bomb(self) -> None:
        self.say(gzip.compress(b"0" * 5_000_000), Content_Encoding="gzip")

    def play_slow_body(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def play_slow_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        for _ in range(100):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined]  # set at run time, or typed as its base
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *args: None  # type: ignore[method-assign]  # quiet on purpose
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with serving() as started:
        yield started


class Names:
    """A name server that answers what it is told, in turn, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


Get = Callable[..., tuple[int, bytes]]
FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, requests.RequestException)


def by_httpx(url: str, **options: Any) -> tuple[int, bytes]:
    with egress.client(**options) as client:
        answer = client.get(url)
        return answer.status_code, answer.content


def by_requests(url: str, **options: Any) -> tuple[int, bytes]:
    with egress.requests_session(**options) as session:
        answer = session.get(url)
        return answer.status_code, answer.content


@pytest.fixture(params=[by_httpx, by_requests])
def get(request: pytest.FixtureRequest) -> Get:
    return request.param  # type: ignore[no-any-return]  # pytest’s own type


def url_of(server: ThreadingHTTPServer, path: str = "well", host: str = "127.0.0.1", scheme: str = "http") -> str:
    return f"{scheme}://{host}:{server.server_address[1]}/{path}"


# What is public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "0.0.0.0",  # noqa: S104 (an address to be refused)

        "0.1.2.3", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
        "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1", "::", "::1", "fe80::1", "fe80::1%2", "fc00::1",
        "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001::1",
        "2001:db8::1", "3fff::1", "100::1", "5f00::1",
    ],
)  # fmt: skip
def test_what_is_inside_is_not_public(address: str) -> None:
    assert not egress.is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", PUBLIC, "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_the_world_is_public(address: str) -> None:
    assert egress.is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "127.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001", "0",
        "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "[64:ff9b::7f00:1]", "169.254.169.254", "LOCALHOST.",
    ],
)  # fmt: skip
def test_no_spelling_of_an_inner_address_gets_through(
    host: str, get: Get, server: ThreadingHTTPServer, settings: Any
) -> None:
    """Looked up as the system looks it up; the port would be open and the scheme allowed."""
    settings.EGRESS_ALLOW_HTTP = True
    settings.EGRESS_ALLOWED_HOSTS = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(egress.PORTS, "http", (server.server_address[1],))
        with pytest.raises(FAILURES):
            get(url_of(server, host=host))
    assert server.seen == []  # type: ignore[attr-defined]  # set at run time, or typed as its base


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/", "ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "https://example.org:22/",
        "https://example.org:6379/", "https://user:pass@example.org/", "https:///x", "https://example.org:99999/",
        "https://example.org@127.0.0.1/", "unix:///run/x", "//example.org/",
    ],
)  # fmt: skip
def test_only_https_to_its_ports(url: str, get: Get) -> None:
    names = Names([PUBLIC])
    with pytest.raises(FAILURES):
        get(url, resolver=names)
    assert names.asked == 0


def test_plain_http_to_the_world_only_when_allowed(settings: Any) -> None:
    door = egress.Door()
    with pytest.raises(egress.Denied):
        door.check_url("http://example.org/")
    settings.EGRESS_ALLOW_HTTP = True
    door.check_url("http://example.org/")
    door.check_url("https://example.org:8443/x")
    with pytest.raises(egress.Denied):
        door.check_url("http://example.org:8080/")


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["10.0.0.1", PUBLIC], ["::1"], ["fe80::1%eth0"], []]
)
def test_a_name_that_leads_inside_is_not_called(answer: list[str], get: Get) -> None:
    with pytest.raises(FAILURES) as caught:
        get("https://evil.example/", resolver=Names(answer))
    assert "127.0.0.1" not in str(caught.value)  # what the network looks like inside is nobody's business


def test_a_name_is_looked_up_once_so_it_cannot_change(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when it is checked, 127.0.0.1 a moment later. The connection goes where the check looked."""
    names, connected = Names([PUBLIC], ["127.0.0.1"]), []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(FAILURES):
        get("https://rebinding.example/", resolver=names)
    assert names.asked == 1
    assert connected == [(PUBLIC, 443)]
    with pytest.raises(FAILURES):  # the second request asks again, is told 127.0.0.1, and goes nowhere
        get("https://rebinding.example/", resolver=names)
    assert connected == [(PUBLIC, 443)]


# What operators allow


def test_operators_may_name_hosts_inside(get: Get, server: ThreadingHTTPServer, settings: Any) -> None:
    port = server.server_address[1]
    settings.EGRESS_ALLOWED_HOSTS = ["127.0.0.1"]
    assert get(url_of(server)) == (200, b"fine")
    settings.EGRESS_ALLOWED_HOSTS = [f"Ollama.internal:{port}"]
    inside = Names(["127.0.0.1"])
    assert get(url_of(server, host="ollama.internal"), resolver=inside) == (200, b"fine")
    settings.EGRESS_ALLOWED_HOSTS = [f"ollama.internal:{port + 1}", "internal", "27.0.0.1"]
    for host in ("ollama.internal", "127.0.0.1"):
        with pytest.raises(FAILURES):
            get(url_of(server, host=host), resolver=inside)


def test_a_base_url_opens_its_own_host_and_port_only(get: Get, server: ThreadingHTTPServer) -> None:
    assert get(url_of(server), base_url=url_of(server, "v1")) == (200, b"fine")
    with serving() as other, pytest.raises(FAILURES):
        get(url_of(other), base_url=url_of(server))


def test_the_next_address_is_tried_where_one_is_dead(get: Get, server: ThreadingHTTPServer) -> None:
    url = url_of(server, host="two.internal")
    assert get(url, base_url=url, resolver=Names(["127.0.0.77", "127.0.0.1"])) == (200, b"fine")


# What comes back


def test_redirects_are_not_followed(get: Get, server: ThreadingHTTPServer) -> None:
    assert get(url_of(server, "redirect"), base_url=url_of(server))[0] == 302
    assert len(server.seen) == 1  # type: ignore[attr-defined]  # set at run time, or typed as its base


def test_a_response_has_an_end(get: Get, server: ThreadingHTTPServer) -> None:
    with pytest.raises(FAILURES):
        get(url_of(server, "large"), base_url=url_of(server), most=1_000_000)


def test_compressed_bombs_stay_packed(get: Get, server: ThreadingHTTPServer) -> None:
    with pytest.raises(FAILURES):
        get(url_of(server, "bomb"), base_url=url_of(server))
    assert server.seen[0][1]["Accept-Encoding"] == "identity"  # type: ignore[attr-defined]  # set at run time, or typed as its base


@pytest.mark.parametrize("path", ["slow_body", "slow_headers"])
@pytest.mark.clocked
def test_bytes_that_trickle_end_at_the_deadline(path: str, get: Get, server: ThreadingHTTPServer) -> None:
    began = time.monotonic()
    with pytest.raises(FAILURES):
        get(url_of(server, path), base_url=url_of(server), seconds=0.5)
    assert time.monotonic() - began < 1.5


@pytest.mark.clocked
def test_a_server_that_never_answers_is_left(get: Get) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        began = time.monotonic()
        with pytest.raises(FAILURES):
            get(url, base_url=url, seconds=0.4)
        assert time.monotonic() - began < 1.4


def test_nothing_of_ours_goes_along(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No cookie of an earlier answer, no proxy and no password of the environment."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login us password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    url = url_of(server)
    with egress.client(base_url=url) as client, egress.requests_session(base_url=url) as session:
        for _ in range(2):
            assert client.get(url).text == session.get(url).text == "fine"
    for _, headers in server.seen:  # type: ignore[attr-defined]  # set at run time, or typed as its base
        assert not {"Cookie", "Authorization", "Proxy-Authorization"} & set(headers)


# TLS is for the name, though the connection goes to an address


def certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts of a server called `name`, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(pem))
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(file)
    return serves, ssl.create_default_context(cadata=made.public_bytes(pem).decode())


def test_the_certificate_is_checked_for_the_name(get: Get, tmp_path: Path) -> None:
    serves, trusts = certificate("forum.example", tmp_path)
    asked: list[str | None] = []
    serves.sni_callback = lambda connection, name, context: asked.append(name)
    here = Names([str(ip_address("127.0.0.1"))])
    with serving(serves) as server:
        url = url_of(server, host="forum.example", scheme="https")
        assert get(url, base_url=url, resolver=here, verify=trusts) == (200, b"fine")
        assert asked == ["forum.example"]
        other = url_of(server, host="other.example", scheme="https")
        for wrong, context in ((other, trusts), (url, None)):  # another name; a certificate nobody vouches for
            with pytest.raises(FAILURES):
                get(wrong, base_url=wrong, resolver=here, verify=context)
        assert len(server.seen) == 1  # type: ignore[attr-defined]  # set at run time, or typed as its base


# Nobody goes another way

# Modules that may open connections of their own, and why.
OWN_WAYS = {
    "quokkaq/lib/egress.py": "is the way out",
    "quokkaq/lib/scanner.py": "clamd, at an address of the settings, over TCP or a socket",
    "quokkaq/lib/storage/s3.py": "boto3, at an endpoint of the settings",
    "quokkaq/backups/storages.py": "boto3, at an endpoint of the settings",
    "quokkaq/rotation/providers.py": "Redis and IAM, at addresses of the settings; types and errors of httpx, its client is one of ours",
    "quokkaq/lib/ratelimit.py": "Redis, at an address of the settings",
    "quokkaq/lib/cache.py": "Redis, at an address of the settings",
    "quokkaq/lib/health/checks.py": "Redis, at an address of the settings",
    "quokkaq/lib/metrics/machine.py": "the certificate of BASE_URL, over TLS",
    "quokkaq/management/commands/run_demo.py": "asks its own web server whether it is up; never in production",
    "ai_answers/engines/remote.py": "types and errors of httpx; its client is one of ours",
    "ai_answers/engines/anthropic_messages.py": "the SDK, with a client of ours",
    "ai_answers/engines/openai_chat.py": "the SDK, with a client of ours",
    "quokkaq/lib/embedding/remote.py": "the SDK, with a client of ours",
    "accounts/adapters.py": "types of requests; its session is one of ours",
    "accounts/views/providers.py": "errors of requests; its session is one of ours",
    "accounts/lti/http.py": "types and errors of httpx; its client is one of ours",
    "accounts/actions/invitations.py": "error types of smtplib; Django sends, to EMAIL_URL",
    "forum/actions/mailing.py": "error types of smtplib; Django sends, to EMAIL_URL",
}
NETWORKING = {
    "requests", "urllib3", "httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "http.client", "urllib.request", "socket",
    "ftplib", "smtplib", "telnetlib", "asyncio.streams", "redis", "boto3", "openai", "anthropic",
}  # fmt: skip


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in NETWORKING for one in found if one == name or one.startswith(f"{name}.")}


def test_nobody_goes_another_way() -> None:
    files = [file for app in ("accounts", "forum", "ai_answers", "quokkaq") for file in (ROOT / app).rglob("*.py")]
    own = {str(file.relative_to(ROOT)): imported(file) for file in files if imported(file)}
    own = {name: found for name, found in own.items() if name not in OWN_WAYS}
    assert own == {}


@pytest.mark.parametrize("name", ["ai_answers/engines/remote.py", "ai_answers/engines/anthropic_messages.py", "ai_answers/engines/openai_chat.py", "quokkaq/lib/embedding/remote.py"])  # fmt: skip
def test_sdks_are_given_a_client_of_ours(name: str) -> None:
    """A call of an SDK's class, or of httpx's, without `http_client=` would go another way."""
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in ("Client", "AsyncClient", "HTTPTransport"), name
            if called in ("OpenAI", "Anthropic", "AsyncOpenAI", "AsyncAnthropic"):
                assert "http_client" in {keyword.arg for keyword in node.keywords}, name
