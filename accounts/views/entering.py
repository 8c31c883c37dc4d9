"""Pages for who isn't signed in yet: signing in, making an account, forgotten passwords, the second step.

Before anybody is known, the institution is found from what was typed or from the link (`accounts.reaching`), and the
rest is done in its scope.
"""

import json
from typing import Any
from uuid import UUID

from allauth.account import views as account_views
from allauth.account.app_settings import SALT
from allauth.account.utils import url_str_to_user_pk
from allauth.mfa.base import views as mfa_views
from allauth.mfa.webauthn import views as webauthn_views
from django.contrib import messages
from django.contrib.auth import logout
from django.core import signing
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from fido2.utils import websafe_decode

from accounts import actions, reaching
from accounts.access import Refused
from accounts.decorators import in_reach
from accounts.forms import TOO_OFTEN, AddressForm, FinishSignUpForm, SignInForm
from accounts.models import IdentityProvider, Institution
from accounts.signing_in import INSTITUTION, safe_target, start_session
from accounts.views.refusing import Refusing
from quokkaq.lib import tenancy
from quokkaq.lib.http import client_address
from quokkaq.lib.logs import refused, unlogged
from quokkaq.lib.metrics.definitions import RATE_LIMITED, SIGN_INS
from quokkaq.lib.sealing import SealBroken


@never_cache
@unlogged
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign somebody in and bring them where they wanted to go, if that is on this site.

    What a wrong try answers, and how long that takes, doesn't depend on whether somebody has the address.
    """
    if request.method != "POST":
        if request.user.is_authenticated:
            return redirect("accounts:courses")
        return _sign_in_page(request, SignInForm(request, initial={"next": request.GET.get("next")}))
    form = SignInForm(request, request.POST)
    email, address = request.POST.get("email", "")[:254], client_address(request)
    if wait := actions.sign_in_blocked(email, address):
        refused("sign_in.locked", method="password")
        RATE_LIMITED.inc("sign-in")
        form.errors.clear()
        form.errors["__all__"] = form.error_class([TOO_OFTEN])
        return _sign_in_page(request, form, wait=wait)
    if not form.is_valid() or form.user is None:
        if form.is_wrong:
            refused("sign_in.failed", method="password")
            actions.note_failed_sign_in(email, address)
            SIGN_INS.inc("password", "failed")
        return _sign_in_page(request, form, status=422)
    with tenancy.scope(form.user.institution_id, form.user.pk):
        return start_session(request, form.user, method="password", target=form.cleaned_data["next"])


def _sign_in_page(request: HttpRequest, form: SignInForm, *, status: int = 200, wait: int = 0) -> HttpResponse:
    context = {"form": form, "kept": [], "target": safe_target(request, form["next"].value())}
    response = render(request, "accounts/sign_in.html", context, status=429 if wait else status)
    if wait:
        response["Retry-After"] = str(wait)
    return response


@require_POST
@unlogged
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    messages.success(request, "You are signed out.")
    return redirect("accounts:sign-in")


@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def find_institution(request: HttpRequest) -> HttpResponse:
    """Bring somebody to the sign-in page of their institution, by what stands after the @ of their address."""
    if request.method != "POST":
        return render(request, "account/find_institution.html", {"form": AddressForm(), "nobody": False})
    form = AddressForm(request.POST)
    if not form.is_valid():
        return render(request, "account/find_institution.html", {"form": form, "nobody": False}, status=422)
    found = reaching.institution_of_domain(form.cleaned_data["email"].rpartition("@")[2])
    with tenancy.scope(found):
        # rule: unfiltered-manager (in its own scope: its name, to who knows its address)
        institution = Institution.objects.filter(pk=found).first() if found else None
    if institution is None:
        return render(request, "account/find_institution.html", {"form": form, "nobody": True}, status=422)
    return redirect("sign-in-at", institution.slug)


@require_safe
@unlogged
def sign_in_at(request: HttpRequest, slug: str) -> HttpResponse:
    """List the ways to sign in to one institution."""
    found = reaching.institution_of_slug(slug)
    if found is None:
        raise Http404
    with tenancy.scope(found):
        context = {
            # rule: unfiltered-manager (in its own scope: its name, to who knows its address)
            "institution": Institution.objects.get(pk=found),
            "providers": list(IdentityProvider.objects.offered_by(found)),
            "target": safe_target(request, request.GET.get("next")),
        }
        return render(request, "account/sign_in_at.html", context)


# Making an account


@unlogged
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    """Take the address of somebody who wants an account. What happens next stands in a mail, whoever they are."""
    return _ask_address(request, "account/sign_up.html", "account_sign_up_sent", actions.queue_sign_up)


@require_safe
@unlogged
def sign_up_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "account/sign_up_sent.html")


@never_cache
@unlogged
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up_finish(request: HttpRequest, token: str) -> HttpResponse:
    """Make the account of somebody who opened the link in the mail: so the address is theirs."""
    if request.user.is_authenticated:
        return redirect("accounts:courses")
    try:
        institution_id, email = actions.read_sign_up(token)
    except SealBroken:
        return render(request, "account/link_broken.html", {"again": "account_signup"}, status=404)
    with tenancy.scope(institution_id):
        # rule: unfiltered-manager (in its own scope: its name, to who knows its address)
        institution = Institution.objects.get(pk=institution_id)
        form = FinishSignUpForm(request.POST or None, email=email)
        context = {"form": form, "email": email, "institution": institution}
        if request.method != "POST":
            return render(request, "account/sign_up_finish.html", context)
        if not form.is_valid():
            return render(request, "account/sign_up_finish.html", context, status=422)
        try:
            user = actions.register_person(
                institution=institution,
                email=email,
                display_name=form.cleaned_data["display_name"],
                password=form.cleaned_data["password"],
            )
        except Refused:
            # The link was used already.
            return render(request, "account/link_broken.html", {"again": "accounts:sign-in"}, status=404)
        return start_session(request, user, method="password")


# Forgotten passwords


@unlogged
@require_http_methods(["GET", "HEAD", "POST"])
def reset(request: HttpRequest) -> HttpResponse:
    """Take the address of somebody who can't sign in. Whether somebody has it is known to the mail only."""
    return _ask_address(request, "account/reset.html", "account_reset_password_done", actions.queue_reset)


@require_safe
@unlogged
def reset_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "account/reset_sent.html")


@require_safe
@unlogged
def reset_done(request: HttpRequest) -> HttpResponse:
    messages.success(request, "Your password is changed. Sign in with it.")
    return redirect("accounts:sign-in")


def _ask_address(request: HttpRequest, template: str, then: str, act: Any) -> HttpResponse:
    if request.method != "POST":
        return render(request, template, {"form": AddressForm()})
    form = AddressForm(request.POST)
    if not form.is_valid():
        return render(request, template, {"form": form}, status=422)
    email = form.cleaned_data["email"].strip().lower()
    if wait := actions.mail_blocked(email, client_address(request)):
        refused("mail.limited")
        form.add_error(None, "Mails were asked for too often. Look into your mailbox, or try again later.")
        response = render(request, template, {"form": form}, status=429)
        response["Retry-After"] = str(wait)
        return response
    act(email)
    return redirect(then)


class NewPassword(Refusing, account_views.PasswordResetFromKeyView):
    """A new password for who opened the link."""

    template_name = "account/reset_new_password.html"


def _person_in_link(request: HttpRequest, uidb36: str, key: str) -> UUID | None:
    try:
        return reaching.institution_of_person(url_str_to_user_pk(uidb36))
    except (ValueError, ValidationError):
        return None


reset_from_key = never_cache(unlogged(in_reach(_person_in_link)(NewPassword.as_view())))


# Confirming an address


class Confirm(account_views.ConfirmEmailView):
    template_name = "account/confirm.html"


def _owner_of_address(request: HttpRequest, key: str) -> UUID | None:
    try:
        return reaching.institution_of_address(signing.loads(key, salt=SALT))
    except signing.BadSignature:
        return None


confirm = never_cache(unlogged(in_reach(_owner_of_address)(Confirm.as_view())))


@require_safe
@unlogged
def confirm_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "account/confirm_sent.html")


@require_safe
@unlogged
def inactive(request: HttpRequest) -> HttpResponse:
    return render(request, "account/inactive.html", status=403)


# The second step, and passkeys


def _half_signed_in(request: HttpRequest) -> UUID | None:
    """Return whose institution a session belongs to that has seen a first proof."""
    found = request.session.get(INSTITUTION)
    return UUID(found) if found else None


class SecondStep(mfa_views.AuthenticateView):
    template_name = "mfa/authenticate.html"

    def form_invalid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_invalid(form)
        response.status_code = 422
        return response


second_step = never_cache(unlogged(in_reach(_half_signed_in)(SecondStep.as_view())))


def _passkey_owner(request: HttpRequest) -> UUID | None:
    """Return whose institution the owner of a passkey belongs to: the passkey tells who they are."""
    if request.method != "POST":
        return None
    try:
        handle = json.loads(request.POST.get("credential", ""))["response"]["userHandle"]
        return reaching.institution_of_person(websafe_decode(handle).decode())
    except (ValueError, TypeError, KeyError):
        return None


class PasskeySignIn(webauthn_views.LoginWebAuthnView):
    """Sign in with a passkey alone."""

    def form_invalid(self, form: Any) -> HttpResponse:
        SIGN_INS.inc("passkey", "failed")
        response: HttpResponse = super().form_invalid(form)
        return response


passkey_sign_in = never_cache(unlogged(in_reach(_passkey_owner)(PasskeySignIn.as_view())))
