"""Which people and courses somebody may see."""

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth.models import BaseUserManager
from django.db import models, transaction

from quokkaq.lib import tenancy

if TYPE_CHECKING:
    from uuid import UUID

    from accounts.access import Member
    from accounts.models import (
        AuditEvent,
        Consent,
        Course,
        DataExport,
        Enrollment,
        Erasure,
        IdentityProvider,
        Institution,
        Invitation,
        JoinCode,
        LtiContext,
        LtiPlatform,
        LtiSync,
        RosterImport,
        Upload,
        User,
    )


class UserQuerySet(models.QuerySet["User"]):
    def visible_to(self, user: "User") -> "UserQuerySet":
        """Return the people who share a course with `user` now, and `user`."""
        shared = user.enrollments.reading().values("course")
        fellow = models.Q(enrollments__course__in=shared, enrollments__status__in=READING)
        return self.filter(models.Q(pk=user.pk) | fellow, institution_id=user.institution_id).distinct()


class UserManager(BaseUserManager["User"]):
    """Makes people; the e-mail address is kept in lower case, so signing in doesn't depend on how it is typed."""

    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db)

    def visible_to(self, user: "User") -> UserQuerySet:
        return self.get_queryset().visible_to(user)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").strip().lower())

    def create_user(self, email: str, password: str | None = None, *, verified: bool = True, **fields: Any) -> "User":
        """Make a person. An address that isn't `verified` is proved by a mail before they can sign in."""
        user: User = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
            addresses: Any = apps.get_model("account", "EmailAddress").objects
            addresses.create(user=user, email=user.email, verified=verified, primary=True)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Make an operator, in the institution "Operators" unless another one is given."""
        if "institution" not in fields:
            institutions: Any = apps.get_model("accounts", "Institution").objects
            fields["institution"] = institutions.get_or_create(slug="operators", defaults={"name": "Operators"})[0]
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


READING = ("active", "completed")
STAFF_ROLES = ("ta", "instructor")


class EnrollmentQuerySet(models.QuerySet["Enrollment"]):
    def reading(self) -> "EnrollmentQuerySet":
        """Return the enrollments that let their owner read: a dropped one doesn't."""
        return self.filter(status__in=READING)

    def staff(self) -> "EnrollmentQuerySet":
        """Return the enrollments of people who run a course now."""
        return self.filter(status="active", role__in=STAFF_ROLES)

    def visible_to(self, user: "User") -> "EnrollmentQuerySet":
        """Return the user's own enrollments and, for staff, everybody's in the courses they run."""
        run = user.enrollments.staff().values("course")
        return self.filter(models.Q(user=user) | models.Q(course__in=run), institution_id=user.institution_id)

    def of_course(self, member: "Member") -> "EnrollmentQuerySet":
        """Return everybody in the member's course, dropped ones too, to its staff, and nothing to anybody else."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class CourseQuerySet(models.QuerySet["Course"]):
    def visible_to(self, user: "User") -> "CourseQuerySet":
        """Return the courses `user` is or was enrolled in and hasn't dropped."""
        return self.filter(institution_id=user.institution_id, enrollments__user=user, enrollments__status__in=READING)

    def run_by(self, user: "User") -> "CourseQuerySet":
        """Return the courses `user` is staff of; all of the institution to who runs it, or has entered it as operator."""
        if user.is_superuser:
            entered = tenancy.institution()
            return self.filter(institution_id=entered) if entered else self.all()
        if user.is_institution_admin:
            return self.filter(institution_id=user.institution_id)
        return self.filter(pk__in=user.enrollments.staff().values("course"), institution_id=user.institution_id)


class InstitutionQuerySet(models.QuerySet["Institution"]):
    def visible_to(self, user: "User") -> "InstitutionQuerySet":
        return self.filter(pk=user.institution_id)


class IdentityProviderQuerySet(models.QuerySet["IdentityProvider"]):
    def visible_to(self, user: "User") -> "IdentityProviderQuerySet":
        return self.offered_by(user.institution_id)

    def offered_by(self, institution_id: "UUID") -> "IdentityProviderQuerySet":
        """Return the services people of an institution may sign in with now."""
        return self.filter(institution_id=institution_id, enabled=True)


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def visible_to(self, user: "User") -> "AuditEventQuerySet":
        """Return what happened in the courses `user` is staff of."""
        return self.filter(course__in=user.enrollments.staff().values("course"), institution_id=user.institution_id)


class UploadQuerySet(models.QuerySet["Upload"]):
    def visible_to(self, user: "User") -> "UploadQuerySet":
        """Return the user's own files, attached or not. What others attached is shown by what it is attached to."""
        return self.filter(owner=user, institution_id=user.institution_id)

    def sent_by(self, user: "User") -> "UploadQuerySet":
        """Return the files the user sent, without what was made for them to take along."""
        return self.visible_to(user).exclude(purpose="export")

    def counted(self) -> "UploadQuerySet":
        """Return the files that take up room."""
        return self.exclude(state__in=("rejected", "expired"))

    def waiting(self) -> "UploadQuerySet":
        """Return the files that are attached to nothing yet and may still be."""
        return self.counted().filter(attached_at=None)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def of_course(self, member: "Member") -> "InvitationQuerySet":
        """Return every invitation to the member's course to its staff, and nothing to anybody else."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)

    def pending(self) -> "InvitationQuerySet":
        """Return those nobody has accepted or withdrawn; also expired ones, which can be sent again."""
        return self.filter(accepted_at=None, revoked_at=None)


class JoinCodeQuerySet(models.QuerySet["JoinCode"]):
    def of_course(self, member: "Member") -> "JoinCodeQuerySet":
        """Return the codes of the member's course to its staff, and nothing to anybody else."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)

    def live(self) -> "JoinCodeQuerySet":
        """Return those that aren't switched off; also expired and used-up ones, which can be given more time."""
        return self.filter(revoked_at=None)


class RosterImportQuerySet(models.QuerySet["RosterImport"]):
    def of_course(self, member: "Member") -> "RosterImportQuerySet":
        """Return what was uploaded for the member's course to its staff, and nothing to anybody else."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class LtiPlatformQuerySet(models.QuerySet["LtiPlatform"]):
    def visible_to(self, user: "User") -> "LtiPlatformQuerySet":
        """Return the platforms of the user's institution, to who runs it, and nothing to anybody else."""
        if not user.runs_institution:
            return self.none()
        return self.filter(institution_id=user.institution_id)


class LtiContextQuerySet(models.QuerySet["LtiContext"]):
    def of_course(self, member: "Member") -> "LtiContextQuerySet":
        """Return what the member's course is on platforms, to its staff, and nothing to anybody else."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class LtiSyncQuerySet(models.QuerySet["LtiSync"]):
    def of_course(self, member: "Member") -> "LtiSyncQuerySet":
        """Return the lists fetched for the member's course, to its staff, and nothing to anybody else."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class DataExportQuerySet(models.QuerySet["DataExport"]):
    def visible_to(self, user: "User") -> "DataExportQuerySet":
        """Return the copies of the user's own data."""
        return self.filter(user=user, institution_id=user.institution_id)

    def under_way(self) -> "DataExportQuerySet":
        return self.filter(state__in=("queued", "running"))


class ErasureQuerySet(models.QuerySet["Erasure"]):
    def visible_to(self, user: "User") -> "ErasureQuerySet":
        """Return what was asked for about the user."""
        return self.filter(user=user, institution_id=user.institution_id)

    def open(self) -> "ErasureQuerySet":
        """Return those that are still to come, or under way."""
        return self.filter(state__in=("scheduled", "running"))


class ConsentQuerySet(models.QuerySet["Consent"]):
    def visible_to(self, user: "User") -> "ConsentQuerySet":
        """Return what the user agreed to, and took back."""
        return self.filter(user=user, institution_id=user.institution_id)
