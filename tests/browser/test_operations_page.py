"""The operators' page is for everybody who operates: axe finds nothing, light and dark, desktop and phone, and without a script."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Page

from accounts.models import User
from ai_answers.models import Spending
from quokkaq.models import Operation, RestoreDrill
from tests import factories
from tests.browser.conftest import Visit
from tests.browser.test_accessibility import RULES
from tests.factories import World
from tests.quokkaq.test_operations_page import a_failure, a_job, a_worker

pytestmark = [pytest.mark.drill, pytest.mark.browser, pytest.mark.xdist_group("accessibility")]


def fill(world: World) -> None:
    User.objects.filter(pk=world.user("ada").pk).update(is_staff=True, is_superuser=True)
    for number in range(3):
        a_job("accounts.check_upload", queue="uploads")
        a_failure(
            a_job("ai_answers.answer_question", "failed", number + 1, "answers"),
            "the provider at [host] closed the connection before it had sent all of its answer, " * 3,
        )
    a_failure(a_job("forum.deliver_mail", "todo", 2, "mail"))
    a_job("forum.index_thread", "failed")
    a_worker()
    a_worker(45)
    Operation.objects.create(name="backup-database", size=123_456_789)
    Operation.objects.create(name="backup-media", size=9_123_456_789, ended_at=timezone.now() - timedelta(days=2))
    for scope, key, spent in (("course", world.course.pk, 4_500_000), ("institution", world.institution.pk, 6_000_000)):
        Spending.objects.create(
            institution=world.institution, scope=scope, scope_id=key, day=timezone.now().date(), spent_micros=spent
        )


@pytest.fixture(autouse=True)
def no_jobs_stay(stage: World) -> Iterator[None]:
    """The task engine's tables aren't emptied between tests, and these jobs can't be run."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


def open_page(world: World, visit: Visit, **options: Any) -> Page:
    """Open the page as an operator who has proved who they are."""
    client = factories.browser(world.user("ada"))
    page = visit("", **options)
    page.goto("/health")
    value = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": page.url}])
    page.goto("/admin/operations/")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_operators_page_is_accessible(stage: World, visit: Visit, scheme: str) -> None:
    fill(stage)
    for width in (1280, 390):
        page = open_page(stage, visit, color_scheme=scheme, viewport={"width": width, "height": 900})
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            page.screenshot(path=Path(folder) / f"operations-{scheme}-{width}.png", full_page=True)
        found = Axe().run(page, context="#content-main", options=RULES).response["violations"]
        assert [(rule["id"], node["html"][:120]) for rule in found for node in rule["nodes"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_how_restore_drills_went_is_accessible(stage: World, visit: Visit, scheme: str) -> None:
    fill(stage)
    now = timezone.now()
    for month in range(10):
        begun = now - timedelta(days=30 * month)
        steps = [
            {"name": name, "seconds": 3.5 + month * place} for place, name in enumerate(("restore", "compare", "pages"))
        ]
        RestoreDrill.objects.create(
            started_at=begun, ended_at=begun + timedelta(seconds=60 - 4 * month), succeeded=month != 2, place="main",
            backup=f"default-quokkaq-2026-11-{month + 1:02}-021700.psql.bin.gpg", taken_at=begun, size=123_456_789, rows=1_234_567,
            steps=steps, problem="forum_post: 4710 rows instead of 4711" if month == 2 else "",
            differences=["forum_post: 4710 rows instead of 4711"] if month == 2 else [],
        )  # fmt: skip
    failed = RestoreDrill.objects.get(succeeded=False)
    for width in (1280, 390):
        page = open_page(stage, visit, color_scheme=scheme, viewport={"width": width, "height": 900})
        for name, path in (("drills", "drills/"), ("drill", f"drills/{failed.pk}/")):
            page.goto(f"/admin/operations/{path}")
            folder = os.environ.get("SCREENSHOTS")
            if folder:
                page.screenshot(path=Path(folder) / f"{name}-{scheme}-{width}.png", full_page=True)
            found = Axe().run(page, context="#content-main", options=RULES).response["violations"]
            assert [(rule["id"], node["html"][:120]) for rule in found for node in rule["nodes"]] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_job_is_retried_without_a_script(stage: World, visit: Visit) -> None:
    fill(stage)
    page = open_page(stage, visit, javascript=False)
    before = page.get_by_role("button", name="Retry").count()
    page.get_by_role("button", name="Retry ai_answers.answer_question").first.click()
    assert page.get_by_text("is tried again.").is_visible()
    assert page.get_by_role("button", name="Retry").count() == before - 1
