"""Mails that go out, addresses that take replies, and replies that came in."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Tenanted, User, one_of
from forum.models.posts import Post
from forum.models.threads import Thread
from forum.querysets import MailQuerySet


class MailState(models.TextChoices):
    QUEUED = "queued", "Waiting"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"


class Mail(Tenanted):
    """A mail as it is sent, to the address its reader has when it is. Sent again, it is the same mail: same Message-ID."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    message_id = models.CharField(max_length=200, unique=True)
    subject = models.CharField(max_length=300)
    text = models.TextField()
    html = models.TextField(blank=True)
    headers = models.JSONField(default=dict)
    state = models.CharField(max_length=8, choices=MailState, default=MailState.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    # The class of the last error, never its text: that may hold an address.
    error_code = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = MailQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [one_of("state", MailState, "mail")]
        indexes = [
            models.Index(fields=["user", "-created_at", "-id"], name="mail_by_user"),
            models.Index(fields=["created_at"], condition=Q(state="queued"), name="mail_queued"),
        ]

    def __str__(self) -> str:
        return f"Mail {str(self.pk)[-6:]}"


class ReplyAddress(Tenanted):
    """What stands between `reply+` and `@` for one person in one thread: `key`, 20 hex digits, and its signature."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    key = models.CharField(max_length=20, unique=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "thread"], name="reply_address_once")]

    def __str__(self) -> str:
        return f"Reply address {str(self.pk)[-6:]}"


class InboundOutcome(models.TextChoices):
    POSTED = "posted", "Posted"
    REFUSED = "refused", "Refused, and the sender was told"
    IGNORED = "ignored", "Ignored"


class InboundMail(Tenanted):
    """A mail that came in, by the SHA-256 of its Message-ID: delivered twice, it is posted once. Its text isn't kept."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    post = models.ForeignKey(Post, models.SET_NULL, null=True, related_name="+")
    digest = models.CharField(max_length=64)
    outcome = models.CharField(max_length=8, choices=InboundOutcome)
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["user", "digest"], name="inbound_mail_once"),
            one_of("outcome", InboundOutcome, "inbound_mail"),
        ]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} {str(self.pk)[-6:]}"
