"""What a course hands out, and until when its solutions stay secret."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Course, Tenanted
from forum.querysets import AssignmentQuerySet


class Assignment(Tenanted):
    """Something students work on. While its embargo holds, the AI may hint and not solve; it lifts by itself."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="assignments")
    slug = models.SlugField(max_length=60)
    title = models.CharField(max_length=120)
    due_at = models.DateTimeField(null=True, blank=True)
    embargo_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        ordering = ["due_at", "title", "id"]
        constraints = [
            models.UniqueConstraint(fields=["course", "slug"], name="assignment_slug_unique"),
            models.UniqueConstraint(fields=["course", "title"], name="assignment_title_unique"),
            models.CheckConstraint(condition=~Q(title=""), name="assignment_title_given"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_embargoed(self) -> bool:
        """True while solutions stay secret."""
        return self.embargo_until is not None and self.embargo_until > timezone.now()
