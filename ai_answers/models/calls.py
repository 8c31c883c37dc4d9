"""The ledger: what was asked of an engine, what it may cost, what it cost, and what left this server for it."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Course, Tenanted, User, one_of
from ai_answers.models.answers import Answer
from ai_answers.querysets import DisclosureQuerySet, ModelCallQuerySet


class Purpose(models.TextChoices):
    """What an engine is asked for."""

    ANSWER = "answer", "Answer to a thread"
    CONVERSATION = "conversation", "Private conversation"
    PREVIEW = "preview", "Preview before posting"
    SUMMARY = "summary", "Summary of a thread"
    EMBEDDING = "embedding", "Embedding"
    EVALUATION = "evaluation", "Evaluation"


class CallOutcome(models.TextChoices):
    # It is going on, or the process died: what was reserved counts as spent until it is settled.
    RESERVED = "reserved", "Going on"
    ANSWERED = "answered", "Answered"
    ABSTAINED = "abstained", "Abstained"
    REFUSED = "refused", "Quotation not in the source"
    STOPPED = "stopped", "Stopped by the person"
    ERROR = "error", "Error"


class ModelCall(Tenanted):
    """One row per call of an engine, with what it cost. Costs are in millionths of a US dollar (micros)."""

    answer = models.ForeignKey(Answer, models.SET_NULL, null=True, blank=True, related_name="calls")
    course = models.ForeignKey(Course, models.SET_NULL, null=True, blank=True, related_name="+")
    # Who asked. Staff and admin see sums, never whose call it was: an anonymous asker would be known by it.
    user = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    purpose = models.CharField(max_length=12, choices=Purpose, default=Purpose.ANSWER)
    engine = models.CharField(max_length=40)
    model = models.CharField(max_length=80, blank=True)
    prompt = models.CharField(max_length=40, blank=True)
    outcome = models.CharField(max_length=10, choices=CallOutcome)
    # The class of the error, or the reason of an abstention; never a text.
    reason = models.CharField(max_length=80, blank=True)
    attempts = models.PositiveSmallIntegerField(default=1)
    passages = models.PositiveSmallIntegerField(default=0)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    # The most it could cost, set aside before the call.
    reserved_micros = models.PositiveBigIntegerField(default=0)
    cost_micros = models.PositiveBigIntegerField(default=0)
    duration_ms = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = ModelCallQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [one_of("outcome", CallOutcome, "model_call"), one_of("purpose", Purpose, "model_call")]
        indexes = [
            models.Index(fields=["institution", "-created_at", "-id"], name="model_call_by_institution"),
            models.Index(fields=["course", "-created_at", "-id"], name="model_call_by_course"),
            models.Index(fields=["created_at"], name="model_call_unsettled", condition=Q(outcome="reserved")),
        ]

    def __str__(self) -> str:
        return f"{self.engine} {self.outcome}"


class SpendingScope(models.TextChoices):
    INSTITUTION = "institution", "Institution"
    COURSE = "course", "Course"
    USER = "user", "Person"


class Spending(Tenanted):
    """What an institution, a course or a person has spent and set aside on one day (UTC); locked before each call.

    `scope_id` is the key of that institution, course or person.
    """

    scope = models.CharField(max_length=12, choices=SpendingScope)
    scope_id = models.UUIDField()
    day = models.DateField()
    spent_micros = models.PositiveBigIntegerField(default=0)
    reserved_micros = models.PositiveBigIntegerField(default=0)
    calls = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-day", "scope", "id"]
        verbose_name_plural = "spending"
        constraints = [
            models.UniqueConstraint(fields=["scope", "scope_id", "day"], name="spending_account_unique"),
            one_of("scope", SpendingScope, "spending"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} on {self.day}"


class ModelPrice(Tenanted):
    """What a model costs, in micros per million tokens, from a day on. A model without a price isn't called."""

    engine = models.CharField(max_length=40)
    model = models.CharField(max_length=80)
    input_micros = models.PositiveBigIntegerField("micros per million tokens read")
    output_micros = models.PositiveBigIntegerField("micros per million tokens written")
    valid_from = models.DateField()

    class Meta:
        ordering = ["engine", "model", "-valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["institution", "engine", "model", "valid_from"], name="model_price_unique")
        ]

    def __str__(self) -> str:
        return f"{self.engine} {self.model}"


class Disclosure(Tenanted):
    """Exactly what text left this server, to whom, for whom, when."""

    call = models.ForeignKey(ModelCall, models.CASCADE, related_name="disclosures")
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="ai_disclosures")
    course = models.ForeignKey(Course, models.SET_NULL, null=True, related_name="+")
    provider = models.CharField(max_length=80)
    model = models.CharField(max_length=80)
    text = models.TextField()
    sent_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = DisclosureQuerySet.as_manager()

    class Meta:
        ordering = ["-sent_at", "-id"]
        indexes = [models.Index(fields=["user", "-sent_at", "-id"], name="disclosure_by_user")]

    def __str__(self) -> str:
        return f"{self.provider} {self.sent_at:%Y-%m-%d}"
