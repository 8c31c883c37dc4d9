"""Mails about somebody's account. Each is written and sent by a task, so that asking for one takes the same time always.

A task is given ids, and at most a sealed address. The links that open an account are made when the mail is written:
they stand in the mail and nowhere else.
"""

import uuid
from dataclasses import dataclass
from email.utils import formataddr

from allauth.account.app_settings import PASSWORD_RESET_TOKEN_GENERATOR
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse
from procrastinate.contrib.django import app

from accounts.models import User
from accounts.reaching import institution_of_domain, institution_of_email, institution_of_person
from quokkaq.lib import request_id, tenancy
from quokkaq.lib.jobs import in_queue
from quokkaq.lib.mail import deliver
from quokkaq.lib.sealing import SealBroken, seal, unseal

ACCOUNT_MAIL_TASK = "accounts.send_account_mail"
SIGN_UP_MAIL_TASK = "accounts.send_sign_up_mail"
RESET_MAIL_TASK = "accounts.send_reset_mail"
# How long the link that makes an account works.
SIGN_UP_LIFE = 3 * 24 * 3600
# How long the link works by which somebody without a password proves who they are.
PROOF_LIFE = 1800

# What was changed, and what it means. Each mail says what to do when it wasn't the reader.
CHANGES = {
    "password_changed": ("Your password was changed", "The password of your QuokkaQ account was changed."),
    "password_set": ("Your account has a password", "A password was set for your QuokkaQ account."),
    "password_reset": ("Your password was reset", "The password of your QuokkaQ account was set anew through a link we mailed you. All sessions are signed out."),
    "email_changed": ("Your address was changed", "Your QuokkaQ account has another e-mail address now, and this one signs in no more."),
    "totp_activated": ("An authenticator app was set up", "Signing in to your QuokkaQ account asks for a code of your authenticator app from now on."),
    "totp_deactivated": ("Your authenticator app was removed", "Signing in to your QuokkaQ account asks for no code of an app any more."),
    "webauthn_added": ("A passkey was added", "A passkey was added to your QuokkaQ account."),
    "webauthn_removed": ("A passkey was removed", "A passkey was removed from your QuokkaQ account."),
    "recovery_codes_generated": ("You have new recovery codes", "New recovery codes were made for your QuokkaQ account. The old ones don’t work any more."),
    "account_connected": ("A way to sign in was added", "Your QuokkaQ account can be signed in to through your institution’s sign-in."),
    "account_disconnected": ("A way to sign in was removed", "Your QuokkaQ account can’t be signed in to through your institution’s sign-in any more."),
    "platform_disconnected": ("A way to sign in was removed", "Your QuokkaQ account isn’t connected with your learning platform any more."),
}  # fmt: skip


@dataclass(frozen=True)
class Letter:
    """A mail: a headline, a few sentences, at most one link."""

    subject: str
    sentences: tuple[str, ...]
    link: str = ""
    label: str = ""


def queue_account_mail(kind: str, user: User, *, address_id: int | None = None, sealed_to: str = "") -> None:
    """Have a person mailed about their account: `confirm`, `prove`, or one of `CHANGES`."""
    app.configure_task(ACCOUNT_MAIL_TASK, **in_queue("account_mail")).defer(
        kind=kind, person_id=str(user.pk), address_id=address_id, sealed_to=sealed_to, request_id=request_id.current()
    )


def queue_reset(email: str) -> None:
    """Mail a link that sets a new password, if somebody has this address. Who has one is looked up when nobody waits for it."""
    app.configure_task(RESET_MAIL_TASK, **in_queue("account_mail")).defer(
        sealed_to=seal(email.strip().lower()), request_id=request_id.current()
    )


def queue_sign_up(email: str) -> None:
    """Mail what to do next to somebody who wants an account, whoever they are."""
    app.configure_task(SIGN_UP_MAIL_TASK, **in_queue("account_mail")).defer(
        sealed_to=seal(email.strip().lower()), request_id=request_id.current()
    )


def send_account_mail(kind: str, person_id: uuid.UUID, *, address_id: int | None, sealed_to: str) -> None:
    """Write and send one mail; nothing when whom or what it is about has gone."""
    with tenancy.scope(institution_of_person(person_id)):
        user = User.objects.filter(pk=person_id, is_active=True).first()
        letter = _letter(kind, user, address_id) if user is not None else None
        if user is None or letter is None:
            return
        try:
            to = unseal(sealed_to) if sealed_to else user.email
        except SealBroken:
            return
        if kind == "confirm":
            to = EmailAddress.objects.get(pk=address_id).email
    _send(letter, to)


def send_reset_mail(sealed_to: str) -> None:
    """Mail a link that sets a new password to who has this address."""
    try:
        email = unseal(sealed_to)
    except SealBroken:
        return
    with tenancy.scope(institution_of_email(email)):
        person_id = User.objects.filter(email=email, is_active=True).values_list("pk", flat=True).first()
    if person_id is not None:
        send_account_mail("reset", person_id, address_id=None, sealed_to="")


def send_sign_up_mail(sealed_to: str) -> None:
    """Mail a link that makes an account; to who has one, or can't have one, what to do instead."""
    try:
        email = unseal(sealed_to)
    except SealBroken:
        return
    if institution_of_email(email) is not None:
        letter = Letter(
            "You have an account already",
            (
                "Somebody, probably you, wanted to make a QuokkaQ account with this address. There is one already: sign in with it.",
                "Forgotten your password? The sign-in page sends you a link for a new one.",
            ),
            _url("accounts:sign-in"),
            "Sign in",
        )
    elif (institution_id := institution_of_domain(email.rpartition("@")[2])) is not None:
        token = seal(f"{institution_id}/{email}")
        letter = Letter(
            "Make your QuokkaQ account",
            ("Open this link to choose a name and a password. It works for three days.", _IGNORE),
            _url("sign-up-finish", token),
            "Make my account",
        )
    else:
        letter = Letter(
            "Your address isn’t known to QuokkaQ",
            (
                "Somebody, probably you, wanted to make a QuokkaQ account with this address. Only addresses of universities that use QuokkaQ can make one themselves.",
                "Try your university address. Or ask your instructor for an invitation: it works with any address.",
                _IGNORE,
            ),
        )
    _send(letter, email)


def read_sign_up(token: str) -> tuple[uuid.UUID, str]:
    """Return the institution and the proved address of a link that makes an account; raise `SealBroken`."""
    institution_id, _, email = unseal(token, max_age=SIGN_UP_LIFE).partition("/")
    try:
        return uuid.UUID(institution_id), email
    except ValueError:
        raise SealBroken from None


def read_proof(token: str) -> uuid.UUID | None:
    """Return whose mailbox a link that proves it was read in; None for a link that is none, or is too old."""
    try:
        kind, _, person_id = unseal(token, max_age=PROOF_LIFE).partition("/")
        return uuid.UUID(person_id) if kind == "prove" else None
    except (SealBroken, ValueError):
        return None


_IGNORE = "If you didn’t ask for this, ignore this mail: nothing happens."


def _letter(kind: str, user: User, address_id: int | None) -> Letter | None:
    if kind == "reset":
        key = f"{user_pk_to_url_str(user)}-{PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)}"
        url = _url("account_reset_password_from_key", "UID", "KEY").replace("UID-KEY", key)
        said = ("Open this link to choose a new password. It works for an hour, once.", _IGNORE)
        return Letter("Choose a new password", said, url, "Choose a new password")
    if kind == "prove":
        said = (
            "Open this link in the browser in which you asked to be erased. It works for half an hour, once.",
            "If you didn’t ask for this, somebody else sits at a device where you are signed in: sign out everywhere, under your sessions.",
        )
        url = f"{_url('accounts:erase')}?proof={seal(f'prove/{user.pk}')}"
        return Letter("Is it you who wants to be erased?", said, url, "Yes, it is me")
    if kind == "confirm":
        address = EmailAddress.objects.filter(pk=address_id, user=user, verified=False).first()
        if address is None:
            return None
        said = ("Open this link to confirm that this address is yours. It works for three days.", _IGNORE)
        url = _url("account_confirm_email", EmailConfirmationHMAC(address).key)
        return Letter("Confirm your address", said, url, "Confirm my address")
    subject, sentence = CHANGES[kind]
    warning = "If it wasn’t you, choose a new password now, look at your sessions, and tell whoever runs QuokkaQ at your university."
    return Letter(subject, (sentence, warning), _url("mfa_index"), "Look at my account’s security")


def _url(name: str, *args: str) -> str:
    return f"{settings.BASE_URL}{reverse(name, args=args)}"


def _send(letter: Letter, to: str) -> None:
    if not settings.MAIL_IS_ON:
        return
    context = {"letter": letter}
    message = EmailMultiAlternatives(
        letter.subject,
        render_to_string("emails/account.txt", context),
        formataddr(("QuokkaQ", settings.DEFAULT_FROM_EMAIL)),
        [to],
        headers={"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All"},
    )
    message.attach_alternative(render_to_string("emails/account.html", context), "text/html")
    deliver(message)
