"""Pages stand still while they come in, and weigh what the budgets allow."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from playwright.sync_api import Page

from forum import actions
from quokkaq.lib.static_files import joined, small
from tests import factories
from tests.benchmarks.browser import CSS_BUDGET, JS_BUDGET, OBSERVE, PROFILES, SHIFT_BUDGET, Profile, throttle
from tests.browser.conftest import Visit
from tests.browser.test_accessibility import RICH
from tests.factories import World

pytestmark = [pytest.mark.browser, pytest.mark.drill]


def make_pages(world: World) -> dict[str, str]:
    """Return the addresses of a list and of a thread with all that may move in it: long text, pictures, replies."""
    sam, noor = world.member("sam"), world.member("noor")
    for number in range(20):
        factories.make_thread(noor, f"Why does case {number} happen?", "It does. " * 30)
    thread = factories.make_thread(sam, "A long one with pictures", RICH)
    for size in ((300, 200), (1600, 1200), (200, 900)):
        upload = factories.checked_file(sam, "shot.png", factories.picture(size=size))
        assert upload.is_clean, upload.rejection
        post = factories.make_post(sam, thread, RICH)
        actions.edit_post(by=sam, post=post, body=RICH, uploads=[upload.pk])
    return {"list": "/c/cs-101/", "thread": f"/c/cs-101/{thread.number}/", "ask": "/c/cs-101/ask/"}


def weight(page: Page) -> dict[str, int]:
    """Return the bytes that the stylesheets and scripts of a page have in production: those compressed, these not."""
    found = {".css": 0, ".js": 0}
    links = page.evaluate(
        "[...document.querySelectorAll('link[rel=stylesheet], script[src]')].map((it) => it.href ?? it.src)"
    )
    for link in links:
        path = Path(str(finders.find(link.partition("/static/")[2])))
        body = small(path) if path.is_relative_to(Path(settings.BASE_DIR) / "static") else path.read_bytes()
        found[path.suffix] += len(body if path.suffix == ".css" else gzip.compress(body))
    return found


def what_moved(page: Page, url: str) -> dict[str, Any]:
    """Open a page, read it to its end, and return what moved meanwhile."""
    page.goto(url)
    page.wait_for_timeout(400)
    # Pictures come when they are near.
    for _ in range(8):
        page.evaluate("scrollBy({top: innerHeight, behavior: 'instant'})")
        page.wait_for_timeout(150)
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    page.wait_for_timeout(300)
    seen: dict[str, Any] = page.evaluate("seen")
    return seen


@pytest.mark.parametrize("profile", PROFILES, ids=[profile.name for profile in PROFILES])
def test_pages_stand_still_and_weigh_little(
    stage: World, visit: Visit, settings: Any, tmp_path: Path, profile: Profile
) -> None:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    pages = make_pages(stage)
    page = visit("noor", viewport={"width": profile.width, "height": profile.height})
    page.set_default_timeout(30_000)
    page.add_init_script(OBSERVE)
    throttle(page.context.new_cdp_session(page), profile)
    for name, url in pages.items():
        seen = what_moved(page, url)
        assert seen["shift"] < SHIFT_BUDGET, f"{name}: {seen}"
        weighs = weight(page)
        assert 0 < weighs[".css"] < CSS_BUDGET, name
        assert 0 < weighs[".js"] < JS_BUDGET, name


def test_a_shift_would_be_seen(stage: World, visit: Visit) -> None:
    page = visit("", bypass_csp=True)
    page.add_init_script(OBSERVE)
    page.goto("/sign-in/")
    page.wait_for_timeout(600)
    page.evaluate("document.querySelector('main').style.paddingTop = '300px'")
    page.wait_for_timeout(300)
    assert page.evaluate("seen.shift") >= SHIFT_BUDGET


def plain(rules: list[str]) -> list[str]:
    """Return rules without the spaces that mean nothing: what has a custom property in it is kept as it was written."""
    return [re.sub(r"\s*([,(){}:;>])\s*", r"\1", rule) for rule in rules]


def test_small_files_mean_the_same(visit: Visit) -> None:
    """As Chromium reads them, without spaces and comments as with them."""
    page = visit("")
    page.goto("about:blank")
    static = Path(settings.BASE_DIR) / "static"
    rules = "(text) => { const it = new CSSStyleSheet(); it.replaceSync(text); return [...it.cssRules].map((rule) => rule.cssText); }"
    for path in sorted((static / "css").glob("*.css")):
        small_one, written = (plain(page.evaluate(rules, text)) for text in (small(path).decode(), joined(path)))
        assert small_one
        assert small_one == written, path.name
    for path in sorted((static / "js").glob("*.js")):
        page.evaluate("(code) => { new Function(code); }", small(path).decode())
