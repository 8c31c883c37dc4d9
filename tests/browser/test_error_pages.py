"""Error pages in a browser: readable, without barriers, on a desktop and a phone, light and dark; the number is there to copy."""

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path

from quokkaq.lib import error_pages
from quokkaq.urls import handler400, handler403, handler404, handler500, urlpatterns
from tests.browser.conftest import Visit
from tests.browser.test_accessibility import violations
from tests.factories import World

__all__ = ["handler400", "handler403", "handler404", "handler500"]

pytestmark = [pytest.mark.drill, pytest.mark.browser, pytest.mark.xdist_group("browser")]


def show(request: HttpRequest, status: int) -> HttpResponse:
    return error_pages.answer(request, status, kept=["An hour of typing.\n\nAnd a half."])


urlpatterns = [path("show/<int:status>/", show), *urlpatterns]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_error_pages_are_readable(stage: World, visit: Visit, settings: Any, scheme: str, width: int) -> None:
    settings.ROOT_URLCONF = __name__
    # axe copies what a stylesheet imports into the page, which the policy refuses.
    page = visit("", bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 700})
    for status in error_pages.SAID:
        response = page.goto(f"/show/{status}/")
        assert response is not None
        assert response.status == status
        assert page.evaluate("document.documentElement.scrollWidth") == width
        background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 17, 15)")
        assert violations(page) == []


def test_one_click_selects_the_number(stage: World, visit: Visit, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    page = visit("", javascript=False)
    response = page.goto("/show/500/")
    assert response is not None
    page.locator(".error-number code").click(position={"x": 20, "y": 8})
    assert page.evaluate("getSelection().toString()") == response.headers["x-request-id"]
