"""Who wants to hear of a thread, and who doesn't."""

from django.db import models
from django.utils import timezone

from accounts.models import Tenanted, User, one_of
from forum.models.threads import Thread
from forum.querysets import FollowQuerySet


class FollowState(models.TextChoices):
    FOLLOWING = "following", "Following"
    MUTED = "muted", "Muted"


class Follow(Tenanted):
    """What somebody said about a thread, or did in it: who asks, replies or joins a question follows it."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="follows", db_index=False)
    state = models.CharField(max_length=10, choices=FollowState, default=FollowState.FOLLOWING)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = FollowQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "thread"], name="follow_once"),
            one_of("state", FollowState, "follow"),
        ]
        indexes = [models.Index(fields=["thread", "state"], name="follow_by_thread")]

    def __str__(self) -> str:
        return f"{self.get_state_display()} {str(self.pk)[-6:]}"
