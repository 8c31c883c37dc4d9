"""A learning platform: a real HTTP server on this machine with real keys, which checks what it is sent.

It does what LTI 1.3 asks of a platform: recognises the person (`/auth`), publishes its keys (`/jwks`), gives access
tokens for signed assertions (`/token`), lists members in pages (`/members`) and takes deep-linking answers (`/return`).
"""

import base64
import html
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt import api_jws as jws
from jwt.algorithms import RSAAlgorithm

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership"
INSTRUCTOR, LEARNER = f"{MEMBERSHIP}#Instructor", f"{MEMBERSHIP}#Learner"
ASSISTANT = f"{MEMBERSHIP}/Instructor#TeachingAssistant"
CLIENT_ID, DEPLOYMENT, CONTEXT = "client-7", "deployment-1", "context-1"


class Key:
    """A key pair with a name."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def as_jwk(self) -> dict[str, Any]:
        jwk: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(self.private.public_key()))
        return jwk | {"kid": self.kid, "alg": "RS256", "use": "sig"}


@dataclass
class Platform:
    """The platform's state; tests change it."""

    url: str = ""
    keys: list[Key] = field(default_factory=lambda: [Key("first")])
    # Who is at the browser, as claims.
    person: dict[str, Any] = field(default_factory=dict)
    # Changes every token it makes.
    changes: dict[str, Any] = field(default_factory=dict)
    # Returns the tool's key set.
    tool_keys: Callable[[], dict[str, Any]] = dict
    tool_login: str = ""
    members: list[Any] = field(default_factory=list)
    page_size: int = 2
    # What it was sent.
    assertions: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    # Spoils something: `token_500`, `members_500`, `members_html`, `next_elsewhere`, `next_loop`, `redirect`, `slow`.
    trouble: str = ""
    tokens: set[str] = field(default_factory=set)

    @property
    def key(self) -> Key:
        return self.keys[-1]

    def claims(self, nonce: str, /, **changes: Any) -> dict[str, Any]:
        """Return the claims of a launch; `None` takes one away."""
        now = int(time.time())
        body = {
            "iss": self.url, "aud": CLIENT_ID, "nonce": nonce, "iat": now, "exp": now + 300,
            f"{CLAIM}message_type": "LtiResourceLinkRequest", f"{CLAIM}version": "1.3.0",
            f"{CLAIM}deployment_id": DEPLOYMENT, f"{CLAIM}target_link_uri": "http://testserver/lti/launch/",
            f"{CLAIM}resource_link": {"id": "link-1"}, f"{CLAIM}roles": [LEARNER],
            f"{CLAIM}context": {"id": CONTEXT, "title": "Programming I", "label": "PROG1"},
            "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": {
                "context_memberships_url": f"{self.url}/members", "service_versions": ["2.0"],
            },
        }  # fmt: skip
        body |= self.person | self.changes | changes
        return {name: value for name, value in body.items() if value is not None}

    def deep_linking(self, data: str | None = "opaque: Data") -> dict[str, Any]:
        settings = {
            "deep_link_return_url": f"{self.url}/return", "accept_types": ["ltiResourceLink"],
            "accept_presentation_document_targets": ["window"], "data": data,
        }  # fmt: skip
        return {
            f"{CLAIM}message_type": "LtiDeepLinkingRequest", f"{CLAIM}resource_link": None,
            "https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings": settings,
        }  # fmt: skip

    def sign(self, claims: dict[str, Any], key: Key | None = None, kid: str = "") -> str:
        key = key or self.key
        # Not by `jwt.encode`: it refuses to sign what a broken platform might.
        return jws.encode(json.dumps(claims).encode(), key.private, algorithm="RS256", headers={"kid": kid or key.kid})

    def check_assertion(self, token: str, audience: str, issuer: str = CLIENT_ID) -> dict[str, Any]:
        """Return what the tool signed; raise when a platform would refuse it."""
        kid = jwt.get_unverified_header(token)["kid"]
        known = {jwk["kid"]: jwk for jwk in self.tool_keys()["keys"]}
        public = RSAAlgorithm.from_jwk(json.dumps(known[kid]))
        claims: dict[str, Any] = jwt.decode(
            token, public, algorithms=["RS256"], audience=audience, issuer=issuer,  # type: ignore[arg-type]  # given as the process was started
            options={"require": ["exp", "iat", "aud", "iss"]},
        )  # fmt: skip
        return claims


class _Handler(BaseHTTPRequestHandler):
    platform: Platform

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.platform.asked.append(parts.path)
        if self.platform.trouble == "redirect":
            self._send(302, b"", Location=f"{self.platform.url}/elsewhere")
        elif parts.path == "/jwks":
            self._json(200, {"keys": [key.as_jwk() for key in self.platform.keys]})
        elif parts.path == "/auth":
            self._recognise(query)
        elif parts.path == "/members":
            self._members(query)
        elif parts.path == "/course":
            sent = {"iss": self.platform.url, "login_hint": "hint", "client_id": CLIENT_ID, "target_link_uri": "x"}
            address = html.escape(f"{self.platform.tool_login}?{urlencode(sent)}")
            self._html(f'<a href="{address}">Open QuokkaQ</a>')
        else:
            self._send(404, b"")

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        sent = {name: values[0] for name, values in parse_qs(self.rfile.read(size).decode()).items()}
        self.platform.asked.append(self.path)
        if self.path == "/token":
            self._token(sent)
        elif self.path == "/return":
            self.platform.answers.append(self.platform.check_assertion(sent["JWT"], self.platform.url))
            self._html("<h1>Added</h1>")
        else:
            self._send(404, b"")

    def _recognise(self, query: dict[str, str]) -> None:
        """Tell the tool who is at the browser, if it asks as it must."""
        must = {"scope": "openid", "response_type": "id_token", "response_mode": "form_post", "prompt": "none"}
        if any(query.get(name) != value for name, value in must.items()) or query.get("client_id") != CLIENT_ID:
            self._send(400, b"")
            return
        if not query["redirect_uri"].endswith("/lti/launch/") or not query.get("login_hint"):
            self._send(400, b"")
            return
        token = self.platform.sign(self.platform.claims(query["nonce"]))
        self._html(
            f'<form action="{html.escape(query["redirect_uri"])}" method="post">'
            f'<input type="hidden" name="id_token" value="{token}">'
            f'<input type="hidden" name="state" value="{html.escape(query["state"])}">'
            "<button>Continue</button></form>"
        )

    def _token(self, sent: dict[str, str]) -> None:
        if self.platform.trouble == "token_500":
            self._send(500, b"")
            return
        try:
            claims = self.platform.check_assertion(sent["client_assertion"], f"{self.platform.url}/token")
        except (jwt.PyJWTError, KeyError):
            self._json(401, {"error": "invalid_client"})
            return
        self.platform.assertions.append(claims | {"scope": sent["scope"], "grant_type": sent["grant_type"]})
        token = uuid.uuid4().hex
        self.platform.tokens.add(token)
        self._json(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": sent["scope"]})

    def _members(self, query: dict[str, str]) -> None:
        platform = self.platform
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in platform.tokens:
            self._json(401, {})
            return
        if platform.trouble == "members_html":
            self._html("<h1>Sign in</h1>")
            return
        # Cursors of platforms are opaque, and upper and lower case differ in them.
        start = int(base64.b64decode(query["page"]).decode()) if "page" in query else 0
        if platform.trouble == "members_500" and start:
            self._send(500, b"")
            return
        end = start + platform.page_size
        more = end < len(platform.members)
        cursor = urlencode({"page": base64.b64encode(f"{end:06}".encode()).decode()})
        follow = f"{platform.url}/members?{cursor}"
        if platform.trouble == "next_elsewhere":
            follow = "http://127.0.0.1:9/members"
        if platform.trouble == "next_loop":
            follow, more = f"{platform.url}/members", True
        headers = {"Link": f'<{platform.url}/members>; rel="first", <{follow}>; rel="next"'} if more else {}
        body = {"id": platform.url, "context": {"id": CONTEXT}, "members": platform.members[start:end]}
        self._json(200, body, **headers)

    def _json(self, status: int, body: object, **headers: str) -> None:
        self._send(status, json.dumps(body).encode(), **({"Content-Type": "application/json"} | headers))

    def _html(self, body: str) -> None:
        page = f"<!doctype html><html lang=en><title>Platform</title>{body}</html>"
        self._send(200, page.encode(), **{"Content-Type": "text/html; charset=utf-8"})

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def running_platform() -> Iterator[Platform]:
    """Run a platform for a block."""
    platform = Platform()
    handler = type("Handler", (_Handler,), {"platform": platform})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    platform.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield platform
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
