"""What people change about themselves."""

import secrets
from typing import IO, Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from accounts.actions.auditing import audit
from accounts.models import User, avatar_key
from quokkaq.lib.images import make_avatar


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


def set_avatar(*, by: User, upload: IO[bytes], size: int) -> None:
    """Replace the person's picture. Raises `quokkaq.lib.images.RefusedImage`, having stored nothing.

    The new file is written before the row points at it, and the old one deleted after: a crash in between leaves a
    file nobody points at, never a row without its file.
    """
    picture = make_avatar(upload, size)
    new = default_storage.save(avatar_key(), ContentFile(picture))
    _point_avatar_at(by, new)


def remove_avatar(*, by: User) -> None:
    """Go back to initials."""
    _point_avatar_at(by, "")


def _point_avatar_at(by: User, name: str) -> None:
    with transaction.atomic():
        old = User.objects.select_for_update().get(pk=by.pk).avatar
        by.avatar = name
        by.save(update_fields=["avatar"])
        audit("avatar.set" if name else "avatar.removed", by, by=by)
        if old:
            transaction.on_commit(lambda: default_storage.delete(old))
