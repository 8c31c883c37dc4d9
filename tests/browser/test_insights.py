"""Charts and definitions in a browser, under the policy that forbids inline styles and scripts."""

import pytest
from playwright.sync_api import expect

from forum import actions
from forum.insights.facts import refresh_facts
from quokkaq.lib import tenancy
from tests import factories
from tests.browser.conftest import Visit
from tests.factories import World

pytestmark = [pytest.mark.drill, pytest.mark.browser, pytest.mark.xdist_group("browser")]


def fill(world: World) -> None:
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    post = factories.make_post(noor, factories.make_thread(sam))
    actions.set_vote(by=sam, target=post, on=True)
    actions.set_endorsement(by=tim, post=post, on=True)
    with tenancy.scope(world.institution.pk):
        while refresh_facts():
            pass


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_take_their_colours_from_our_stylesheet(stage: World, visit: Visit, scheme: str) -> None:
    fill(stage)
    page = visit("tim", color_scheme=scheme)
    page.goto("/c/cs-101/insights/?days=7")
    colours = page.evaluate(
        """() => [".chart-color-0 .chart-rect", ".chart-color-1 .chart-rect", ".chart-dot", ".chart text", ".chart-background"]
            .map((mark) => getComputedStyle(document.querySelector(mark)).fill)"""
    )
    primary, accent = {
        "light": ("rgb(138, 107, 61)", "rgb(45, 108, 223)"),
        "dark": ("rgb(193, 165, 118)", "rgb(134, 169, 246)"),
    }[scheme]
    assert colours[:3] == [primary, accent, primary]
    assert colours[4] == "none"
    assert colours[3] not in ("rgb(0, 0, 0)", "none")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_definition_is_a_key_press_away(stage: World, visit: Visit, javascript: bool) -> None:
    fill(stage)
    page = visit("tim", javascript=javascript)
    page.goto("/c/cs-101/insights/?days=7")
    definition = page.get_by_text("Comments aren't answers.").first
    expect(definition).not_to_be_visible()
    page.locator("#figure-answered summary").focus()
    page.keyboard.press("Enter")
    expect(definition).to_be_visible()


def test_ones_points_are_reached_and_downloaded_without_script(stage: World, visit: Visit) -> None:
    fill(stage)
    page = visit("noor", javascript=False)
    page.goto("/c/cs-101/activity/")
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Warming up").first).to_be_visible()
    assert "+20" in page.inner_text(".events")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of your points").click()
    assert download.value.suggested_filename.startswith("cs-101-my-points-")
