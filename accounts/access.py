"""The doors: each function returns what may be used, or raises. Outside a course, everything in it is 404."""

import uuid
from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import Course, CourseStatus, Enrollment, EnrollmentStatus, Role, User


class SignedInRequest(HttpRequest):
    """A request behind `login_required`."""

    user: User
    htmx: HtmxDetails


@dataclass(frozen=True)
class Member:
    """A person in a course, with the role they have there."""

    user: User
    course: Course
    role: Role
    active: bool = True

    @property
    def is_staff(self) -> bool:
        return self.role in (Role.TA, Role.INSTRUCTOR) and self.active

    @property
    def may_write(self) -> bool:
        """False in an archived course and after completing it: both stay readable."""
        return self.active and self.course.status == CourseStatus.ACTIVE


def get_member(user: User, slug: str) -> Member:
    """Return `user` as a member of the course `slug` of their institution, or raise 404. One query."""
    enrollment = (
        Enrollment.objects.reading()
        .select_related("course")
        .filter(user=user, course__slug=slug, course__institution_id=user.institution_id)
        .first()
    )
    if enrollment is None:
        raise Http404
    return Member(user, enrollment.course, Role(enrollment.role), active=enrollment.status == EnrollmentStatus.ACTIVE)


def get_admin_member(user: User, course: Course) -> Member:
    """Return `user` as staff of `course` for Django admin (an operator counts as instructor), or raise 403."""
    if user.is_superuser:
        return Member(user, course, Role.INSTRUCTOR)
    enrollment = user.enrollments.staff().filter(course=course).first()
    if enrollment is None:
        raise PermissionDenied
    return Member(user, course, Role(enrollment.role))


def require_staff(member: Member) -> None:
    """Raise 403 unless the member is TA or instructor of the course now."""
    if not member.is_staff:
        raise PermissionDenied


def require_writer(member: Member) -> None:
    """Raise 403 in an archived course, or for somebody who has completed it."""
    if not member.may_write:
        raise PermissionDenied


def get_person(user: User, person_id: uuid.UUID) -> User:
    """Return a person who shares a course with `user`, or raise 404."""
    person = User.objects.visible_to(user).filter(pk=person_id).first()
    if person is None:
        raise Http404
    return person
