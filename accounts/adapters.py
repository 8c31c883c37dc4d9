"""Where django-allauth asks us how QuokkaQ does things."""

import ipaddress
from typing import Any

import requests
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthError
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.saml.provider import SAMLProvider
from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts import actions, signing_in
from accounts.access import Refused, needs_second_factor
from accounts.models import IdentityProvider, InstitutionDomain, Protocol, User
from accounts.oidc import StrictOpenIDConnectAdapter
from accounts.reaching import institution_of_email
from accounts.saml import ATTRIBUTES, saml_provider_of
from quokkaq.lib import egress, tenancy
from quokkaq.lib.http import client_address
from quokkaq.lib.logs import refused
from quokkaq.lib.metrics.definitions import SIGN_INS
from quokkaq.lib.sealing import seal, unseal

# What is said when something was done, by the name of allauth's own message. Nothing is said for the others.
SENTENCES = {
    "account/messages/logged_out.txt": "You are signed out.",
    "account/messages/password_changed.txt": "Your password is changed. Your other sessions are signed out.",
    "account/messages/password_set.txt": "Your password is set.",
    "account/messages/email_confirmed.txt": "Your address is confirmed.",
    "account/messages/email_deleted.txt": "The change of address is taken back.",
    "account/messages/email_confirmation_sent.txt": "A mail with a link is on its way to the address. Open the link to confirm it.",
    "account/messages/email_confirmation_failed.txt": "This address can’t be confirmed: another account has it.",
    "mfa/messages/totp_activated.txt": "Your authenticator app is set up. Your other sessions are signed out.",
    "mfa/messages/totp_deactivated.txt": "Your authenticator app is removed.",
    "mfa/messages/webauthn_added.txt": "Your passkey is added. Your other sessions are signed out.",
    "mfa/messages/webauthn_removed.txt": "The passkey is removed.",
    "mfa/messages/recovery_codes_generated.txt": "You have new recovery codes. The old ones don’t work any more.",
    "socialaccount/messages/account_connected.txt": "You can sign in this way from now on.",
    "socialaccount/messages/account_connected_updated.txt": "You can sign in this way already.",
    "socialaccount/messages/account_connected_other.txt": "Somebody else’s account is connected to this sign-in.",
    "socialaccount/messages/account_disconnected.txt": "You can’t sign in this way any more.",
}


PROTOCOLS = {"openid_connect": Protocol.OIDC, "saml": Protocol.SAML}


class AccountAdapter(DefaultAccountAdapter):
    """Our words, our mails, our limits."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": "This account can’t be used now.",
        "duplicate_email": "This is the address you have.",
        "email_password_mismatch": "This e-mail and password don't match. Check both and try again.",
        "enter_current_password": "This isn’t your password. Type it again.",
        "incorrect_code": "This code isn’t right. Type the newest one.",
        "incorrect_password": "This isn’t your password. Type it again.",
        "too_many_login_attempts": "That was tried too often. Wait a quarter of an hour, then try again.",
        "rate_limited": "That was tried too often. Wait a quarter of an hour, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made by our own page, which asks for proof of the address first."""
        return False

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        # A second step may follow, in other requests: they need to know whose rows to look at.
        request.session[signing_in.INSTITUTION] = str(user.institution_id)
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return response

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        if actions.sign_in_blocked(str(credentials.get("email", "")), client_address(request)):
            refused("sign_in.locked", method="password")
            raise self.validation_error("too_many_login_attempts")

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        refused("sign_in.failed", method="password")
        actions.note_failed_sign_in(str(credentials.get("email", "")), client_address(request))
        SIGN_INS.inc("password", "failed")

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        message_context: dict[str, Any] | None = None,
        extra_tags: str = "",
        message: str | None = None,
    ) -> None:
        text = message or SENTENCES.get(message_template or "")
        if text:
            messages.add_message(request, level, text, extra_tags=extra_tags)

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return roughly where somebody is: this is kept with their sessions, and shows them what isn't theirs."""
        try:
            address = ipaddress.ip_address(client_address(request))
        except ValueError:
            return "0.0.0.0"  # noqa: S104 (a note, nothing listens there)  # nosec B104
        network = ipaddress.ip_network(f"{address}/{24 if address.version == 4 else 48}", strict=False)
        return str(network.network_address)

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        address: EmailAddress = emailconfirmation.email_address
        actions.queue_account_mail("confirm", address.user, address_id=address.pk)

    def send_notification_mail(
        self, template_prefix: str, user: Any, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        """Tell somebody what was changed. `email` is an address they had until now: it goes sealed."""
        actions.queue_account_mail(template_prefix.rpartition("/")[2], user, sealed_to=seal(email) if email else "")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("mfa_index")

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """Who has neither a password nor a second factor proves who they are by signing in again."""
        found: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        return found or [{"id": "again", "description": "Sign in again", "url": reverse("sign-in-again")}]


class SecondFactorAdapter(DefaultMFAAdapter):
    """Secrets are kept sealed."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "cannot_delete_authenticator": "You need a second factor here. Add another one before you remove this.",
        "incorrect_code": "This code isn’t right. Type the newest one.",
    }

    def encrypt(self, text: str) -> str:
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return unseal(encrypted_text)

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Who must have a second factor keeps one."""
        user = User.objects.get_queryset().select_related("institution").get(pk=authenticator.user_id)
        if not needs_second_factor(user):
            return True
        others = Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.RECOVERY_CODES)
        return bool(others.exclude(pk=authenticator.pk).exists())

    def generate_authenticator_name(self, user: Any, type: Any) -> str:
        count = Authenticator.objects.filter(user=user, type=type).count()
        return f"Passkey {count + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        entity: dict[str, str] = super().get_public_key_credential_rp_entity()
        return entity | {"name": "QuokkaQ"}


class ProviderAdapter(DefaultSocialAccountAdapter):
    """Identity providers of institutions. Everything here runs in the scope of the provider's institution."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        institution = tenancy.institution()
        if institution is None:
            return []
        rows = IdentityProvider.objects.offered_by(institution)
        # By its slug, or by its protocol in allauth's words and what it is called there.
        protocol = PROTOCOLS.get(provider)
        if protocol:
            rows = rows.filter(protocol=protocol)
        elif provider:
            rows = rows.filter(slug=provider)
        if client_id:
            rows = rows.filter(
                Q(protocol=Protocol.SAML, slug=client_id) | Q(protocol=Protocol.OIDC, client_id=client_id)
            )
        return [app_of(row) for row in rows]

    def get_provider(self, request: HttpRequest, provider: Any, client_id: Any = None) -> Any:
        found = super().get_provider(request, provider, client_id=client_id)
        if isinstance(found, OpenIDConnectProvider):
            found.oauth2_adapter_class = StrictOpenIDConnectAdapter
        return found

    def get_requests_session(self) -> requests.Session:
        """Return what every request to an identity provider goes through: the one way out."""
        return egress.requests_session()

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return True

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        """Count who came back from a provider and isn't let in; who changed their mind there isn't one of them."""
        if error != AuthError.CANCELLED:
            SIGN_INS.inc("saml" if isinstance(provider, SAMLProvider) else "oidc", "failed")

    def is_email_verified(self, provider: Any, email: str) -> bool:
        """Believe a SAML service about the addresses of its own institution; OpenID Connect says what it has checked."""
        row: IdentityProvider = provider.app.row
        return row.protocol == Protocol.SAML and _is_own(row, email)

    def can_authenticate_by_email(self, login: SocialLogin, email: str) -> bool:
        """Only a provider that is trusted with it, and only for addresses of its own institution."""
        row = provider_of(login)
        return row.trusts_emails and _is_own(row, email)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Refuse whoever isn't one of the provider's institution, and whoever has an account of another kind here."""
        row = provider_of(sociallogin)
        if request.user.is_authenticated:
            if request.user.institution_id != row.institution_id:
                raise _refusal(request, row, "elsewhere")
            return
        if sociallogin.is_existing:
            if sociallogin.user.institution_id != row.institution_id:
                raise _refusal(request, row, "elsewhere")
            return
        proved = [address.email for address in sociallogin.email_addresses if address.verified]
        if not proved:
            raise _refusal(request, row, "no-address")
        if institution_of_email(proved[0]) is not None:
            raise _refusal(request, row, "taken")

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> Any:
        user = sociallogin.user
        user.email = (data.get("email") or "").strip().lower()
        given = " ".join(filter(None, (data.get("first_name"), data.get("last_name"))))
        user.display_name = (data.get("name") or given or user.email.partition("@")[0])[:80]
        return user

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        row = provider_of(sociallogin)
        suggested = sociallogin.user
        email = next(address.email for address in sociallogin.email_addresses if address.verified)
        try:
            user = actions.register_person(
                institution=row.institution, email=email, display_name=suggested.display_name
            )
        except Refused:
            raise _refusal(request, row, "taken") from None
        sociallogin.user = user
        account: SocialAccount = sociallogin.account
        account.user = user
        account.extra_data = {}
        account.save()
        return user


def app_of(row: IdentityProvider) -> SocialApp:
    """Return a provider as allauth wants to see it. It is never saved."""
    app = SocialApp(name=row.name, provider_id=row.slug, secret=row.secret)
    app.row = row
    if row.protocol == Protocol.OIDC:
        app.provider, app.client_id = "openid_connect", row.client_id
        app.settings = {"server_url": row.server_url, "fetch_userinfo": True, "oauth_pkce_enabled": True}
    else:
        app.provider, app.client_id = "saml", row.slug
        app.settings = {
            "idp": saml_provider_of(row),
            "attribute_mapping": ATTRIBUTES,
            "advanced": {"want_assertion_signed": True, "reject_idp_initiated_sso": True, "strict": True},
        }
    return app


def _is_own(row: IdentityProvider, email: str) -> bool:
    domain = email.rpartition("@")[2].lower()
    return InstitutionDomain.objects.filter(institution_id=row.institution_id, domain=domain).exists()


def provider_of(login: SocialLogin) -> IdentityProvider:
    row: IdentityProvider = login.provider.app.row
    return row


def _refusal(request: HttpRequest, row: IdentityProvider, why: str) -> ImmediateHttpResponse:
    refused("provider.refused", code=why, kind=row.protocol)
    SIGN_INS.inc(row.protocol, "failed")
    page = render(request, "socialaccount/refused.html", {"provider": row, "why": why}, status=403)
    return ImmediateHttpResponse(page)


__all__ = ["SENTENCES", "AccountAdapter", "ProviderAdapter", "SecondFactorAdapter", "app_of", "provider_of"]
