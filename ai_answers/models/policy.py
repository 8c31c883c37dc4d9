"""What an institution, a course and a person allow the machine."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Course, Institution, Tenanted, User, one_of
from ai_answers.querysets import AIConsentQuerySet


class AnswerMode(models.TextChoices):
    OFF = "off", "Off"
    DRAFT = "draft", "Write drafts, which staff publish"
    PUBLISH = "publish", "Publish, marked as not reviewed"


class EngineName(models.TextChoices):
    DEFAULT = "", "As the institution chose"
    EXTRACTIVE = "extractive", "Quotations only (on this server)"
    OPENAI = "openai", "OpenAI-compatible model"
    ANTHROPIC = "anthropic", "Anthropic model"


_SHARE = [MinValueValidator(0.0), MaxValueValidator(1.0)]


class InstitutionAI(Tenanted):
    """What holds for every course of an institution. Caps are per day (UTC), in millionths of a US dollar."""

    institution = models.OneToOneField(Institution, models.CASCADE, related_name="ai")
    engine = models.CharField(max_length=12, choices=EngineName, default=EngineName.EXTRACTIVE)
    daily_cap_micros = models.PositiveBigIntegerField(default=20_000_000)
    course_daily_cap_micros = models.PositiveBigIntegerField(default=5_000_000)
    user_daily_cap_micros = models.PositiveBigIntegerField(default=500_000)
    asks_per_hour = models.PositiveIntegerField(default=10)

    class Meta:
        verbose_name = verbose_name_plural = "AI of institutions"
        constraints = [one_of("engine", EngineName, "institution_ai")]

    def __str__(self) -> str:
        return f"AI of {self.institution_id}"


class CourseAI(Tenanted):
    """What a course lets the machine do. An answer is published from `publish_from`, abstained from below `draft_from`.

    Between the two it waits for staff as a draft. Both are probabilities that staff would endorse it.
    """

    course = models.OneToOneField(Course, models.CASCADE, related_name="ai")
    mode = models.CharField(max_length=8, choices=AnswerMode, default=AnswerMode.PUBLISH)
    engine = models.CharField(max_length=12, choices=EngineName, default=EngineName.DEFAULT, blank=True)
    publish_from = models.FloatField(default=0.5, validators=_SHARE)
    draft_from = models.FloatField(default=0.25, validators=_SHARE)
    # Empty: the institution's.
    daily_cap_micros = models.PositiveBigIntegerField(null=True, blank=True)
    conversations = models.BooleanField("private conversations", default=True)
    previews = models.BooleanField("an answer before posting", default=True)

    class Meta:
        verbose_name = verbose_name_plural = "AI of courses"
        constraints = [
            one_of("mode", AnswerMode, "course_ai"),
            one_of("engine", EngineName, "course_ai"),
            models.CheckConstraint(
                condition=Q(draft_from__gte=0, publish_from__lte=1, draft_from__lte=F("publish_from")),
                name="course_ai_thresholds_in_order",
            ),
        ]

    def __str__(self) -> str:
        return f"AI of {self.course_id}"


class AIConsent(Tenanted):
    """Whether a person lets what they write go to a model of somebody else. Without a row they haven't been asked."""

    user = models.OneToOneField(User, models.CASCADE, related_name="ai_consent")
    is_given = models.BooleanField()
    changed_at = models.DateTimeField(default=timezone.now)

    objects = AIConsentQuerySet.as_manager()

    class Meta:
        verbose_name = "AI consent"

    def __str__(self) -> str:
        return "given" if self.is_given else "refused"
