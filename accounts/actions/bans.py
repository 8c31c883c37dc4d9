"""Taking away somebody's right to post in a course, and giving it back."""

from datetime import datetime

from django.core.exceptions import PermissionDenied
from django.db import transaction

from accounts.access import Member, may_ban
from accounts.actions.auditing import audit
from accounts.models import Enrollment


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
