"""What happens to sessions and to what people sign in with. Others' addresses, codes and keys are never noted."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.http import Http404
from django.utils import timezone

from accounts.actions.auditing import audit
from accounts.models import User


def note_security(what: str, user: User, **data: Any) -> None:
    """Write down what happened to somebody's account, for `what` a verb like `signed_in`."""
    audit(f"person.{what}", user, by=user, **data)


@transaction.atomic
def end_session(*, by: User, session_id: int) -> UserSession:
    """End one of the person's own sessions; raise 404 for any other."""
    row = UserSession.objects.filter(user=by, pk=session_id).first()
    if row is None:
        raise Http404
    row.end()
    note_security("session_ended", by, sessions=1)
    return row


@transaction.atomic
def end_sessions(*, by: User, but: str | None = None) -> int:
    """End all the person's sessions, but the one with the key `but`; return how many."""
    rows = list(UserSession.objects.filter(user=by).exclude(session_key=but or ""))
    for row in rows:
        row.end()
    if rows:
        note_security("session_ended", by, sessions=len(rows))
    return len(rows)


def note_seen(*, by: User, session_key: str) -> None:
    """Note that a session is in use."""
    UserSession.objects.filter(user=by, session_key=session_key).update(last_seen_at=timezone.now())


def move_session(*, by: User, old_key: str, new_key: str) -> None:
    """Let what is known of a session follow it to its new key."""
    UserSession.objects.filter(user=by, session_key=old_key).update(session_key=new_key)


@transaction.atomic
def set_address(*, by: User, person: User) -> None:
    """Make the address an operator gave somebody the one, and proved, address they sign in with."""
    others = EmailAddress.objects.filter(user=person)
    others.exclude(email=person.email).delete()
    EmailAddress.objects.update_or_create(user=person, email=person.email, defaults={"verified": True, "primary": True})
    audit("person.address_set", person, by=by)


def forget_session(*, by: User, session_key: str | None) -> None:
    """Take a session that was signed out off the list."""
    UserSession.objects.filter(user=by, session_key=session_key or "").delete()
