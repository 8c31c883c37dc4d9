"""The doors: each function returns what may be used, or raises. Outside a course, everything in it is 404."""

import uuid
from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django_htmx.middleware import HtmxDetails

from accounts.models import Course, CourseStatus, Enrollment, EnrollmentStatus, PostingPolicy, Role, User


class Refused(Exception):
    """The act is allowed to this person in general, but not now; the message says why."""


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
    # Why staff took away the right to post; empty while they haven't.
    ban: str = ""

    @property
    def is_staff(self) -> bool:
        return self.role in (Role.TA, Role.INSTRUCTOR) and self.active

    @property
    def may_write(self) -> bool:
        """False in an archived course and after completing it: both stay readable."""
        return self.active and self.course.status == CourseStatus.ACTIVE

    @property
    def posting_closed(self) -> str:
        """Say in a sentence why the member may write nothing now; empty when they may."""
        if not self.may_write:
            return "This course is read-only for you."
        if self.ban:
            return self.ban
        if self.is_staff:
            return ""
        until = self.course.posting_closed_until
        if until is not None and until > timezone.now():
            return f"Posting is closed until {date_format(timezone.localtime(until), 'j F, H:i')}, for an exam. You can read everything."
        if self.course.posting_policy == PostingPolicy.READ_ONLY:
            return "Only staff post in this course now. You can read everything."
        return ""

    @property
    def may_post(self) -> bool:
        """False also while posting is closed for students, or for who is banned from it: reading and voting go on."""
        return not self.posting_closed

    @property
    def needs_approval(self) -> bool:
        """True when staff look at what the member posts before others see it."""
        return self.course.posting_policy == PostingPolicy.APPROVE and not self.is_staff


def member_of(enrollment: Enrollment, user: User) -> Member:
    """Return `user` as the member their enrollment (with its course loaded) makes them."""
    ban = ""
    if enrollment.is_banned_now:
        until = enrollment.banned_until
        when = f" until {date_format(timezone.localtime(until), 'j F, H:i')}" if until else ""
        reason = f" Reason: {enrollment.ban_reason}" if enrollment.ban_reason else ""
        ban = f"Staff have taken away your right to post{when}.{reason}"
    active = enrollment.status == EnrollmentStatus.ACTIVE
    return Member(user, enrollment.course, Role(enrollment.role), active=active, ban=ban)


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
    return member_of(enrollment, user)


def run_elsewhere(member: Member) -> list[Member]:
    """Return the person as staff of the other courses of the institution they run now. One query."""
    enrollments = member.user.enrollments.staff().select_related("course").exclude(course=member.course)
    running = enrollments.filter(
        course__status=CourseStatus.ACTIVE, course__institution_id=member.course.institution_id
    )
    return [member_of(enrollment, member.user) for enrollment in running.order_by("course__code", "pk")]


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


# Who changes what of a course's set-up, while it isn't archived. All of its staff may look at all of it.
SET_UP: dict[str, frozenset[Role]] = {
    "settings": frozenset({Role.INSTRUCTOR}),  # name, policies, archive
    "people": frozenset({Role.INSTRUCTOR}),  # who is in the course, as what
    "ai": frozenset({Role.INSTRUCTOR}),  # what the machine may do
    "sections": frozenset({Role.TA, Role.INSTRUCTOR}),
    "assignments": frozenset({Role.TA, Role.INSTRUCTOR}),
    "tags": frozenset({Role.TA, Role.INSTRUCTOR}),
    "templates": frozenset({Role.TA, Role.INSTRUCTOR}),
}


def may_set_up(member: Member, part: str) -> bool:
    """Tell whether the member may change that part of the course now."""
    return member.is_staff and member.may_write and member.role in SET_UP[part]


def require_set_up(member: Member, part: str) -> None:
    """Raise 403 unless the member may change that part of the course now."""
    if not may_set_up(member, part):
        raise PermissionDenied


def require_instructor(member: Member) -> None:
    """Raise 403 unless the member is instructor of the course now, archived or not."""
    if not (member.is_staff and member.role == Role.INSTRUCTOR):
        raise PermissionDenied


def get_enrollment(member: Member, enrollment_id: uuid.UUID) -> Enrollment:
    """Return what somebody is in the member's course, to its staff; else 404."""
    enrollment = Enrollment.objects.of_course(member).select_related("user").filter(pk=enrollment_id).first()
    if enrollment is None:
        raise Http404
    return enrollment


def require_writer(member: Member) -> None:
    """Raise 403 in an archived course, or for somebody who has completed it."""
    if not member.may_write:
        raise PermissionDenied


def may_ban(by: Member, person: Enrollment) -> bool:
    """Tell whether `by` may take the right to post: staff from students, instructors from teaching assistants too."""
    if not (by.is_staff and by.may_write) or person.course_id != by.course.pk or person.role == Role.INSTRUCTOR:
        return False
    return person.role == Role.STUDENT or by.role == Role.INSTRUCTOR


def get_person(user: User, person_id: uuid.UUID) -> User:
    """Return a person who shares a course with `user`, or raise 404."""
    person = User.objects.visible_to(user).filter(pk=person_id).first()
    if person is None:
        raise Http404
    return person


def get_feed_reader(key: str) -> User:
    """Return whose feed an address is, or raise 404."""
    user = User.objects.filter(feed_key=key, is_active=True).first() if key else None
    if user is None:
        raise Http404
    return user
