"""Signing in through OpenID Connect, against a real provider over HTTP with real keys."""

import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.socialaccount.models import SocialAccount
from django.test import Client

from accounts.models import AuditEvent, Erasure, IdentityProvider, InstitutionDomain, User
from tests.factories import PASSWORD, World
from tests.metrics import moves
from tests.services.oidc_provider import CLIENT, SECRET, OIDCProvider

pytestmark = pytest.mark.usefixtures("loopback")

KIM = {"sub": "kim-1", "email": "kim@uni.example", "email_verified": True, "name": "Kim Example"}


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


@pytest.fixture
def provider() -> Iterator[OIDCProvider]:
    provider = OIDCProvider()
    provider.claims = dict(KIM)
    yield provider
    provider.stop()


@pytest.fixture
def row(world: World, provider: OIDCProvider) -> IdentityProvider:
    row = IdentityProvider(
        institution=world.institution,
        slug="uni",
        name="Uni",
        protocol="oidc",
        server_url=provider.url,
        client_id=CLIENT,
    )
    row.secret = SECRET
    row.full_clean()
    row.save()
    InstitutionDomain.objects.create(institution=world.institution, domain="uni.example")
    return row


def go(client: Client, slug: str = "uni", **query: str) -> str:
    """Follow the browser's way to the provider and back; return the address it comes back to."""
    asked = client.get(f"/oidc/{slug}/login/", query)
    assert asked.status_code == 302, asked.status_code
    try:
        urllib.request.build_opener(_Stay).open(asked["Location"])
    except urllib.error.HTTPError as answer:
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}"
    raise AssertionError


def test_a_new_person_gets_an_account_and_comes_back_to_it(world: World, row: IdentityProvider) -> None:
    client = Client()
    assert "Sign in with Uni" in client.get("/sign-in/at/home/").content.decode()
    assert client.get(go(client, next="/me/"))["Location"] == "/me/"
    assert client.get("/me/").status_code == 200
    kim = User.objects.get(email="kim@uni.example")
    assert (kim.institution, kim.display_name, kim.has_usable_password()) == (world.institution, "Kim Example", False)
    assert client.session["institution"] == str(world.institution.pk)
    again = Client()
    again.get(go(again))
    assert again.get("/me/").status_code == 200
    assert User.objects.filter(email__endswith="uni.example").count() == 1
    assert SocialAccount.objects.get().extra_data == {}, "what the provider says is not kept"
    assert AuditEvent.objects.filter(verb="person.signed_in", actor=kim).count() == 2


def test_metrics_hear_of_who_comes_in(row: IdentityProvider, django_capture_on_commit_callbacks: Any) -> None:
    client = Client()
    with moves() as moved, django_capture_on_commit_callbacks(execute=True):
        client.get(go(client))
    assert moved == {"quokkaq_sign_ins_total{method=oidc,outcome=succeeded}": 1, "quokkaq_sign_ups_total{}": 1}


def test_where_one_goes_next_stays_on_this_site(row: IdentityProvider) -> None:
    client = Client()
    assert client.get(go(client, next="https://evil.example/"))["Location"] == "/courses/"


def test_the_address_cannot_change_what_the_provider_is_asked(row: IdentityProvider) -> None:
    asked = Client().get(
        "/oidc/uni/login/", {"auth_params": "nonce=1&redirect_uri=https://evil.example/", "scope": "x"}
    )
    query = parse_qs(urlsplit(asked["Location"]).query)
    assert query["redirect_uri"] == ["http://testserver/oidc/uni/login/callback/"]
    assert sorted(query["scope"][0].split()) == ["email", "openid", "profile"]
    assert len(query["nonce"][0]) == 64
    assert query["code_challenge_method"] == ["S256"]


@pytest.mark.parametrize(
    "spoil",
    [
        {"token_changes": {"nonce": "another"}},
        {"token_changes": {"nonce": None}},
        {"token_changes": {"aud": "somebody-else"}},
        {"token_changes": {"aud": [CLIENT, "somebody-else"]}},
        {"token_changes": {"azp": "somebody-else"}},
        {"token_changes": {"iss": "https://evil.example"}},
        {"token_changes": {"exp": 1_600_000_000}},
        {"token_changes": {"sub": None}},
        {"wrong_key": True},
        {"algorithm": "none"},
        {"algorithm": "HS256"},
        {"userinfo_changes": {"sub": "another"}},
    ],
    ids=str,
)
def test_a_spoiled_answer_signs_nobody_in(row: IdentityProvider, provider: OIDCProvider, spoil: dict[str, Any]) -> None:
    for name, value in spoil.items():
        setattr(provider, name, value)
    client = Client()
    response = client.get(go(client))
    assert response.status_code == 401
    assert "didn’t work" in response.content.decode()
    assert client.get("/courses/").status_code == 302
    assert not User.objects.filter(email="kim@uni.example").exists()


def test_an_answer_counts_once_and_in_the_browser_that_asked(row: IdentityProvider) -> None:
    client, thief = Client(), Client()
    back = go(client)
    assert thief.get(back).status_code == 401
    assert client.get(back.replace("state=", "state=x")).status_code == 401
    assert client.get(back).status_code == 302
    assert Client().get(back).status_code == 401
    assert client.get("/oidc/uni/login/callback/").status_code == 401


def test_cancelling_changes_nothing(row: IdentityProvider) -> None:
    client = Client()
    state = parse_qs(urlsplit(client.get("/oidc/uni/login/")["Location"]).query)["state"][0]
    back = client.get("/oidc/uni/login/callback/", {"error": "access_denied", "state": state}, follow=True)
    assert "cancelled" in back.content.decode()


def test_a_provider_that_is_another_or_away_is_refused(row: IdentityProvider, provider: OIDCProvider) -> None:
    IdentityProvider.objects.update(server_url=f"{provider.url.replace('127.0.0.1', 'localhost')}")
    assert Client().get("/oidc/uni/login/").status_code == 401
    IdentityProvider.objects.update(server_url="http://127.0.0.1:9")
    assert Client().get("/oidc/uni/login/").status_code == 401


def test_a_provider_that_is_off_or_unknown_is_nothing(row: IdentityProvider) -> None:
    IdentityProvider.objects.update(enabled=False)
    for slug in ("uni", "nowhere"):
        assert Client().get(f"/oidc/{slug}/login/").status_code == 404
    assert "Sign in with Uni" not in Client().get("/sign-in/at/home/").content.decode()


@pytest.mark.parametrize("who", ["sam", "eve"])
def test_an_account_that_is_there_is_not_taken_over(
    world: World, row: IdentityProvider, provider: OIDCProvider, who: str
) -> None:
    provider.claims |= {"email": f"{who}@example.edu"}
    client = Client()
    response = client.get(go(client))
    assert response.status_code == 403
    assert "already" in response.content.decode()
    assert client.get("/courses/").status_code == 302
    assert not SocialAccount.objects.exists()


def test_an_address_the_provider_has_not_checked_makes_no_account(
    row: IdentityProvider, provider: OIDCProvider
) -> None:
    for claims in ({"email_verified": False}, {"email": None}):
        provider.claims = {k: v for k, v in (KIM | claims).items() if v is not None}
        client = Client()
        assert "didn’t tell us" in client.get(go(client)).content.decode()
    assert not User.objects.filter(email="kim@uni.example").exists()


def test_who_has_an_account_connects_it_themselves(world: World, row: IdentityProvider, provider: OIDCProvider) -> None:
    provider.claims |= {"email": "sam@example.edu"}
    client = Client()
    client.post("/sign-in/", {"email": "sam@example.edu", "password": PASSWORD})
    assert "Not connected" in client.get("/me/security/connections/").content.decode()
    assert client.get(go(client, process="connect"))["Location"] == "/me/security/again/"
    client.post("/me/security/again/", {"password": PASSWORD})
    back = client.get(go(client, process="connect"))
    assert back["Location"] == "/me/security/connections/", back["Location"]
    account = SocialAccount.objects.get(user=world.user("sam"))
    other = Client()
    other.get(go(other))
    assert other.get("/me/").status_code == 200
    client.post("/me/security/connections/", {"account": account.pk})
    assert not SocialAccount.objects.exists()


def test_a_trusted_provider_signs_in_the_accounts_of_its_domains(
    world: World, row: IdentityProvider, provider: OIDCProvider
) -> None:
    IdentityProvider.objects.update(trusts_emails=True)
    provider.claims |= {"email": "sam@example.edu"}
    client = Client()
    assert client.get(go(client)).status_code == 403, "an address of another domain"
    InstitutionDomain.objects.create(institution=world.institution, domain="example.edu")
    client = Client()
    client.get(go(client))
    assert client.get("/me/").status_code == 200
    provider.claims |= {"sub": "eve-1", "email": "eve@example.edu"}
    client = Client()
    assert client.get(go(client)).status_code == 403, "somebody of another institution"


def test_a_foreign_provider_signs_nobody_of_ours_in(
    world: World, row: IdentityProvider, provider: OIDCProvider
) -> None:
    client = Client()
    client.get(go(client))
    IdentityProvider.objects.update(institution=world.other_institution)
    client = Client()
    assert client.get(go(client)).status_code == 403
    assert client.get("/courses/").status_code == 302
    client.post("/sign-in/", {"email": "noor@example.edu", "password": PASSWORD})
    assert client.get("/oidc/uni/login/", {"process": "connect"}).status_code in (302, 404)
    assert not SocialAccount.objects.filter(user=world.user("noor")).exists()


def test_the_second_step_comes_after_the_provider_too(
    world: World, row: IdentityProvider, provider: OIDCProvider
) -> None:
    client = Client()
    client.get(go(client))
    TOTP.activate(User.objects.get(email="kim@uni.example"), generate_totp_secret())
    client = Client()
    assert client.get(go(client))["Location"] == "/sign-in/second-step/"
    assert client.get("/courses/").status_code == 302
    assert client.get("/sign-in/second-step/").status_code == 200


def test_who_came_through_the_provider_erases_themselves(
    row: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    client.get(go(client, next="/me/"))
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + 301)
    assert client.post("/me/erase/", {"word": "erase me"}).status_code == 422
    assert "/me/security/again/sign-in/" in client.get("/me/erase/").content.decode()
    assert client.post("/me/security/again/sign-in/").status_code == 302
    assert client.get("/me/").status_code == 302
    monkeypatch.undo()
    client.get(go(client, next="/me/erase/"))
    assert client.post("/me/erase/", {"word": "erase me"}).status_code == 302
    assert Erasure.objects.get().user.email == "kim@uni.example"
