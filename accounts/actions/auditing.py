"""The audit trail."""

from typing import Any

from django.db import models

from accounts.models import AuditEvent, Course, Tenanted, User
from quokkaq.lib import request_id


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
