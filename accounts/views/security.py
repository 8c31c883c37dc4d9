"""How somebody signs in, and where they are signed in now: /me/security/. allauth's pages in our house."""

from typing import Any

from allauth.account import views as account_views
from allauth.account.decorators import reauthentication_required
from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from allauth.mfa.base import views as mfa_views
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes import views as code_views
from allauth.mfa.totp import views as totp_views
from allauth.mfa.webauthn import views as passkey_views
from allauth.socialaccount import views as provider_views
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import actions
from accounts.access import Refused, SignedInRequest
from accounts.adapters import SecondFactorAdapter
from accounts.decorators import in_reach, login_required
from accounts.devices import device_of
from accounts.models import IdentityProvider
from accounts.signing_in import note_second_factor, owes_second_factor, renew
from accounts.views.refusing import Refusing
from quokkaq.lib.logs import unlogged


def _nobody(request: HttpRequest, *args: Any, **kwargs: Any) -> None:
    """These pages are for who is signed in: their own institution is the scope."""


private: list[Any] = [never_cache, unlogged, login_required, in_reach(_nobody)]


@login_required
@never_cache
@require_safe
@unlogged
def security(request: SignedInRequest) -> HttpResponse:
    """Show at one glance how the person signs in."""
    # rule: unfiltered-manager (the person's own)
    mine = list(Authenticator.objects.filter(user=request.user))
    passkeys = [row.wrap() for row in mine if row.type == Authenticator.Type.WEBAUTHN]
    codes = next((row.wrap() for row in mine if row.type == Authenticator.Type.RECOVERY_CODES), None)
    context = {
        "has_app": any(row.type == Authenticator.Type.TOTP for row in mine),
        "passkeys": passkeys,
        "codes_left": len(codes.get_unused_codes()) if codes else None,
        "has_password": request.user.has_usable_password(),
        "owes": owes_second_factor(request, request.user),
        "connections": IdentityProvider.objects.visible_to(request.user).exists()
        or request.user.lti_identities.exists(),
    }
    return render(request, "mfa/index.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def sessions(request: SignedInRequest) -> HttpResponse:
    """List where the person is signed in; end one session (`session`), or all of them (`all`)."""
    if request.method == "POST":
        if "all" in request.POST:
            actions.end_sessions(by=request.user)
            logout(request)
            messages.success(request, "You are signed out everywhere.")
            return redirect("accounts:sign-in")
        wanted = request.POST.get("session", "")
        actions.end_session(by=request.user, session_id=int(wanted) if wanted.isdecimal() and len(wanted) < 19 else 0)
        messages.success(request, "That session is signed out.")
        return redirect("usersessions_list")
    found = sorted(UserSession.objects.purge_and_list(request.user), key=lambda row: row.last_seen_at, reverse=True)
    rows = [{"row": row, "device": device_of(row.user_agent), "here": row.is_current()} for row in found]
    return render(request, "usersessions/usersession_list.html", {"sessions": rows})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def sign_in_again(request: SignedInRequest) -> HttpResponse:
    """Ask who has nothing to prove who they are with to sign in once more."""
    if request.method == "POST":
        logout(request)
        return redirect("accounts:sign-in")
    return render(request, "account/sign_in_again.html")


@method_decorator(private, name="dispatch")
class ChangePassword(Refusing, account_views.PasswordChangeView):
    template_name = "account/password_change.html"


@method_decorator(private, name="dispatch")
class SetPassword(Refusing, account_views.PasswordSetView):
    template_name = "account/password_set.html"


@method_decorator(private, name="dispatch")
@method_decorator(reauthentication_required(app="allauth.account", allow_get=True), name="dispatch")
class ChangeAddress(Refusing, account_views.EmailView):
    template_name = "account/email_change.html"


@method_decorator(private, name="dispatch")
class PasswordAgain(Refusing, account_views.ReauthenticateView):
    template_name = "account/reauthenticate.html"


@method_decorator(private, name="dispatch")
class CodeAgain(Refusing, mfa_views.ReauthenticateView):
    template_name = "mfa/reauthenticate.html"


@method_decorator(private, name="dispatch")
class PasskeyAgain(passkey_views.ReauthenticateWebAuthnView):
    template_name = "mfa/webauthn/reauthenticate.html"


class NewFactor:
    """A page that sets up a second factor: doing so proves it."""

    request: Any

    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)  # type: ignore[misc]
        note_second_factor(self.request, self.request.user)
        renew(self.request, self.request.user)
        return response


@method_decorator(private, name="dispatch")
class SetUpApp(Refusing, NewFactor, totp_views.ActivateTOTPView):
    template_name = "mfa/totp/activate_form.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] = super().get_context_data(**kwargs)
        secret = data["form"].secret
        data["secret_in_fours"] = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
        return data


@method_decorator(private, name="dispatch")
class RemoveApp(Refusing, totp_views.DeactivateTOTPView):
    template_name = "mfa/totp/deactivate_form.html"


@method_decorator(private, name="dispatch")
class RecoveryCodes(code_views.ViewRecoveryCodesView):
    template_name = "mfa/recovery_codes/index.html"

    @method_decorator(reauthentication_required(app="allauth.mfa"))
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)


@method_decorator(private, name="dispatch")
class NewRecoveryCodes(Refusing, code_views.GenerateRecoveryCodesView):
    template_name = "mfa/recovery_codes/generate.html"


@method_decorator(private, name="dispatch")
class AddPasskey(Refusing, NewFactor, passkey_views.AddWebAuthnView):
    template_name = "mfa/webauthn/add_form.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # allauth's own leaves out the form that was refused.
        data: dict[str, Any] = super().get_context_data(**kwargs)
        return data | kwargs


@method_decorator(private, name="dispatch")
class Passkeys(passkey_views.ListWebAuthnView):
    template_name = "mfa/webauthn/authenticator_list.html"


@method_decorator(private, name="dispatch")
class RenamePasskey(Refusing, passkey_views.EditWebAuthnView):
    template_name = "mfa/webauthn/edit_form.html"


@method_decorator(private, name="dispatch")
class RemovePasskey(passkey_views.RemoveWebAuthnView):
    template_name = "mfa/webauthn/authenticator_confirm_delete.html"

    def form_valid(self, form: Any) -> HttpResponse:
        row = self.get_object()
        if not SecondFactorAdapter().can_delete_authenticator(row):
            messages.error(self.request, SecondFactorAdapter.error_messages["cannot_delete_authenticator"])
            return redirect("mfa_list_webauthn")
        response: HttpResponse = super().form_valid(form)
        return response


@method_decorator(private, name="dispatch")
class Connections(Refusing, provider_views.ConnectionsView):
    template_name = "socialaccount/connections.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] = super().get_context_data(**kwargs)
        # rule: unfiltered-manager (the person's own)
        mine = {row.provider: row for row in SocialAccount.objects.filter(user=self.request.user)}
        offered = IdentityProvider.objects.visible_to(self.request.user)
        data["offers"] = [{"provider": row, "account": mine.get(row.slug)} for row in offered]
        data["platforms"] = self.request.user.lti_identities.select_related("platform")
        return data

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "platform" not in request.POST:
            response: HttpResponse = super().post(request, *args, **kwargs)
            return response
        raise_if_reauthentication_required(request, app="allauth.socialaccount")
        return _disconnect_platform(request)


def _disconnect_platform(request: Any) -> HttpResponse:
    wanted = request.POST["platform"]
    found = next((row for row in request.user.lti_identities.all() if str(row.pk) == wanted), None)
    if found is not None:
        try:
            actions.disconnect_lti_identity(by=request.user, identity=found)
        except Refused as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(request, "Your learning platform is disconnected.")
    return redirect("socialaccount_connections")
