"""Private conversations with the machine, and what it sums up of long threads."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Course, Tenanted, User, one_of
from ai_answers.querysets import ConversationQuerySet, MessageQuerySet, SummaryPointQuerySet, ThreadSummaryQuerySet
from forum.models import Post, Thread

MAX_MESSAGE = 4000


class ConversationKind(models.TextChoices):
    CHAT = "chat", "Conversation"
    # What the machine would say to a question being written; listed nowhere, and forgotten after a day.
    PREVIEW = "preview", "Preview before posting"


class Conversation(Tenanted):
    """What one person asked the machine of one course, and what it said; nobody else reads it."""

    user = models.ForeignKey(User, models.CASCADE, related_name="ai_conversations")
    course = models.ForeignKey(Course, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=8, choices=ConversationKind, default=ConversationKind.CHAT)
    title = models.CharField(max_length=200, blank=True)
    # The thread it was turned into.
    thread = models.ForeignKey(Thread, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_message_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ["-last_message_at", "-id"]
        constraints = [one_of("kind", ConversationKind, "conversation")]
        indexes = [
            models.Index(fields=["user", "course", "-last_message_at", "-id"], name="conversation_listing"),
            models.Index(fields=["created_at"], name="conversation_previews", condition=Q(kind="preview")),
        ]

    def __str__(self) -> str:
        return f"Conversation {str(self.pk)[-6:]}"


class Speaker(models.TextChoices):
    PERSON = "person", "Person"
    MACHINE = "machine", "Machine"


class MessageState(models.TextChoices):
    QUEUED = "queued", "Waiting"
    WRITING = "writing", "Writing"
    DONE = "done", "Done"
    STOPPED = "stopped", "Stopped"
    ABSTAINED = "abstained", "No answer in the materials"
    FAILED = "failed", "Failed"


# Somebody waits for more of these.
WAITED_FOR = (MessageState.QUEUED, MessageState.WRITING)


class Message(Tenanted):
    """One thing said. While the machine writes, `body` grows by whole statements, each with its quotations checked."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    position = models.PositiveIntegerField()
    speaker = models.CharField(max_length=8, choices=Speaker)
    state = models.CharField(max_length=10, choices=MessageState, default=MessageState.DONE)
    body = models.TextField(blank=True)
    body_html = models.TextField(blank=True, editable=False)
    # Who spoke, and whether it runs elsewhere: then what was asked has left this server.
    engine = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=80, blank=True)
    is_remote = models.BooleanField(default=False)
    # An assignment is under embargo: it only points at the reading.
    is_hint = models.BooleanField(default=False)
    # The person pressed stop; whoever writes looks at it between statements.
    stop_asked_at = models.DateTimeField(null=True, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0)
    error_code = models.CharField(max_length=80, blank=True)
    confidence = models.FloatField(null=True, blank=True)
    unsupported_count = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["conversation", "position"]
        constraints = [
            models.UniqueConstraint(fields=["conversation", "position"], name="message_position_unique"),
            one_of("speaker", Speaker, "message"),
            one_of("state", MessageState, "message"),
            models.CheckConstraint(condition=~Q(speaker="person") | Q(state="done"), name="message_of_person_is_done"),
        ]

    def __str__(self) -> str:
        return f"message {self.position}"

    @property
    def is_pending(self) -> bool:
        return self.state in WAITED_FOR


class SummaryState(models.TextChoices):
    QUEUED = "queued", "Waiting"
    WRITING = "writing", "Writing"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


class ThreadSummary(Tenanted):
    """What a long thread says so far, in a few points, from what every student of the course may read in it.

    `digest` names the texts it was made from: a changed text makes it out of date.
    """

    thread = models.OneToOneField(Thread, models.CASCADE, related_name="summary")
    state = models.CharField(max_length=8, choices=SummaryState, default=SummaryState.QUEUED)
    engine = models.CharField(max_length=40, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    error_code = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ThreadSummaryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "thread summaries"
        constraints = [one_of("state", SummaryState, "thread_summary")]

    def __str__(self) -> str:
        return f"Summary of {self.thread_id}"


class SummaryPoint(Tenanted):
    """One point of a summary, with the exact words of the post (or of the question: no post) it comes from."""

    summary = models.ForeignKey(ThreadSummary, models.CASCADE, related_name="points")
    number = models.PositiveSmallIntegerField()
    text = models.TextField()
    post = models.ForeignKey(Post, models.CASCADE, null=True, blank=True, related_name="+")
    quote = models.TextField()

    objects = SummaryPointQuerySet.as_manager()

    class Meta:
        ordering = ["summary", "number"]
        constraints = [models.UniqueConstraint(fields=["summary", "number"], name="summary_point_unique")]

    def __str__(self) -> str:
        return f"point {self.number}"
