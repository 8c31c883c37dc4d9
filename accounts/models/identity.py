"""By what else than a password the people of an institution prove who they are."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models.base import Institution, Tenanted, one_of
from accounts.querysets import IdentityProviderQuerySet
from quokkaq.lib.sealing import SealBroken, seal, unseal

_domain = RegexValidator(
    r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$", "Give a domain, for example example.edu."
)


class InstitutionDomain(Tenanted):
    """What stands after the @ in addresses of an institution. Who has such an address may make an account."""

    institution = models.ForeignKey(Institution, models.CASCADE, related_name="domains")
    domain = models.CharField(max_length=253, unique=True, validators=[_domain])
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["domain"]
        constraints = [
            models.CheckConstraint(condition=Q(domain=Lower("domain")), name="institutiondomain_lower_case"),
        ]

    def __str__(self) -> str:
        return self.domain


class Protocol(models.TextChoices):
    OIDC = "oidc", "OpenID Connect"
    SAML = "saml", "SAML 2.0"


class IdentityProvider(Tenanted):
    """A service of the institution that says who somebody is."""

    institution = models.ForeignKey(Institution, models.CASCADE, related_name="identity_providers")
    # Stands in the addresses that the institution enters at its service.
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=80, help_text="What the button says: Sign in with …")
    protocol = models.CharField(max_length=8, choices=Protocol)
    enabled = models.BooleanField(default=True)
    # OpenID Connect: the issuer's address. SAML: where the metadata lie.
    server_url = models.URLField(
        "issuer or metadata",
        max_length=500,
        blank=True,
        help_text="OpenID Connect: the issuer. SAML: the address of the metadata.",
    )
    metadata = models.TextField(
        "SAML metadata", blank=True, help_text="The service's metadata as XML, where they have no address."
    )
    client_id = models.CharField(
        max_length=255, blank=True, help_text="OpenID Connect: what the service calls QuokkaQ."
    )
    sealed_secret = models.TextField(blank=True, editable=False)
    trusts_emails = models.BooleanField(
        "signs in existing accounts",
        default=False,
        help_text="Its people are signed in to the account that has their e-mail address, without proving first that"
        " it is theirs. Only for addresses in the institution's own domains, and only for a service that proves them.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = IdentityProviderQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [one_of("protocol", Protocol, "identityprovider")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        problems: dict[str, Any] = {}
        if self.protocol == Protocol.OIDC:
            if not self.server_url:
                problems["server_url"] = "Give the issuer of the service."
            if not self.client_id:
                problems["client_id"] = "Give the name the service knows QuokkaQ by."
        elif bool(self.server_url) == bool(self.metadata):
            problems["metadata"] = "Give either the address of the service's metadata, or the metadata."
        if problems:
            raise ValidationError(problems)

    @property
    def secret(self) -> str:
        """What proves to the service that it is us who ask. Empty when it can't be read any more."""
        try:
            return unseal(self.sealed_secret) if self.sealed_secret else ""
        except SealBroken:
            return ""

    @secret.setter
    def secret(self, value: str) -> None:
        self.sealed_secret = seal(value) if value else ""
