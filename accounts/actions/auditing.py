"""The audit trail."""

from collections.abc import Sequence
from typing import Any

from django.db import models, transaction

from accounts.access import Member, require_staff
from accounts.models import AuditEvent, Course, Tenanted, User
from quokkaq.lib import request_id, whereabouts
from quokkaq.lib.logs import security_event


def audit(
    verb: str,
    target: models.Model,
    *,
    by: User | None,
    course: Course | None = None,
    **data: Any,
) -> None:
    """Note that `by` did `verb` to `target`. Call it inside the action's transaction; `data` holds ids and codes, no text."""
    _event(verb, target, by, course, data).save(force_insert=True)


def audit_each(
    verb: str, targets: Sequence[tuple[models.Model, dict[str, Any]]], *, by: User | None, course: Course | None = None
) -> None:
    """Note that `by` did `verb` to each of the targets, in few statements; beside each stands its `data`."""
    AuditEvent.objects.bulk_create(
        [_event(verb, target, by, course, data) for target, data in targets], batch_size=1000
    )


# What also goes to the security log: who comes in and how, who may what, and what leaves the house.
SECURITY = frozenset(
    {"person", "enrollment", "institution", "invitation", "join_code", "lti", "erasure", "data_export", "roster", "audit", "feeds"}
)  # fmt: skip


def _tell(verb: str, target: models.Model, by: User | None) -> None:
    """Write an event to the security log, if it belongs there; everything done in Django admin does."""
    in_admin = request_id.work().route.startswith("admin:")
    if in_admin or verb.partition(".")[0] in SECURITY:
        security_event(
            "admin.acted" if in_admin else "audit", verb=verb, target_type=target._meta.label_lower,
            target_id=str(target.pk), by=str(by.pk) if by is not None else "",
        )  # fmt: skip


def _event(verb: str, target: models.Model, by: User | None, course: Course | None, data: dict[str, Any]) -> AuditEvent:
    _tell(verb, target, by)
    # Who hides in a course would be known by where they act from: another row from there bears their name.
    place = whereabouts.NOWHERE if by is None and course is not None else whereabouts.current()
    return AuditEvent(
        institution_id=target.institution_id if isinstance(target, Tenanted) else target.pk,
        actor=by,
        course=course,
        verb=verb,
        target_type=target._meta.label_lower,
        target_id=target.pk,
        data=data,
        request_id=request_id.current(),
        network=place.network,
        agent=place.agent,
    )


@transaction.atomic
def note_audit_download(*, by: Member) -> None:
    """Note who took the log out of the house."""
    require_staff(by)
    audit("audit.downloaded", by.course, by=by.user, course=by.course)
