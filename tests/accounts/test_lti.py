"""Coming in from a learning platform: a real one over HTTP, with real keys, good and bad."""

import base64
import hashlib
import hmac
import json
import re
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts import actions, reaching
from accounts.access import Refused, get_lti_platform
from accounts.lti import keys
from accounts.lti.http import PlatformUnreachable, fetch
from accounts.lti.protocol import usable_url
from accounts.lti.roles import role_of
from accounts.models import (
    AuditEvent,
    Course,
    Enrollment,
    Erasure,
    Institution,
    LtiContext,
    LtiIdentity,
    LtiKey,
    LtiLaunch,
    LtiPlatform,
    LtiSync,
    Role,
    User,
)
from accounts.tasks import sweep_lti
from tests import factories
from tests.factories import World
from tests.metrics import moves
from tests.services.lti_platform import (
    ASSISTANT,
    CLAIM,
    CLIENT_ID,
    CONTEXT,
    DEPLOYMENT,
    INSTRUCTOR,
    LEARNER,
    MEMBERSHIP,
    Key,
    Platform,
    running_platform,
)
from tests.tasks import run_tasks

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback")]
ROLES = f"{CLAIM}roles"
NEW = {"sub": "new-1", "name": "Nia New", "email": "nia@example.edu"}


@pytest.fixture(scope="module")
def server() -> Iterator[Platform]:
    with running_platform() as platform:
        yield platform


@pytest.fixture
def platform(server: Platform) -> Platform:
    """The platform, with nothing left over from the test before."""
    fresh = Platform(url=server.url, keys=server.keys[:1])
    server.__dict__.update(fresh.__dict__)
    server.person = dict(NEW)
    return server


def register(world: World, platform: Platform, by: str = "ada", **fields: Any) -> LtiPlatform:
    User.objects.filter(pk=world.user(by).pk).update(is_staff=True, institution_role="admin")
    # Whether staff need a second factor is tested where people sign in.
    Institution.objects.update(staff_second_factor=False)
    world.user(by).refresh_from_db()
    values = {
        "name": "Canvas", "issuer": platform.url, "client_id": CLIENT_ID, "authorization_url": f"{platform.url}/auth",
        "token_url": f"{platform.url}/token", "jwks_url": f"{platform.url}/jwks", "is_active": True,
    }  # fmt: skip
    return actions.save_lti_platform(
        by=world.user(by), platform=None, fields=values | fields, deployments=[DEPLOYMENT, "deployment-2"]
    )


@pytest.fixture
def registered(world: World, platform: Platform) -> LtiPlatform:
    return register(world, platform)


@pytest.fixture
def linked(world: World, registered: LtiPlatform) -> LtiContext:
    """The platform's course is cs-101."""
    return LtiContext.objects.create(
        institution=world.institution, deployment=registered.deployments.get(deployment_id=DEPLOYMENT),
        context_id=CONTEXT, course=world.course, title="Programming I", linked_by=world.user("ada"),
    )  # fmt: skip


def publish_keys(platform: Platform) -> None:
    """Let the platform know our keys: its thread has a database connection of its own, which sees nothing of a test."""
    published = Client().get("/lti/jwks/home/").json()
    platform.tool_keys = lambda: published


def sign_out(client: Client) -> None:
    """Lose the session and no other cookie."""
    client.cookies.pop(settings.SESSION_COOKIE_NAME, None)


def begin(client: Client, platform: Platform, method: str = "get", **changes: str) -> dict[str, str]:
    """Start at the platform's link; return what the browser is sent back with."""
    sent = {"iss": platform.url, "login_hint": "hint", "client_id": CLIENT_ID, "target_link_uri": "x"} | changes
    response = getattr(client, method)("/lti/login/", sent)
    assert response.status_code == 302, response.content
    assert response["Location"].startswith(f"{platform.url}/auth?")
    return {name: values[0] for name, values in parse_qs(urlsplit(response["Location"]).query).items()} | {
        "url": response["Location"]
    }


def come(client: Client, platform: Platform, **changes: Any) -> Any:
    """Go the whole way, over the platform's page."""
    platform.changes = changes
    page = urllib.request.urlopen(begin(client, platform)["url"]).read().decode()
    form = dict(re.findall(r'name="(\w+)" value="([^"]+)"', page))
    return client.post("/lti/launch/", form)


def bring(client: Client, token: str, state: str) -> Any:
    return client.post("/lti/launch/", {"id_token": token, "state": state})


def refused(response: Any, code: str) -> None:
    """It isn't let in, nobody is signed in, and the page says why."""
    assert response.status_code == 403
    assert f"<code>{code}</code>" in response.content.decode()
    assert "_auth_user_id" not in response.wsgi_request.session
    assert not LtiIdentity.objects.exists()
    assert not User.objects.filter(email=NEW["email"]).exists()


def signed_in_as(client: Client) -> User | None:
    key = client.session.get("_auth_user_id")
    return User.objects.get(pk=key) if key else None


# Coming in


def test_somebody_new_gets_an_account_and_a_place_in_the_course(
    world: World, platform: Platform, linked: LtiContext
) -> None:
    client = Client()
    response = come(client, platform)
    assert response.status_code == 302
    assert response["Location"] == "/c/cs-101/"
    nia = User.objects.get(email="nia@example.edu")
    assert signed_in_as(client) == nia
    assert nia.display_name == "Nia New"
    assert nia.institution == world.institution
    assert not nia.has_usable_password()
    row = Enrollment.objects.get(user=nia)
    assert (row.course, row.role) == (world.course, Role.STUDENT)
    assert client.get("/c/cs-101/").status_code == 200
    linked.refresh_from_db()
    assert linked.memberships_url == f"{platform.url}/members"
    verbs = set(AuditEvent.objects.filter(actor=nia).values_list("verb", flat=True))
    assert {"person.registered", "lti.identity_made", "enrollment.added"} <= verbs


def test_metrics_hear_of_who_comes_in(
    platform: Platform, linked: LtiContext, django_capture_on_commit_callbacks: Any
) -> None:
    client = Client()
    with moves() as moved, django_capture_on_commit_callbacks(execute=True):
        come(client, platform)
    assert moved == {"quokkaq_sign_ins_total{method=lti,outcome=succeeded}": 1, "quokkaq_sign_ups_total{}": 1}


def test_a_second_launch_is_the_same_person(world: World, platform: Platform, linked: LtiContext) -> None:
    come(Client(), platform)
    # The address on the platform is another one now; who it is doesn't depend on it.
    platform.person = NEW | {"email": "sam@example.edu", "name": "Other"}
    client = Client()
    come(client, platform, **{ROLES: [INSTRUCTOR]})
    nia = User.objects.get(email="nia@example.edu")
    assert signed_in_as(client) == nia
    # A launch never changes what somebody is in the course.
    assert Enrollment.objects.get(user=nia).role == Role.STUDENT
    assert LtiIdentity.objects.count() == 1


def test_the_login_may_come_by_post_and_without_a_client_id(platform: Platform, linked: LtiContext) -> None:
    client = Client(enforce_csrf_checks=True)
    asked = begin(client, platform, "post", client_id="")
    assert asked["redirect_uri"] == "http://testserver/lti/launch/"
    token = platform.sign(platform.claims(asked["nonce"]))
    assert bring(client, token, asked["state"]).status_code == 302


def test_a_platform_whose_address_has_a_query_is_asked_properly(
    world: World, platform: Platform, linked: LtiContext
) -> None:
    LtiPlatform.objects.update(authorization_url=f"{platform.url}/auth?site=2")
    asked = begin(Client(), platform)
    assert asked["url"].count("?") == 1
    assert asked["site"] == "2"
    assert asked["scope"] == "openid"


def test_without_an_address_an_account_gets_one_that_reaches_nobody(platform: Platform, linked: LtiContext) -> None:
    platform.person = {"sub": "x", "given_name": "Ann", "family_name": "Other"}
    client = Client()
    come(client, platform)
    person = signed_in_as(client)
    assert person is not None
    assert person.email.endswith(".invalid")
    assert person.display_name == "Ann Other"


def test_a_link_leads_to_its_thread(world: World, platform: Platform, linked: LtiContext) -> None:
    thread = factories.make_thread(world.member("sam"))
    client = Client()
    response = come(client, platform, **{f"{CLAIM}custom": {"thread": str(thread.number)}})
    assert response["Location"] == f"/c/cs-101/{thread.number}/"
    for wrong in ("-1", "0", "1 or 1", "٣", "9" * 40, 7, None, ["1"]):
        cache.clear()
        response = come(Client(), platform, **{f"{CLAIM}custom": {"thread": wrong}})
        assert response["Location"] == "/c/cs-101/"


def test_the_cookie_reaches_over_sites_where_there_is_tls(
    settings: Settings, platform: Platform, linked: LtiContext
) -> None:
    settings.SESSION_COOKIE_SECURE = True
    client = Client()
    begin(client, platform)
    (cookie,) = (morsel for name, morsel in client.cookies.items() if name.startswith("quokkaq_lti_"))
    assert (cookie["samesite"], cookie["secure"], cookie["httponly"]) == ("None", True, True)
    assert (cookie["path"], cookie["max-age"]) == ("/lti/", 600)


# Refused


def test_a_nonce_we_never_gave_is_refused(platform: Platform, linked: LtiContext) -> None:
    client = Client()
    asked = begin(client, platform)
    refused(bring(client, platform.sign(platform.claims("made-up")), asked["state"]), "nonce")


@pytest.mark.parametrize("nonce", ["", 7, ["x"], None])
def test_a_nonce_that_is_none_is_refused(platform: Platform, linked: LtiContext, nonce: Any) -> None:
    client = Client()
    asked = begin(client, platform)
    refused(bring(client, platform.sign(platform.claims("", nonce=nonce)), asked["state"]), "nonce")


def test_a_nonce_of_another_launch_is_refused(platform: Platform, linked: LtiContext) -> None:
    client = Client()
    first, second = begin(client, platform), begin(client, platform)
    refused(bring(client, platform.sign(platform.claims(first["nonce"])), second["state"]), "nonce")


def test_a_token_works_once(platform: Platform, linked: LtiContext) -> None:
    client = Client()
    asked = begin(client, platform)
    token = platform.sign(platform.claims(asked["nonce"]))
    assert bring(client, token, asked["state"]).status_code == 302
    sign_out(client)
    again = bring(client, token, asked["state"])
    assert again.status_code == 403
    assert b"<code>replay</code>" in again.content
    assert signed_in_as(client) is None


def test_a_token_that_was_refused_cannot_be_mended(platform: Platform, linked: LtiContext) -> None:
    client = Client()
    asked = begin(client, platform)
    refused(bring(client, platform.sign(platform.claims("wrong")), asked["state"]), "nonce")
    refused(bring(client, platform.sign(platform.claims(asked["nonce"])), asked["state"]), "replay")


def test_another_browser_cannot_bring_it(platform: Platform, linked: LtiContext) -> None:
    mine, other = Client(), Client()
    asked = begin(mine, platform)
    begin(other, platform)
    token = platform.sign(platform.claims(asked["nonce"]))
    refused(bring(other, token, asked["state"]), "state")
    name = next(name for name in mine.cookies if name.startswith("quokkaq_lti_"))
    other.cookies[name] = "guessed"
    refused(bring(other, token, asked["state"]), "state")
    # Nor does the other one's try use it up.
    assert bring(mine, token, asked["state"]).status_code == 302


@pytest.mark.parametrize("state", ["", "state-unknown", "\x00", "x" * 10_000])
def test_a_state_we_never_gave_is_refused(platform: Platform, linked: LtiContext, state: str) -> None:
    client = Client()
    asked = begin(client, platform)
    refused(bring(client, platform.sign(platform.claims(asked["nonce"])), state), "state")


def test_who_takes_too_long_starts_again(platform: Platform, linked: LtiContext) -> None:
    client = Client()
    asked = begin(client, platform)
    LtiLaunch.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    refused(bring(client, platform.sign(platform.claims(asked["nonce"])), asked["state"]), "late")


def encode(part: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


def unsigned(claims: dict[str, Any], kid: str) -> str:
    return (encode({"alg": "none", "typ": "JWT", "kid": kid}) + b"." + encode(claims) + b".").decode()


def signed_with_the_public_key(claims: dict[str, Any], key: Key, algorithm: str = "HS256") -> str:
    """What an attacker makes who hopes the public key is taken for a shared secret."""
    secret = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = encode({"alg": algorithm, "typ": "JWT", "kid": key.kid}) + b"." + encode(claims)
    signature = base64.urlsafe_b64encode(hmac.new(secret, body, hashlib.sha256).digest()).rstrip(b"=")
    return (body + b"." + signature).decode()


SPOILED: dict[str, tuple[str, Callable[[Platform, dict[str, Any]], str]]] = {
    "another key": ("signature", lambda p, c: p.sign(c, Key("x"), kid=p.key.kid)),
    "a key it doesn't publish": ("signature", lambda p, c: p.sign(c, Key("never-seen"))),
    "no signature": ("algorithm", lambda p, c: unsigned(c, p.key.kid)),
    "the public key as a secret": ("algorithm", lambda p, c: signed_with_the_public_key(c, p.key)),
    "the public key as a secret, said to be RS256": (
        "signature", lambda p, c: signed_with_the_public_key(c, p.key, "RS256"),
    ),
    "claims changed after signing": (
        "signature",
        lambda p, c: ".".join([
            (token := p.sign(c).split("."))[0], encode(c | {"sub": "somebody else"}).decode(), token[2],
        ]),
    ),
    "no key named": ("signature", lambda p, c: __import__("jwt").encode(c, p.key.private, algorithm="RS256")),
    "not a token": ("format", lambda p, c: "a.b"),
    "nothing": ("state", lambda p, c: ""),
    "no claims": ("format", lambda p, c: (encode({"alg": "RS256", "kid": "first"}) + b"." + encode([1]) + b".x").decode()),
}  # fmt: skip


@pytest.mark.parametrize("how", sorted(SPOILED))
def test_a_token_that_is_not_properly_signed_is_refused(platform: Platform, linked: LtiContext, how: str) -> None:
    code, make = SPOILED[how]
    client = Client()
    asked = begin(client, platform)
    refused(bring(client, make(platform, platform.claims(asked["nonce"])), asked["state"]), code)


NOW = int(time.time())
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "ran out": ("expired", {"iat": NOW - 900, "exp": NOW - 300}),
    "never runs out": ("signature", {"exp": None}),
    "runs out in words": ("signature", {"exp": "tomorrow"}),
    "is from the future": ("future", {"iat": NOW + 3000, "exp": NOW + 6000}),
    "has no date": ("signature", {"iat": None}),
    "isn't valid yet": ("future", {"nbf": NOW + 3000}),
    "is for another tool": ("registration", {"aud": "other"}),
    "is for nobody": ("registration", {"aud": None}),
    "is for two, and doesn't say for whom first": ("audience", {"aud": [CLIENT_ID, "other"]}),
    "is for two, and for the other first": ("audience", {"aud": [CLIENT_ID, "other"], "azp": "other"}),
    "was asked for by another": ("audience", {"azp": "other"}),
    "is from another platform": ("issuer", {"iss": "https://other.example"}),
    "is from nobody": ("issuer", {"iss": None}),
    "is from a list": ("issuer", {"iss": ["x"]}),
    "is from an unknown deployment": ("deployment", {f"{CLAIM}deployment_id": "deployment-9"}),
    "is from no deployment": ("deployment", {f"{CLAIM}deployment_id": None}),
    "is from a list of deployments": ("deployment", {f"{CLAIM}deployment_id": [DEPLOYMENT]}),
    "is another message": ("message", {f"{CLAIM}message_type": "LtiSomething"}),
    "is no message": ("message", {f"{CLAIM}message_type": None}),
    "is a message we don't take": (
        "message", {f"{CLAIM}message_type": "LtiSubmissionReviewRequest", f"{CLAIM}for_user": {"user_id": "x"}},
    ),
    "is another version": ("message", {f"{CLAIM}version": "1.1"}),
    "says no version": ("message", {f"{CLAIM}version": None}),
    "says no roles": ("message", {ROLES: None}),
    "is about nobody": ("signature", {"sub": None}),
    "is about nothing": ("message", {"sub": ""}),
    "is about somebody too long": ("subject", {"sub": "x" * 256}),
    "is about no text": ("signature", {"sub": {"a": 1}}),
    "links nowhere": ("message", {f"{CLAIM}resource_link": None}),
    "links to no address": (
        "message",
        {
            f"{CLAIM}message_type": "LtiDeepLinkingRequest",
            "https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings": {
                "deep_link_return_url": "javascript:alert(1)", "accept_types": ["ltiResourceLink"],
                "accept_presentation_document_targets": ["window"],
            },
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", sorted(WRONG))
def test_a_token_that_says_something_wrong_is_refused(platform: Platform, linked: LtiContext, how: str) -> None:
    code, changes = WRONG[how]
    client = Client()
    asked = begin(client, platform)
    refused(bring(client, platform.sign(platform.claims(asked["nonce"], **changes)), asked["state"]), code)


def test_a_little_difference_of_clocks_is_nothing(platform: Platform, linked: LtiContext) -> None:
    client = Client()
    asked = begin(client, platform)
    now = int(time.time())
    token = platform.sign(platform.claims(asked["nonce"], iat=now + 15, exp=now + 400))
    assert bring(client, token, asked["state"]).status_code == 302


def test_several_audiences_are_fine_when_we_are_the_one_asked(platform: Platform, linked: LtiContext) -> None:
    client = Client()
    asked = begin(client, platform)
    token = platform.sign(platform.claims(asked["nonce"], aud=["other", CLIENT_ID], azp=CLIENT_ID))
    assert bring(client, token, asked["state"]).status_code == 302


@pytest.mark.parametrize("sent", [{"iss": "https://unknown.example"}, {"iss": ""}, {"client_id": "other"}])
def test_an_unknown_platform_is_refused_at_the_door(
    platform: Platform, registered: LtiPlatform, sent: dict[str, str]
) -> None:
    whole = {"iss": platform.url, "login_hint": "h", "client_id": CLIENT_ID} | sent
    refused(Client().get("/lti/login/", whole), "platform")
    assert not LtiLaunch.objects.exists()


def test_a_login_without_a_hint_is_refused(platform: Platform, registered: LtiPlatform) -> None:
    refused(Client().get("/lti/login/", {"iss": platform.url, "client_id": CLIENT_ID}), "login")


def test_nobody_comes_from_a_platform_that_was_switched_off(platform: Platform, linked: LtiContext) -> None:
    client = Client()
    asked = begin(client, platform)
    LtiPlatform.objects.update(is_active=False)
    refused(bring(client, platform.sign(platform.claims(asked["nonce"])), asked["state"]), "inactive")
    refused(client.get("/lti/login/", {"iss": platform.url, "login_hint": "h", "client_id": CLIENT_ID}), "platform")


def test_a_new_key_is_fetched_when_it_is_first_used(platform: Platform, linked: LtiContext) -> None:
    come(Client(), platform)
    platform.keys = [*platform.keys, Key("second")]
    client = Client()
    assert come(client, platform).status_code == 302
    assert signed_in_as(client) is not None
    assert platform.asked.count("/jwks") == 2
    come(Client(), platform)
    assert platform.asked.count("/jwks") == 2


def test_unknown_keys_dont_make_us_ask_again_and_again(platform: Platform, linked: LtiContext) -> None:
    come(Client(), platform)
    stranger = Key("stranger")
    for _ in range(4):
        client = Client()
        asked = begin(client, platform)
        bring(client, platform.sign(platform.claims(asked["nonce"]), stranger), asked["state"])
    assert platform.asked.count("/jwks") == 2


@pytest.mark.parametrize("url", ["/nothing", "/course", "/auth"])
def test_keys_that_cannot_be_fetched_let_nobody_in(platform: Platform, linked: LtiContext, url: str) -> None:
    LtiPlatform.objects.update(jwks_url=f"{platform.url}{url}")
    client = Client()
    asked = begin(client, platform)
    refused(bring(client, platform.sign(platform.claims(asked["nonce"])), asked["state"]), "keys")


def test_no_redirect_is_followed(platform: Platform, linked: LtiContext) -> None:
    platform.trouble = "redirect"
    client = Client()
    asked = begin(client, platform)
    refused(bring(client, platform.sign(platform.claims(asked["nonce"])), asked["state"]), "keys")
    assert "/elsewhere" not in platform.asked


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:1/", "http://[", "https://127.0.0.1:1/"])
def test_what_cannot_be_reached_says_so(url: str) -> None:
    with pytest.raises(PlatformUnreachable):
        fetch("GET", url)


@pytest.mark.parametrize(
    "url",
    ["ftp://x.example/", "https://", "https://a@b.example/", "https://a.example:x/", "https://a.example/;x", "", None, 7,
     "https://a.example/ b", "javascript:alert(1)", "https://a.example/" + "x" * 2000],
)  # fmt: skip
def test_addresses_that_are_none_are_not_used(url: object) -> None:
    assert usable_url(url) == ""


def test_in_production_platforms_are_reached_over_tls_only(settings: Settings) -> None:
    assert usable_url("http://a.example/") == "http://a.example/"
    settings.LTI_ALLOW_HTTP = False
    assert usable_url("http://a.example/") == ""
    assert usable_url("https://a.example/") == "https://a.example/"


# Nothing crosses


def test_an_address_of_another_institution_reaches_nobody_there(
    world: World, platform: Platform, linked: LtiContext
) -> None:
    eve = world.user("eve")
    before = User.objects.filter(pk=eve.pk).values().get()
    platform.person = {"sub": "pretender", "name": "Eve", "email": eve.email}
    client = Client()
    come(client, platform)
    person = signed_in_as(client)
    assert person is not None
    assert person != eve
    assert person.institution == world.institution
    assert person.email.endswith(".invalid")
    assert User.objects.filter(pk=eve.pk).values().get() == before
    assert not LtiIdentity.objects.filter(user=eve).exists()
    assert not Enrollment.objects.filter(user=eve).exclude(course=world.foreign_course).exists()


def test_the_same_subject_on_two_platforms_is_two_people(world: World, platform: Platform, linked: LtiContext) -> None:
    come(Client(), platform)
    with running_platform() as away:
        away.person = dict(NEW)
        register(world, away, by="eve", name="Away Moodle")
        client = Client()
        response = come(client, away)
    assert response.status_code == 404  # no course is linked there
    person = signed_in_as(client)
    assert person is not None
    assert person.institution == world.other_institution
    assert person.email.endswith(".invalid")
    assert not Enrollment.objects.filter(user=person).exists()


def test_a_platform_cannot_finish_the_launch_of_another(world: World, platform: Platform, linked: LtiContext) -> None:
    with running_platform() as away:
        away.person = dict(NEW)
        register(world, away, by="eve")
        client = Client()
        asked = begin(client, platform)
        claims = platform.claims(asked["nonce"])
        refused(bring(client, away.sign(claims), asked["state"]), "signature")
        asked = begin(client, platform)
        refused(bring(client, away.sign(away.claims(asked["nonce"])), asked["state"]), "issuer")


def test_an_issuer_and_client_is_registered_once_anywhere(
    world: World, platform: Platform, registered: LtiPlatform
) -> None:
    with pytest.raises(Refused, match="registered already"):
        register(world, platform, by="eve")


# No silent relinking


def with_sams_address(platform: Platform) -> Client:
    platform.person = {"sub": "sub-of-sam", "name": "Sam", "email": "SAM@example.edu"}
    return Client()


def connect_page(client: Client, platform: Platform, **changes: Any) -> str:
    response = come(client, platform, **changes)
    assert response.status_code == 302
    assert re.fullmatch(r"/lti/launches/[0-9a-f-]{36}/connect/", response["Location"])
    return str(response["Location"])


def sign_in(client: Client, who: str, target: str) -> Any:
    sent = {"email": f"{who}@example.edu", "password": factories.PASSWORD, "next": target}
    return client.post("/sign-in/", sent)


def test_who_has_an_account_signs_in_and_connects_it(world: World, platform: Platform, linked: LtiContext) -> None:
    client = with_sams_address(platform)
    url = connect_page(client, platform)
    assert signed_in_as(client) is None
    page = client.get(url).content.decode()
    assert "You have an account already" in page
    assert "Surname-sam" not in page
    assert client.post(url, {"again": "1"})["Location"] == f"/sign-in/?next={url}"
    assert sign_in(client, "sam", url)["Location"] == url
    assert not LtiIdentity.objects.exists()
    assert "Connect your account with Canvas" in client.get(url).content.decode()
    response = client.post(url)
    assert response["Location"] == "/c/cs-101/"
    assert LtiIdentity.objects.get().user == world.user("sam")
    assert AuditEvent.objects.get(verb="lti.identity_linked").actor == world.user("sam")
    assert client.get(url).status_code == 404
    # From now on they come in without signing in.
    other = Client()
    come(other, platform)
    assert signed_in_as(other) == world.user("sam")


def test_a_session_from_before_proves_nothing(world: World, platform: Platform, linked: LtiContext) -> None:
    client = with_sams_address(platform)
    sign_in(client, "sam", "")
    url = connect_page(client, platform)
    assert "Sign in once more" in client.get(url).content.decode()
    response = client.post(url)
    assert response.status_code == 409
    assert not LtiIdentity.objects.exists()
    client.post(url, {"again": "1"})
    assert signed_in_as(client) is None
    sign_in(client, "sam", url)
    assert client.post(url).status_code == 302


def test_somebody_else_cannot_connect_it(world: World, platform: Platform, linked: LtiContext) -> None:
    client = with_sams_address(platform)
    url = connect_page(client, platform)
    for who in ("noor", "eve"):
        sign_in(client, who, url)
        assert "Connect your account" not in client.get(url).content.decode().split("<main", 1)[1]
        assert client.post(url).status_code == 403
        sign_out(client)
    assert not LtiIdentity.objects.exists()


def test_another_browser_finds_nothing_to_connect(world: World, platform: Platform, linked: LtiContext) -> None:
    url = connect_page(with_sams_address(platform), platform)
    other = Client()
    sign_in(other, "sam", url)
    assert other.get(url).status_code == 404
    assert other.post(url).status_code == 404


def test_after_ten_minutes_nothing_is_connected(world: World, platform: Platform, linked: LtiContext) -> None:
    client = with_sams_address(platform)
    url = connect_page(client, platform)
    sign_in(client, "sam", url)
    LtiLaunch.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    assert client.post(url).status_code == 404
    with pytest.raises(PermissionDenied):
        actions.connect_lti_identity(by=world.user("sam"), launch=LtiLaunch.objects.get())


def test_one_account_is_one_person_of_a_platform(world: World, platform: Platform, linked: LtiContext) -> None:
    LtiIdentity.objects.create(
        institution=world.institution, platform=linked.deployment.platform, sub="first", user=world.user("sam")
    )
    client = with_sams_address(platform)
    url = connect_page(client, platform)
    sign_in(client, "sam", url)
    response = client.post(url)
    assert response.status_code == 409
    assert "connected with somebody" in response.content.decode()
    assert LtiIdentity.objects.get().sub == "first"


@pytest.mark.parametrize("field", ["is_active", "is_superuser"])
def test_closed_accounts_and_operators_dont_come_this_way(platform: Platform, linked: LtiContext, field: str) -> None:
    come(Client(), platform)
    User.objects.filter(email=NEW["email"]).update(**{field: field == "is_superuser"})
    client = Client()
    response = come(client, platform)
    assert response.status_code == 403
    assert b"<code>person</code>" in response.content
    assert signed_in_as(client) is None


# Roles


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([INSTRUCTOR], (Role.INSTRUCTOR, True)),
        (["Instructor"], (Role.INSTRUCTOR, True)),
        ([ASSISTANT], (Role.TA, True)),
        ([INSTRUCTOR, ASSISTANT], (Role.TA, True)),
        ([LEARNER], (Role.STUDENT, True)),
        (["Learner"], (Role.STUDENT, True)),
        ([LEARNER, INSTRUCTOR], (Role.INSTRUCTOR, True)),
        ([f"{MEMBERSHIP}#Mentor"], (Role.STUDENT, False)),
        ([f"{MEMBERSHIP}#Administrator"], (Role.STUDENT, False)),
        ([f"{MEMBERSHIP}#ContentDeveloper"], (Role.STUDENT, False)),
        ([f"{MEMBERSHIP}/Instructor#Grader"], (Role.STUDENT, False)),
        (["http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator"], (Role.STUDENT, False)),
        (["http://purl.imsglobal.org/vocab/lis/v2/institution/person#Instructor"], (Role.STUDENT, False)),
        (["http://purl.imsglobal.org/vocab/lis/v2/system/person#SysAdmin"], (Role.STUDENT, False)),
        (["instructor", "INSTRUCTOR", f"{INSTRUCTOR} ", "https://evil.example#Instructor"], (Role.STUDENT, False)),
        ([], (Role.STUDENT, False)),
        ([None, 7, {"a": 1}], (Role.STUDENT, False)),
    ],
)
def test_unknown_roles_get_the_least(roles: list[object], expected: tuple[Role, bool]) -> None:
    assert role_of(roles) == expected


@pytest.mark.parametrize(("roles", "role"), [([INSTRUCTOR], "instructor"), ([ASSISTANT], "ta"), (["x"], "student")])
def test_a_first_launch_gives_the_role_of_the_course_there(
    platform: Platform, linked: LtiContext, roles: list[str], role: str
) -> None:
    come(Client(), platform, **{ROLES: roles})
    assert Enrollment.objects.get(user__email=NEW["email"]).role == role


def test_who_was_dropped_is_told_and_stays_out(world: World, platform: Platform, linked: LtiContext) -> None:
    come(Client(), platform)
    Enrollment.objects.filter(user__email=NEW["email"]).update(status="dropped")
    client = Client()
    response = come(client, platform, **{ROLES: [INSTRUCTOR]})
    assert response.status_code == 403
    assert "taken out of this course" in response.content.decode()
    assert Enrollment.objects.get(user__email=NEW["email"]).status == "dropped"
    assert client.get("/c/cs-101/").status_code == 404


# Which course


def as_ada(world: World, platform: Platform, registered: LtiPlatform) -> Client:
    LtiIdentity.objects.create(
        institution=world.institution, platform=registered, sub="sub-of-ada", user=world.user("ada")
    )
    platform.person = {"sub": "sub-of-ada", ROLES: [INSTRUCTOR]}
    return Client()


def test_a_student_of_a_course_that_is_not_linked_is_told(platform: Platform, registered: LtiPlatform) -> None:
    response = come(Client(), platform)
    assert response.status_code == 404
    assert "isn’t set up yet" in response.content.decode()
    assert not Enrollment.objects.filter(user__email=NEW["email"]).exists()


def test_an_instructor_links_a_course_of_theirs(world: World, platform: Platform, registered: LtiPlatform) -> None:
    client = as_ada(world, platform, registered)
    url = come(client, platform)["Location"]
    page = client.get(url)
    assert page.status_code == 200
    assert "Programming I" in page.content.decode()
    assert "math-221" not in page.content.decode()
    for wrong in ("", "math-221", "nothing"):
        assert client.post(url, {"course": wrong}).status_code == 422
    response = client.post(url, {"course": "cs-101"})
    assert response["Location"] == "/c/cs-101/"
    context = LtiContext.objects.get()
    assert (context.course, context.title, context.linked_by) == (world.course, "Programming I", world.user("ada"))
    assert AuditEvent.objects.filter(verb="lti.context_linked", course=world.course).exists()
    assert client.get(url)["Location"] == "/c/cs-101/"


def test_an_instructor_makes_a_new_course(world: World, platform: Platform, registered: LtiPlatform) -> None:
    client = Client()
    url = come(client, platform, **{ROLES: [INSTRUCTOR]})["Location"]
    assert 'value="PROG1"' in client.get(url).content.decode()
    sent = {"make": "1", "code": "CS 101", "name": "Programming I", "term": ""}
    assert client.post(url, sent).status_code == 422
    response = client.post(url, sent | {"term": "Autumn 2026"})
    assert response["Location"] == "/c/cs-101-autumn-2026/"
    course = Course.objects.get(slug="cs-101-autumn-2026")
    assert Enrollment.objects.get(course=course).role == Role.INSTRUCTOR
    # The same again, from another context: an address of its own.
    client = Client()
    url = come(client, platform, **{ROLES: [INSTRUCTOR], f"{CLAIM}context": {"id": "other"}})["Location"]
    response = client.post(url, sent | {"term": "Autumn 2026"})
    assert re.fullmatch(r"/c/cs-101-autumn-2026-\w{4}/", response["Location"])


def test_only_the_instructor_of_both_links(world: World, platform: Platform, registered: LtiPlatform) -> None:
    client = Client()
    come(client, platform)  # a learner there
    launch = LtiLaunch.objects.get()
    url = reverse("lti:course", args=[launch.pk])
    assert client.get(url).status_code == 403
    assert client.post(url, {"make": "1", "code": "X", "name": "X", "term": "X"}).status_code == 403
    # An instructor there who is nobody in the course here.
    client = Client()
    url = come(client, platform, **{ROLES: [INSTRUCTOR]})["Location"]
    launch = LtiLaunch.objects.exclude(pk=launch.pk).get()
    nia = User.objects.get(email=NEW["email"])
    with pytest.raises(Http404):
        actions.link_lti_context(by=nia, launch=launch, slug="cs-101")
    factories.enroll(nia, world.course, Role.TA)
    with pytest.raises(PermissionDenied):
        actions.link_lti_context(by=nia, launch=launch, slug="cs-101")
    # Somebody else with the address of the page.
    for who in ("ada", "eve"):
        other = Client()
        other.force_login(world.user(who))
        assert other.get(url).status_code == 404
        other.cookies.update(client.cookies)
        other.force_login(world.user(who))
        assert other.get(url).status_code == (403 if who == "ada" else 404)
    assert not LtiContext.objects.exists()


def test_two_instructors_linking_at_once_dont_overwrite(
    world: World, platform: Platform, registered: LtiPlatform
) -> None:
    client = as_ada(world, platform, registered)
    come(client, platform)
    launch = LtiLaunch.objects.get()
    actions.make_lti_course(by=world.user("ada"), launch=launch, code="A", name="A", term="A")
    with pytest.raises(Refused, match="meanwhile"):
        actions.link_lti_context(by=world.user("ada"), launch=launch, slug="cs-101")


# Deep links


def test_a_thread_is_put_into_the_platforms_course(world: World, platform: Platform, linked: LtiContext) -> None:
    public = factories.make_thread(world.member("sam"), "A question for all")
    factories.make_thread(world.member("sam"), "A private matter", visibility="staff")
    client = as_ada(world, platform, linked.deployment.platform)
    url = come(client, platform, **platform.deep_linking())["Location"]
    assert url.endswith("/deep-link/")
    page = client.get(url).content.decode()
    assert "A question for all" in page
    assert "A private matter" not in page
    assert "A question for all" in client.get(f"{url}?q=%23{public.number}").content.decode()
    assert "A question for all" not in client.get(f"{url}?q=zebra").content.decode()
    for wrong in ("", "x", "99", str(public.number + 1), "9" * 30):
        assert client.post(url, {"thread": wrong}).status_code == 422
    response = client.post(url, {"thread": str(public.number)})
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    assert re.search(rf"form-action 'self' {re.escape(platform.url)}(;|$)", policy)
    assert platform.url not in client.get(url)["Content-Security-Policy"]
    publish_keys(platform)
    token = re.findall(r'name="JWT" value="([^"]+)"', response.content.decode())[0]
    sent = urllib.request.urlopen(f"{platform.url}/return", f"JWT={token}".encode())
    assert sent.status == 200
    (answer,) = platform.answers
    (item,) = answer["https://purl.imsglobal.org/spec/lti-dl/claim/content_items"]
    assert (item["type"], item["title"], item["custom"]) == (
        "ltiResourceLink", "A question for all", {"thread": str(public.number)},
    )  # fmt: skip
    assert item["url"] == "http://testserver/lti/launch/"
    assert answer["https://purl.imsglobal.org/spec/lti-dl/claim/data"] == "opaque: Data"
    assert answer[f"{CLAIM}deployment_id"] == DEPLOYMENT
    assert answer[f"{CLAIM}message_type"] == "LtiDeepLinkingResponse"
    # Once for each time it is asked.
    assert client.post(url, {"thread": str(public.number)}).status_code == 422
    assert AuditEvent.objects.filter(verb="lti.deep_linked").count() == 1


def test_students_and_others_put_no_links(world: World, platform: Platform, linked: LtiContext) -> None:
    client = Client()
    url = come(client, platform, **platform.deep_linking(None))["Location"]
    assert client.get(url).status_code == 403
    for who in ("eve", "pat", "ada"):
        other = Client()
        other.force_login(world.user(who))
        assert other.get(url).status_code == 404
    assert client.get(reverse("lti:deep-link", args=[world.course.pk])).status_code == 404
    # A launch that asked for no link.
    plain = as_ada(world, platform, linked.deployment.platform)
    come(plain, platform)
    launch = LtiLaunch.objects.exclude(claims__message_type="LtiDeepLinkingRequest").get()
    assert plain.get(reverse("lti:deep-link", args=[launch.pk])).status_code == 404


# Keys


def test_the_key_set_holds_public_keys_only(world: World, registered: LtiPlatform) -> None:
    body = Client().get("/lti/jwks/home/").json()
    (key,) = body["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "alg", "use"}
    stored = LtiKey.objects.get()
    assert "PRIVATE" not in stored.sealed
    assert "PRIVATE KEY" in keys.unseal(stored.sealed)
    assert Client().get("/lti/jwks/nowhere/").status_code == 404
    assert Client().get("/lti/jwks/away/").json()["keys"][0]["kid"] != key["kid"]


def test_keys_survive_a_new_secret_that_names_the_old_one(world: World, settings: Settings) -> None:
    key = actions.current_lti_key(world.institution.pk)
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another-secret-for-this-test-only"
    settings.SECRET_KEY_FALLBACKS = [old]
    assert actions.current_lti_key(world.institution.pk) == key
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(keys.KeyLost):
        keys.unseal(key.sealed)
    # One that can't be opened any more is replaced.
    assert actions.current_lti_key(world.institution.pk) != key


def test_a_replaced_key_stays_published_for_a_while(
    world: World, registered: LtiPlatform, signed_in: Callable[[User], Client]
) -> None:
    first = actions.current_lti_key(world.institution.pk)
    assert signed_in(world.user("sam")).post("/lti/platforms/key/").status_code == 403
    assert signed_in(world.user("ada")).post("/lti/platforms/key/").status_code == 302
    second = actions.current_lti_key(world.institution.pk)
    assert second != first
    assert len(Client().get("/lti/jwks/home/").json()["keys"]) == 2
    LtiKey.objects.filter(pk=first.pk).update(retired_at=timezone.now() - timedelta(days=31))
    sweep_lti(0)
    assert len(Client().get("/lti/jwks/home/").json()["keys"]) == 1


def test_launches_are_forgotten(platform: Platform, linked: LtiContext) -> None:
    come(Client(), platform)
    sweep_lti(0)
    assert LtiLaunch.objects.count() == 1
    LtiLaunch.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    sweep_lti(0)
    assert not LtiLaunch.objects.exists()


def test_canvas_is_told_where_everything_is(world: World) -> None:
    body = Client().get("/lti/config/home.json").json()
    assert body["oidc_initiation_url"] == "http://testserver/lti/login/"
    assert body["public_jwk_url"] == "http://testserver/lti/jwks/home/"
    assert Client().get("/lti/config/nowhere.json").status_code == 404


# Registering


def typed(platform: Platform, **changes: str) -> dict[str, str]:
    return {
        "name": "Moodle", "issuer": "https://moodle.example", "client_id": "abc", "is_active": "on",
        "authorization_url": f"{platform.url}/auth", "token_url": f"{platform.url}/token",
        "jwks_url": f"{platform.url}/jwks", "deployments": "1\n 1 \n\n2",
    } | changes  # fmt: skip


def test_staff_of_the_institution_register_a_platform(
    world: World, platform: Platform, signed_in: Callable[[User], Client]
) -> None:
    ada = world.user("ada")
    User.objects.filter(pk=ada.pk).update(is_staff=True, institution_role="admin")
    client = signed_in(ada)
    assert "http://testserver/lti/jwks/home/" in client.get("/lti/platforms/").content.decode()
    assert client.get("/lti/platforms/add/").status_code == 200
    bad = {
        "jwks_url": "javascript:alert(1)", "issuer": "a b", "name": "", "deployments": "x" * 300,
    }  # fmt: skip
    for name, value in bad.items():
        response = client.post("/lti/platforms/add/", typed(platform, **{name: value}))
        assert response.status_code == 422
        assert response.context["form"].errors[name]
    many = "\n".join(str(number) for number in range(201))
    assert client.post("/lti/platforms/add/", typed(platform, deployments=many)).status_code == 422
    assert not LtiPlatform.objects.exists()
    assert client.post("/lti/platforms/add/", typed(platform)).status_code == 302
    row = LtiPlatform.objects.get()
    assert row.institution == world.institution
    assert set(row.deployments.values_list("deployment_id", flat=True)) == {"1", "2"}
    again = client.post("/lti/platforms/add/", typed(platform))
    assert again.status_code == 422
    assert "registered already" in again.content.decode()
    url = reverse("lti:platform", args=[row.pk])
    assert "https://moodle.example" in client.get(url).content.decode()
    assert client.post(url, typed(platform, name="Old Moodle", deployments="2", is_active="")).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.is_active, [d.deployment_id for d in row.deployments.all()]) == ("Old Moodle", False, ["2"])
    assert {"lti.platform_added", "lti.platform_changed"} <= set(AuditEvent.objects.values_list("verb", flat=True))
    assert "Nobody may come" in client.get("/lti/").content.decode()


def test_nobody_else_sees_or_changes_platforms(
    world: World, platform: Platform, registered: LtiPlatform, signed_in: Callable[[User], Client]
) -> None:
    url = reverse("lti:platform", args=[registered.pk])
    pages = ["/lti/", "/lti/platforms/", "/lti/platforms/add/", url]
    for who in ("sam", "tim", "pat"):
        for page in pages:
            assert signed_in(world.user(who)).get(page).status_code == 403
            assert signed_in(world.user(who)).post(page, typed(platform)).status_code in (403, 405)
    for page in pages:
        assert Client().get(page).status_code == 302
    User.objects.filter(pk=world.user("eve").pk).update(is_staff=True, institution_role="admin")
    eve = signed_in(world.user("eve"))
    assert eve.get(url).status_code == 404
    assert eve.post(url, typed(platform)).status_code == 404
    assert "Canvas</strong>" not in eve.get("/lti/platforms/").content.decode()
    world.user("eve").refresh_from_db()
    with pytest.raises(Http404):
        get_lti_platform(world.user("eve"), registered.pk)
    assert not LtiPlatform.objects.visible_to(world.user("sam")).exists()


def test_a_refused_deployment_is_shown_to_who_may_add_it(
    world: World, platform: Platform, registered: LtiPlatform, signed_in: Callable[[User], Client]
) -> None:
    refused(come(Client(), platform, **{f"{CLAIM}deployment_id": "deployment-9"}), "deployment")
    client = signed_in(world.user("ada"))
    assert "A deployment was refused" in client.get("/lti/platforms/").content.decode()
    url = reverse("lti:platform", args=[registered.pk])
    assert "<code>deployment-9</code>" in client.get(url).content.decode()
    sent = typed(platform, issuer=platform.url, client_id=CLIENT_ID, deployments=f"{DEPLOYMENT}\ndeployment-9")
    assert client.post(url, sent).status_code == 302
    registered.refresh_from_db()
    assert registered.refused_deployment == ""
    # A token nobody signed properly says nothing there.
    other = Client()
    asked = begin(other, platform)
    claims = platform.claims(asked["nonce"], **{f"{CLAIM}deployment_id": "made-up"})
    refused(bring(other, platform.sign(claims, Key("x"), kid="first"), asked["state"]), "signature")
    registered.refresh_from_db()
    assert registered.refused_deployment == ""


def test_a_platform_people_came_from_is_not_turned_into_another(
    world: World, platform: Platform, registered: LtiPlatform
) -> None:
    LtiIdentity.objects.create(institution=world.institution, platform=registered, sub="x", user=world.user("sam"))
    with pytest.raises(Refused, match="beside it"):
        actions.save_lti_platform(
            by=world.user("ada"), platform=registered, fields={"issuer": "https://other.example"}, deployments=[]
        )


def test_institutions_are_found_without_showing_more(world: World, registered: LtiPlatform) -> None:
    assert reaching.institution_of_lti_platform(registered.issuer, CLIENT_ID) == world.institution.pk
    register(world, Platform(url="http://second.example"), by="eve", issuer=registered.issuer, client_id="other")
    # An issuer of several institutions must be told apart by the client ID.
    assert reaching.institution_of_lti_platform(registered.issuer, "") is None
    assert reaching.institution_of_slug("nowhere") is None
    assert reaching.institution_of_lti_launch(world.course.pk) is None


def test_pages_of_a_launch_end_when_its_platform_is_switched_off(platform: Platform, linked: LtiContext) -> None:
    client = with_sams_address(platform)
    url = connect_page(client, platform)
    assert client.get(url).status_code == 200
    LtiPlatform.objects.update(is_active=False)
    assert client.get(url).status_code == 404


def test_a_launch_from_no_course_leads_to_none(platform: Platform, linked: LtiContext) -> None:
    response = come(Client(), platform, **{ROLES: [INSTRUCTOR], f"{CLAIM}context": None})
    assert response.status_code == 404
    assert "isn’t set up yet" in response.content.decode()
    assert not Enrollment.objects.filter(user__email=NEW["email"]).exists()


def test_what_a_platform_did_not_send_is_not_sent_back(world: World, platform: Platform, linked: LtiContext) -> None:
    thread = factories.make_thread(world.member("sam"))
    client = as_ada(world, platform, linked.deployment.platform)
    url = come(client, platform, **platform.deep_linking(None))["Location"]
    page = client.post(url, {"thread": str(thread.number)}).content.decode()
    publish_keys(platform)
    answer = platform.check_assertion(re.findall(r'name="JWT" value="([^"]+)"', page)[0], platform.url)
    assert "https://purl.imsglobal.org/spec/lti-dl/claim/data" not in answer


def test_the_page_says_why_a_platform_cannot_become_another(
    world: World, platform: Platform, registered: LtiPlatform, signed_in: Callable[[User], Client]
) -> None:
    LtiIdentity.objects.create(institution=world.institution, platform=registered, sub="x", user=world.user("sam"))
    url = reverse("lti:platform", args=[registered.pk])
    response = signed_in(world.user("ada")).post(url, typed(platform))
    assert response.status_code == 409
    assert "beside it" in response.content.decode()
    registered.refresh_from_db()
    assert registered.issuer == platform.url


def test_the_admin_shows_staff_their_own_institution(
    world: World, platform: Platform, linked: LtiContext, signed_in: Callable[[User], Client]
) -> None:
    come(Client(), platform)
    root = User.objects.create_superuser("root@example.edu", factories.PASSWORD, display_name="Root")
    linked.refresh_from_db()
    actions.start_lti_sync(by=world.member("ada"), context=linked)
    sync, identity = LtiSync.objects.get(), LtiIdentity.objects.get()
    User.objects.filter(pk=world.user("eve").pk).update(is_staff=True, institution_role="admin")
    for name in ("ada", "eve"):
        world.user(name).user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    for who, status in ((root, 200), (world.user("ada"), 200), (world.user("eve"), 302)):
        client = signed_in(who)
        rows: list[Any] = [linked.deployment.platform, linked.deployment, linked, sync, identity]
        for row in rows:
            name = row._meta.model_name
            listed = client.get(reverse(f"admin:accounts_{name}_changelist"), {"q": "a"})
            assert listed.status_code == 200
            url = reverse(f"admin:accounts_{name}_change", args=[row.pk])
            assert client.get(url).status_code == status, (who.email, name)
            assert client.get(reverse(f"admin:accounts_{name}_add")).status_code == 403


def test_who_came_from_a_platform_erases_themselves_after_a_new_launch(
    world: World, platform: Platform, linked: LtiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.person = {"sub": "x", "name": "Ann Other"}
    client = Client()
    come(client, platform)
    person = signed_in_as(client)
    assert person is not None
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + 301)
    page = client.get("/me/erase/").content.decode()
    assert "Sign in again" in page
    # Nothing can be mailed to an address that reaches nobody.
    assert "Mail me a link" not in page
    assert client.post("/me/erase/", {"word": "erase me"}).status_code == 422
    monkeypatch.undo()
    sign_out(client)
    come(client, platform)
    assert client.post("/me/erase/", {"word": "erase me"}).status_code == 302
    assert Erasure.objects.get().user == person


# Parting


def test_who_came_from_a_platform_may_part_from_it(world: World, platform: Platform, linked: LtiContext) -> None:
    client = Client()
    come(client, platform)
    nia = User.objects.get(email=NEW["email"])
    page = client.get("/me/security/connections/").content.decode()
    identity = LtiIdentity.objects.get()
    assert f'name="platform" value="{identity.pk}"' in page
    assert "/me/security/connections/" in client.get("/me/security/").content.decode()
    # It is her only way in.
    answer = client.post("/me/security/connections/", {"platform": str(identity.pk)})
    assert answer["Location"].startswith("/me/security/again/sign-in/")
    with pytest.raises(Refused, match="the only way you sign in"):
        actions.disconnect_lti_identity(by=nia, identity=identity)
    nia.set_password(factories.PASSWORD)
    nia.save()
    client = Client()
    sign_in(client, "nia", "/courses/")
    client.post("/me/security/again/", {"password": factories.PASSWORD})
    for wrong in ("", "x", str(uuid.uuid4())):
        client.post("/me/security/connections/", {"platform": wrong})
    assert LtiIdentity.objects.exists()
    page = client.post("/me/security/connections/", {"platform": str(identity.pk)}, follow=True).content.decode()
    assert "is disconnected" in page
    assert not LtiIdentity.objects.exists()
    event = AuditEvent.objects.get(verb="lti.identity_disconnected")
    assert (event.actor, event.data["platform"]) == (nia, identity.platform.name)
    run_tasks("accounts.send_account_mail")
    assert "A way to sign in was removed" in [message.subject for message in mail.outbox]
    # Coming again is no silent way back: the account's owner is asked.
    assert "/connect/" in come(Client(), platform)["Location"]


def test_nobody_parts_somebody_else_from_a_platform(world: World, platform: Platform, linked: LtiContext) -> None:
    come(Client(), platform)
    identity = LtiIdentity.objects.get()
    client = Client()
    sign_in(client, "sam", "/courses/")
    client.post("/me/security/again/", {"password": factories.PASSWORD})
    client.post("/me/security/connections/", {"platform": str(identity.pk)})
    with pytest.raises(LtiIdentity.DoesNotExist):
        actions.disconnect_lti_identity(by=world.user("sam"), identity=identity)
    assert LtiIdentity.objects.exists()


def test_a_password_is_no_way_in_for_who_cannot_be_mailed(world: World, platform: Platform, linked: LtiContext) -> None:
    platform.person = {"sub": "x", "name": "Ann Other"}
    client = Client()
    come(client, platform)
    ann = signed_in_as(client)
    assert ann is not None
    ann.set_password(factories.PASSWORD)
    ann.save()
    with pytest.raises(Refused):
        actions.disconnect_lti_identity(by=ann, identity=LtiIdentity.objects.get())
    Authenticator.objects.create(
        user=ann, type="webauthn", data={"name": "Key", "credential": {"clientExtensionResults": {"credProps": {"rk": True}}}}
    )  # fmt: skip
    actions.disconnect_lti_identity(by=ann, identity=LtiIdentity.objects.get())
    assert not LtiIdentity.objects.exists()


def test_an_instructor_unlinks_the_course(world: World, platform: Platform, linked: LtiContext) -> None:
    url = "/c/cs-101/course/lms/"
    come(Client(), platform)
    people = Enrollment.objects.filter(course=world.course).count()
    tim, ada = Client(), Client()
    tim.force_login(world.user("tim"))
    ada.force_login(world.user("ada"))
    assert 'name="unlink"' not in tim.get(url).content.decode()
    assert tim.post(url, {"unlink": str(linked.pk)}).status_code == 403
    assert ada.post(url, {"unlink": str(uuid.uuid4())}).status_code == 409
    with pytest.raises(PermissionDenied):
        actions.unlink_lti_context(by=world.member("tim"), context=linked)
    assert f'name="unlink" value="{linked.pk}"' in ada.get(url).content.decode()
    page = ada.post(url, {"unlink": str(linked.pk)}, follow=True).content.decode()
    assert "Programming I is unlinked" in page
    assert not LtiContext.objects.exists()
    event = AuditEvent.objects.get(verb="lti.context_unlinked")
    assert (event.actor, event.course, event.data["title"]) == (world.user("ada"), world.course, "Programming I")
    assert Enrollment.objects.filter(course=world.course).count() == people
    assert "unlinked the course" in ada.get("/c/cs-101/course/audit/").content.decode()
    with pytest.raises(Refused, match="isn’t linked"):
        actions.unlink_lti_context(by=world.member("ada"), context=linked)
    # A launch finds no course now.
    assert come(Client(), platform).status_code == 404
