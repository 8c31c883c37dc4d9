"""An operator looks into an institution that isn't theirs: for a stated reason, for a while, on the record."""

from datetime import datetime, timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone

from accounts.actions.auditing import audit
from accounts.models import Institution, User
from quokkaq.lib import tenancy

# How long an operator may look before they must say why again.
GLASS_LIFE = timedelta(hours=1)


@transaction.atomic
def enter_institution(*, by: User, institution: Institution, reason: str) -> datetime:
    """Note, in the institution's own log, that an operator looks into it, and why; return until when."""
    if not (by.is_superuser and by.is_active):
        raise PermissionDenied
    with tenancy.scope(institution.pk, by.pk):
        audit("institution.entered", institution, by=by, reason=reason)
    return timezone.now() + GLASS_LIFE


@transaction.atomic
def leave_institution(*, by: User, institution: Institution) -> None:
    """Note that they have left it."""
    with tenancy.scope(institution.pk, by.pk):
        audit("institution.left", institution, by=by)
