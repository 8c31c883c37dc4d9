"""Replies, comments, and what they said before they were edited."""

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Tenanted, User
from forum.models.threads import Thread
from forum.models.writing import MAX_TITLE, Writing
from forum.querysets import PostQuerySet, RevisionQuerySet


class Post(Writing):
    """A reply to a thread (an answer), or a comment under a reply."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="posts", db_index=False)
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="comments")
    # Whether the author was staff of the course when writing; it stays true when they leave.
    is_by_staff = models.BooleanField(default=False, editable=False)

    objects = PostQuerySet.as_manager()

    # Set by `shown_to()`: who endorsed it (`key`, `name`, `role`, and whether they are gone: `is_gone`).
    endorsers: list[dict[str, Any]]

    class Meta(Writing.Meta):
        ordering = ["created_at", "id"]
        constraints = [
            *Writing.Meta.constraints,
            models.CheckConstraint(condition=~Q(parent=models.F("id")), name="post_not_its_own_parent"),
        ]
        indexes = [
            models.Index(fields=["thread", "created_at", "id"], name="post_by_thread"),
            models.Index(fields=["author", "-created_at"], name="post_by_author"),
            models.Index(fields=["thread"], condition=~Q(moderation="shown"), name="post_moderated"),
            # Admin: the list, and a filter of it that finds little.
            models.Index(fields=["institution", "-created_at", "-id"], name="post_newest"),
            models.Index(
                fields=["institution", "-created_at", "-id"], condition=Q(deleted_at__isnull=False), name="post_deleted"
            ),
        ]

    @property
    def reference_base(self) -> str:
        """Return the address that `#123` in this text counts from."""
        return self.thread.reference_base

    def __str__(self) -> str:
        return f"{'Comment' if self.parent_id else 'Reply'} {str(self.pk)[-6:]}"


class Revision(Tenanted):
    """What a thread or post said before one edit. `editor` is empty when the text is under a pseudonym."""

    thread = models.ForeignKey(Thread, models.CASCADE, null=True, blank=True, related_name="revisions", db_index=False)
    post = models.ForeignKey(Post, models.CASCADE, null=True, blank=True, related_name="revisions", db_index=False)
    editor = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    title = models.CharField(max_length=MAX_TITLE, blank=True)
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = RevisionQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(thread=None, post__isnull=False) | Q(thread__isnull=False, post=None),
                name="revision_of_one",
            )
        ]
        indexes = [
            models.Index(fields=["thread", "created_at"], name="revision_by_thread"),
            models.Index(fields=["post", "created_at"], name="revision_by_post"),
        ]

    def __str__(self) -> str:
        return f"Revision {str(self.pk)[-6:]}"
