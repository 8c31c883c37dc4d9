"""What staff keep order with: flags, merges, moves, and texts they answer with again and again."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Course, Tenanted, User, one_of
from forum.models.posts import Post
from forum.models.threads import Thread
from forum.models.writing import MAX_BODY
from forum.querysets import FlagQuerySet, MergeQuerySet, ResponseTemplateQuerySet, ThreadAliasQuerySet


class FlagReason(models.TextChoices):
    RUDE = "rude", "Rude or hurtful"
    SPAM = "spam", "Spam or off topic"
    INTEGRITY = "integrity", "Gives a solution away"
    WRONG = "wrong", "Wrong, and people may believe it"
    PRIVATE = "private", "Shows something private"
    OTHER = "other", "Something else"


class FlagStatus(models.TextChoices):
    OPEN = "open", "Open"
    UPHELD = "upheld", "Upheld"
    DISMISSED = "dismissed", "Dismissed"


class Flag(Tenanted):
    """Somebody asks staff to look at a text. Who flagged is shown to nobody."""

    user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="flags")
    # Empty: it is about the thread's own text.
    post = models.ForeignKey(Post, models.CASCADE, null=True, blank=True, related_name="flags")
    reason = models.CharField(max_length=10, choices=FlagReason)
    details = models.CharField(max_length=500, blank=True)
    status = models.CharField(max_length=10, choices=FlagStatus, default=FlagStatus.OPEN)
    decided_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    decision = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = FlagQuerySet.as_manager()

    # Set by `of_texts()`.
    text: uuid.UUID

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "thread", "post"],
                condition=Q(status="open", user__isnull=False),
                nulls_distinct=False,
                name="flag_open_once",
            ),
            one_of("reason", FlagReason, "flag"),
            one_of("status", FlagStatus, "flag"),
            models.CheckConstraint(
                condition=Q(status="open", decided_at=None) | (~Q(status="open") & Q(decided_at__isnull=False)),
                name="flag_decided_when_closed",
            ),
        ]
        indexes = [models.Index(fields=["thread"], condition=Q(status="open"), name="flag_open_by_thread")]

    def __str__(self) -> str:
        return f"{self.get_reason_display()} {str(self.pk)[-6:]}"


class Merge(Tenanted):
    """The replies of one thread were moved into another. `carried` holds the ids of what to move back: see `merge_threads`."""

    source = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    target = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    carried = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    undone_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    undone_at = models.DateTimeField(null=True, editable=False)

    objects = MergeQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["source"], condition=Q(undone_at=None), name="merge_once_at_a_time")
        ]
        indexes = [models.Index(fields=["target", "-created_at"], name="merge_by_target")]

    def __str__(self) -> str:
        return f"Merge {str(self.pk)[-6:]}"


class ThreadAlias(Tenanted):
    """A number a thread had before it was moved to another course: the old address still leads to it."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="+")
    number = models.PositiveIntegerField()
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="aliases")

    objects = ThreadAliasQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["course", "number"], name="thread_alias_unique")]

    def __str__(self) -> str:
        return f"#{self.number}"


class ResponseTemplate(Tenanted):
    """A text staff of a course answer with; `{student}` and the like in it are filled in when it is used."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="response_templates")
    category = models.CharField(max_length=40, blank=True)
    title = models.CharField(max_length=80)
    body = models.TextField(max_length=MAX_BODY)
    use_count = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ResponseTemplateQuerySet.as_manager()

    class Meta:
        ordering = ["category", "title", "id"]
        constraints = [
            models.UniqueConstraint(fields=["course", "title"], name="response_template_title_unique"),
            models.CheckConstraint(
                condition=Q(body__length__gte=1, body__length__lte=MAX_BODY), name="response_template_body_length"
            ),
        ]

    def __str__(self) -> str:
        return self.title
