"""What the machine said to a question, what it quoted, and what people made of it."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Role, Tenanted, User, one_of
from ai_answers.confidence import MEANING, Level, level
from ai_answers.models.confidence import Calibration
from ai_answers.models.materials import MaterialVersion, Passage, source_url
from ai_answers.querysets import AnswerFeedbackQuerySet, AnswerQuerySet, CitationQuerySet
from forum.models import Thread


class AnswerStatus(models.TextChoices):
    QUEUED = "queued", "Waiting"
    GENERATING = "generating", "Reading the materials"
    DRAFT = "draft", "Waiting for staff"
    PUBLISHED = "published", "Published"
    ABSTAINED = "abstained", "No answer in the materials"
    FAILED = "failed", "Failed"
    ENDORSED = "endorsed", "Endorsed"
    EDITED = "edited", "Edited by staff"
    WITHDRAWN = "withdrawn", "Withdrawn"
    SUPERSEDED = "superseded", "Replaced by a newer one"


# Somebody may read these on the thread's page.
SHOWN = (AnswerStatus.PUBLISHED, AnswerStatus.ENDORSED, AnswerStatus.EDITED)
PENDING = (AnswerStatus.QUEUED, AnswerStatus.GENERATING)
# What may become of an answer; the database refuses every other change (migration 0006). An answer is endorsed while
# anybody's endorsement stands under it.
NEXT: dict[AnswerStatus, tuple[AnswerStatus, ...]] = {
    AnswerStatus.QUEUED: (AnswerStatus.GENERATING, AnswerStatus.FAILED, AnswerStatus.SUPERSEDED),
    AnswerStatus.GENERATING: (
        AnswerStatus.QUEUED, AnswerStatus.DRAFT, AnswerStatus.PUBLISHED, AnswerStatus.ABSTAINED, AnswerStatus.FAILED,
        AnswerStatus.SUPERSEDED,
    ),
    AnswerStatus.DRAFT: (
        AnswerStatus.PUBLISHED, AnswerStatus.ENDORSED, AnswerStatus.EDITED, AnswerStatus.WITHDRAWN,
        AnswerStatus.SUPERSEDED,
    ),
    AnswerStatus.PUBLISHED: (
        AnswerStatus.ENDORSED, AnswerStatus.EDITED, AnswerStatus.WITHDRAWN, AnswerStatus.SUPERSEDED,
    ),
    AnswerStatus.ENDORSED: (
        AnswerStatus.PUBLISHED, AnswerStatus.EDITED, AnswerStatus.WITHDRAWN, AnswerStatus.SUPERSEDED,
    ),
    AnswerStatus.EDITED: (AnswerStatus.ENDORSED, AnswerStatus.WITHDRAWN, AnswerStatus.SUPERSEDED),
    AnswerStatus.ABSTAINED: (AnswerStatus.QUEUED, AnswerStatus.SUPERSEDED),
    AnswerStatus.FAILED: (AnswerStatus.QUEUED, AnswerStatus.SUPERSEDED),
    AnswerStatus.WITHDRAWN: (AnswerStatus.SUPERSEDED,),
    AnswerStatus.SUPERSEDED: (),
}  # fmt: skip


class WithdrawalReason(models.TextChoices):
    NONE = "", "not withdrawn"
    STAFF = "staff", "Staff took it back"
    WRONG = "wrong", "It was wrong"
    OFF_TOPIC = "off_topic", "It answered something else"
    SOLUTION = "solution", "It gave away too much of an assignment"
    SOURCE_CHANGED = "source_changed", "A source no longer says what it quoted"
    SOURCE_DELETED = "source_deleted", "A source was removed"


# What a member of staff may give as theirs. All of them say that the answer was no good.
STAFF_REASONS = (
    WithdrawalReason.WRONG, WithdrawalReason.OFF_TOPIC, WithdrawalReason.SOLUTION, WithdrawalReason.STAFF,
)  # fmt: skip
SOURCE_REASONS = (WithdrawalReason.SOURCE_CHANGED, WithdrawalReason.SOURCE_DELETED)


class Answer(Tenanted):
    """What the machine said to one question, or that it didn't. A thread has one current answer and the ones before it."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="ai_answers")
    # True, or empty for one that was replaced: a thread has only one of the former.
    is_current = models.BooleanField(null=True, default=True, editable=False)
    status = models.CharField(max_length=10, choices=AnswerStatus, default=AnswerStatus.QUEUED)
    engine = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=80, blank=True)
    # The version of the instructions it was written under (`ai_answers/engines/prompts`).
    prompt = models.CharField(max_length=40, blank=True)
    # While an assignment is under embargo, an answer only points at the reading.
    is_hint = models.BooleanField(default=False)
    # Markdown with `[n]` markers; each n is the number of a citation. What is shown, after an edit the edited text.
    body = models.TextField(blank=True)
    body_html = models.TextField(blank=True, editable=False)
    # What the machine had written, once staff have edited it, and how far theirs is from it: 0 the same, 1 nothing kept.
    original_body = models.TextField(blank=True, editable=False)
    edit_distance = models.FloatField(null=True, blank=True, editable=False)
    edited_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    edited_at = models.DateTimeField(null=True, blank=True)
    # Sentences that no quotation stands behind, and statements left out because their quotation isn't in the source.
    unsupported_count = models.PositiveSmallIntegerField(default=0)
    dropped_count = models.PositiveSmallIntegerField(default=0)
    # The probability, from 0 to 1, that staff would endorse it; from which features, by which calibration.
    confidence = models.FloatField(null=True, blank=True)
    features = models.JSONField(default=dict, blank=True)
    calibration = models.ForeignKey(Calibration, models.SET_NULL, null=True, blank=True, related_name="+")
    attempts = models.PositiveIntegerField(default=0)
    # The class of the last error, never its text: that may quote what somebody wrote.
    error_code = models.CharField(max_length=80, blank=True)
    withdrawal_reason = models.CharField(max_length=20, choices=WithdrawalReason, default="", blank=True)
    withdrawn_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    # Kept by triggers.
    endorsement_count = models.PositiveIntegerField(default=0, editable=False)
    helpful_count = models.PositiveIntegerField(default=0, editable=False)
    unhelpful_count = models.PositiveIntegerField(default=0, editable=False)
    # The words of the answer and of its quotations; kept by a trigger, too.
    search = SearchVectorField(null=True, editable=False)

    objects = AnswerQuerySet.as_manager()

    # Set by `judged()`.
    was_good: bool

    class Meta:
        ordering = ["-queued_at", "-id"]
        constraints = [
            # Checked at the end of a statement, so that one can swap the answers of two threads.
            models.UniqueConstraint(
                fields=["thread", "is_current"],
                name="answer_one_current_per_thread",
                deferrable=models.Deferrable.IMMEDIATE,
            ),
            models.CheckConstraint(
                condition=Q(is_current=True) & ~Q(status="superseded") | Q(is_current=None, status="superseded"),
                name="answer_current_unless_superseded",
            ),
            models.CheckConstraint(
                condition=Q(confidence=None) | Q(confidence__gte=0, confidence__lte=1), name="answer_confidence_range"
            ),
            models.CheckConstraint(
                condition=Q(edit_distance=None) | Q(edit_distance__gte=0, edit_distance__lte=1),
                name="answer_edit_distance_range",
            ),
            models.CheckConstraint(
                condition=~Q(status="withdrawn") | ~Q(withdrawal_reason=""), name="answer_withdrawn_for_a_reason"
            ),
            one_of("withdrawal_reason", WithdrawalReason, "answer"),
            one_of("status", AnswerStatus, "answer"),
        ]
        indexes = [
            models.Index(fields=["status", "-queued_at", "-id"], name="answer_by_status"),
            GinIndex(fields=["search"], name="answer_search"),
        ]

    def __str__(self) -> str:
        return f"Answer ({self.get_status_display()})"

    @property
    def is_pending(self) -> bool:
        return self.status in PENDING

    @property
    def is_shown(self) -> bool:
        """True when whoever may read the thread may read it."""
        return self.status in SHOWN

    @property
    def level(self) -> Level | None:
        """High, medium or low; None where there is no probability."""
        return None if self.confidence is None else level(self.confidence)

    @property
    def meaning(self) -> str:
        """Say what the level means, in half a sentence."""
        return MEANING[self.level] if self.level else ""


class Citation(Tenanted):
    """An exact quotation: the characters `start` to `end` of a version. The database refuses any other (trigger).

    It stands in an answer or in a message of a conversation.
    """

    answer = models.ForeignKey(Answer, models.CASCADE, null=True, blank=True, related_name="citations")
    message = models.ForeignKey("ai_answers.Message", models.CASCADE, null=True, blank=True, related_name="citations")
    number = models.PositiveSmallIntegerField()
    version = models.ForeignKey(MaterialVersion, models.CASCADE, related_name="citations")
    passage = models.ForeignKey(Passage, models.SET_NULL, null=True, related_name="+")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    quote = models.TextField()

    objects = CitationQuerySet.as_manager()

    # Set by `with_source()`.
    source_text: str

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["answer", "number"], name="citation_number_unique"),
            models.UniqueConstraint(fields=["message", "number"], name="citation_message_number_unique"),
            models.CheckConstraint(
                condition=Q(answer__isnull=False, message=None) | Q(answer=None, message__isnull=False),
                name="citation_in_one_place",
            ),
            models.CheckConstraint(
                condition=Q(start__lt=F("end")) & Q(quote__length=F("end") - F("start")), name="citation_offsets_fit"
            ),
        ]

    def __str__(self) -> str:
        return f"[{self.number}]"

    def source_url(self, slug: str) -> str:
        """Return the address of the quotation in its source, in the course `slug`."""
        return source_url(slug, self.version, self.start, self.end)


class AnswerEndorsement(Tenanted):
    """A member of staff puts their name, and the role they have now, under an answer of the machine."""

    answer = models.ForeignKey(Answer, models.CASCADE, related_name="endorsements")
    endorser = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["answer", "endorser"], name="answer_endorsement_once"),
            one_of("role", Role, "answer_endorsement"),
        ]

    def __str__(self) -> str:
        return f"Endorsement {str(self.pk)[-6:]}"


class FeedbackReason(models.TextChoices):
    NONE = "", "no reason"
    WRONG = "wrong", "It is wrong"
    OFF_TOPIC = "off_topic", "It answers something else"
    UNCLEAR = "unclear", "I don't understand it"
    INCOMPLETE = "incomplete", "Something is missing"


class AnswerFeedback(Tenanted):
    """What one reader thinks of an answer; staff see how many, not who."""

    answer = models.ForeignKey(Answer, models.CASCADE, related_name="feedback")
    reader = models.ForeignKey(User, models.CASCADE, related_name="+")
    # Empty for somebody who only asks for a person.
    is_helpful = models.BooleanField(null=True)
    reason = models.CharField(max_length=12, choices=FeedbackReason, default="", blank=True)
    comment = models.CharField(max_length=500, blank=True)
    wants_person = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AnswerFeedbackQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["answer", "reader"], name="answer_feedback_once"),
            models.CheckConstraint(
                condition=Q(is_helpful__isnull=False) | Q(wants_person=True), name="answer_feedback_says_something"
            ),
            one_of("reason", FeedbackReason, "answer_feedback"),
        ]

    def __str__(self) -> str:
        return f"Feedback {str(self.pk)[-6:]}"
