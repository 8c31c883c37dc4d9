"""Signing in through SAML, with assertions signed by a real key."""

import base64
import datetime
import zlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from django.test import Client as DjangoClient
from lxml import etree
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from accounts.models import IdentityProvider, InstitutionDomain, User
from tests.factories import World
from tests.metrics import moves

pytestmark = pytest.mark.usefixtures("loopback")

HOST = "forum.example.edu"
ENTITY = "https://idp.uni.example/"
METADATA = """<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity}">
<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor use="signing">
<KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{certificate}</X509Certificate></X509Data></KeyInfo>
</KeyDescriptor><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{entity}sso"/>
</IDPSSODescriptor></EntityDescriptor>"""
ASSERTION = """<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{id}" Version="2.0" IssueInstant="{now}">
<saml:Issuer>{issuer}</saml:Issuer><saml:Subject>
<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">kim-1</saml:NameID>
<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="{until}"
 Recipient="{acs}" InResponseTo="{to}"/></saml:SubjectConfirmation></saml:Subject>
<saml:Conditions NotBefore="{since}" NotOnOrAfter="{until}"><saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience>
</saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="{now}" SessionIndex="s1"><saml:AuthnContext>
<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext>
</saml:AuthnStatement><saml:AttributeStatement>
<saml:Attribute Name="urn:oid:0.9.2342.19200300.100.1.3"><saml:AttributeValue>{email}</saml:AttributeValue></saml:Attribute>
<saml:Attribute Name="displayName"><saml:AttributeValue>Kim Example</saml:AttributeValue></saml:Attribute>
</saml:AttributeStatement></saml:Assertion>"""
RESPONSE = """<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="r{id}" Version="2.0" IssueInstant="{now}"
 Destination="{acs}" InResponseTo="{to}"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{issuer}</saml:Issuer>
<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>{assertion}</samlp:Response>"""


class Client(DjangoClient):
    """A client that names the host it asks, as browsers do."""

    def __init__(self) -> None:
        super().__init__(HTTP_HOST=HOST)


class Service:
    """A university's SAML service: a key, its certificate, and what it says."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp.uni.example")])
        today = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        made = made.serial_number(1).not_valid_before(today).not_valid_after(today + datetime.timedelta(days=1))
        certificate = made.sign(self.key, hashes.SHA256())
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def metadata(self) -> str:
        return METADATA.format(entity=ENTITY, certificate="".join(self.pem.splitlines()[1:-1]))

    def answer(self, asked: str, *, signer: "Service | None" = None, shift: int = 0, **changes: Any) -> str:
        """Return the response to a request, in base64. `signer=None` signs with the service's own key."""
        request = zlib.decompress(base64.b64decode(parse_qs(urlsplit(asked).query)["SAMLRequest"][0]), -15)
        root = etree.fromstring(request)
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=shift)
        values = {
            "id": "a1b2c3", "now": f"{now:%Y-%m-%dT%H:%M:%SZ}", "issuer": ENTITY, "to": root.get("ID"),
            "since": f"{now - datetime.timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}",
            "until": f"{now + datetime.timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
            "acs": "http://forum.example.edu/saml/uni/acs/", "audience": "http://forum.example.edu/saml/uni/metadata/",
            "email": "kim@uni.example",
        } | changes  # fmt: skip
        by = signer or self
        assertion = ASSERTION.format(**values)
        if not changes.get("unsigned"):
            assertion = OneLogin_Saml2_Utils.add_sign(assertion, by.private, by.pem).decode()
        if changes.get("altered"):
            assertion = assertion.replace("kim@uni.example", "ada@uni.example")
        return base64.b64encode(RESPONSE.format(assertion=assertion, **values).encode()).decode()


@pytest.fixture(autouse=True)
def our_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = [HOST]


@pytest.fixture(scope="module")
def service() -> Service:
    return Service()


@pytest.fixture
def row(world: World, service: Service) -> IdentityProvider:
    row = IdentityProvider(
        institution=world.institution, slug="uni", name="Uni", protocol="saml", metadata=service.metadata
    )
    row.full_clean()
    row.save()
    InstitutionDomain.objects.create(institution=world.institution, domain="uni.example")
    return row


def come_back(client: Client, answer: str) -> Any:
    """Send what the service's page sends: without our cookies, as browsers do; then finish with them."""
    session = client.cookies.pop("quokkaq_session")
    sent = client.post("/saml/uni/acs/", {"SAMLResponse": answer})
    client.cookies["quokkaq_session"] = session.value
    return client.get(sent["Location"])


def test_a_signed_assertion_signs_in(world: World, row: IdentityProvider, service: Service) -> None:
    for _ in range(2):
        client = Client()
        asked = client.get("/saml/uni/login/", {"next": "/me/"})["Location"]
        assert asked.startswith(f"{ENTITY}sso?SAMLRequest=")
        assert come_back(client, service.answer(asked))["Location"] == "/me/"
        assert client.get("/me/").status_code == 200
    kim = User.objects.get(email="kim@uni.example")
    assert (kim.institution, kim.display_name) == (world.institution, "Kim Example")


def test_metrics_hear_of_who_comes_in(
    row: IdentityProvider, service: Service, django_capture_on_commit_callbacks: Any
) -> None:
    client = Client()
    with moves() as moved, django_capture_on_commit_callbacks(execute=True):
        come_back(client, service.answer(client.get("/saml/uni/login/")["Location"]))
    assert moved == {"quokkaq_sign_ins_total{method=saml,outcome=succeeded}": 1, "quokkaq_sign_ups_total{}": 1}


@pytest.mark.parametrize(
    "spoil",
    [
        {"unsigned": True}, {"altered": True}, {"signer": True}, {"shift": -3600}, {"shift": 3600},
        {"audience": "https://elsewhere.example/"}, {"issuer": "https://evil.example/"}, {"acs": "https://elsewhere.example/"},
        {"to": "ONELOGIN_made_up"},
    ],
    ids=str,
)  # fmt: skip
def test_a_spoiled_assertion_signs_nobody_in(row: IdentityProvider, service: Service, spoil: dict[str, Any]) -> None:
    client = Client()
    asked = client.get("/saml/uni/login/")["Location"]
    if "signer" in spoil:
        spoil = {"signer": Service()}
    response = come_back(client, service.answer(asked, **spoil))
    assert response.status_code in (401, 403)
    assert client.get("/courses/").status_code == 302
    assert not User.objects.filter(email="kim@uni.example").exists()


def test_an_assertion_counts_once_and_in_the_browser_that_asked(row: IdentityProvider, service: Service) -> None:
    client, thief = Client(), Client()
    answer = service.answer(client.get("/saml/uni/login/")["Location"])
    thief.get("/saml/uni/login/")
    assert come_back(thief, answer).status_code in (401, 403)
    assert come_back(client, answer).status_code == 302
    assert come_back(client, answer).status_code in (401, 403)


def test_an_address_of_another_domain_makes_no_account(row: IdentityProvider, service: Service) -> None:
    client = Client()
    asked = client.get("/saml/uni/login/")["Location"]
    assert come_back(client, service.answer(asked, email="kim@else.example")).status_code == 403


def test_an_account_that_is_there_is_not_taken_over(world: World, row: IdentityProvider, service: Service) -> None:
    InstitutionDomain.objects.create(institution=world.institution, domain="example.edu")
    client = Client()
    asked = client.get("/saml/uni/login/")["Location"]
    assert "already" in come_back(client, service.answer(asked, email="sam@example.edu")).content.decode()


def test_the_service_finds_our_metadata(row: IdentityProvider) -> None:
    page = Client().get("/saml/uni/metadata/").content.decode()
    assert "http://forum.example.edu/saml/uni/acs/" in page
    assert Client().get("/saml/nowhere/metadata/").status_code == 404
    assert Client().post("/saml/nowhere/acs/").status_code in (302, 404)
    assert Client().get("/saml/uni/acs/finish/").status_code == 401


def test_metadata_that_cannot_be_had_or_used_are_an_answer_not_a_crash(row: IdentityProvider) -> None:
    IdentityProvider.objects.update(metadata="<x/>")
    assert Client().get("/saml/uni/login/").status_code == 401
    IdentityProvider.objects.update(metadata="", server_url="http://127.0.0.1:9/metadata")
    assert Client().get("/saml/uni/login/").status_code == 401


def test_metadata_are_given_one_way(row: IdentityProvider) -> None:
    from django.core.exceptions import ValidationError

    for changes in ({"metadata": ""}, {"server_url": "https://idp.uni.example/metadata"}, {"protocol": "oidc"}):
        for name, value in changes.items():
            setattr(row, name, value)
        with pytest.raises(ValidationError):
            row.clean()
        row.refresh_from_db()
