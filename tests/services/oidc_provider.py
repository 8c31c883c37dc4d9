"""A real OpenID Connect provider on a local port: discovery, authorize, token, keys, userinfo; real RSA keys."""

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

CLIENT, SECRET = "quokkaq-client", "a secret between us"


class OIDCProvider:
    """Answers like a university's provider. `claims` is who signs in; `twist` spoils what is asked for."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.claims: dict[str, Any] = {}
        self.token_changes: dict[str, Any] = {}
        self.wrong_key = False
        self.algorithm = "RS256"
        self.userinfo_changes: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.get(self)

            def do_POST(self) -> None:
                provider.post(self)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(parts.path)
        if parts.path == "/.well-known/openid-configuration":
            self.answer(handler, {
                "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
                "userinfo_endpoint": f"{self.url}/userinfo",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            })  # fmt: skip
        elif parts.path == "/keys":
            public = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
            self.answer(handler, {"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]})
        elif parts.path == "/authorize" and query.get("client_id") == CLIENT:
            code = secrets.token_urlsafe(8)
            self.codes[code] = query
            handler.send_response(302)
            back = urlencode({"code": code, "state": query["state"]})
            handler.send_header("Location", f"{query['redirect_uri']}?{back}")
            handler.end_headers()
        elif parts.path == "/userinfo" and handler.headers["Authorization"] == "Bearer let-me":
            self.answer(handler, self.claims | self.userinfo_changes)
        else:
            self.answer(handler, {"error": "invalid_request"}, 400)

    def post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        sent = {name: values[0] for name, values in parse_qs(body).items()}
        question = self.codes.pop(sent.get("code", ""), None)
        verifier = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if (
            question is None
            or (sent.get("client_id"), sent.get("client_secret")) != (CLIENT, SECRET)
            or question.get("code_challenge") != challenge
        ):
            self.answer(handler, {"error": "invalid_grant"}, 400)
            return
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": question.get("nonce")}
        claims |= self.claims | self.token_changes
        claims = {name: value for name, value in claims.items() if value is not None}
        key: Any = self.other_key if self.wrong_key else self.key
        if self.algorithm == "none":
            key = None
        elif self.algorithm == "HS256":
            key = "k" * 64
        token = jwt.encode(claims, key, algorithm=self.algorithm, headers={"kid": "one"})
        self.answer(handler, {"access_token": "let-me", "token_type": "Bearer", "id_token": token})

    def answer(self, handler: BaseHTTPRequestHandler, data: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(data).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
