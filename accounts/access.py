"""The doors: each function returns what may be used, or raises. Outside a course, everything in it is 404."""

import hashlib
import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import Http404, HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django_htmx.middleware import HtmxDetails

from accounts.models import (
    CODE_LENGTH,
    Course,
    CourseStatus,
    DataExport,
    Enrollment,
    EnrollmentStatus,
    ExportState,
    Institution,
    Invitation,
    JoinCode,
    LtiContext,
    LtiLaunch,
    LtiPlatform,
    PostingPolicy,
    Purpose,
    Role,
    RosterImport,
    Upload,
    UploadState,
    User,
)
from accounts.reaching import institution_of_invitation
from quokkaq.lib import tenancy
from quokkaq.lib.database.prepared import Asked, Prepared


class Refused(Exception):
    """The act is allowed to this person in general, but not now; the message says why."""


class Capability(StrEnum):
    """What a role lets somebody do in a course, beyond reading and writing as everybody there does."""

    RUN = "run"  # what staff see and do: the queue, private threads, moderation, endorsements
    BAN_STUDENTS = "ban_students"
    BAN_ASSISTANTS = "ban_assistants"
    # Parts of the set-up. All who run a course may look at all of it.
    SECTIONS = "sections"
    ASSIGNMENTS = "assignments"
    TAGS = "tags"
    TEMPLATES = "templates"
    SETTINGS = "settings"  # name, policies, archive
    PEOPLE = "people"  # who is in the course, as what
    AI = "ai"  # what the machine may do


_ASSISTS = frozenset(
    {
        Capability.RUN, Capability.BAN_STUDENTS, Capability.SECTIONS, Capability.ASSIGNMENTS, Capability.TAGS,
        Capability.TEMPLATES,
    }
)  # fmt: skip
# The table of rights. A role that isn't in it lets nobody do anything.
CAPABILITIES: dict[Role, frozenset[Capability]] = {
    Role.STUDENT: frozenset(),
    Role.TA: _ASSISTS,
    Role.INSTRUCTOR: _ASSISTS | {Capability.BAN_ASSISTANTS, Capability.SETTINGS, Capability.PEOPLE, Capability.AI},
}


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
        return self.can(Capability.RUN)

    def can(self, capability: Capability) -> bool:
        """Tell whether the member's role allows it, while they are active in the course."""
        return self.active and capability in CAPABILITIES[self.role]

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
    """Return `user` as a member of the course `slug` of their institution, or raise 404. At most one query."""
    read, user.read_along = user.read_along, None
    enrollment = read[1] if read and read[0] == slug else enrollment_in(slug, user.pk).first()
    if enrollment is None:
        raise Http404
    return member_of(enrollment, user)


def enrollment_in(slug: str, person: uuid.UUID) -> Asked[Enrollment]:
    """Ask what lets a person read the course `slug` of their institution."""
    return _ENROLLMENT(person=person, slug=slug)


_ENROLLMENT = Prepared[Enrollment](
    lambda person, slug: (
        Enrollment.objects.reading()
        .select_related("course")
        .filter(user_id=person, course__slug=slug, course__institution_id=F("user__institution_id"))
    )
)


def stand_in(*, staff: bool, course: uuid.UUID, institution: uuid.UUID, person: uuid.UUID | None = None) -> Member:
    """Return who `Prepared` querysets are made for: a member of whom no more is known than `values_of` tells."""
    user = User(pk=person, institution_id=institution)
    role = Role.INSTRUCTOR if staff else Role.STUDENT
    return Member(user, Course(pk=course, institution_id=institution), role)


def values_of(member: Member) -> dict[str, uuid.UUID]:
    """Return what a queryset may hang on, of a member, besides whether they are staff."""
    return {"person": member.user.pk, "course": member.course.pk, "institution": member.course.institution_id}


def run_elsewhere(member: Member) -> list[Member]:
    """Return the person as staff of the other courses of the institution they run now. One query."""
    enrollments = member.user.enrollments.staff().select_related("course").exclude(course=member.course)
    running = enrollments.filter(
        course__status=CourseStatus.ACTIVE, course__institution_id=member.course.institution_id
    )
    return [member_of(enrollment, member.user) for enrollment in running.order_by("course__code", "pk")]


def get_admin_member(user: User, course: Course) -> Member:
    """Return `user` as staff of `course` for Django admin, or raise 403. Who runs the institution counts as instructor."""
    if user.is_superuser or (user.is_institution_admin and user.institution_id == course.institution_id):
        return Member(user, course, Role.INSTRUCTOR)
    enrollment = user.enrollments.staff().filter(course=course).first()
    if enrollment is None:
        raise PermissionDenied
    return Member(user, course, Role(enrollment.role))


def require_staff(member: Member) -> None:
    """Raise 403 unless the member is TA or instructor of the course now."""
    if not member.is_staff:
        raise PermissionDenied


def may_set_up(member: Member, part: str) -> bool:
    """Tell whether the member may change that part of the course now."""
    return member.may_write and member.can(Capability(part))


def require_set_up(member: Member, part: str) -> None:
    """Raise 403 unless the member may change that part of the course now."""
    if not may_set_up(member, part):
        raise PermissionDenied


def require_instructor(member: Member) -> None:
    """Raise 403 unless the member is instructor of the course now, archived or not."""
    if not member.can(Capability.SETTINGS):
        raise PermissionDenied


def get_invitation(member: Member, invitation_id: uuid.UUID) -> Invitation:
    """Return an invitation to the member's course, to its staff; else 404."""
    invitation = Invitation.objects.of_course(member).filter(pk=invitation_id).first()
    if invitation is None:
        raise Http404
    return invitation


def get_roster_import(member: Member, roster_id: uuid.UUID) -> RosterImport:
    """Return what was uploaded for the member's course, to its staff; else 404."""
    roster = (
        RosterImport.objects.of_course(member).select_related("created_by", "applied_by").filter(pk=roster_id).first()
    )
    if roster is None:
        raise Http404
    return roster


def hash_token(token: str) -> str:
    """Return what the database knows of the secret in an invitation's link."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def find_invitation(token: str) -> Invitation | None:
    """Return the invitation whose link holds this secret, open or not; None when there is no such.

    Its institution is entered for the look-up only: go on inside `tenancy.scope(invitation.institution_id)`.
    """
    hashed = hash_token(token)
    institution = institution_of_invitation(hashed)
    if institution is None:
        return None
    with tenancy.scope(institution):
        rows = Invitation.objects.select_related("course", "institution", "invited_by")
        return rows.filter(token_hash=hashed).first()


def find_join_code(user: User, typed: str) -> JoinCode | None:
    """Return the code somebody typed, if it works for them. Pages count tries first (`accounts.actions.join_code_blocked`).

    One of another institution, one that never was, and one that doesn't work any more are all None.
    """
    code = "".join(typed.upper().split()).replace("-", "")
    if len(code) != CODE_LENGTH or not code.isascii() or not code.isalnum():
        return None
    row = JoinCode.objects.select_related("course").filter(institution_id=user.institution_id, code=code).first()
    if row is None:
        return None
    # Who is in the course may always be led there, whatever became of the code.
    return None if row.problem and not row.course.enrollments.reading().filter(user=user).exists() else row


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
    needed = {Role.STUDENT: Capability.BAN_STUDENTS, Role.TA: Capability.BAN_ASSISTANTS}.get(Role(person.role))
    return needed is not None and by.may_write and by.can(needed) and person.course_id == by.course.pk


def get_institution_to_enter(user: User, institution_id: uuid.UUID) -> Institution:
    """Return an institution that an operator may look into, or raise 404."""
    institution = Institution.objects.filter(pk=institution_id).first() if user.is_superuser else None
    if institution is None:
        raise Http404
    return institution


def needs_second_factor(user: User) -> bool:
    """Tell whether the person's rights ask for more than a password. At most two queries."""
    if user.is_superuser:
        return True
    return user.institution.staff_second_factor and (user.is_staff or user.enrollments.staff().exists())


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


def require_uploader(user: User, purpose: Purpose, member: Member | None) -> None:
    """Raise 403 unless the person may send a file for that purpose now; `Refused` while they may not post."""
    if purpose == Purpose.AVATAR:
        return
    if member is None or member.user.pk != user.pk or purpose == Purpose.EXPORT:
        raise PermissionDenied
    require_writer(member)
    if purpose == Purpose.MATERIAL:
        require_staff(member)
    elif member.posting_closed:
        raise Refused(member.posting_closed)


def get_upload(user: User, upload_id: uuid.UUID) -> Upload:
    """Return a file the person sent, in a course they still read, or raise 404."""
    upload = Upload.objects.visible_to(user).select_related("course").filter(pk=upload_id).first()
    if upload is None:
        raise Http404
    if upload.course is not None:
        get_member(user, upload.course.slug)
    return upload


def get_data_export(user: User, export_id: uuid.UUID) -> Upload:
    """Return the file of a copy of the user's own data, or raise 404."""
    export = (
        DataExport.objects.visible_to(user)
        .select_related("upload")
        .filter(pk=export_id, state=ExportState.READY, upload__state=UploadState.CLEAN)
        .first()
    )
    if export is None or export.upload is None:
        raise Http404
    return export.upload


# Returns the name under which a person may have an attached file; None when they may not have it.
Holder = Callable[[User, Upload], str | None]
_holders: dict[str, Holder] = {}


def register_holder(purpose: Purpose, holder: Holder) -> None:
    """Let another app say who may read the files that are attached to something of its own."""
    _holders[purpose] = holder


def get_file(user: User, upload_id: uuid.UUID) -> tuple[Upload, str]:
    """Return a checked file the person may read, and what it is called for them, or raise 404.

    Attached to something, it is seen by who sees that; to nothing, by its owner.
    """
    upload = Upload.objects.filter(
        pk=upload_id, institution_id=user.institution_id, state=UploadState.CLEAN
    ).select_related("course").first()  # fmt: skip
    # A copy of somebody's data has links of its own, which end.
    if upload is None or DataExport.objects.filter(upload=upload).exists():
        raise Http404
    holder = _holders.get(upload.purpose)
    if upload.attached_at is None or holder is None:
        return get_upload(user, upload_id), upload.original_name
    name = holder(user, upload)
    if name is None:
        raise Http404
    return upload, name


def require_lti_admin(user: User) -> None:
    """Raise 403 unless the person runs the institution, and so looks after its learning platforms."""
    if not user.runs_institution:
        raise PermissionDenied


def get_lti_platform(user: User, platform_id: uuid.UUID) -> LtiPlatform:
    """Return a platform of the person's institution, to who looks after them; else 403 or 404."""
    require_lti_admin(user)
    platform = LtiPlatform.objects.visible_to(user).filter(pk=platform_id).first()
    if platform is None:
        raise Http404
    return platform


def lti_cookie(launch_id: uuid.UUID) -> str:
    """Return the name of the cookie that ties a launch to one browser."""
    return f"quokkaq_lti_{launch_id.hex}"


def get_lti_launch(launch_id: uuid.UUID, secret: str) -> LtiLaunch:
    """Return a launch of the last minutes to the browser it was made in, or raise 404."""
    launch = (
        LtiLaunch.objects.select_related("platform", "candidate").filter(pk=launch_id).exclude(used_at=None).first()
    )
    given = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
    if launch is None or launch.is_over or not hmac.compare_digest(given, launch.browser_hash):
        raise Http404
    if not launch.claims or not launch.platform.is_active:
        raise Http404
    return launch


def get_lti_context(launch: LtiLaunch) -> LtiContext | None:
    """Return the course a launch came from, if it is linked with one here."""
    if not launch.claims["context_id"]:
        return None
    return (
        LtiContext.objects.select_related("course")
        .filter(
            institution_id=launch.institution_id,
            deployment__platform=launch.platform_id,
            deployment__deployment_id=launch.claims["deployment_id"],
            context_id=launch.claims["context_id"],
        )
        .first()
    )


# Returns threads that may be linked from outside, as number and title: those of the course whose title holds a text.
Linkable = Callable[[Member, str], list[tuple[int, str]]]
_linkable: list[Linkable] = []


def register_linkable(linkable: Linkable) -> None:
    """Let another app say which of its threads a platform's course may link to."""
    _linkable.append(linkable)


def linkable_threads(member: Member, query: str) -> list[tuple[int, str]]:
    """Return threads that everybody in the course may read, newest first."""
    return [row for linkable in _linkable for row in linkable(member, query)]
