"""Votes and "same question here" by anybody, endorsements by staff."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Role, Tenanted, User, one_of
from forum.models.posts import Post
from forum.models.threads import Thread
from forum.querysets import EndorsementQuerySet, SameQuestionQuerySet, VoteQuerySet


class Vote(Tenanted):
    """One person's upvote of one thread or one post."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    thread = models.ForeignKey(Thread, models.CASCADE, null=True, blank=True, related_name="votes")
    post = models.ForeignKey(Post, models.CASCADE, null=True, blank=True, related_name="votes")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = VoteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(thread=None, post__isnull=False) | Q(thread__isnull=False, post=None), name="vote_for_one"
            ),
            models.UniqueConstraint(fields=["user", "thread"], name="vote_once_per_thread"),
            models.UniqueConstraint(fields=["user", "post"], name="vote_once_per_post"),
        ]

    def __str__(self) -> str:
        return f"Vote {str(self.pk)[-6:]}"


class SameQuestion(Tenanted):
    """Somebody has the question of a thread too. It says more than a vote: they wait for the answer."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="same_questions")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SameQuestionQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "thread"], name="same_question_once")]

    def __str__(self) -> str:
        return f"Same question {str(self.pk)[-6:]}"


class Endorsement(Tenanted):
    """A member of staff puts their name, and the role they have now, under a post."""

    post = models.ForeignKey(Post, models.CASCADE, related_name="endorsements", db_index=False)
    endorser = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = EndorsementQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["post", "endorser"], name="endorsement_once"),
            one_of("role", Role, "endorsement"),
        ]

    def __str__(self) -> str:
        return f"Endorsement {str(self.pk)[-6:]}"
