"""Institutions, people, courses, and who may do what where."""

import uuid
import zoneinfo

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Length, Lower
from django.utils import timezone

from accounts.querysets import (
    AuditEventQuerySet,
    CourseQuerySet,
    EnrollmentQuerySet,
    InstitutionQuerySet,
    UserManager,
)
from quokkaq.lib.uuid7 import uuid7

models.CharField.register_lookup(Length)
models.TextField.register_lookup(Length)


def one_of(field: str, choices: type[models.TextChoices], model: str) -> models.CheckConstraint:
    """Return the CHECK that keeps `field` within its choices, also for writes that bypass forms."""
    return models.CheckConstraint(condition=Q(**{f"{field}__in": choices.values}), name=f"{model}_{field}_known")


class Keyed(models.Model):
    """A row with a UUID version 7 as its key: unique everywhere, and in the order of creation."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta:
        abstract = True


class Institution(Keyed):
    """A tenant. Every other row belongs to exactly one; nothing crosses."""

    name = models.CharField(max_length=200)
    slug = models.SlugField(unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = InstitutionQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Tenanted(Keyed):
    """A row of one institution."""

    institution = models.ForeignKey(Institution, models.CASCADE, related_name="+", editable=False)

    class Meta:
        abstract = True


class Theme(models.TextChoices):
    AUTO = "auto", "Same as my device"
    LIGHT = "light", "Light"
    DARK = "dark", "Dark"


def validate_time_zone(name: str) -> None:
    """Raise `ValidationError` unless `name` is an IANA time zone."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError("Choose a time zone from the list, for example Europe/Berlin.")


class User(Tenanted, AbstractBaseUser, PermissionsMixin):
    """A person of one institution, who signs in with an e-mail address. What they may do is said by their enrollments."""

    institution = models.ForeignKey(Institution, models.CASCADE, related_name="users")
    email = models.EmailField(max_length=254, unique=True)
    display_name = models.CharField(max_length=80)
    pronouns = models.CharField(max_length=40, blank=True)
    avatar = models.CharField(max_length=200, blank=True, editable=False)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    theme = models.CharField(max_length=8, choices=Theme, default=Theme.AUTO)
    # What stands in the addresses of the person's feeds instead of a sign-in; empty while they have none.
    feed_key = models.CharField(max_length=40, null=True, unique=True, editable=False)  # noqa: DJ001 (many have none)
    is_staff = models.BooleanField("may open Django admin", default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["display_name"]

    class Meta:
        ordering = ["display_name", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_lower_case"),
            models.CheckConstraint(condition=~Q(display_name=""), name="user_display_name_given"),
            one_of("theme", Theme, "user"),
        ]
        indexes = [models.Index(fields=["institution", "display_name", "id"], name="user_listing")]

    def __str__(self) -> str:
        return self.display_name

    def get_short_name(self) -> str:
        return self.display_name

    @property
    def initials(self) -> str:
        """One or two letters for where a picture would be."""
        words = self.display_name.split()
        return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()


class CourseStatus(models.TextChoices):
    ACTIVE = "active", "Active"
    ARCHIVED = "archived", "Archived (read-only)"


class AnonymityPolicy(models.TextChoices):
    NAMED = "named", "Everybody posts under their name"
    CLASSMATES = "classmates", "Students may hide their name from classmates, not from staff"
    ALL = "all", "Students may hide their name from everyone"


class PostingPolicy(models.TextChoices):
    OPEN = "open", "Everybody in the course may post"
    APPROVE = "approve", "Staff approve what students post before others see it"
    READ_ONLY = "read_only", "Only staff may post"


class Course(Tenanted):
    """One offering of a course in one term."""

    institution = models.ForeignKey(Institution, models.CASCADE, related_name="courses")
    code = models.CharField(max_length=30)
    name = models.CharField(max_length=200)
    term = models.CharField(max_length=60)
    slug = models.SlugField(max_length=60)
    description = models.TextField(max_length=2000, blank=True)
    status = models.CharField(max_length=10, choices=CourseStatus, default=CourseStatus.ACTIVE)
    anonymity_policy = models.CharField(max_length=10, choices=AnonymityPolicy, default=AnonymityPolicy.ALL)
    posting_policy = models.CharField(max_length=10, choices=PostingPolicy, default=PostingPolicy.OPEN)
    # Students may not post until then (an exam); it lifts by itself.
    posting_closed_until = models.DateTimeField(null=True, blank=True)
    points_hidden = models.BooleanField("points are hidden", default=False)
    # The number of the newest thread; raised under this row's lock, so numbers have no gaps and no doubles.
    last_thread_number = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CourseQuerySet.as_manager()

    class Meta:
        ordering = ["code", "id"]
        constraints = [
            models.UniqueConstraint(fields=["institution", "slug"], name="course_slug_unique"),
            one_of("status", CourseStatus, "course"),
            one_of("anonymity_policy", AnonymityPolicy, "course"),
            one_of("posting_policy", PostingPolicy, "course"),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


class Role(models.TextChoices):
    STUDENT = "student", "Student"
    TA = "ta", "Teaching assistant"
    INSTRUCTOR = "instructor", "Instructor"


class EnrollmentStatus(models.TextChoices):
    ACTIVE = "active", "Active"
    COMPLETED = "completed", "Completed (may read)"
    DROPPED = "dropped", "Dropped (sees nothing)"


class Enrollment(Tenanted):
    """What one person is in one course. A role is per course, never global."""

    user = models.ForeignKey(User, models.CASCADE, related_name="enrollments")
    course = models.ForeignKey(Course, models.CASCADE, related_name="enrollments")
    role = models.CharField(max_length=10, choices=Role, default=Role.STUDENT)
    status = models.CharField(max_length=10, choices=EnrollmentStatus, default=EnrollmentStatus.ACTIVE)
    section = models.CharField(max_length=40, blank=True)
    # May read and not post; until a time, or until staff lift it.
    is_banned = models.BooleanField("banned from posting", default=False)
    banned_until = models.DateTimeField(null=True, blank=True)
    ban_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = EnrollmentQuerySet.as_manager()

    class Meta:
        ordering = ["course", "role", "id"]
        constraints = [
            models.UniqueConstraint(fields=["user", "course"], name="enrollment_unique"),
            one_of("role", Role, "enrollment"),
            one_of("status", EnrollmentStatus, "enrollment"),
            models.CheckConstraint(
                condition=Q(is_banned=True) | Q(banned_until=None, ban_reason=""), name="enrollment_ban_said_once"
            ),
        ]
        indexes = [models.Index(fields=["course", "role", "id"], name="enrollment_listing")]

    def __str__(self) -> str:
        return f"{self.get_role_display()} of {self.course_id}"

    @property
    def is_banned_now(self) -> bool:
        """True while a ban from posting holds."""
        return self.is_banned and (self.banned_until is None or self.banned_until > timezone.now())


class AuditEvent(Tenanted):
    """Who did what, when, from where. Rows are only ever added.

    `actor` is empty for what somebody did under a pseudonym: staff read this list.
    """

    actor = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    course = models.ForeignKey(Course, models.SET_NULL, null=True, blank=True, related_name="+")
    verb = models.CharField(max_length=60)
    target_type = models.CharField(max_length=60)
    target_id = models.UUIDField()
    data = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["course", "-created_at", "-id"], name="audit_by_course"),
            models.Index(fields=["target_id", "-created_at"], name="audit_by_target"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.target_type}"


def avatar_key() -> str:
    """Return a new storage key for an avatar: says nothing about whose it is."""
    return f"avatars/{uuid.uuid4().hex}.webp"
