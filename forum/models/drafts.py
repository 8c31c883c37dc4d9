"""What people keep for themselves: texts not posted yet, and views of the thread list."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Course, Tenanted, User
from forum.models.threads import Thread
from forum.querysets import DraftQuerySet, SavedViewQuerySet

MAX_SAVED_VIEWS = 20


class Draft(Tenanted):
    """A form somebody hasn't sent yet: a new thread (no `thread`), a reply, or a comment under `post`.

    `fields` holds what was typed, as the form sent it: `{"title": …, "body": …, "tags": […]}`. It may break any rule
    of the form: it is checked when it is posted, not when it is kept.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    course = models.ForeignKey(Course, models.CASCADE, related_name="+")
    thread = models.ForeignKey(Thread, models.CASCADE, null=True, blank=True, related_name="+")
    post = models.ForeignKey("forum.Post", models.CASCADE, null=True, blank=True, related_name="+")
    fields = models.JSONField(default=dict)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = DraftQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "course", "thread", "post"], nulls_distinct=False, name="draft_one_per_form"
            ),
            models.CheckConstraint(condition=Q(post=None) | Q(thread__isnull=False), name="draft_comment_in_thread"),
        ]

    def __str__(self) -> str:
        return f"Draft {str(self.pk)[-6:]}"


class SavedView(Tenanted):
    """A filtered and sorted thread list under a name; `query` is what stands after the `?`."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    course = models.ForeignKey(Course, models.CASCADE, related_name="+")
    name = models.CharField(max_length=40)
    query = models.CharField(max_length=500)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "course", "name"], name="saved_view_name_unique")]

    def __str__(self) -> str:
        return self.name
