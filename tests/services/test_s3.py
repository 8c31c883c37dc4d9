"""Files in a bucket: what a ticket allows, what a link shows, and everything else refused, over real HTTP."""

import base64
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from quokkaq.lib import storage
from quokkaq.lib.storage import FILES, QUARANTINE, TICKET_SECONDS, Changed, Missing, S3Store, StoreError, Ticket
from tests.crashes.taps import tap
from tests.services.s3_server import S3Server, s3

__all__ = ["s3"]

BODY = b"%PDF-1.7 " + bytes(range(256)) * 4
OWNER = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"


@pytest.fixture
def place(s3: S3Server) -> Iterator[S3Store]:
    with s3.settings():
        found = storage.store()
        assert isinstance(found, S3Store)
        yield found


def new_key(prefix: str = QUARANTINE) -> str:
    return prefix + str(uuid.uuid4())


def ticket_for(place: S3Store, key: str, size: int = len(BODY)) -> Ticket:
    found = place.ticket(key, content_type="application/pdf", size=size, owner=OWNER)
    assert found is not None
    return found


def send(ticket: Ticket, body: bytes = BODY) -> httpx.Response:
    return httpx.post(ticket.url, data=ticket.fields, files={"file": ("x", body)})


def send_changed(ticket: Ticket, field: str, value: str) -> httpx.Response:
    return httpx.post(ticket.url, data={**ticket.fields, field: value}, files={"file": ("x", BODY)})


def policy(ticket: Ticket) -> dict[str, object]:
    found: dict[str, object] = json.loads(base64.b64decode(ticket.fields["policy"]))
    return found


def test_a_browser_sends_a_file_to_quarantine_and_it_is_served_once_promoted(place: S3Store) -> None:
    key, kept = new_key(), new_key(FILES)
    ticket = ticket_for(place, key)
    left = ticket.expires_at - datetime.now(UTC)
    assert timedelta(seconds=TICKET_SECONDS - 10) < left <= timedelta(seconds=TICKET_SECONDS)
    assert send(ticket).status_code == 201
    found = place.head(key)
    assert found is not None
    assert (found.size, found.content_type, found.owner) == (len(BODY), "application/pdf", OWNER)
    assert place.client.head_object(Bucket=place.bucket, Key=key)["ServerSideEncryption"] == "AES256"
    assert place.read(key, 0, 8, version=found.version) == BODY[:8]
    assert place.read(key, len(BODY) - 3, 100) == BODY[-3:]
    assert place.read(key, len(BODY), 100) == b""
    assert place.read(key, 0, 0) == b""
    assert b"".join(place.chunks(key, 100, version=found.version)) == BODY
    assert {len(piece) for piece in place.chunks(key, 100)} <= set(range(101))
    for _ in range(2):
        place.promote(key, kept, content_type="application/x-found", version=found.version)
    promoted = place.head(kept)
    assert promoted is not None
    assert (promoted.size, promoted.content_type, promoted.owner) == (len(BODY), "application/x-found", OWNER)
    place.delete(key)
    place.delete(key)
    assert place.head(key) is None
    place.promote(key, kept, content_type="application/x-found", version=found.version)
    # The ticket is still good, for the quarantine alone: what is served doesn't change.
    assert send(ticket, b"x" * len(BODY)).status_code == 201
    assert place.read(kept, 0, 8) == BODY[:8]


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"x", b""])
def test_a_file_of_another_size_is_refused(place: S3Store, body: bytes) -> None:
    key = new_key()
    refused = send(ticket_for(place, key), body)
    assert refused.status_code == 400
    assert "EntityToo" in refused.text
    assert place.head(key) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", f"{FILES}1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
        ("Content-Type", "text/html"),
        ("x-amz-meta-owner", "somebody-else"),
        ("x-amz-meta-more", "x"),
        ("acl", "public-read"),
        ("success_action_status", "200"),
        ("success_action_redirect", "https://elsewhere.example"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-signature", "0" * 64),
        ("x-amz-credential", "AKIDSOMEBODYELSE0001/20260101/us-east-1/s3/aws4_request"),
    ],
)  # fmt: skip
def test_a_changed_form_is_refused(place: S3Store, field: str, value: str) -> None:
    key = new_key()
    assert send_changed(ticket_for(place, key), field, value).status_code == 403
    assert place.head(key) is None
    assert place.head(f"{FILES}1b4e28ba-2fa1-11d2-883f-0016d3cca427") is None


@pytest.mark.parametrize("field", ["policy", "x-amz-signature", "x-amz-meta-owner", "Content-Type", "key"])
def test_a_form_without_one_of_its_fields_is_refused(place: S3Store, field: str) -> None:
    ticket = ticket_for(place, new_key())
    del ticket.fields[field]
    assert send(ticket).status_code in {400, 403}


def test_a_policy_made_wider_by_hand_is_refused(place: S3Store) -> None:
    ticket = ticket_for(place, new_key())
    wider = policy(ticket)
    wider["conditions"] = [["content-length-range", 0, 1 << 40]]
    ticket.fields["policy"] = base64.b64encode(json.dumps(wider).encode()).decode()
    refused = send(ticket, BODY + b"x")
    assert refused.status_code == 403
    assert "SignatureDoesNotMatch" in refused.text


def test_a_ticket_ends(place: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quokkaq.lib.storage.s3.TICKET_SECONDS", -1)
    key = new_key()
    refused = send(ticket_for(place, key))
    assert (refused.status_code, "Policy expired" in refused.text) == (403, True)
    assert place.head(key) is None


def test_a_file_swapped_after_the_check_is_not_promoted(place: S3Store) -> None:
    key, kept = new_key(), new_key(FILES)
    place.put(key, BytesIO(BODY), content_type="application/pdf", owner=OWNER)
    found = place.head(key)
    assert found is not None
    place.put(key, BytesIO(b"<script>"), content_type="text/html", owner=OWNER)
    # The bucket keeps versions: what was checked is what is read and copied.
    assert place.read(key, 0, 4, version=found.version) == BODY[:4]
    place.promote(key, kept, content_type="application/pdf", version=found.version)
    assert place.read(kept, 0, 1 << 20) == BODY
    # Without versions the ETag alone tells.
    etag = " " + found.version.partition(" ")[2]
    other = new_key(FILES)
    with pytest.raises(Changed):
        place.promote(key, other, content_type="application/pdf", version=etag)
    with pytest.raises(Changed):
        place.read(key, 0, 4, version=etag)
    assert place.head(other) is None


def test_the_copy_itself_is_guarded(place: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key, kept = new_key(), new_key(FILES)
    place.put(key, BytesIO(BODY), content_type="application/pdf", owner=OWNER)
    found = place.head(key)
    assert found is not None
    etag = " " + found.version.partition(" ")[2]
    place.put(key, BytesIO(b"<script>"), content_type="text/html", owner=OWNER)
    # As if the file were swapped between the look and the copy.
    with monkeypatch.context() as patched:
        patched.setattr(S3Store, "_head", lambda self, key, version: found)
        with pytest.raises(Changed):
            place.promote(key, kept, content_type="application/pdf", version=etag)
    with pytest.raises(Missing):
        place.read(kept, 0, 1)


def test_what_is_not_there_is_said_so(place: S3Store) -> None:
    with pytest.raises(Missing):
        place.read(new_key(), 0, 1)
    with pytest.raises(Missing):
        list(place.chunks(new_key()))
    with pytest.raises(Missing):
        place.promote(new_key(), new_key(FILES), content_type="text/plain", version=' "0"')


def test_a_large_file_goes_up_in_parts(place: S3Store, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(12 << 20))
    key = new_key()
    place.put(key, path, content_type="application/zip", owner=OWNER)
    found = place.head(key)
    assert found is not None
    assert (found.size, found.owner) == (12 << 20, OWNER)
    assert found.version.rstrip('"').endswith("-3")  # the ETag of an object made of three parts


@pytest.mark.parametrize("size", [0, 10, 6 << 20])
def test_a_file_that_was_stored_can_still_be_read(place: S3Store, size: int) -> None:
    key, file = new_key(), BytesIO(bytes(size))
    file.seek(size // 2)
    place.put(key, file, content_type="text/plain", owner=OWNER)
    assert not file.closed
    found = place.head(key)
    assert found is not None
    assert (found.size, found.content_type, found.owner) == (size, "text/plain", OWNER)


def test_listing_tells_what_is_old(place: S3Store) -> None:
    key = new_key("temporary/")
    place.put(key, BytesIO(b"x"), content_type="text/plain", owner="")
    now = datetime.now(UTC)
    assert key in list(place.listing("temporary/", now + timedelta(minutes=1)))
    assert key not in list(place.listing("temporary/", now - timedelta(minutes=1)))
    assert key not in list(place.listing(QUARANTINE, now + timedelta(minutes=1)))


@pytest.mark.parametrize(
    ("content_type", "inline", "disposition"),
    [
        ("image/png", True, "inline"),
        ("image/png", False, "attachment"),
        ("text/html", True, "attachment"),
        ("image/svg+xml", True, "attachment"),
    ],
)
def test_a_link_says_how_the_file_is_shown(place: S3Store, content_type: str, inline: bool, disposition: str) -> None:
    key = new_key(FILES)
    place.put(key, BytesIO(BODY), content_type="text/plain", owner=OWNER)
    response = storage.serve(key, content_type=content_type, download_as='Grüße "1".pdf', inline=inline)
    assert response.status_code == 302
    assert "X-Amz-Expires=300" in response["Location"]
    got = httpx.get(response["Location"])
    assert (got.status_code, got.content) == (200, BODY)
    assert got.headers["Content-Type"] == content_type
    assert got.headers["Content-Disposition"] == f"{disposition}; filename*=utf-8''Gr%C3%BC%C3%9Fe%20%221%22.pdf"


def test_a_link_is_good_for_what_it_names_and_not_for_ever(place: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key, other = new_key(FILES), new_key(FILES)
    for one in (key, other):
        place.put(one, BytesIO(BODY), content_type="text/plain", owner=OWNER)
    url = storage.serve(key, content_type="text/plain")["Location"]
    assert httpx.get(url).status_code == 200
    assert httpx.get(url.replace(key, other)).status_code == 403
    assert httpx.get(url.replace("attachment", "inline")).status_code == 403
    assert httpx.get(url.replace("Expires=300", "Expires=3000")).status_code == 403
    assert httpx.delete(url).status_code == 403
    assert httpx.put(url, content=b"x").status_code == 403
    plain = urlsplit(url)
    for path in (plain.path, f"/{place.bucket}", f"/{place.bucket}?list-type=2", "/"):
        assert httpx.get(f"{plain.scheme}://{plain.netloc}{path}").status_code == 403, path
    monkeypatch.setattr("quokkaq.lib.storage.s3.SIGNED_URL_SECONDS", 1)
    short = storage.serve(key, content_type="text/plain")["Location"]
    time.sleep(2.1)
    expired = httpx.get(short)
    assert (expired.status_code, "expired" in expired.text) == (403, True)


def test_other_keys_are_refused(s3: S3Server) -> None:
    for changes in ({"access_key": "AKIDSOMEBODYELSE0001"}, {"secret_key": "another"}):
        client = s3.client(**changes)
        with pytest.raises(client.exceptions.ClientError, match=r"InvalidAccessKeyId|SignatureDoesNotMatch"):
            client.list_objects_v2(Bucket=s3.bucket)


@pytest.mark.clocked
def test_trouble_with_the_bucket_is_one_error(s3: S3Server) -> None:
    with s3.settings(AWS_STORAGE_BUCKET_NAME="no-such-bucket"):
        with pytest.raises(StoreError):
            storage.store().put(new_key(), BytesIO(b"x"), content_type="text/plain", owner="")
        assert not storage.check_reachable()
    with s3.settings():
        assert storage.check_reachable()
    with s3.settings(AWS_S3_ENDPOINT_URL="http://127.0.0.1:1"):
        place = storage.store()
        for act in (lambda: place.head(new_key()), lambda: place.delete(new_key()), lambda: list(place.chunks("a"))):
            with pytest.raises(StoreError):
                act()
        began = time.monotonic()
        assert not storage.check_reachable()
        assert time.monotonic() - began < 1.5


@pytest.mark.clocked
def test_a_bucket_that_hangs_is_out_of_reach_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection and says nothing
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        with S3Server(endpoint).settings():
            storage.check_reachable()  # what is loaded once
            began = time.monotonic()
            assert not storage.check_reachable()
            assert time.monotonic() - began < 1.5


@pytest.mark.drill
@pytest.mark.filterwarnings("ignore::dateutil.parser.UnknownTimezoneWarning")  # half a date
@pytest.mark.parametrize("ask", ["head", "read", "chunks"])
def test_an_answer_that_was_cut_off_is_trouble_and_no_other_file(s3: S3Server, ask: str) -> None:
    """What is cut off in its head looks whole to Python's HTTP client: it is taken for a shorter one."""
    address = urlsplit(s3.endpoint)
    with (
        tap((str(address.hostname), int(address.port or 0))) as line,
        s3.settings(AWS_S3_ENDPOINT_URL=f"http://127.0.0.1:{line.port}"),
    ):
        place, key = storage.store(), new_key()
        place.put(key, BytesIO(BODY), content_type="application/pdf", owner=OWNER)
        stored = place.head(key)
        asks: dict[str, Callable[[], object]] = {
            "head": lambda: place.head(key),
            "read": lambda: place.read(key, 0, 1000),
            "chunks": lambda: b"".join(place.chunks(key)),
        }
        whole = {"head": stored, "read": BODY[:1000], "chunks": BODY}[ask]
        troubles = 0
        for after in range(5, 640, 3):
            line.cut(after)
            try:
                assert asks[ask]() == whole, after
            except StoreError:
                troubles += 1
            line.heal()
        assert troubles > 5


@pytest.mark.parametrize("key", ["", "/a", "../a", "a/../b", "a//b", "a/.b", "a\\b", "a b", "ä", "a/", "a\n"])
def test_a_key_is_plain(place: S3Store, key: str) -> None:
    with pytest.raises(StoreError):
        place.head(key)
    with pytest.raises(StoreError):
        place.ticket(key, content_type="text/plain", size=1, owner="")
