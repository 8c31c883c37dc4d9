"""What readers say about an answer. It stands nowhere under their name, so no audit row tells it either."""

from django.core.exceptions import PermissionDenied
from django.db import transaction

from accounts.access import Member
from ai_answers import access
from ai_answers.actions.answers import lock_answer
from ai_answers.models import Answer, AnswerFeedback, FeedbackReason


@transaction.atomic
def give_feedback(
    *, by: Member, answer: Answer, helpful: bool | None, reason: FeedbackReason = FeedbackReason.NONE, comment: str = ""
) -> None:
    """Say whether an answer helps, or (None) take that back. One opinion per person: a new one replaces the old."""
    row = _row(by, answer)
    row.is_helpful = helpful
    row.reason, row.comment = (reason, comment) if helpful is False else (FeedbackReason.NONE, "")
    _keep(row)


@transaction.atomic
def ask_person(*, by: Member, answer: Answer, on: bool) -> None:
    """Ask for a person to look at the thread, which puts it in the queue of staff; or take that back."""
    row = _row(by, answer)
    row.wants_person = on
    _keep(row)


def _row(by: Member, answer: Answer) -> AnswerFeedback:
    # The answer's lock keeps two clicks of one person apart.
    answer = lock_answer(answer)
    if not access.may_give_feedback(by, answer):
        raise PermissionDenied
    found = AnswerFeedback.objects.filter(answer=answer, reader=by.user).first()
    return found or AnswerFeedback(institution_id=answer.institution_id, answer=answer, reader=by.user)


def _keep(row: AnswerFeedback) -> None:
    if row.is_helpful is not None or row.wants_person:
        row.save()
    elif not row._state.adding:
        row.delete()
