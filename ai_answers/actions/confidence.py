"""Learning from what people judged how sure an answer is."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import F

from accounts.access import Member, Refused, require_staff, require_writer
from accounts.actions import audit
from accounts.models import Course, Institution
from ai_answers import confidence
from ai_answers.models import Answer, Calibration, CalibrationMethod

# So many judgements, and so many of either kind, before a calibration is fitted.
MIN_JUDGED = 50
MIN_EACH = 5
# With fewer judgements, isotonic regression follows chance (Niculescu-Mizil and Caruana, 2005).
ISOTONIC_FROM = 1000
FOLDS = 5


def calibration_for(course: Course) -> Calibration | None:
    """Return the newest calibration of the course, else of its institution, else None: the prior. One query."""
    rows = Calibration.objects.for_course(course)
    return rows.order_by(F("course").asc(nulls_last=True), "-created_at", "-pk").first()


def probability_of(found: dict[str, float], calibration: Calibration | None) -> float:
    """Return the probability that staff would endorse an answer with these features."""
    method = calibration.method if calibration else CalibrationMethod.PRIOR
    return confidence.probability(confidence.score(found), method, calibration.parameters if calibration else {})


def refit_course(*, by: Member) -> Calibration:
    """Fit the calibration of the member's course now. Raises `Refused` while there is too little to learn from."""
    require_staff(by)
    require_writer(by)
    fitted = _fit(by.course.institution, by.course)
    if fitted is None:
        judged = Answer.objects.judged().filter(thread__course=by.course).count()
        raise Refused(
            f"There is too little to learn from yet: {judged} judged answers, of {MIN_JUDGED} with at least {MIN_EACH} "
            "good and bad ones each."
        )
    audit("calibration.fitted", fitted, by=by.user, course=by.course)
    return fitted


def refit_all() -> int:
    """Fit every institution and course with enough judgements; return how many were fitted. Safe to run again."""
    count = 0
    for institution in Institution.objects.order_by("pk"):
        courses = Course.objects.filter(
            institution=institution, pk__in=Answer.objects.judged().values("thread__course")
        )
        for course in [None, *courses.order_by("pk")]:
            count += _fit(institution, course) is not None
    return count


@transaction.atomic
def _fit(institution: Institution, course: Course | None) -> Calibration | None:
    """Fit a calibration of a course, or of all of an institution; None when too little was judged.

    Brier score, calibration error and reliability diagram are measured on answers held out: each fold by a calibration
    fitted on the others.
    """
    rows = Answer.objects.filter(institution=institution)
    if course is not None:
        rows = rows.filter(thread__course=course)
    judged = rows.judgements()
    scores = [confidence.score(found) for found, _ in judged]
    outcomes = [good for _, good in judged]
    good = sum(outcomes)
    if len(judged) < MIN_JUDGED or min(good, len(judged) - good) < MIN_EACH:
        return None
    method = CalibrationMethod.ISOTONIC if len(judged) >= ISOTONIC_FROM else CalibrationMethod.PLATT
    held_out = _held_out(scores, outcomes, method)
    bins = confidence.reliability(held_out, outcomes)
    parameters = _parameters(scores, outcomes, method)
    parameters["reliability"] = [[row.start, row.end, row.count, row.said, row.true] for row in bins]
    return Calibration.objects.create(
        institution=institution,
        course=course,
        method=method,
        parameters=parameters,
        judged=len(judged),
        endorsed=good,
        brier=confidence.brier(held_out, outcomes),
        calibration_error=confidence.calibration_error(bins),
    )


def _held_out(scores: Sequence[float], outcomes: Sequence[bool], method: str) -> list[float]:
    """Return for each score the probability by a calibration that hasn't seen it."""
    from sklearn.model_selection import StratifiedKFold  # it takes a second to import, and only this needs it

    found = [0.0] * len(scores)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(scores, outcomes):
        parameters = _parameters([scores[i] for i in train], [outcomes[i] for i in train], method)
        for i in test:
            found[i] = confidence.probability(scores[i], method, parameters)
    return found


def _parameters(scores: Sequence[float], outcomes: Sequence[bool], method: str) -> dict[str, Any]:
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    if method == CalibrationMethod.ISOTONIC:
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, outcomes)
        return {
            "scores": [float(x) for x in curve.X_thresholds_],
            "probabilities": [float(y) for y in curve.y_thresholds_],
        }
    # Its regularisation holds the curve back while there is little to learn from.
    line = LogisticRegression().fit([[value] for value in scores], outcomes)
    return {"slope": float(line.coef_[0][0]), "offset": float(line.intercept_[0])}
