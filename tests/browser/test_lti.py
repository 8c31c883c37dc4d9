"""Coming from a learning platform in a real browser: two sites, their cookies, and our content security policy."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from accounts import actions
from accounts.models import Institution, LtiContext, LtiIdentity, User
from tests import factories
from tests.browser.conftest import Visit
from tests.factories import World
from tests.services.lti_platform import CLIENT_ID, DEPLOYMENT, INSTRUCTOR, Platform, running_platform

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.usefixtures("loopback")]


@pytest.fixture
def platform(stage: World, live_server: LiveServer) -> Iterator[Platform]:
    ada = stage.user("ada")
    ada.is_staff = True
    ada.save(update_fields=["is_staff"])
    with running_platform() as server:
        server.tool_login = f"{live_server.url}/lti/login/"
        fields: dict[str, Any] = {
            "name": "Canvas", "issuer": server.url, "client_id": CLIENT_ID, "authorization_url": f"{server.url}/auth",
            "token_url": f"{server.url}/token", "jwks_url": f"{server.url}/jwks",
        }  # fmt: skip
        ada.is_staff, ada.institution_role = True, "admin"
        Institution.objects.update(staff_second_factor=False)
        row = actions.save_lti_platform(by=ada, platform=None, fields=fields, deployments=[DEPLOYMENT])
        LtiIdentity.objects.create(institution=stage.institution, platform=row, sub="ada-there", user=ada)
        published = Client().get("/lti/jwks/home/").json()
        server.tool_keys = lambda: published
        yield server


@pytest.mark.parametrize("javascript", [True, pytest.param(False, marks=pytest.mark.drill)])
def test_an_instructor_links_a_course_and_a_thread_and_a_student_follows(
    stage: World, platform: Platform, visit: Visit, javascript: bool
) -> None:
    thread = factories.make_thread(stage.member("sam"), "Why is the list kept?")
    there = {"sub": "ada-there", "https://purl.imsglobal.org/spec/lti/claim/roles": [INSTRUCTOR]}

    platform.person = there
    teacher = visit("", javascript=javascript)
    teacher.goto(f"{platform.url}/course")
    teacher.get_by_role("link", name="Open QuokkaQ").click()
    teacher.get_by_role("button", name="Continue").click()
    expect(teacher.get_by_role("heading", level=1)).to_have_text("Which course is this?")
    teacher.get_by_label("My course").select_option("cs-101")
    teacher.get_by_role("button", name="Link it", exact=True).click()
    teacher.wait_for_url("**/c/cs-101/")
    assert LtiContext.objects.get().course == stage.course

    platform.person = there | platform.deep_linking()
    teacher.goto(f"{platform.url}/course")
    teacher.get_by_role("link", name="Open QuokkaQ").click()
    teacher.get_by_role("button", name="Continue").click()
    teacher.get_by_label("Why is the list kept?").check()
    teacher.get_by_role("button", name="Choose this thread").click()
    teacher.get_by_role("button", name="Add it on Canvas").click()
    expect(teacher.get_by_role("heading", level=1)).to_have_text("Added")
    (answer,) = platform.answers
    (item,) = answer["https://purl.imsglobal.org/spec/lti-dl/claim/content_items"]

    platform.person = {
        "sub": "new", "name": "Nia New", "email": "nia@example.edu",
        "https://purl.imsglobal.org/spec/lti/claim/custom": item["custom"],
    }  # fmt: skip
    student = visit("", javascript=javascript)
    student.goto(f"{platform.url}/course")
    student.get_by_role("link", name="Open QuokkaQ").click()
    student.get_by_role("button", name="Continue").click()
    student.wait_for_url(re.compile(rf"/c/cs-101/{thread.number}/$"))
    expect(student.get_by_role("heading", level=1)).to_have_text("Why is the list kept?")
    assert User.objects.filter(email="nia@example.edu", institution=stage.institution).exists()
