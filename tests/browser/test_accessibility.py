"""axe finds nothing on any page, light and dark, desktop and phone."""

import uuid
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from ai_answers.models import Answer
from forum import actions
from forum.models import Anonymity, Assignment, Thread
from tests import factories
from tests.browser.conftest import Visit
from tests.factories import World

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
RICH = "# Heading\n\n> quote\n\n```python\ndef f(x=[]):\n    return x  # comment\n```\n\n|a|b|\n|-|-|\n|1|2|\n\n$$\\frac{a}{b}$$\n\n- item `code`"


def violations(page: Page) -> list[str]:
    found: list[dict[str, Any]] = Axe().run(page, options=RULES).response["violations"]
    return [
        f"{page.url}: {rule['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for rule in found
        for node in rule["nodes"]
    ]


def fill(world: World) -> dict[str, str]:
    """Put one of everything into the course; return the addresses of all pages."""
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    answer = factories.make_answer(sam, tim)
    thread = answer.thread
    post = factories.make_post(noor, thread, RICH)
    comment = factories.make_post(sam, thread, "Thanks", parent=post, anonymity=Anonymity.CLASSMATES)
    actions.edit_post(by=noor, post=post, body=RICH + "\n\nEdited.")
    actions.set_endorsement(by=tim, post=post, on=True)
    actions.accept_answer(by=sam, post=post, accepted=True)
    actions.delete_post(by=sam, post=comment)
    factories.make_thread(sam, "Private matter", RICH, visibility="staff")
    factories.make_thread(sam, "Hidden question", anonymity="all")
    failed = factories.make_thread(sam, "Failed to answer this one")
    Answer.objects.filter(thread=failed).update(status="failed")
    waiting = factories.make_thread(sam, "Still waiting for an answer")
    actions.set_pinned(by=tim, thread=waiting, pinned=True)
    news = factories.make_thread(tim, "An announcement", kind="announcement")
    actions.set_locked(by=tim, thread=news, locked=True)
    actions.add_staff_note(by=tim, thread=thread, body="He asked me **in person** too, see #2.", form_key=uuid.uuid4())
    actions.set_same_question(by=noor, thread=thread, on=True)
    for member in (sam, tim):
        actions.save_view(by=member, name="Unread questions", query="show=unread&kind=question")
        actions.save_draft(by=member, thread=thread, post=None, fields={"body": "Half a reply, @Noor Surname-noor"})
        actions.save_draft(by=member, thread=None, post=None, fields={"title": "Half a question", "body": "See #1"})
    gone = factories.make_thread(sam, "Deleted thread")
    actions.delete_thread(by=sam, thread=gone)
    course = "/c/cs-101/"
    lab = Assignment.objects.create(
        institution=noor.course.institution, course=noor.course, slug="lab-1", title="Lab one"
    )
    Thread.objects.filter(pk=waiting.pk).update(assignment=lab)
    return {
        "search help": f"{course}search/", "results": f"{course}search/?q=default+parameter+question+private",
        "no results": f"{course}search/?q=zebra", "search problem": f"{course}search/?q=is:odd+after:never",
        "list by words": f"{course}?q=question&assignment=lab-1",
        "courses": "/courses/", "filtered": f"{course}?show=unanswered", "settings": "/me/", "list": course, "nothing found": f"{course}?show=unread&kind=discussion",
        "bad address": f"{course}?cursor=x", "ask": f"{course}ask/", "answered": f"{course}{thread.number}/",
        "private": f"{course}2/", "hidden": f"{course}3/", "failed": f"{course}{failed.number}/", "waiting": f"{course}{waiting.number}/",
        "locked": f"{course}{news.number}/", "deleted": f"{course}{gone.number}/", "edit": f"{course}{thread.number}/edit/",
        "history": f"{course}{thread.number}/posts/{post.pk}/history/", "materials": f"{course}materials/",
        "source": answer.citations.get(number=1).source_url("cs-101"), "add material": f"{course}materials/add/",
        "not found": "/c/nowhere/", "forbidden": f"{course}{news.number}/edit/",
    }  # fmt: skip


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_no_page_has_a_barrier(stage: World, visit: Visit, look: str) -> None:
    pages = fill(stage)
    options: dict[str, Any] = {"color_scheme": "dark" if look == "dark" else "light"}
    if look == "phone":
        options["viewport"] = {"width": 390, "height": 844}
    found: list[str] = []
    out = visit("", bypass_csp=True, **options)
    out.goto("/sign-in/")
    found += violations(out)
    for who, left_out in (("sam", {"add material", "forbidden"}), ("tim", {"deleted"})):
        page = visit(who, bypass_csp=True, **options)
        for name, url in pages.items():
            if name in left_out:
                continue
            page.goto(url)
            page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            found += violations(page)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{name} scrolls sideways by {wide} px"
    assert found == []


@pytest.mark.parametrize("look", ["light", "dark"])
def test_what_shows_while_somebody_types_has_no_barrier(stage: World, visit: Visit, look: str) -> None:
    title = "When is a default parameter value evaluated?"
    factories.make_thread(stage.member("noor"), title)
    page = visit("sam", bypass_csp=True, color_scheme=look)
    page.goto("/c/cs-101/ask/")
    page.locator("#course-search").press_sequentially("defau")
    page.locator(".suggestions a").first.wait_for()
    found = violations(page)
    page.locator("#id_title").press_sequentially(title)
    page.locator("#similar li").first.wait_for()
    found += violations(page)
    page.locator("#id_body").fill("Once?")
    page.get_by_role("button", name="Post", exact=True).click()
    page.locator("#duplicate-warning").wait_for()
    assert found + violations(page) == []


def test_axe_would_find_a_barrier(stage: World, visit: Visit) -> None:
    page = visit("", bypass_csp=True)
    page.goto("/sign-in/")
    page.evaluate("document.querySelector('label').remove()")
    assert violations(page)
