"""Questions of a course whose right answer is known, for evaluation."""

from django.db import transaction

from accounts.access import Member
from accounts.models import Role, User
from ai_answers.models import SHOWN, Answer, EvaluationCase, Expectation
from forum.models import Thread


@transaction.atomic
def keep_as_case(answer: Answer) -> EvaluationCase | None:
    """Let an endorsed answer be a case: its question, and where its first quotation stands. Keeping it twice keeps it once.

    None, and no case any more, for one that isn't endorsed or quotes nothing, and for a question not everybody in the
    course may read: a case is for its staff, without who asked.
    """
    answer = (
        Answer.objects.select_for_update(of=("self",), no_key=True).select_related("thread__course").get(pk=answer.pk)
    )
    citation = answer.citations.order_by("number").first()
    thread = answer.thread
    fits = answer.is_current and answer.status in SHOWN and answer.endorsement_count > 0
    # Somebody without rows of their own: what they may read, everybody in the course may.
    anybody = Member(User(institution_id=thread.institution_id), thread.course, Role.STUDENT)
    is_public = Thread.objects.visible_to(anybody).filter(pk=thread.pk).exists()
    if not fits or citation is None or not is_public:
        EvaluationCase.objects.filter(answer=answer).delete()
        return None
    case, _ = EvaluationCase.objects.update_or_create(
        answer=answer,
        defaults={
            "institution_id": answer.institution_id, "course_id": thread.course_id, "title": thread.title,
            "body": thread.body, "expected": Expectation.ANSWER, "version_id": citation.version_id,
            "start": citation.start, "end": citation.end,
        },
    )  # fmt: skip
    return case
