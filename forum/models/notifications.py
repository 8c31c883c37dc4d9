"""What people are told, and how they want to be told."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Course, Tenanted, User, one_of
from forum.models.posts import Post
from forum.models.threads import Thread
from forum.querysets import NotificationQuerySet, PreferenceQuerySet


class NotificationKind(models.TextChoices):
    REPLY = "reply", "Replies in threads I follow"
    MENTION = "mention", "Somebody calls me by name"
    ENDORSEMENT = "endorsement", "Staff endorse what I wrote"
    ACCEPTED = "accepted", "My answer is accepted"
    ANNOUNCEMENT = "announcement", "Announcements"
    AI_ANSWER = "ai_answer", "The answer from the materials is ready"
    AI_WITHDRAWN = "ai_withdrawn", "An answer from the materials is withdrawn"
    DECISION = "decision", "Staff decide about what I wrote"
    ASSIGNED = "assigned", "A question is assigned to me (staff)"
    FLAGGED = "flagged", "Somebody flags a text (staff)"
    PENDING = "pending", "A text waits for approval (staff)"


STAFF_KINDS = (NotificationKind.ASSIGNED, NotificationKind.FLAGGED, NotificationKind.PENDING)
# Muting a thread means what people say in it, not being called by name, the news of the course, and one's duties.
DESPITE_MUTE = (*STAFF_KINDS, NotificationKind.MENTION, NotificationKind.ANNOUNCEMENT, NotificationKind.DECISION)


class Delivery(models.TextChoices):
    OFF = "off", "No mail"
    INSTANT = "instant", "At once"
    DAILY = "daily", "Once a day"
    WEEKLY = "weekly", "Once a week"


class Notification(Tenanted):
    """One thing one person is told. What it says is made when it is read, so it never shows what they may not see.

    `actor` is set for staff who acted under their name only; who wrote `post` is told by its byline.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="notifications", db_index=False)
    course = models.ForeignKey(Course, models.CASCADE, related_name="+")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    post = models.ForeignKey(Post, models.CASCADE, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=14, choices=NotificationKind)
    actor = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # False: it is only mailed, as its reader wishes.
    in_app = models.BooleanField(default=True)
    read_at = models.DateTimeField(null=True, blank=True)
    # When its mail is due; empty when none is wanted. `mailed_at`: it stands in a mail, or needs none any more.
    mail_due_at = models.DateTimeField(null=True, blank=True)
    mailed_at = models.DateTimeField(null=True, blank=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "kind", "thread", "post"], nulls_distinct=False, name="notification_once"
            ),
            one_of("kind", NotificationKind, "notification"),
        ]
        indexes = [
            models.Index(fields=["user", "-created_at", "-id"], name="notification_inbox"),
            models.Index(fields=["user"], condition=Q(read_at=None, in_app=True), name="notification_unread"),
            models.Index(
                fields=["mail_due_at"],
                condition=Q(mailed_at=None, mail_due_at__isnull=False),
                name="notification_mail_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {str(self.pk)[-6:]}"


class Preference(Tenanted):
    """How somebody wants to be told of one kind of thing: in one course or, without a course, everywhere else."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    course = models.ForeignKey(Course, models.CASCADE, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=14, choices=NotificationKind)
    in_app = models.BooleanField(default=True)
    mail = models.CharField(max_length=8, choices=Delivery, default=Delivery.DAILY)

    objects = PreferenceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "course", "kind"], nulls_distinct=False, name="preference_once"),
            one_of("kind", NotificationKind, "preference"),
            one_of("mail", Delivery, "preference"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.mail}"
