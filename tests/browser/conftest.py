"""A headless Chromium, and the product running for it: live server and task worker on the test database."""

import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.models import Institution
from tests import factories
from tests.factories import World
from tests.processes import running_worker

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

# What Chromium says in the console when a page's policy refused something.
REFUSAL = re.compile("Content Security Policy|Trusted(HTML|Script|ScriptURL|Type)")
Visit = Callable[..., Page]
# A busy machine takes its time.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for a file. Playwright's event loop ends with it: other tests of this process need theirs."""
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as environment:
        # Django's database code would refuse to work in a thread with an event loop.
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def stage(transactional_db: None, live_server: LiveServer) -> World:
    """The world with a lecture, in a database that other processes see."""
    world = factories.make_world()
    # Staff sign in with a password here; `test_second_factor.py` asks for more.
    Institution.objects.update(staff_second_factor=False)
    factories.make_material(world.member("tim"))
    factories.make_tag(world.course)
    return world


@pytest.fixture
def task_worker(stage: World) -> Iterator[subprocess.Popen[bytes]]:
    with running_worker() as process:
        yield process


@pytest.fixture
def visit(browser: Browser, live_server: LiveServer) -> Iterator[Visit]:
    """Open a browser as somebody: `visit("sam", javascript=False)`; the page fails the test on any script error."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_page(who: str, *, javascript: bool = True, **options: Any) -> Page:
        context = browser.new_context(
            base_url=live_server.url,
            java_script_enabled=javascript,
            bypass_csp=options.pop("bypass_csp", False),
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: problems.append(message.text) if REFUSAL.search(message.text) else None,
        )
        if who:
            page.goto("/sign-in/")
            page.get_by_label("E-mail").fill(f"{who}@example.edu")
            page.get_by_label("Password").fill(factories.PASSWORD)
            page.get_by_role("button", name="Sign in", exact=True).click()
            page.wait_for_url("**/courses/")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
