"""The one way in: whoever has proved who somebody is, by whatever method, starts their session here.

Also what a session knows: whose institution it belongs to, whether its owner proved a second factor in it, and which
rights they had when it got its key.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from allauth.account.app_settings import REAUTHENTICATION_TIMEOUT
from allauth.account.internal.flows.login import get_authentication_records, perform_login, record_authentication
from allauth.account.models import Login
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables

from accounts import actions
from accounts.access import needs_second_factor
from accounts.models import IdentityProvider, Protocol, User
from quokkaq.lib import http

# What a session keeps, by these names.
INSTITUTION = "institution"
SECOND_FACTOR = "second_factor"
RIGHTS = "rights"
FREE = "second_factor_free"
SEEN = "seen"
ASKED_BY_MAIL = "asked_by_mail"
# How often it is noted that a session is in use, in seconds.
SEEN_EVERY = 300


def start_session(request: HttpRequest, user: User, *, method: str, target: str = "") -> HttpResponse:
    """Sign `user` in; return where they go next: to `target` (a path of ours), or to their second step first.

    `method` says how they proved who they are: `password`, `invitation`, `oidc`, `saml`, `lti`.
    """
    record_authentication(request, user, method=method)
    login = Login(user=user, email=user.email, redirect_url=safe_target(request, target))
    response: HttpResponse = perform_login(request, login)
    return response


def safe_target(request: HttpRequest, target: str | None) -> str:
    """Return the path somebody wanted to go to, if it is on this site; else my courses."""
    return http.safe_target(request, target) or reverse("accounts:courses")


def begin(request: HttpRequest, user: User) -> None:
    """Note in a new session what it needs to know. Called when Django signs somebody in."""
    request.session[INSTITUTION] = str(user.institution_id)
    request.session[RIGHTS] = rights_of(User.objects.filter(pk=user.pk).only("rights_changed_at").get())
    request.session[SEEN] = int(time.time())


def method_of(user: User, records: Sequence[Mapping[str, Any]]) -> str:
    """Return what somebody signed in with, as metrics say it: the first thing they proved.

    Who has just made an account, or a new password, chose that password.
    """
    first = records[0] if records else {}
    if first.get("method") == "mfa":
        return "passkey"
    if first.get("method") == "socialaccount":
        found = IdentityProvider.objects.filter(institution=user.institution_id, slug=first.get("provider", ""))
        return str(found.values_list("protocol", flat=True).first() or Protocol.OIDC)
    return "lti" if first.get("method") == "lti" else "password"


def rights_of(user: User) -> str:
    return user.rights_changed_at.isoformat() if user.rights_changed_at else ""


def note_second_factor(request: HttpRequest, user: User) -> None:
    request.session[SECOND_FACTOR] = str(user.pk)


def forget_second_factor(request: HttpRequest) -> None:
    request.session.pop(SECOND_FACTOR, None)


def has_second_factor(request: HttpRequest) -> bool:
    """Tell whether the session's owner proved a second factor in it."""
    proved = request.session.get(SECOND_FACTOR)
    return proved is not None and proved == str(request.user.pk)


def owes_second_factor(request: HttpRequest, user: User) -> bool:
    """Tell whether the person must prove (or set up) a second factor before they go on.

    Who owes none is asked again only when their rights, or what their institution asks for, have changed.
    """
    if has_second_factor(request):
        return False
    stamp = f"{rights_of(user)}/{user.institution.staff_second_factor:d}{user.is_staff:d}{user.is_superuser:d}"
    if request.session.get(FREE) == stamp:
        return False
    if needs_second_factor(user):
        return True
    request.session[FREE] = stamp
    return False


def rotate(request: HttpRequest, user: User) -> None:
    """Give the session a new key; what is known of it goes with it."""
    old = request.session.session_key
    request.session.cycle_key()
    if old:
        actions.move_session(by=user, old_key=old, new_key=str(request.session.session_key))


def renew(request: HttpRequest, user: User) -> None:
    """How the person signs in has changed: this session gets a new key, their others end."""
    rotate(request, user)
    actions.end_sessions(by=user, but=request.session.session_key)


def keep_up(request: HttpRequest, user: User) -> None:
    """Give the session a new key when its owner has become staff since; note now and then that it is in use."""
    session = request.session
    if session.get(RIGHTS) != rights_of(user):
        session[RIGHTS] = rights_of(user)
        rotate(request, user)
    now = int(time.time())
    if now - session.get(SEEN, 0) >= SEEN_EVERY:
        session[SEEN] = now
        actions.note_seen(by=user, session_key=str(session.session_key))


@sensitive_variables("password")
def confirms_identity(user: User, password: str) -> bool:
    """Tell whether whoever sits here is the person signed in: asked before what can't be taken back."""
    return user.check_password(password)


def proved_lately(request: HttpRequest, user: User) -> bool:
    """Tell whether the person proved in this session, in whatever way they have, a few minutes ago who they are.

    For who has no password to type again: they signed in just now, used a passkey or a code, or opened a mailed link.
    """
    records = get_authentication_records(request, user)
    return any(time.time() - record["at"] < REAUTHENTICATION_TIMEOUT for record in records)


def ask_by_mail(request: HttpRequest, user: User) -> None:
    """Mail the person a link that proves who they are, once, in this session."""
    request.session[ASKED_BY_MAIL] = True
    actions.queue_account_mail("prove", user)


def proves_by_mail(request: HttpRequest, user: User, token: str) -> bool:
    """Take what stands in such a link. It works once, and where it was asked for: in a stolen mailbox it is worth nothing."""
    if not request.session.pop(ASKED_BY_MAIL, False) or actions.read_proof(token) != user.pk:
        return False
    record_authentication(request, user, method="mail")
    return True
