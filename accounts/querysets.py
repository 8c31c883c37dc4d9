"""Which people and courses somebody may see."""

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth.models import BaseUserManager
from django.db import models

if TYPE_CHECKING:
    from accounts.access import Member
    from accounts.models import AuditEvent, Course, Enrollment, Institution, User


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

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user: User = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
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
        """Return the courses `user` is staff of; an operator (superuser) runs all."""
        if user.is_superuser:
            return self.all()
        return self.filter(pk__in=user.enrollments.staff().values("course"), institution_id=user.institution_id)


class InstitutionQuerySet(models.QuerySet["Institution"]):
    def visible_to(self, user: "User") -> "InstitutionQuerySet":
        return self.filter(pk=user.institution_id)


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def visible_to(self, user: "User") -> "AuditEventQuerySet":
        """Return what happened in the courses `user` is staff of."""
        return self.filter(course__in=user.enrollments.staff().values("course"), institution_id=user.institution_id)
