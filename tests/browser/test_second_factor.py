"""An authenticator app and a passkey, set up and used in a real browser."""

import re

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from playwright.sync_api import Page

from accounts.models import Institution
from tests.browser.conftest import Visit
from tests.factories import PASSWORD, World

pytestmark = pytest.mark.browser


def password_again(page: Page) -> None:
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()


def enter(page: Page, who: str) -> None:
    page.goto("/sign-in/")
    page.get_by_label("E-mail").fill(f"{who}@example.edu")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_staff_set_up_an_app_without_script_and_sign_in_with_it(stage: World, visit: Visit) -> None:
    Institution.objects.update(staff_second_factor=True)
    page = visit("", javascript=False)
    enter(page, "tim")
    page.wait_for_url("**/me/security/")
    page.get_by_role("link", name="Set up an app").click()
    password_again(page)
    secret = page.locator("code.secret").inner_text().replace(" ", "")
    assert page.locator("img.qr").evaluate("image => image.naturalWidth > 0")

    def code() -> str:
        return str(format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time())))))

    page.get_by_label("Code that the app shows").fill(code())
    page.get_by_role("button", name="Set it up").click()
    page.wait_for_url("**/recovery-codes/")
    codes = page.locator(".codes code").all_inner_texts()
    assert len(codes) == 10
    page.get_by_role("link", name="I have kept them").click()
    page.goto("/c/cs-101/")
    page.get_by_role("button", name="Sign out").click()
    enter(page, "tim")
    page.wait_for_url("**/second-step/")
    page.get_by_label("Code of your app").fill(codes[0])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/courses/")


def test_a_passkey_is_added_and_signs_in_alone_and_as_second_step(stage: World, visit: Visit) -> None:
    page = visit("sam")
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto("/me/security/")
    page.get_by_role("link", name="Add a passkey").click()
    password_again(page)
    page.get_by_role("button", name="Add it").click()
    page.wait_for_url("**/recovery-codes/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/courses/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in/")
    enter(page, "sam")
    page.wait_for_url("**/second-step/")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/courses/")
    page.goto("/me/security/passkeys/")
    assert re.search(r"It signs you in by itself", page.content())
