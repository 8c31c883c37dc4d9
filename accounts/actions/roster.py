"""Who is in a course, as what, and in which section."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field

from django.core.exceptions import PermissionDenied
from django.db import transaction

from accounts.access import Member, Refused, require_set_up, require_staff
from accounts.actions.auditing import audit
from accounts.actions.courses import lock_course
from accounts.actions.invitations import Wish, close_invitations, invite_people
from accounts.models import Enrollment, EnrollmentStatus, Invitation, Role, User

MAX_AT_ONCE = 500


@dataclass
class Enrolled:
    """What became of a list of addresses."""

    added: list[User] = field(default_factory=list)
    returned: list[User] = field(default_factory=list)
    already: list[User] = field(default_factory=list)
    invited: list[str] = field(default_factory=list)
    # Invited before, and their link still works.
    waiting: list[str] = field(default_factory=list)


@transaction.atomic
def change_enrollments(
    *,
    by: Member,
    enrollments: Collection[uuid.UUID],
    role: Role | None = None,
    status: EnrollmentStatus | None = None,
    section: str | None = None,
) -> int:
    """Set role, status or section of some people, or of none when one of them can't be changed; return how many changed.

    `None` leaves a value as it is. Nobody changes their own role or status, and a course keeps an instructor. Raises
    `Refused`, naming who it was.
    """
    require_set_up(by, "people" if role is not None or status is not None else "sections")
    course = lock_course(by)
    rows = Enrollment.objects.of_course(by).select_related("user")
    chosen = list(rows.filter(pk__in=enrollments).order_by("pk"))
    if len(chosen) != len(set(enrollments)):
        raise Refused("Nothing was changed. Somebody you chose isn't in this course any more.")
    wanted = {"role": role, "status": status, "section": section}
    changed = []
    for row in chosen:
        new = {name: value for name, value in wanted.items() if value is not None and value != getattr(row, name)}
        if not new:
            continue
        if row.user_id == by.user.pk and ("role" in new or "status" in new):
            raise Refused(
                f"Nothing was changed. {row.user} is you, and your own role and status can only be changed by another "
                "instructor: so the course always keeps one."
            )
        for name, value in new.items():
            setattr(row, name, value)
        row.save(update_fields=list(new))
        audit("enrollment.changed", row, by=by.user, course=course, fields=sorted(new), **_codes(new))
        changed.append(row)
    if status == EnrollmentStatus.DROPPED:
        close_invitations(course, [row.user.email for row in changed], by=by.user)
    # The role of `by` was read before the lock: two instructors may be demoting each other.
    if not Enrollment.objects.staff().filter(course=course, user=by.user, role=by.role).exists():
        raise PermissionDenied
    return len(changed)


def _codes(new: dict[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in new.items() if name != "section"}


@transaction.atomic
def enroll_people(*, by: Member, emails: Collection[str], role: Role = Role.STUDENT, section: str = "") -> Enrolled:
    """Enroll those of the institution's people who have these addresses; return what became of each.

    An address that belongs to nobody here is invited, whether or not it belongs to somebody elsewhere. Who had
    dropped the course is back in it; who is in it already stays as they are.
    """
    require_set_up(by, "people")
    if len(emails) > MAX_AT_ONCE:
        raise Refused(f"These are {len(emails)} addresses. Add up to {MAX_AT_ONCE} at once.")
    course = lock_course(by)
    people = {user.email: user for user in User.objects.filter(institution=course.institution_id, email__in=emails)}
    there = {row.user_id: row for row in Enrollment.objects.of_course(by).filter(user__in=people.values())}
    done = Enrolled()
    unknown = [email for email in emails if email not in people]
    asked = {row.email for row in Invitation.objects.of_course(by).pending().filter(email__in=unknown) if row.is_open}
    for email in unknown:
        (done.waiting if email in asked else done.invited).append(email)
    invite_people(by=by, wishes=[Wish(email, role, section) for email in done.invited])
    close_invitations(course, list(people), by=by.user)
    for user in people.values():
        row = there.get(user.pk)
        if row is None:
            row = Enrollment.objects.create(
                institution_id=course.institution_id, course=course, user=user, role=role, section=section
            )
            audit("enrollment.added", row, by=by.user, course=course, role=str(role))
            done.added.append(user)
        elif row.status == EnrollmentStatus.DROPPED:
            row.status, row.role, row.section = EnrollmentStatus.ACTIVE, role, section
            row.save(update_fields=["status", "role", "section"])
            audit("enrollment.returned", row, by=by.user, course=course, role=str(role))
            done.returned.append(user)
        else:
            done.already.append(user)
    return done


@transaction.atomic
def rename_section(*, by: Member, old: str, new: str) -> int:
    """Give a section another name, or make it part of the one that has it; return how many people are in it now."""
    require_set_up(by, "sections")
    course = lock_course(by)
    rows = Enrollment.objects.of_course(by)
    if not old or not rows.filter(section=old).update(section=new):
        raise Refused(f"There is no section “{old}” any more. Somebody else may have renamed it.")
    audit("section.renamed", course, by=by.user, course=course)
    return rows.filter(section=new).count()


@transaction.atomic
def note_roster_download(*, by: Member) -> None:
    """Note who took the list of names and addresses out of the house."""
    require_staff(by)
    audit("roster.downloaded", by.course, by=by.user, course=by.course)
