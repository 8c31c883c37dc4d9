"""Settings and policies of a course."""

import hashlib
import json
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.access import Member, Refused, require_instructor
from accounts.actions.auditing import audit
from accounts.models import Course, CourseStatus

SETTINGS = (
    "name", "term", "description", "posting_policy", "posting_closed_until", "anonymity_policy", "points_hidden"
)  # fmt: skip


def settings_version(course: Course) -> str:
    """Return a mark of what the course is set to now: a form shown with another one is out of date."""
    values = [str(getattr(course, name)) for name in SETTINGS]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def lock_course(member: Member) -> Course:
    """Return the course as it is now, locked: one change of its set-up at a time. Call it inside a transaction."""
    return Course.objects.select_for_update(no_key=True).get(pk=member.course.pk)


@transaction.atomic
def update_course(*, by: Member, fields: dict[str, Any], version: str) -> Course:
    """Save settings and policies.

    Args:
        fields: new values by name, any of `SETTINGS`.
        version: what `settings_version` said when the form was shown.

    Raises `Refused` when somebody else has changed the settings since then.
    """
    require_instructor(by)
    course = lock_course(by)
    if course.status != CourseStatus.ACTIVE:
        raise Refused("This course is archived. Take it out of the archive before you change it.")
    if version != settings_version(course):
        raise Refused("Somebody else has changed these settings while you were looking at them.")
    changed = [name for name in SETTINGS if name in fields and fields[name] != getattr(course, name)]
    for name in changed:
        setattr(course, name, fields[name])
    if changed:
        course.save(update_fields=changed)
        codes = {name: fields[name] for name in ("posting_policy", "anonymity_policy") if name in changed}
        audit("course.updated", course, by=by.user, course=course, fields=changed, **codes)
    return course


@transaction.atomic
def lift_posting_stop(*, by: Member) -> None:
    """Let students post again before the time that was set."""
    require_instructor(by)
    course = lock_course(by)
    if course.posting_closed_until is not None and course.posting_closed_until > timezone.now():
        course.posting_closed_until = None
        course.save(update_fields=["posting_closed_until"])
        audit("course.posting_opened", course, by=by.user, course=course)


@transaction.atomic
def set_archived(*, by: Member, archived: bool) -> None:
    """Make the course read-only for everybody, or bring it back."""
    require_instructor(by)
    course = lock_course(by)
    status = CourseStatus.ARCHIVED if archived else CourseStatus.ACTIVE
    if course.status != status:
        course.status = status
        course.save(update_fields=["status"])
        audit("course.archived" if archived else "course.unarchived", course, by=by.user, course=course)
