"""Talking with the course's machine, as people click it, with and without JavaScript."""

import re
import subprocess
import time

import pytest
from playwright.sync_api import Page, expect

from ai_answers.models import Conversation, Message
from forum.models import Deflection, Thread
from tests.browser.conftest import Visit
from tests.factories import World

pytestmark = [pytest.mark.drill, pytest.mark.browser, pytest.mark.xdist_group("browser")]

QUESTION = "When is a default parameter value evaluated?"
ONCE = "evaluated once, when the function definition is executed"


def until(page: Page, selector: str, *, javascript: bool) -> None:
    """Wait for something; without JavaScript by pressing “Check again”."""
    if javascript:
        expect(page.locator(selector).first).to_be_visible(timeout=15_000)
        return
    for _ in range(60):
        if page.locator(selector).count():
            return
        page.wait_for_timeout(250)
        page.get_by_text("Check again").first.click()
    raise AssertionError(f"{selector} never came")


@pytest.mark.parametrize("javascript", [True, False])
def test_ask_read_ask_on_share_delete(
    stage: World, task_worker: subprocess.Popen[bytes], visit: Visit, javascript: bool
) -> None:
    sam = visit("sam", javascript=javascript)
    sam.goto("/c/cs-101/")
    sam.get_by_role("link", name="Ask the AI").click()
    sam.get_by_role("textbox", name="Your question").fill(QUESTION)
    started = time.monotonic()
    sam.get_by_role("button", name="Ask", exact=True).click()
    until(sam, ".said.machine .quotation", javascript=javascript)
    print(f"first statement after {time.monotonic() - started:.2f} s, JavaScript: {javascript}")
    expect(sam.locator(".said.machine .quotation blockquote").first).to_contain_text(ONCE)
    until(sam, ".said.machine.done", javascript=javascript)
    if javascript:
        expect(sam.locator("#answer-said")).to_have_text("The answer is there.")
    # A marker leads to its quotation.
    sam.locator(".said.machine .marker").first.click()
    expect(sam).to_have_url(re.compile(r"#quotation-2-1$"))

    sam.get_by_role("textbox", name="Your question").fill("Who won the football cup in nineteen fifty four?")
    sam.get_by_role("button", name="Ask on").click()
    until(sam, ".said.machine.abstained", javascript=javascript)
    expect(sam.get_by_role("link", name="Ask the course instead")).to_be_visible()

    sam.get_by_role("link", name="Make it a thread").click()
    expect(sam.get_by_label("Title")).to_have_value(QUESTION)
    assert not Thread.objects.exists()
    sam.get_by_label("Details").fill("Edited before it is posted.")
    sam.get_by_role("button", name="Post", exact=True).click()
    expect(sam.get_by_role("heading", level=1)).to_have_text(QUESTION)
    assert Conversation.objects.get().thread == Thread.objects.get()

    sam.get_by_role("link", name="Ask the AI").click()
    sam.get_by_role("link", name=QUESTION).click()
    sam.get_by_role("link", name="Delete").click()
    sam.get_by_role("button", name="Delete for good").click()
    expect(sam.locator(".messages")).to_contain_text("deleted, for good")
    assert not Conversation.objects.exists()


@pytest.mark.parametrize("javascript", [True, False])
def test_stop_and_try_again(stage: World, visit: Visit, javascript: bool) -> None:
    sam = visit("sam", javascript=javascript)
    sam.goto("/c/cs-101/ai/")
    sam.get_by_role("textbox", name="Your question").fill(QUESTION)
    sam.get_by_role("button", name="Ask", exact=True).click()  # nobody works on it
    expect(sam.locator(".said.machine")).to_contain_text("next in line")
    sam.get_by_role("button", name="Stop").click()
    expect(sam.locator(".said.machine.stopped")).to_be_visible()
    sam.get_by_role("button", name="Try again").click()
    expect(sam.locator(".said.machine.queued")).to_be_visible()
    assert Message.objects.get(speaker="machine").state == "queued"


@pytest.mark.parametrize("javascript", [True, False])
def test_see_what_the_materials_say_before_posting(
    stage: World, task_worker: subprocess.Popen[bytes], visit: Visit, javascript: bool
) -> None:
    sam = visit("sam", javascript=javascript)
    sam.goto("/c/cs-101/ask/")
    sam.get_by_label("Title").fill(QUESTION)
    sam.get_by_label("Details").fill("Is it once or at each call?")
    sam.get_by_role("button", name="See what the materials say").click()
    until(sam, "#ai-preview .quotation", javascript=javascript)
    expect(sam.locator("#ai-preview")).to_contain_text(ONCE)
    expect(sam.get_by_label("Details")).to_have_value("Is it once or at each call?")
    sam.get_by_role("button", name="This answers me").click()
    expect(sam.locator(".messages")).to_contain_text("wasn’t posted")
    assert Deflection.objects.count() == 1
    assert not Thread.objects.exists()


def test_without_a_stream_the_page_asks_now_and_then(
    stage: World, task_worker: subprocess.Popen[bytes], visit: Visit
) -> None:
    sam = visit("sam")
    sam.route("**/stream/", lambda route: route.fulfill(status=204))
    sam.goto("/c/cs-101/ai/")
    sam.get_by_role("textbox", name="Your question").fill(QUESTION)
    sam.get_by_role("button", name="Ask", exact=True).click()
    expect(sam.locator(".said.machine.done .quotation").first).to_be_visible(timeout=15_000)
