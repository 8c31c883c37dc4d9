"""Bringing a course in line with a roster file: shown first, then applied as shown, whole or not at all."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone

from accounts.access import Member, Refused, require_set_up
from accounts.actions.auditing import audit, audit_each
from accounts.actions.courses import lock_course
from accounts.actions.invitations import Wish, close_invitations, invite_people
from accounts.models import (
    ROSTER_LIFE,
    Course,
    Enrollment,
    EnrollmentStatus,
    Invitation,
    RosterImport,
    RosterState,
    User,
)
from accounts.roster_diff import INVITED, Change, Diff, Kind, Standing, diff
from accounts.roster_files import Roster, read_roster


class Outdated(Refused):
    """The course has changed since the diff was shown: it has to be looked at again."""


@transaction.atomic
def start_roster_import(
    *, by: Member, files: Sequence[tuple[str, bytes]], course_id: str = "", drop_missing: bool = False
) -> RosterImport:
    """Read roster files and keep what they say, changing nobody yet. Raises `FileRefused`.

    Args:
        files: name and content of each.
        course_id: what the files call this course, where they have several.
    """
    require_set_up(by, "people")
    course = by.course
    roster = read_roster(files, course_names=[course_id] if course_id else [course.code, course.slug])
    row = RosterImport.objects.create(
        institution_id=course.institution_id,
        course=course,
        created_by=by.user,
        file_names=", ".join(name for name, _ in files)[:400],
        drop_missing=drop_missing,
        content=roster.as_json(),
        counts={"rows": len(roster.wanted) + len(roster.problems), "elsewhere": roster.elsewhere},
    )
    audit("roster.uploaded", row, by=by.user, course=course, rows=row.counts["rows"])
    return row


def compare_roster(by: Member, roster: RosterImport) -> Diff:
    """Return what applying the file would change in the course as it is now. Three queries, however many people."""
    said = Roster.from_json(roster.content)
    course = by.course
    enrolled = Enrollment.objects.of_course(by).select_related("user").only(
        "role", "section", "status", "sis_id", "user__email", "user__display_name", "course", "institution"
    )  # fmt: skip
    current = [
        Standing(
            row.pk, row.user_id, row.user.email, row.user.display_name, row.role, row.section, row.status, row.sis_id
        )
        for row in enrolled
    ]
    there = {row.email for row in current}
    current += [
        Standing(row.pk, None, row.email, row.email, row.role, row.section, INVITED, row.sis_id)
        for row in Invitation.objects.of_course(by).pending()
        if row.email not in there
    ]
    people = User.objects.filter(
        institution_id=course.institution_id, email__in=[row.email for row in said.wanted if row.email]
    )
    known = dict(people.values_list("email", "pk"))
    return diff(
        current, said.wanted, known=known, me=by.user.pk, drop_missing=roster.drop_missing, problems=said.problems
    )


@transaction.atomic
def apply_roster(*, by: Member, roster: RosterImport, seen: str, skip_problems: bool = False) -> dict[str, int]:
    """Do what was shown, all of it or nothing; return how many people it changed, by kind.

    Args:
        seen: the mark of the diff that was shown (`Diff.mark`).
        skip_problems: whether somebody has read that rows with problems aren't used.

    Applied already, it changes nothing. Raises `Outdated` when the course has changed since it was shown.
    """
    require_set_up(by, "people")
    course = lock_course(by)
    row = RosterImport.objects.of_course(by).select_for_update(of=("self",)).get(pk=roster.pk)
    # The role of `by` was read before the lock: another instructor may have changed it.
    if not Enrollment.objects.staff().filter(course=course, user=by.user, role=by.role).exists():
        raise PermissionDenied
    if row.state == RosterState.APPLIED:
        return {}
    if row.state != RosterState.READY:
        raise Refused("This file was discarded, or has waited too long. Upload it again.")
    found = compare_roster(by, row)
    if found.mark != seen:
        raise Outdated("The course has changed since this was shown. Look at it again, then apply it.")
    if found.problems and not skip_problems:
        raise Refused("Tick that the rows with problems are left out.")
    _apply(by, course, found)
    done = {str(kind): len(found.of(kind)) for kind in Kind if kind != Kind.NOTE and found.of(kind)}
    row.state, row.applied_at, row.applied_by = RosterState.APPLIED, timezone.now(), by.user
    row.counts = {**row.counts, "problems": len(found.problems), "unchanged": found.unchanged, "done": done}
    row.save(update_fields=["state", "applied_at", "applied_by", "counts"])
    audit("roster.applied", row, by=by.user, course=course, **done)
    return done


@transaction.atomic
def discard_roster(*, by: Member, roster: RosterImport) -> None:
    """Throw away what a file said."""
    require_set_up(by, "people")
    lock_course(by)
    row = RosterImport.objects.of_course(by).select_for_update(of=("self",)).get(pk=roster.pk)
    if row.state == RosterState.READY:
        row.state, row.content = RosterState.DISCARDED, {}
        row.save(update_fields=["state", "content"])
        audit("roster.discarded", row, by=by.user, course=by.course)


def forget_rosters() -> int:
    """Forget what files said that are older than `ROSTER_LIFE`; return how many. For the institution in scope."""
    old = RosterImport.objects.filter(created_at__lt=timezone.now() - ROSTER_LIFE).exclude(content={})
    waiting = old.filter(state=RosterState.READY).update(state=RosterState.EXPIRED, content={})
    return waiting + old.update(content={})


def _apply(by: Member, course: Course, found: Diff) -> None:
    invited = [change for change in found.acts if change.person is None and change.kind != Kind.ADD]
    invite_people(
        by=by,
        wishes=[
            Wish(change.email, change.role, change.section, change.sis_id)
            for change in invited if change.kind == Kind.INVITE
        ],
    )  # fmt: skip
    _change_invitations(
        by, course, {change.key: change for change in invited if change.key is not None and change.kind == Kind.CHANGE}
    )
    added = found.of(Kind.ADD)
    # First the invitations: their place is taken by who has an account now, or by nobody.
    over = [change.email for change in (*added, *found.of(Kind.DROP), *found.of(Kind.RETURN))]
    close_invitations(course, over, by=by.user)
    rows = Enrollment.objects.bulk_create(
        [
            Enrollment(
                institution_id=course.institution_id, course=course, user_id=change.person, role=change.role,
                section=change.section, status=change.status, sis_id=change.sis_id,
            )
            for change in added
            if change.person is not None
        ],
        batch_size=1000,
    )  # fmt: skip
    audit_each("enrollment.added", [(row, {"role": row.role}) for row in rows], by=by.user, course=course)
    changed = {
        change.key: change
        for change in found.acts
        if change.person is not None and change.key is not None and change.kind in (Kind.CHANGE, Kind.RETURN, Kind.DROP)
    }
    _change(by, course, changed)


def _change_invitations(by: Member, course: Course, changed: dict[uuid.UUID, Change]) -> None:
    """Say what who was invited will be. The link they have goes on working."""
    rows = list(Invitation.objects.of_course(by).pending().select_for_update(of=("self",)).filter(pk__in=list(changed)))
    for row in rows:
        change = changed[row.pk]
        row.role, row.section, row.sis_id = change.role, change.section, change.sis_id
    Invitation.objects.bulk_update(rows, ["role", "section", "sis_id"], batch_size=500)
    audit_each("invitation.changed", [(row, _codes(changed[row.pk])) for row in rows], by=by.user, course=course)


def _change(by: Member, course: Course, changed: dict[uuid.UUID, Change]) -> None:
    mine = Enrollment.objects.of_course(by).select_for_update(of=("self",))
    rows = list(mine.filter(pk__in=list(changed)).order_by("pk"))
    for row in rows:
        change = changed[row.pk]
        row.role, row.section, row.sis_id = change.role, change.section, change.sis_id
        row.status = EnrollmentStatus(change.status)
    # All are there, and locked: none is made. `bulk_update` says the same in a CASE of as many arms as people.
    Enrollment.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["id"], update_fields=["role", "section", "status", "sis_id"],
        batch_size=1000,
    )  # fmt: skip
    for returned, verb in ((False, "enrollment.changed"), (True, "enrollment.returned")):
        some = [row for row in rows if (changed[row.pk].kind == Kind.RETURN) == returned]
        audit_each(verb, [(row, _codes(changed[row.pk])) for row in some], by=by.user, course=course)


def _codes(change: Change) -> dict[str, Any]:
    """Return what of a change the audit trail keeps: names of fields, and values that are codes."""
    codes = {field.name: field.new for field in change.fields if field.name in ("role", "status")}
    return {"fields": sorted(field.name for field in change.fields), **codes}
