"""What people change about themselves."""

import secrets
import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.access import Refused
from accounts.actions.auditing import audit
from accounts.actions.uploads import expire
from accounts.models import Institution, Purpose, Upload, UploadState, User
from quokkaq.lib.inspecting import sentence
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import SIGN_UPS
from quokkaq.lib.storage import store


@transaction.atomic
@sensitive_variables("password")
def register_person(
    *,
    institution: Institution,
    email: str,
    display_name: str,
    password: str | None = None,
    by: User | None = None,
    verified: bool = True,
) -> User:
    """Make an account; without a password they sign in by other ways only. Raises `Refused` when the address is taken.

    `verified` says that the address was proved: by a link that was mailed to it, an identity provider, a platform's
    launch. One that wasn't is proved by a mail, before the account is of any use.
    """
    email = email.strip().lower()
    try:
        with transaction.atomic():
            user = User.objects.create_user(
                email, password, verified=verified, institution=institution, display_name=display_name
            )
    except IntegrityError:
        raise Refused("Somebody has an account with this address already.") from None
    audit("person.registered", user, by=by or user)
    count(SIGN_UPS)
    return user


@transaction.atomic
def update_profile(*, by: User, fields: dict[str, Any]) -> None:
    """Save the named fields of the person's own profile."""
    for name, value in fields.items():
        setattr(by, name, value)
    by.save(update_fields=list(fields))
    audit("profile.updated", by, by=by, fields=sorted(fields))


@transaction.atomic
def set_feed_key(*, by: User, on: bool) -> None:
    """Give the person's feeds new addresses, or none. The old ones stop working."""
    by.feed_key = secrets.token_urlsafe(24) if on else None
    by.save(update_fields=["feed_key"])
    audit("feeds.made" if on else "feeds.removed", by, by=by)


@transaction.atomic
def choose_avatar(*, by: User, upload: uuid.UUID) -> None:
    """Make a picture that was sent the person's own, at once or as soon as it is checked. Raises `Refused`."""
    row = lock_avatar(by, upload)
    row.attached_at = timezone.now()
    row.save(update_fields=["attached_at"])
    if row.state == UploadState.CLEAN:
        point_avatar_at(row)


def lock_avatar(by: User, upload: uuid.UUID) -> Upload:
    """Return a picture the person sent, locked; raise `Refused` when it can't be used."""
    row = (
        Upload.objects.visible_to(by).select_for_update(of=("self",)).filter(pk=upload, purpose=Purpose.AVATAR).first()
    )
    if row is None or row.state in (UploadState.PENDING, UploadState.EXPIRED):
        raise Refused("This picture isn’t there any more. Choose it again.")
    if row.state == UploadState.REJECTED:
        raise Refused(sentence(row.rejection))
    return row


@transaction.atomic
def remove_avatar(*, by: User) -> None:
    """Go back to initials."""
    _replace(by, None)
    audit("avatar.removed", by, by=by)


def point_avatar_at(picture: Upload) -> None:
    """Show a checked picture as its owner's, unless they have chosen another one since. Call it inside a transaction."""
    owner = picture.owner
    if owner is None or picture.attached_at is None:
        return
    mine = Upload.objects.filter(owner=owner, purpose=Purpose.AVATAR)
    if mine.counted().filter(attached_at__gt=picture.attached_at).exists():
        expire(picture)
        return
    _replace(owner, picture)
    audit("avatar.set", owner, by=owner)


def _replace(owner: User, picture: Upload | None) -> None:
    """Write which picture is shown; the ones before are deleted once that is committed."""
    row = User.objects.select_for_update(of=("self",)).get(pk=owner.pk)
    old, owner.avatar = row.avatar, picture.storage_key if picture else ""
    owner.save(update_fields=["avatar"])
    others = Upload.objects.filter(owner=owner, purpose=Purpose.AVATAR).counted().exclude(attached_at=None)
    for other in others.select_for_update(of=("self",)):
        if picture is None or other.pk != picture.pk:
            expire(other)
    if old and old != owner.avatar:
        # Also one that is older than its `Upload`s.
        transaction.on_commit(lambda: store().delete(old), robust=True)
