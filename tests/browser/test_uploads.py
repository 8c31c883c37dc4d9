"""Files in a real browser: straight to the bucket, to the site, dropped, pasted, cancelled, and without script."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from accounts.models import Purpose, Upload, UploadState
from forum.models import Attachment, Thread
from tests import factories
from tests.browser.conftest import Visit
from tests.factories import World
from tests.processes import running_worker
from tests.services.s3_server import S3Server

pytestmark = [pytest.mark.drill, pytest.mark.browser, pytest.mark.xdist_group("browser")]
ASK = "/c/cs-101/ask/"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    found = {"shot.png": factories.picture(), "notes.txt": b"Some notes.", "fake.pdf": b"<html>no</html>"}
    for name, data in found.items():
        (tmp_path / name).write_bytes(data)
    return {name: str(tmp_path / name) for name in found}


@pytest.fixture
def media(settings: Any, tmp_path: Path) -> dict[str, str]:
    """Files where the worker finds them, too."""
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return {"MEDIA_ROOT": settings.MEDIA_ROOT}


def write(page: Page) -> None:
    page.goto(ASK)
    page.get_by_label("Title").fill("Why does my window look like this?")
    page.get_by_label("Details").fill("See the picture.")


def test_files_are_sent_while_one_writes(
    stage: World, media: dict[str, str], visit: Visit, files: dict[str, str]
) -> None:
    with running_worker(**media):
        sam = visit("sam")
        write(sam)
        sam.get_by_label("Attach files").set_input_files([files["shot.png"], files["notes.txt"]])
        expect(sam.locator(".upload.clean")).to_have_count(2, timeout=20_000)
        sam.get_by_label("Attach files").set_input_files(files["fake.pdf"])
        expect(sam.locator(".upload.rejected")).to_contain_text("isn’t what its name says", timeout=20_000)
        sam.locator(".upload.rejected").get_by_text("Remove").click()
        expect(sam.locator(".upload")).to_have_count(2)
        sam.get_by_role("button", name="Post", exact=True).click()
        expect(sam.locator(".attachment img")).to_be_visible()
        expect(sam.locator(".attachment img")).to_have_js_property("naturalWidth", 300)
        with sam.expect_download() as download:
            sam.get_by_role("link", name="notes.txt").click()
        assert download.value.suggested_filename == "notes.txt"
        assert Path(download.value.path()).read_bytes() == b"Some notes."
    assert Attachment.objects.count() == 2


def test_a_file_goes_straight_to_the_bucket(
    stage: World, bucket: S3Server, settings: Any, visit: Visit, files: dict[str, str], live_server: Any
) -> None:
    policy = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    allowed = {name: [*policy[name], bucket.endpoint] for name in ("img-src", "connect-src")}
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": policy | allowed}
    rule: Any = {"AllowedOrigins": [live_server.url], "AllowedMethods": ["POST"], "AllowedHeaders": ["*"]}
    bucket.client().put_bucket_cors(Bucket=bucket.bucket, CORSConfiguration={"CORSRules": [rule]})
    with running_worker(**bucket.environment()):
        sam = visit("sam")
        write(sam)
        asked: list[str] = []
        sam.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        sam.get_by_label("Attach files").set_input_files(files["shot.png"])
        expect(sam.locator(".upload.clean")).to_have_count(1, timeout=20_000)
        assert f"POST {bucket.endpoint}/{bucket.bucket}" in [line.rstrip("/") for line in asked]
        assert not [line for line in asked if line.endswith("/content/")]
        sam.get_by_role("button", name="Post", exact=True).click()
        expect(sam.locator(".attachment img")).to_be_visible()
        expect(sam.locator(".attachment img")).to_have_js_property("naturalWidth", 300)
    assert [key.partition("/")[0] for key in bucket.stored()] == ["files"]


def test_a_file_can_be_cancelled_and_posting_waits_for_one_being_sent(
    stage: World, media: dict[str, str], visit: Visit, files: dict[str, str]
) -> None:
    sam = visit("sam")
    write(sam)
    held: list[Route] = []
    sam.route("**/content/", lambda route: held.append(route))  # noqa: PLW0108 (Playwright looks at its signature)
    # Stopped while it is sent,
    with sam.expect_request("**/content/"):
        sam.get_by_label("Attach files").set_input_files(files["notes.txt"])
    with sam.expect_response("**/discard/"):
        sam.get_by_role("button", name="Cancel").click()
    expect(sam.locator(".upload")).to_have_count(0)
    # and before the site has answered that it may be.
    asked: list[Route] = []
    sam.route("**/uploads/", lambda route: asked.append(route))  # noqa: PLW0108 (the same)
    sam.get_by_label("Attach files").set_input_files(files["notes.txt"])
    expect(sam.locator(".upload progress")).to_be_visible()
    sam.get_by_role("button", name="Cancel").click()
    expect(sam.locator(".upload")).to_have_count(0)
    sam.unroute("**/uploads/")
    with sam.expect_request("**/content/"):
        sam.get_by_label("Attach files").set_input_files(files["notes.txt"])
    sam.get_by_role("button", name="Post", exact=True).click()
    sam.wait_for_timeout(300)
    assert not Thread.objects.exists()
    held[-1].continue_()
    expect(sam.get_by_role("heading", level=1)).to_have_text("Why does my window look like this?")
    assert Attachment.objects.count() == 1
    assert Upload.objects.filter(state=UploadState.EXPIRED).count() == 1


def test_a_picture_is_pasted_into_the_text(stage: World, media: dict[str, str], visit: Visit) -> None:
    sam = visit("sam")
    write(sam)
    sam.get_by_label("Details").evaluate(
        """box => {
          const data = new DataTransfer();
          data.items.add(new File(["Some notes."], "pasted.txt", { type: "text/plain" }));
          box.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        }"""
    )
    expect(sam.locator(".upload-name")).to_have_text("pasted.txt")
    expect(sam.locator(".upload-state")).to_contain_text("Being checked")


def test_without_script_files_go_with_the_form(
    stage: World, media: dict[str, str], visit: Visit, files: dict[str, str]
) -> None:
    sam = visit("sam", javascript=False)
    write(sam)
    sam.get_by_label("Attach files").set_input_files([files["shot.png"], files["notes.txt"]])
    sam.get_by_role("button", name="Post", exact=True).click()
    expect(sam.locator(".attachment")).to_have_count(2)
    with running_worker(**media):
        for _ in range(60):
            if sam.locator(".attachment img").count():
                break
            sam.wait_for_timeout(250)
            sam.reload()
    expect(sam.locator(".attachment img")).to_be_visible()


def test_a_lecturer_adds_a_file_as_material_and_a_picture_of_himself(
    stage: World, media: dict[str, str], visit: Visit, files: dict[str, str]
) -> None:
    with running_worker(**media):
        tim = visit("tim")
        tim.goto("/c/cs-101/materials/add/")
        tim.get_by_label("Files").set_input_files(files["notes.txt"])
        expect(tim.locator(".upload.clean")).to_have_count(1, timeout=20_000)
        tim.get_by_role("button", name="Save").click()
        expect(tim.locator(".imports")).to_contain_text("Ready", timeout=20_000)
        tim.goto("/me/")
        tim.get_by_label("Choose a picture").set_input_files(files["shot.png"])
        expect(tim.locator(".upload.clean")).to_have_count(1, timeout=20_000)
        tim.get_by_role("button", name="Use this picture").click()
        expect(tim.locator(".avatar-large img")).to_be_visible()
    assert Upload.objects.filter(purpose=Purpose.AVATAR, state=UploadState.CLEAN).count() == 1
