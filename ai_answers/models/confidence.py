"""How sure an answer is, as a probability that staff would endorse it."""

from django.db import models
from django.utils import timezone

from accounts.models import Course, Tenanted, one_of
from ai_answers.querysets import CalibrationQuerySet


class CalibrationMethod(models.TextChoices):
    PRIOR = "prior", "Prior (nobody has judged an answer yet)"
    PLATT = "platt", "Platt scaling"
    ISOTONIC = "isotonic", "Isotonic regression"


class Calibration(Tenanted):
    """What turns the features of an answer into a probability: fitted on what people of the course, or the institution, judged.

    `parameters` hold all of it, so that an answer's probability can be told again. `judged` answers were fitted on, of which
    `endorsed`; `brier` and `calibration_error` (both 0-1) were measured on those held out.
    """

    course = models.ForeignKey(Course, models.CASCADE, null=True, blank=True, related_name="calibrations")
    method = models.CharField(max_length=10, choices=CalibrationMethod)
    parameters = models.JSONField(default=dict)
    judged = models.PositiveIntegerField(default=0)
    endorsed = models.PositiveIntegerField(default=0)
    brier = models.FloatField(null=True, blank=True)
    calibration_error = models.FloatField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CalibrationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [one_of("method", CalibrationMethod, "calibration")]
        indexes = [models.Index(fields=["course", "-created_at", "-id"], name="calibration_by_course")]

    def __str__(self) -> str:
        return f"{self.get_method_display()} from {self.judged}"
