"""What is done when allauth or Django says that something happened to somebody's sign-in. No address is noted."""

from typing import Any

from allauth.account.signals import (
    authentication_step_completed,
    email_changed,
    password_changed,
    password_reset,
    password_set,
    user_logged_in,
)
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authentication_failed, authenticator_added, authenticator_removed, authenticator_reset
from allauth.socialaccount.signals import social_account_added, social_account_removed
from django.contrib import messages
from django.contrib.auth.signals import user_logged_in as session_begun
from django.contrib.auth.signals import user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format

from accounts import actions, signing_in
from accounts.models import Erasure, User
from quokkaq.lib import request_id as work
from quokkaq.lib.http import client_address
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import SIGN_INS


@receiver(session_begun)
def begin_session(request: HttpRequest, user: User, **kwargs: Any) -> None:
    signing_in.begin(request, user)
    work.note(user=user.pk, institution=user.institution_id)


@receiver(user_logged_in)
def note_sign_in(request: HttpRequest, user: User, **kwargs: Any) -> None:
    records = request.session.get("account_authentication_methods", [])
    actions.forget_failed_sign_ins(user.email)
    actions.note_security("signed_in", user, methods=[record["method"] for record in records])
    count(SIGN_INS, signing_in.method_of(user, records), "succeeded")


@receiver(user_logged_out)
def note_sign_out(request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if isinstance(user, User):
        actions.forget_session(by=user, session_key=request.session.session_key)


@receiver(authentication_step_completed)
def note_step(request: HttpRequest, user: User, method: str, **kwargs: Any) -> None:
    if method == "mfa":
        signing_in.note_second_factor(request, user)


@receiver(authentication_failed)
def note_wrong_code(
    request: HttpRequest, user: User, authenticator: Authenticator, reauthentication: bool, **kwargs: Any
) -> None:
    actions.note_failed_sign_in(user.email, client_address(request))
    actions.note_security("second_factor_failed", user)
    if not reauthentication:
        count(SIGN_INS, "passkey" if authenticator.type == Authenticator.Type.WEBAUTHN else "password", "failed")


@receiver(authenticator_added)
def note_added(request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any) -> None:
    actions.note_security("second_factor_added", user, type=str(authenticator.type))


@receiver(authenticator_removed)
def note_removed(request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any) -> None:
    if not Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.RECOVERY_CODES).exists():
        signing_in.forget_second_factor(request)
    signing_in.renew(request, user)
    actions.note_security("second_factor_removed", user, type=str(authenticator.type))


@receiver(authenticator_reset)
def note_new_codes(request: HttpRequest, user: User, **kwargs: Any) -> None:
    actions.note_security("recovery_codes_made", user)


@receiver(password_changed)
@receiver(password_set)
def note_new_password(request: HttpRequest, user: User, **kwargs: Any) -> None:
    """The hash of the other sessions is wrong from now on; here they go from the list, too."""
    actions.end_sessions(by=user, but=request.session.session_key)
    actions.note_security("password_changed", user)


@receiver(password_reset)
def note_reset(request: HttpRequest, user: User, **kwargs: Any) -> None:
    actions.end_sessions(by=user)
    actions.forget_failed_sign_ins(user.email)
    actions.note_security("password_reset", user)


@receiver(email_changed)
def note_new_address(request: HttpRequest, user: User, **kwargs: Any) -> None:
    actions.note_security("address_changed", user)


@receiver(social_account_added)
def note_connected(request: HttpRequest, sociallogin: Any, **kwargs: Any) -> None:
    actions.note_security("provider_connected", sociallogin.user, provider=sociallogin.account.provider)


@receiver(social_account_removed)
def note_disconnected(request: HttpRequest, socialaccount: Any, **kwargs: Any) -> None:
    actions.note_security("provider_disconnected", socialaccount.user, provider=socialaccount.provider)


@receiver(session_begun)
def warn_of_erasure(request: HttpRequest, user: User, **signal: Any) -> None:
    """Tell whoever signs in that their account is about to go, and where to keep it."""
    erasure = Erasure.objects.visible_to(user).open().first()
    # Without a page to show it on (a test client's own sign-in), there is nothing to put it on.
    if erasure is not None and hasattr(request, "_messages"):
        when = date_format(timezone.localtime(erasure.due_at), "j F, H:i")
        messages.warning(
            request, f"Your account will be erased on {when}. To keep it, open Settings, then “Your data”."
        )
