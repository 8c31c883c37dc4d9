"""What a SAML identity provider says of itself in its metadata."""

from typing import Any

from django.core.cache import cache
from lxml import etree
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser

from accounts.models import IdentityProvider

METADATA_KEPT = 4 * 3600
# By which names universities send what we need: those of eduGAIN (as OIDs), of Entra and ADFS, and plain ones.
ATTRIBUTES = {
    "uid": [
        "urn:oasis:names:tc:SAML:attribute:subject-id",
        "urn:oasis:names:tc:SAML:attribute:pairwise-id",
        "urn:oid:1.3.6.1.4.1.5923.1.1.1.6",
        "http://schemas.microsoft.com/identity/claims/objectidentifier",
    ],
    "email": [
        "urn:oid:0.9.2342.19200300.100.1.3",
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
        "mail",
        "email",
    ],
    "name": ["urn:oid:2.16.840.1.113730.3.1.241", "displayName"],
    "first_name": ["urn:oid:2.5.4.42", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname", "givenName"],
    "last_name": ["urn:oid:2.5.4.4", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname", "sn"],
}


class MetadataUnusable(Exception):
    """The metadata don't say who the service is, where it is, or what it signs with."""


def saml_provider_of(row: IdentityProvider) -> dict[str, Any]:
    """Return who the provider is, where people are sent, and the certificate its answers are signed with."""
    text = row.metadata or _fetched(row)
    try:
        found: dict[str, Any] = OneLogin_Saml2_IdPMetadataParser.parse(text)["idp"]
        certificate = found.get("x509cert") or found["x509certMulti"]["signing"][0]
        return {
            "entity_id": found["entityId"],
            "sso_url": found["singleSignOnService"]["url"],
            "x509cert": certificate,
        }
    except (KeyError, IndexError, ValueError, etree.XMLSyntaxError) as problem:
        raise MetadataUnusable from problem


def _fetched(row: IdentityProvider) -> str:
    from accounts.adapters import ProviderAdapter

    key = f"saml-metadata:{row.pk}:{row.server_url}"
    text: str | None = cache.get(key)
    if text is None:
        with ProviderAdapter().get_requests_session() as session:
            answer = session.get(row.server_url)
            answer.raise_for_status()
        text = answer.text
        cache.set(key, text, METADATA_KEPT)
    return text
