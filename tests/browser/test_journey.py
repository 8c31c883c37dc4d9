"""The main way through QuokkaQ, as people click it, with and without JavaScript."""

import re
import subprocess

import pytest
from playwright.sync_api import Page, Route, expect

from ai_answers.models import Answer
from forum import actions
from forum.models import Deflection, Post, Thread
from tests import factories
from tests.browser.conftest import Visit
from tests.factories import World

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

QUESTION = "When is a default parameter value evaluated?"


def ask(page: Page, title: str = QUESTION) -> None:
    page.goto("/courses/")
    page.get_by_role("link", name="CS-101", exact=True).first.click()
    page.get_by_role("link", name="Ask", exact=True).click()
    page.get_by_label("Title").fill(title)
    page.get_by_label("Details").fill("Is it **once** or at each call? `def f(x=[])`")


@pytest.mark.parametrize("javascript", [True, False])
def test_ask_answer_cite_reply_endorse(
    stage: World, task_worker: subprocess.Popen[bytes], visit: Visit, javascript: bool
) -> None:
    sam = visit("sam", javascript=javascript)
    ask(sam)
    if javascript:
        expect(sam.locator("#preview strong")).to_have_text("once")
    sam.get_by_role("button", name="Post", exact=True).click()
    expect(sam.get_by_role("heading", level=1)).to_have_text(QUESTION)
    quotation = sam.locator(".quotation blockquote")
    if javascript:
        # The answer comes in by itself.
        expect(quotation.first).to_be_visible(timeout=15_000)
    else:
        for _ in range(60):
            if quotation.count():
                break
            sam.wait_for_timeout(250)
            sam.reload()
    expect(quotation.first).to_contain_text("evaluated once, when the function definition is executed")
    expect(sam.locator("#ai-answer")).to_contain_text("Not reviewed by staff")
    address = sam.url

    # The source is one click away, with the passage marked.
    sam.locator(".quotation-source a").first.click()
    expect(sam.locator("#cited")).to_be_in_viewport()
    expect(sam.locator("#cited mark").first).to_contain_text("evaluated once")

    noor = visit("noor", javascript=javascript)
    noor.goto(address)
    noor.get_by_label("Your reply").fill("Once! See the lecture.")
    noor.get_by_role("button", name="Post", exact=True).click()
    expect(noor.locator(".answer-card .prose")).to_contain_text("See the lecture")

    tim = visit("tim", javascript=javascript)
    tim.goto(address)
    tim.locator("#endorse-answer").click()
    expect(tim.locator("#ai-answer")).to_contain_text("Endorsed by Tim Surname-tim")
    post = Post.objects.get()
    tim.locator(f"#endorse-{post.pk.hex}").click()
    expect(tim.locator(".answer-card")).to_contain_text("Endorsed by Tim Surname-tim")

    sam.goto(address)
    sam.locator(f"#accept-{post.pk.hex}").click()
    expect(sam.locator(".answer-card")).to_contain_text("Accepted answer")
    expect(sam.locator(".question-card")).to_contain_text("Resolved")
    sam.locator(f"#vote-{post.pk.hex}").click()
    expect(sam.locator(f"#vote-{post.pk.hex}")).to_have_attribute("aria-pressed", "true")


def test_what_is_typed_before_the_scripts_are_there_is_previewed(stage: World, visit: Visit) -> None:
    sam = visit("sam")
    held: list[Route] = []
    sam.route(re.compile(r"/static/.*\.js"), lambda route: held.append(route))  # noqa: PLW0108 (it is marked, a builtin can’t be)
    sam.goto("/c/cs-101/ask/", wait_until="commit")
    sam.get_by_label("Details").fill("Is it **once**?")
    assert held
    for route in held:
        route.continue_()
    expect(sam.locator("#preview strong")).to_have_text("once")


def test_a_refused_question_keeps_what_was_typed(stage: World, visit: Visit) -> None:
    sam = visit("sam")
    ask(sam, "Hm")
    sam.get_by_label("Only course staff and me").check()
    sam.get_by_role("button", name="Post", exact=True).click()
    expect(sam.locator(".error-summary")).to_be_focused()
    expect(sam.locator(".error").first).to_contain_text("at least 5 characters")
    expect(sam.get_by_label("Details")).to_have_value("Is it **once** or at each call? `def f(x=[])`")
    expect(sam.get_by_label("Only course staff and me")).to_be_checked()


def test_a_double_click_asks_once(stage: World, visit: Visit) -> None:
    sam = visit("sam")
    ask(sam)
    sam.get_by_role("button", name="Post", exact=True).dblclick()
    expect(sam.get_by_role("heading", level=1)).to_have_text(QUESTION)
    assert (Thread.objects.count(), Answer.objects.count()) == (1, 1)


def test_a_click_that_is_refused_says_so(stage: World, visit: Visit) -> None:
    thread = factories.make_thread(stage.member("sam"), "Deleted meanwhile")
    noor = visit("noor")
    noor.goto(f"/c/cs-101/{thread.number}/")
    actions.delete_thread(by=stage.member("sam"), thread=thread)
    noor.locator("#vote-thread").click()
    expect(noor.get_by_role("heading", level=1)).to_have_text("There is nothing here")


def test_signed_out_in_another_tab_nothing_typed_is_lost(stage: World, visit: Visit) -> None:
    sam = visit("sam")
    ask(sam)
    expect(sam.locator("#preview strong")).to_have_text("once")
    sam.context.clear_cookies(name="quokkaq_session")
    with sam.expect_response("**/preview/"):
        sam.get_by_label("Details").press_sequentially(" more")
    expect(sam.get_by_label("Details")).to_have_value(re.compile("Is it .* more"))
    expect(sam.locator("#preview")).not_to_contain_text("Sign in")


def test_delete_and_undo(stage: World, visit: Visit) -> None:
    thread = factories.make_thread(stage.member("sam"), "A thread to delete")
    sam = visit("sam")
    sam.goto(f"/c/cs-101/{thread.number}/")
    sam.locator("#thread-menu summary").click()
    sam.locator("#delete").click()
    expect(sam.get_by_role("heading", level=1)).to_have_text("This thread is deleted")
    sam.get_by_role("button", name="Undo").click()
    expect(sam.get_by_role("heading", level=1)).to_have_text("A thread to delete")


def test_the_keyboard_goes_everywhere(stage: World, visit: Visit) -> None:
    factories.make_thread(stage.member("sam"), "Reached by keyboard")
    noor = visit("noor")
    noor.goto("/c/cs-101/")
    noor.keyboard.press("Tab")
    expect(noor.locator(".skip-link")).to_be_focused()
    noor.keyboard.press("Enter")
    for _ in range(40):
        noor.keyboard.press("Tab")
        if noor.evaluate("document.activeElement.textContent").startswith("Reached"):
            break
    noor.keyboard.press("Enter")
    expect(noor.get_by_role("heading", level=1)).to_have_text("Reached by keyboard")


def test_what_was_asked_before_is_shown_while_typing_and_may_answer(stage: World, visit: Visit) -> None:
    for n in range(5):
        factories.make_thread(stage.member("noor"), f"Where is the lecture of week {n}?")
    thread = factories.make_thread(stage.member("noor"), "Why does my recursive function never return?")
    sam = visit("sam")
    ask(sam, "")
    sam.get_by_label("Title").press_sequentially("My recursive function never returns")
    similar = sam.locator("#similar")
    expect(similar).to_contain_text("Why does my recursive function never return?")
    # Enter in the title is no click on a button that stands near it.
    sam.get_by_label("Title").press("Enter")
    expect(sam.locator("#duplicate-warning")).to_be_focused()
    expect(sam.get_by_label("Details")).to_have_value("Is it **once** or at each call? `def f(x=[])`")
    sam.get_by_role("button", name="This answers me").click()
    expect(sam.get_by_role("heading", level=1)).to_have_text(thread.title)
    expect(sam.locator(".messages")).to_contain_text("Your question wasn’t posted")
    assert Deflection.objects.get().thread == thread
    sam.goto("/c/cs-101/ask/")
    expect(sam.get_by_label("Title")).to_have_value("")


def test_without_script_a_duplicate_is_warned_about_and_posted_anyway(stage: World, visit: Visit) -> None:
    factories.make_thread(stage.member("noor"), QUESTION)
    sam = visit("sam", javascript=False)
    ask(sam)
    sam.get_by_role("button", name="Post", exact=True).click()
    expect(sam.locator(".similar")).to_contain_text("This was asked before")
    sam.get_by_role("button", name="Post anyway").first.click()
    expect(sam.get_by_role("heading", level=1)).to_have_text(QUESTION)
    assert Thread.objects.count() == 2


def test_suggestions_are_reached_by_keyboard(stage: World, visit: Visit) -> None:
    factories.make_thread(stage.member("noor"), "Recursion in trees")
    factories.make_thread(stage.member("noor"), "Recursion in lists")
    sam = visit("sam")
    sam.goto("/c/cs-101/")
    box = sam.get_by_label("Search CS-101", exact=True)
    box.press_sequentially("recurs")
    expect(sam.locator("#course-search-status")).to_contain_text("2 threads below")
    sam.keyboard.press("ArrowDown")
    sam.keyboard.press("ArrowDown")
    expect(sam.locator(".suggestions a").nth(1)).to_be_focused()
    sam.keyboard.press("Escape")
    expect(box).to_be_focused()
    expect(sam.locator(".suggestions a")).to_have_count(0)
    box.press_sequentially("ion")
    expect(sam.locator(".suggestions a").first).to_be_visible()
    sam.keyboard.press("ArrowDown")
    sam.keyboard.press("Enter")
    expect(sam.get_by_role("heading", level=1)).to_contain_text("Recursion in")


def test_search_works_without_script(stage: World, visit: Visit) -> None:
    factories.make_thread(stage.member("noor"), "Recursion in trees")
    sam = visit("sam", javascript=False)
    sam.goto("/c/cs-101/")
    sam.get_by_label("Search CS-101", exact=True).fill("recursion")
    sam.keyboard.press("Enter")
    expect(sam.locator(".results mark")).to_have_text("Recursion")
