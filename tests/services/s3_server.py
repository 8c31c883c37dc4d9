"""A real S3 endpoint on this machine that refuses what Amazon refuses.

moto keeps the objects; by itself it accepts any signature, any policy and any date. In front of it stands `Gate`, which
enforces Signature Version 4 (headers and presigned URLs, with their expiry), POST policies condition by condition, the
guard of a copy, and the bucket's CORS configuration. Bodies are spooled to disk on their way.

    python -m tests.services.s3_server [--port 0]     # prints one line of JSON: endpoint, bucket, keys
"""

import argparse
import base64
import hashlib
import hmac
import io
import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import IO, TYPE_CHECKING, Any
from unittest.mock import patch
from urllib.parse import parse_qsl, quote, unquote
from wsgiref.types import StartResponse, WSGIEnvironment
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import boto3
import pytest
from botocore.config import Config
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.formparser import parse_form_data
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app
from werkzeug.wsgi import get_input_stream

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "quokkaq-files"
REGION = "us-east-1"
ACCESS_KEY = "AKIDQUOKKAQTESTS0001"
SECRET_KEY = "only-the-tests-know-this-secret-key"
ALGORITHM = "AWS4-HMAC-SHA256"
CLOCK_SKEW = timedelta(minutes=15)
LONGEST_URL_SECONDS = 7 * 24 * 3600
SPOOL_BYTES = 1 << 20
NOT_IN_A_POLICY = {"x-amz-signature", "file", "policy"}


class Refused(Exception):
    """An answer with an error in S3's words."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.status, self.code = status, code


def secret_of(key: str) -> str:
    """Return the secret half of a key: the one every test knows, or one that `iam()` gave out and that is active."""
    if key == ACCESS_KEY:
        return SECRET_KEY
    for account in iam_backends.values():
        for backend in account.values():
            for user in backend.users.values():
                for one in user.access_keys:
                    if one.access_key_id == key and one.status == "Active":
                        return str(one.secret_access_key)
    return ""


@contextmanager
def iam() -> Iterator[str]:
    """Serve IAM on loopback, whose keys open the bucket of `running()` in the same process; yield its address."""
    server = make_server("127.0.0.1", 0, create_backend_app("iam"), threaded=True, request_handler=QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Scope:
    """What a credential says it is good for: `KEY/20260101/us-east-1/s3/aws4_request`."""

    key: str
    day: str
    region: str

    @classmethod
    def read(cls, text: str) -> "Scope":
        parts = text.split("/")
        if len(parts) != 5 or parts[3:] != ["s3", "aws4_request"]:
            raise Refused(400, "AuthorizationQueryParametersError", "The credential is malformed.")
        if not secret_of(parts[0]):
            raise Refused(403, "InvalidAccessKeyId")
        return cls(*parts[:3])

    def sign(self, text: str) -> str:
        """Return the signature of a string to sign, in hexadecimal."""
        key = f"AWS4{secret_of(self.key)}".encode()
        for part in (self.day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def signed_at(self, stamp: str) -> datetime:
        try:
            moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise Refused(403, "AccessDenied", "There is no valid date.") from None
        if stamp[:8] != self.day:
            raise Refused(403, "SignatureDoesNotMatch", "The credential is another day's.")
        if moment > datetime.now(UTC) + CLOCK_SKEW:
            raise Refused(403, "AccessDenied", "Signed in the future.")
        return moment


class Gate:
    """The WSGI application in front of moto."""

    def __init__(self) -> None:
        self.inner = create_backend_app("s3")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN", "")
        bucket = environ["PATH_INFO"].lstrip("/").partition("/")[0]
        cross = {}
        try:
            if environ["REQUEST_METHOD"] == "OPTIONS":
                wanted = environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD", "")
                asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
                cross = self.cross_origin(bucket, origin, wanted, asked)
                if not cross:
                    raise Refused(403, "AccessForbidden", "CORSResponse: This CORS request is not allowed.")
                start_response("200 OK", list(cross.items()))
                return [b""]
            cross = self.cross_origin(bucket, origin, environ["REQUEST_METHOD"], "")
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as body:
                status, headers, answer = self.answer(environ, body)
        except Refused as error:
            status, headers = f"{error.status} Refused", [("Content-Type", "application/xml")]
            text = f"<Error><Code>{error.code}</Code><Message>{escape(str(error))}</Message></Error>"
            answer = b"" if environ["REQUEST_METHOD"] == "HEAD" else text.encode()
        headers = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
        start_response(status, [*headers, *cross.items()])
        return [answer]

    def answer(self, environ: WSGIEnvironment, body: IO[bytes]) -> tuple[str, list[tuple[str, str]], bytes]:
        form = environ.get("CONTENT_TYPE", "").startswith("multipart/form-data")
        if environ["REQUEST_METHOD"] == "POST" and form:
            return self.post_form(environ)
        digest = hashlib.sha256()
        stream = get_input_stream(environ)
        while piece := stream.read(SPOOL_BYTES):
            digest.update(piece)
            body.write(piece)
        authorise(environ, digest.hexdigest())
        self.guard_copy(environ)
        body.seek(0)
        return self.pass_on({**environ, "wsgi.input": body, "wsgi.input_terminated": True})

    def pass_on(self, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], bytes]:
        pieces, status, headers = run_wsgi_app(self.inner, environ)
        return status, list(headers), b"".join(pieces)

    def ask(self, method: str, path: str, query: str = "", **more: Any) -> tuple[int, dict[str, str], bytes]:
        """Ask moto something of our own; `more` is added to the WSGI environment."""
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "RAW_URI": quote(path) + (f"?{query}" if query else ""),
            "REQUEST_URI": quote(path) + (f"?{query}" if query else ""),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_AUTHORIZATION": f"{ALGORITHM} Credential={ACCESS_KEY}/20260101/{REGION}/s3/aws4_request",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **more,
        }
        status, headers, body = self.pass_on(environ)
        return int(status.split()[0]), {name.lower(): value for name, value in headers}, body

    def guard_copy(self, environ: WSGIEnvironment) -> None:
        """Refuse a copy whose source isn't the one it names by its ETag."""
        source, wanted = (environ.get(f"HTTP_X_AMZ_COPY_SOURCE{end}", "") for end in ("", "_IF_MATCH"))
        if not (source and wanted):
            return
        path, _, query = source.partition("?")
        status, headers, _ = self.ask("HEAD", f"/{unquote(path).lstrip('/')}", query)
        if status != 200:
            raise Refused(404, "NoSuchKey")
        if headers["etag"].strip('"') != wanted.strip('"'):
            raise Refused(412, "PreconditionFailed")

    def post_form(self, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], bytes]:
        _, form, files = parse_form_data(environ, silent=False)
        fields = {name.lower(): value for name, value in form.items()}
        if len(fields) != len(list(form.items(multi=True))) or [name for name, _ in files.items(multi=True)] != [
            "file"
        ]:
            raise Refused(400, "InvalidArgument", "Each field once, and one file named `file`.")
        upload = files["file"]
        size = upload.stream.seek(0, os.SEEK_END)
        upload.stream.seek(0)
        bucket = environ["PATH_INFO"].strip("/")
        obey_policy(fields, bucket, size)
        about: dict[str, Any] = {
            f"HTTP_{name.upper().replace('-', '_')}": value
            for name, value in fields.items()
            if name.startswith(("x-amz-meta-", "x-amz-server-side-encryption"))
        }
        path = f"/{bucket}/{fields['key']}"
        status, headers, body = self.ask(
            "PUT",
            path,
            CONTENT_TYPE=fields.get("content-type", "binary/octet-stream"),
            CONTENT_LENGTH=str(size),
            **{"wsgi.input": upload.stream, **about},
        )
        upload.close()
        if status != 200:
            return f"{status} Refused", list(headers.items()), body
        kept: list[tuple[str, str]] = [
            (name, headers[name]) for name in ("etag", "x-amz-version-id") if name in headers
        ]
        if fields.get("success_action_status") != "201":
            return "204 No Content", kept, b""
        said = f"<PostResponse><Bucket>{bucket}</Bucket><Key>{escape(fields['key'])}</Key></PostResponse>"
        return "201 Created", [*kept, ("Content-Type", "application/xml")], said.encode()

    def cross_origin(self, bucket: str, origin: str, method: str, asked: str) -> dict[str, str]:
        """Return the headers that let a page of `origin` use the bucket, by its own configuration."""
        if not (origin and bucket):
            return {}
        status, _, body = self.ask("GET", f"/{bucket}", "cors")
        if status != 200:
            return {}
        wanted = [name.strip().lower() for name in asked.split(",") if name.strip()]
        for rule in (found for found in ElementTree.fromstring(body).iter() if _tag(found) == "CORSRule"):  # noqa: S314
            allowed: dict[str, list[str]] = {}
            for part in rule:
                allowed.setdefault(_tag(part), []).append(part.text or "")
            headers = [name.lower() for name in allowed.get("AllowedHeader", [])]
            if (
                any(fnmatchcase(origin, one) for one in allowed.get("AllowedOrigin", []))
                and method in allowed.get("AllowedMethod", [])
                and all(any(fnmatchcase(name, one) for one in headers) for name in wanted)
            ):
                return {
                    "Access-Control-Allow-Origin": origin,
                    "Access-Control-Allow-Methods": ", ".join(allowed["AllowedMethod"]),
                    **({"Access-Control-Allow-Headers": asked} if asked else {}),
                    "Access-Control-Expose-Headers": ", ".join(allowed.get("ExposeHeader", [])),
                    "Vary": "Origin",
                }
        return {}


def authorise(environ: WSGIEnvironment, digest: str) -> None:
    """Refuse a request that isn't signed with our key, by its header or in its query.

    Args:
        environ: the request.
        digest: SHA-256 of its body, in hexadecimal.

    Source: "Signature Calculations for the Authorization Header" and "Authenticating Requests: Using Query Parameters
    (AWS Signature Version 4)", Amazon S3 API Reference.
    """
    headers = _headers(environ)
    path, _, raw_query = str(environ.get("RAW_URI") or environ["REQUEST_URI"]).partition("?")
    query = parse_qsl(raw_query, keep_blank_values=True)
    presigned = dict(query)
    now = datetime.now(UTC)
    if "authorization" in headers:
        kind, _, rest = headers["authorization"].partition(" ")
        given = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        if kind != ALGORITHM or given.keys() != {"Credential", "SignedHeaders", "Signature"}:
            raise Refused(403, "AccessDenied", "Only Signature Version 4 is taken.")
        stamp, payload = headers.get("x-amz-date", ""), headers.get("x-amz-content-sha256", "")
        scope = Scope.read(given["Credential"])
        if now - scope.signed_at(stamp) > CLOCK_SKEW:
            raise Refused(403, "RequestTimeTooSkewed")
        if payload not in (digest, "UNSIGNED-PAYLOAD"):
            raise Refused(400, "XAmzContentSHA256Mismatch")
    elif "X-Amz-Signature" in presigned:
        given = {name: presigned.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature")}
        query = [(name, value) for name, value in query if name != "X-Amz-Signature"]
        stamp, payload = presigned.get("X-Amz-Date", ""), "UNSIGNED-PAYLOAD"
        scope = Scope.read(given["Credential"])
        seconds = presigned.get("X-Amz-Expires", "")
        if presigned.get("X-Amz-Algorithm") != ALGORITHM or not seconds.isdigit():
            raise Refused(400, "AuthorizationQueryParametersError")
        if not 0 < int(seconds) <= LONGEST_URL_SECONDS:
            raise Refused(400, "AuthorizationQueryParametersError", "X-Amz-Expires is out of range.")
        if now > scope.signed_at(stamp) + timedelta(seconds=int(seconds)):
            raise Refused(403, "AccessDenied", "Request has expired")
    else:
        raise Refused(403, "AccessDenied", "Not signed.")
    signed = given["SignedHeaders"].split(";")
    if "host" not in signed or any(name.startswith("x-amz-") and name not in signed for name in headers):
        raise Refused(403, "AccessDenied", "There were headers present in the request which were not signed")
    canonical = "\n".join(
        [
            environ["REQUEST_METHOD"],
            quote(unquote(path), safe="/-_.~"),
            "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed),
            "",
            given["SignedHeaders"],
            payload,
        ]
    )
    credential = f"{scope.day}/{scope.region}/s3/aws4_request"
    text = "\n".join([ALGORITHM, stamp, credential, hashlib.sha256(canonical.encode()).hexdigest()])
    if not hmac.compare_digest(scope.sign(text), given["Signature"]):
        raise Refused(403, "SignatureDoesNotMatch")


def obey_policy(fields: Mapping[str, str], bucket: str, size: int) -> None:
    """Refuse a form that its signed policy doesn't allow. Names in `fields` are in lower case; `size` in bytes.

    Source: "Creating a POST policy", Amazon S3 API Reference.
    """
    if fields.keys() < {"policy", "x-amz-signature"} or "policy" not in fields or "x-amz-signature" not in fields:
        raise Refused(403, "AccessDenied", "There is no signed policy.")
    if fields.get("x-amz-algorithm") != ALGORITHM or not fields.get("key"):
        raise Refused(400, "InvalidArgument")
    scope = Scope.read(fields.get("x-amz-credential", ""))
    scope.signed_at(fields.get("x-amz-date", ""))
    if not hmac.compare_digest(scope.sign(fields["policy"]), fields["x-amz-signature"]):
        raise Refused(403, "SignatureDoesNotMatch")
    policy = json.loads(base64.b64decode(fields["policy"]))
    ends = datetime.fromisoformat(policy["expiration"])
    if datetime.now(UTC) >= ends:
        raise Refused(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    values = {**fields, "bucket": bucket}
    named = set()
    for condition in policy["conditions"]:
        if isinstance(condition, dict):
            rules = [("eq", f"${name}", value) for name, value in condition.items()]
        else:
            rules = [tuple(condition)]
        for operator, first, second in rules:
            if operator == "content-length-range":
                if size < int(first):
                    raise Refused(400, "EntityTooSmall")
                if size > int(second):
                    raise Refused(400, "EntityTooLarge")
                continue
            name = first.removeprefix("$").lower()
            named.add(name)
            value = values.get(name)
            fits = value is not None and (value == second if operator == "eq" else value.startswith(second))
            if operator not in {"eq", "starts-with"} or not fits:
                raise Refused(403, "AccessDenied", f"Invalid according to Policy: {name}")
    extra = {name for name in fields if not name.startswith("x-ignore-")} - named - NOT_IN_A_POLICY
    if extra:
        raise Refused(403, "AccessDenied", f"Invalid according to Policy: Extra input fields: {sorted(extra)}")


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    found = {name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name[:5] == "HTTP_"}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found[name.replace("_", "-").lower()] = environ[name]
    return found


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


@dataclass(frozen=True)
class S3Server:
    """A running endpoint with one versioned bucket, and the one key pair it knows."""

    endpoint: str
    bucket: str = BUCKET
    region: str = REGION
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def client(self, *, access_key: str = "", secret_key: str = "") -> "S3Client":
        """Return a client of this endpoint; other keys make one that is refused."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def empty(self) -> None:
        """Delete everything in the bucket, in every version."""
        client = self.client()
        listed = client.list_object_versions(Bucket=self.bucket)
        for found in (*listed.get("Versions", []), *listed.get("DeleteMarkers", [])):
            client.delete_object(Bucket=self.bucket, Key=found["Key"], VersionId=found["VersionId"])

    def stored(self, prefix: str = "") -> list[str]:
        """Return the keys of what lies in the bucket."""
        found = self.client().list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", [])]

    def environment(self) -> dict[str, str]:
        """Return the variables with which a process of ours uses this bucket."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_STORAGE_BUCKET_NAME": self.bucket,
            "AWS_S3_ENDPOINT_URL": self.endpoint,
            "AWS_S3_REGION_NAME": self.region,
        }

    @contextmanager
    def settings(self, **more: Any) -> Iterator[None]:
        """Let this process keep its files here for a while; `more` are settings to override too."""
        from django.conf import settings
        from django.test import override_settings

        kept = {**settings.STORAGES, "default": {"BACKEND": "quokkaq.lib.storage.PrivateS3Storage", "OPTIONS": {"bucket_name": self.bucket}}}  # fmt: skip
        variables = self.environment()
        keys = {name: variables.pop(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        with patch.dict(os.environ, keys), override_settings(**{**variables, "STORAGES": kept, **more}):
            yield


@contextmanager
def running(port: int = 0, bucket: str = BUCKET, host: str = "127.0.0.1") -> Iterator[S3Server]:
    """Serve on loopback, in threads, until the block ends. The bucket is made, with versioning on."""
    server = make_server(host, port, Gate(), threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        found = S3Server(f"http://{host}:{server.server_port}", bucket)
        client = found.client()
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield found
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


class QuietHandler(MotoRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An endpoint for all tests of a session; use `s3.settings()` to keep files there."""
    with running() as server:
        yield server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1", help="another than loopback in a network namespace only")
    options = parser.parse_args()
    with running(options.port, host=options.host) as server:
        print(json.dumps({"endpoint": server.endpoint, **server.environment()}), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
