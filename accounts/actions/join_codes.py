"""Codes with which people join a course by themselves."""

import secrets
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.access import Member, Refused, require_set_up
from accounts.actions.auditing import audit
from accounts.actions.courses import lock_course
from accounts.models import (
    CODE_LENGTH,
    CODE_LETTERS,
    Course,
    CourseStatus,
    Enrollment,
    EnrollmentStatus,
    JoinCode,
    Role,
    User,
)


@transaction.atomic
def make_join_code(*, by: Member, settings: dict[str, Any] | None = None) -> JoinCode:
    """Give the course a new code. One it had before stops working at once, and its limits go on unless others are given.

    Args:
        settings: any of `section`, `expires_at` and `max_uses`.
    """
    require_set_up(by, "people")
    course = lock_course(by)
    old = JoinCode.objects.of_course(by).live().first()
    values: dict[str, Any] = {"section": "", "expires_at": None, "max_uses": None}
    if old is not None:
        values = {name: getattr(old, name) for name in values}
        old.revoked_at = timezone.now()
        old.save(update_fields=["revoked_at"])
    values |= settings or {}
    if values["expires_at"] is not None and values["expires_at"] <= timezone.now():
        values["expires_at"] = None
    code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    row = JoinCode.objects.create(
        institution_id=course.institution_id, course=course, code=code, created_by=by.user, **values
    )
    audit("join_code.rotated" if old else "join_code.made", row, by=by.user, course=course)
    return row


@transaction.atomic
def limit_join_code(*, by: Member, section: str, expires_at: datetime | None, max_uses: int | None) -> None:
    """Say until when, how often and for which section the course's code works."""
    row = _lock_live(by)
    if max_uses is not None and max_uses < row.uses:
        raise Refused(f"It has been used {row.uses} times already. Allow at least that many, or make a new code.")
    row.section, row.expires_at, row.max_uses = section, expires_at, max_uses
    row.save(update_fields=["section", "expires_at", "max_uses"])
    audit("join_code.limited", row, by=by.user, course=by.course)


@transaction.atomic
def switch_off_join_code(*, by: Member) -> None:
    """Let nobody join by code any more. Who has joined stays."""
    row = _lock_live(by)
    row.revoked_at = timezone.now()
    row.save(update_fields=["revoked_at"])
    audit("join_code.switched_off", row, by=by.user, course=by.course)


def _lock_live(by: Member) -> JoinCode:
    require_set_up(by, "people")
    lock_course(by)
    row = JoinCode.objects.of_course(by).live().select_for_update(of=("self",)).first()
    if row is None:
        raise Refused("There is no code any more: somebody has switched it off.")
    return row


@transaction.atomic
def join_course(*, by: User, code: JoinCode) -> Enrollment:
    """Make the person a student of the course; who is in it already stays what they are. Raises `Refused`.

    Whom staff have dropped doesn't come back this way.
    """
    course = Course.objects.select_for_update(no_key=True).get(pk=code.course_id)
    row = JoinCode.objects.select_for_update(of=("self",)).get(pk=code.pk)
    there = Enrollment.objects.filter(course=course, user=by).first()
    if there is not None and there.status != EnrollmentStatus.DROPPED:
        return there
    if row.problem or row.institution_id != by.institution_id:
        raise Refused("This code doesn’t work.")
    if course.status != CourseStatus.ACTIVE:
        raise Refused("This course is archived: nobody can join it.")
    if there is not None:
        raise Refused("You were in this course before, and staff have taken you out. Ask them to add you again.")
    there = Enrollment.objects.create(
        institution_id=course.institution_id, course=course, user=by, role=Role.STUDENT, section=row.section
    )
    row.uses += 1
    row.save(update_fields=["uses"])
    audit("enrollment.joined", there, by=by, course=course, join_code=str(row.pk))
    return there
