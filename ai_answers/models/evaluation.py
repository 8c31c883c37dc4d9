"""Questions whose right answer is known, and how the machine did on them."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Course, Tenanted, one_of
from ai_answers.models.answers import Answer
from ai_answers.models.materials import MaterialVersion
from ai_answers.querysets import EvaluationCaseQuerySet, EvaluationRunQuerySet


class Expectation(models.TextChoices):
    ANSWER = "answer", "The materials answer it"
    ABSTAIN = "abstain", "The materials don't say"


class EvaluationCase(Tenanted):
    """A question of a course and what is right: the characters `start` to `end` of a version, or an abstention.

    An endorsed answer becomes one by itself (`answer`).
    """

    course = models.ForeignKey(Course, models.CASCADE, related_name="evaluation_cases")
    answer = models.OneToOneField(Answer, models.CASCADE, null=True, blank=True, related_name="evaluation_case")
    title = models.CharField(max_length=200)
    body = models.TextField(blank=True)
    expected = models.CharField(max_length=8, choices=Expectation, default=Expectation.ANSWER)
    version = models.ForeignKey(MaterialVersion, models.CASCADE, null=True, blank=True, related_name="+")
    start = models.PositiveIntegerField(default=0)
    end = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = EvaluationCaseQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            one_of("expected", Expectation, "evaluation_case"),
            models.CheckConstraint(
                condition=Q(expected="abstain") | Q(version__isnull=False), name="evaluation_case_has_its_source"
            ),
        ]

    def __str__(self) -> str:
        return f"Case {str(self.pk)[-6:]}"


class EvaluationRun(Tenanted):
    """How one engine did on one set of questions. `metrics` are named as docs/evaluation.md defines them."""

    course = models.ForeignKey(Course, models.CASCADE, null=True, blank=True, related_name="evaluation_runs")
    dataset = models.CharField(max_length=80)
    engine = models.CharField(max_length=40)
    model = models.CharField(max_length=80, blank=True)
    questions = models.PositiveIntegerField()
    metrics = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = EvaluationRunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["dataset", "-created_at", "-id"], name="evaluation_by_dataset")]

    def __str__(self) -> str:
        return f"{self.dataset} by {self.engine}"
