"""Files on the disk of this machine: the same states and checks as in a bucket."""

import os
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404
from django.test import override_settings

from quokkaq.lib.storage import (
    FILES,
    QUARANTINE,
    TEMPORARY,
    Changed,
    DiskStore,
    Missing,
    StoreError,
    serve,
    store,
)

pytestmark = pytest.mark.django_db  # a response that is closed lets go of connections
BODY = bytes(range(256)) * 8


@pytest.fixture
def disk() -> DiskStore:
    found = store()
    assert isinstance(found, DiskStore)
    return found


def new_key(prefix: str = QUARANTINE) -> str:
    return prefix + str(uuid.uuid4())


def kept_in(disk: DiskStore, prefix: str = QUARANTINE, body: bytes = BODY) -> str:
    key = new_key(prefix)
    disk.put(key, BytesIO(body), content_type="text/plain", owner="sam")
    return key


def left_over(disk: DiskStore) -> list[str]:
    return [path.name for path in (disk.root / ".partial").iterdir()]


def test_a_file_goes_through_quarantine_to_where_it_is_served(disk: DiskStore) -> None:
    key, kept = new_key(), new_key(FILES)
    assert disk.ticket(key, content_type="text/plain", size=1, owner="sam") is None
    file = BytesIO(BODY)
    file.read()  # somebody read it before: it's stored from its beginning all the same
    disk.put(key, file, content_type="text/plain", owner="sam")
    found = disk.head(key)
    assert found is not None
    assert (found.size, found.content_type, found.owner) == (len(BODY), "text/plain", "sam")
    assert disk.read(key, 1, 3, version=found.version) == BODY[1:4]
    assert disk.read(key, len(BODY) - 1, 9) == BODY[-1:]
    assert disk.read(key, len(BODY), 9) == b""
    assert b"".join(disk.chunks(key, 100, version=found.version)) == BODY
    for _ in range(2):
        disk.promote(key, kept, content_type="application/x-found", version=found.version)
    disk.delete(key)
    disk.delete(key)
    assert disk.head(key) is None
    disk.promote(key, kept, content_type="application/x-found", version=found.version)
    promoted = disk.head(kept)
    assert promoted is not None
    assert (promoted.size, promoted.content_type, promoted.owner) == (len(BODY), "application/x-found", "sam")
    path = disk.root / kept
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_bytes() == BODY
    assert left_over(disk) == []


def test_a_path_is_stored_too(disk: DiskStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    key = new_key()
    disk.put(key, tmp_path / "file", content_type="text/plain", owner="sam")
    assert disk.read(key, 0, 1 << 20) == BODY


def test_a_file_written_again_after_the_check_is_not_promoted(disk: DiskStore) -> None:
    key, kept = kept_in(disk), new_key(FILES)
    found = disk.head(key)
    assert found is not None
    disk.put(key, BytesIO(b"<script>"), content_type="text/html", owner="sam")
    acts: list[Callable[[], object]] = [
        lambda: disk.promote(key, kept, content_type="text/plain", version=found.version),
        lambda: disk.read(key, 0, 4, version=found.version),
        lambda: list(disk.chunks(key, version=found.version)),
    ]
    for act in acts:
        with pytest.raises(Changed):
            act()
    assert disk.head(kept) is None


def test_a_file_written_into_while_it_is_copied_is_not_promoted(
    disk: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, kept = kept_in(disk), new_key(FILES)
    found = disk.head(key)
    assert found is not None
    put = DiskStore.put

    def meddle(self: DiskStore, *args: object, **options: object) -> None:
        (disk.root / key).write_bytes(b"<script>")
        put(self, *args, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(DiskStore, "put", meddle)
    with pytest.raises(Changed):
        disk.promote(key, kept, content_type="text/plain", version=found.version)
    assert disk.head(kept) is None


def test_what_is_not_there_is_said_so(disk: DiskStore) -> None:
    acts: list[Callable[[], object]] = [
        lambda: disk.read(new_key(), 0, 1),
        lambda: list(disk.chunks(new_key())),
        lambda: disk.promote(new_key(), new_key(FILES), content_type="text/plain", version="1"),
    ]
    for act in acts:
        with pytest.raises(Missing):
            act()
    with pytest.raises(Http404):
        serve(new_key(FILES), content_type="text/plain")


def test_there_is_all_of_a_file_or_nothing(disk: DiskStore) -> None:
    class Breaks(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(10)

    key = new_key()
    with pytest.raises(StoreError):
        disk.put(key, Breaks(BODY), content_type="text/plain", owner="sam")
    assert disk.head(key) is None
    assert left_over(disk) == []


def test_listing_tells_what_is_old(disk: DiskStore) -> None:
    old, new, elsewhere = kept_in(disk, TEMPORARY), kept_in(disk, TEMPORARY), kept_in(disk, FILES)
    day = time.time() - 86400
    for key in (old, elsewhere):
        os.utime(disk.root / key, (day, day))
    now = datetime.now(UTC)
    assert list(disk.listing(TEMPORARY, now - timedelta(hours=1))) == [old]
    assert set(disk.listing(TEMPORARY, now + timedelta(hours=1))) == {old, new}
    assert list(disk.listing(QUARANTINE, now + timedelta(hours=1))) == []


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../a", "files/../../a", "a//b", "a/.b", ".about/a", "a\\b", "a b", "ä", "a/", "a\n", "a\0"]
)  # fmt: skip
def test_no_key_leads_out_of_the_folder(disk: DiskStore, key: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: disk.head(key),
        lambda: disk.read(key, 0, 1),
        lambda: list(disk.chunks(key)),
        lambda: disk.put(key, BytesIO(b"x"), content_type="text/plain", owner=""),
        lambda: disk.promote(key, new_key(FILES), content_type="text/plain", version="1"),
        lambda: disk.promote(new_key(), key, content_type="text/plain", version="1"),
        lambda: disk.delete(key),
        lambda: disk.ticket(key, content_type="text/plain", size=1, owner=""),
        lambda: serve(key),
    ]
    for act in acts:
        with pytest.raises(StoreError, match="is no key"):
            act()


@pytest.mark.parametrize(
    ("content_type", "inline", "disposition"),
    [
        ("image/png", True, "inline"),
        ("image/png", False, "attachment"),
        ("text/html", True, "attachment"),
        ("image/svg+xml", True, "attachment"),
        ("application/pdf", True, "attachment"),
    ],
)
def test_a_file_comes_with_headers_that_keep_it_harmless(
    disk: DiskStore, content_type: str, inline: bool, disposition: str
) -> None:
    response = serve(kept_in(disk, FILES), content_type=content_type, download_as="Grüße\r\nX: 1.pdf", inline=inline)
    assert isinstance(response, FileResponse)
    assert response.getvalue() == BODY
    response.close()
    assert response["Content-Type"] == content_type
    assert response["Content-Disposition"] == f"{disposition}; filename*=utf-8''Gr%C3%BC%C3%9FeX%3A%201.pdf"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response["Cache-Control"].startswith("private")
    assert int(response["Content-Length"]) == len(BODY)


def test_the_web_server_in_front_may_send_it(disk: DiskStore) -> None:
    key = kept_in(disk, FILES)
    with override_settings(ACCEL_REDIRECT_PREFIX="/protected/"):
        response = serve(key, content_type="application/pdf", download_as='a "b".pdf')
    assert response["X-Accel-Redirect"] == f"/protected/{key}"
    assert response["Content-Disposition"] == 'attachment; filename="a \\"b\\".pdf"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert not response.streaming


def test_a_file_djangos_storage_wrote_is_known_too(disk: DiskStore) -> None:
    key = default_storage.save("avatars/a.webp", ContentFile(b"RIFF"))
    found = disk.head(key)
    assert found is not None
    assert (found.size, found.content_type, found.owner) == (4, "application/octet-stream", "")
    (disk.root / ".about" / "avatars").mkdir(parents=True)
    (disk.root / ".about" / key).write_text("{")
    with pytest.raises(StoreError, match="can't be read"):
        disk.head(key)
