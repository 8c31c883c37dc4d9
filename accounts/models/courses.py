"""Courses, and who is what in them."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.base import Institution, InstitutionKey, Tenanted, one_of
from accounts.models.people import User
from accounts.querysets import CourseQuerySet, EnrollmentQuerySet


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

    institution = InstitutionKey(Institution, models.CASCADE, related_name="courses")
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
    # What the institution's own records call the person, as a roster file said; empty when none did.
    sis_id = models.CharField("SIS id", max_length=100, blank=True)
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
            # Per course, not per institution: what a file of one course says about somebody binds no other course.
            models.UniqueConstraint(
                fields=["course", "sis_id"], condition=~Q(sis_id=""), name="enrollment_sis_id_unique"
            ),
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
