"""What changes people and courses. Each action is atomic and writes its audit row."""

import secrets
from datetime import datetime
from typing import IO, Any

from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import models, transaction

from accounts.access import Member, may_ban
from accounts.models import AuditEvent, Course, Enrollment, Tenanted, User, avatar_key
from quokkaq.lib import request_id
from quokkaq.lib.images import make_avatar


def audit(
    verb: str,
    target: models.Model,
    *,
    by: User | None,
    course: Course | None = None,
    **data: Any,
) -> None:
    """Note that `by` did `verb` to `target`. Call it inside the action's transaction; `data` holds ids and codes, no text."""
    AuditEvent.objects.create(
        institution_id=target.institution_id if isinstance(target, Tenanted) else target.pk,
        actor=by,
        course=course,
        verb=verb,
        target_type=target._meta.label_lower,
        target_id=target.pk,
        data=data,
        request_id=request_id.current(),
    )


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


@transaction.atomic
def set_ban(*, by: Member, person: Enrollment, until: datetime | None, reason: str) -> None:
    """Take away somebody's right to post in the course, until a time or until staff lift it. They go on reading."""
    _save_ban(by, person, banned=True, until=until, reason=reason)


@transaction.atomic
def lift_ban(*, by: Member, person: Enrollment) -> None:
    """Give the right to post back."""
    _save_ban(by, person, banned=False, until=None, reason="")


def _save_ban(by: Member, person: Enrollment, *, banned: bool, until: datetime | None, reason: str) -> None:
    person = Enrollment.objects.select_for_update().get(pk=person.pk)
    if not may_ban(by, person):
        raise PermissionDenied
    if not banned and not person.is_banned:
        return
    person.is_banned, person.banned_until, person.ban_reason = banned, until, reason
    person.save(update_fields=["is_banned", "banned_until", "ban_reason"])
    audit("enrollment.banned" if banned else "enrollment.unbanned", person, by=by.user, course=by.course)
