"""After a theft of secrets: what a thief may hold stops working, and what people entrusted to us stays readable.

Work of operators, done as the owner of the tables for every institution. Each function may be run again.
"""

import uuid
from collections.abc import Collection, Iterator
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import models, transaction

from accounts.actions.auditing import audit
from accounts.actions.invitations import replace_links
from accounts.actions.lti import current_lti_key
from accounts.lti import keys
from accounts.models import AuditEvent, IdentityProvider, Institution, Invitation, LtiKey, LtiLaunch, User
from quokkaq.lib.sealing import SealBroken, reseal

_BATCH = 500
# What allauth keeps sealed, by kind of second factor.
_SEALED_FACTORS = {"totp": "secret", "recovery_codes": "seed"}


@transaction.atomic
def end_all_sessions() -> int:
    """Sign everybody out everywhere; return how many sessions ended. Passwords, passkeys and apps stay."""
    UserSession.objects.all().delete()
    LtiLaunch.objects.all().delete()
    return Session.objects.all().delete()[0]


@transaction.atomic
def end_all_links() -> dict[str, int]:
    """End the links that hold without a signature of SECRET_KEY; return how many of each.

    Invitations get new links, which are mailed anew; feeds are switched off, for whoever reads them to fetch a new address.
    """
    invitations = 0
    for institution in Institution.objects.all():
        waiting = Invitation.objects.pending().filter(institution=institution).select_for_update(of=("self",))
        invitations += replace_links(list(waiting))
    return {"invitations": invitations, "feeds": User.objects.exclude(feed_key=None).update(feed_key=None)}


@transaction.atomic
def replace_lti_keys() -> int:
    """Give each institution that has one a new key pair. The old ones aren't published any more; return how many are new."""
    owners = list(LtiKey.objects.filter(retired_at=None).values_list("institution_id", flat=True))
    LtiKey.objects.all().delete()
    for institution_id in owners:
        current_lti_key(institution_id)
    return len(owners)


def note_rotation(rotation: uuid.UUID, secrets: Collection[str]) -> None:
    """Write into each institution's audit log which secrets were replaced; the same rotation is noted once."""
    for institution in Institution.objects.all():
        with transaction.atomic():
            done = AuditEvent.objects.filter(
                target_id=institution.pk, verb="institution.secret_rotated", data__rotation=str(rotation)
            ).values_list("data__secret", flat=True)
            for secret in sorted(set(secrets) - set(done)):
                audit("institution.secret_rotated", institution, by=None, secret=secret, rotation=str(rotation))


def reseal_everything() -> tuple[int, int]:
    """Seal with the present SECRET_KEY whatever lies sealed in the database.

    Returns how many texts were sealed anew, and how many no key opens: those are left as they are.
    """
    changed = lost = 0
    for rows, column, field in _sealed():
        for batch in _batches(rows):
            done, broken = _reseal(rows, column, field, batch)
            changed, lost = changed + done, lost + broken
    return changed, lost


def _sealed() -> Iterator[tuple[models.QuerySet[Any], str, str]]:
    """Yield what holds sealed texts: rows, the column, and the field within it where that is JSON."""
    yield IdentityProvider.objects.exclude(sealed_secret=""), "sealed_secret", ""  # nosec B106 (rows that have one)
    yield LtiKey.objects.all(), "sealed", ""
    for kind, field in _SEALED_FACTORS.items():
        yield Authenticator.objects.filter(type=kind, data__has_key=field), "data", field


def _batches(rows: models.QuerySet[Any]) -> Iterator[list[Any]]:
    last: Any = None
    while True:
        found = list(
            (rows if last is None else rows.filter(pk__gt=last)).order_by("pk").values_list("pk", flat=True)[:_BATCH]
        )
        if not found:
            return
        yield found
        last = found[-1]


@transaction.atomic
def _reseal(rows: models.QuerySet[Any], column: str, field: str, keys_of_rows: list[Any]) -> tuple[int, int]:
    changed = lost = 0
    for row in rows.filter(pk__in=keys_of_rows).select_for_update(of=("self",)):
        value = getattr(row, column)
        old = value[field] if field else value
        try:
            new = keys.reseal(old) if isinstance(row, LtiKey) else reseal(old)
        except (SealBroken, keys.KeyLost):
            lost += 1
            continue
        if new != old:
            setattr(row, column, value | {field: new} if field else new)
            row.save(update_fields=[column])
            changed += 1
    return changed, lost
