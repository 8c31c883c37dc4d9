"""Who is called by name in a text."""

from django.db import models
from django.utils import timezone

from accounts.models import Tenanted, User
from forum.models.posts import Post
from forum.models.threads import Thread
from forum.querysets import MentionQuerySet


class Mention(Tenanted):
    """Somebody's name stands after an `@` in a thread's text (no `post`) or in a post of it."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="mentions")
    post = models.ForeignKey(Post, models.CASCADE, null=True, blank=True, related_name="mentions")
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = MentionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "thread", "post"], nulls_distinct=False, name="mention_once")
        ]

    def __str__(self) -> str:
        return f"Mention {str(self.pk)[-6:]}"
