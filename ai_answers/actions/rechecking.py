"""When a source changes: every quotation of it is looked for again, and answers whose quotation is gone withdraw themselves."""

import uuid

from django.db import transaction

from accounts.access import Refused
from ai_answers.actions.answers import lock_answer, regenerate_answer
from ai_answers.actions.reviewing import withdraw_locked
from ai_answers.citations import locate
from ai_answers.engines import Quote
from ai_answers.models import (
    SOURCE_REASONS,
    Answer,
    AnswerStatus,
    Citation,
    Material,
    MaterialVersion,
    Passage,
    WithdrawalReason,
)
from quokkaq.lib.jobs import enqueue

RECHECK_TASK = "ai_answers.recheck_material"
REWRITE_TASK = "ai_answers.rewrite_answer"
# What staff have said nothing about yet, and so may be written anew when an embargo ends.
_UNTOUCHED = (AnswerStatus.PUBLISHED, AnswerStatus.DRAFT, AnswerStatus.ABSTAINED)
# So many hints become answers at once; the next round takes the next.
HINTS_PER_ROUND = 50


def enqueue_recheck(*, material: Material) -> None:
    """Have every answer that quotes the material checked, if the transaction commits that changed or deleted it."""
    enqueue(
        RECHECK_TASK, of=material.institution_id, queue="rechecking", lock=f"recheck:{material.pk}",
        material_id=str(material.pk),
    )  # fmt: skip


def recheck_material(material_id: uuid.UUID) -> int:
    """Check the answers that quote a material against its newest version; return how many were withdrawn.

    Each answer in a transaction of its own: cut off anywhere, another run does the rest and leaves the done ones alone.
    Quotations in private conversations stay as they are: they lead to the version they were taken from.
    """
    material = Material.objects.select_related("current_version").filter(pk=material_id).first()
    if material is None:
        return 0
    keys = list(Answer.objects.citing(material).order_by("pk").values_list("pk", flat=True))
    return sum(_recheck(Answer(pk=key), material) for key in keys)


@transaction.atomic
def _recheck(answer: Answer, material: Material) -> bool:
    """Move the answer's quotations to the newest version, or withdraw it; tell whether it was withdrawn."""
    answer = lock_answer(answer)
    if not Answer.objects.citing(material).filter(pk=answer.pk).exists():
        return False  # something else happened to it meanwhile
    version = None if material.deleted_at else material.current_version
    old = answer.citations.filter(version__material=material).exclude(version=version)
    for citation in old.select_for_update(of=("self",)):
        if version is None or not _move(citation, version):
            gone = version is None
            reason = WithdrawalReason.SOURCE_DELETED if gone else WithdrawalReason.SOURCE_CHANGED
            withdraw_locked(answer, reason, by=None)
            enqueue(
                REWRITE_TASK, of=answer.institution_id, queue="rechecking", lock=f"answer:{answer.pk}",
                answer_id=str(answer.pk),
            )  # fmt: skip
            return True
    return False


def _move(citation: Citation, version: MaterialVersion) -> bool:
    """Let a quotation point at the same words, white space aside, in another version; tell whether they stand there."""
    claim = locate(Quote(1, citation.quote), [Passage(version=version, start=0, text=version.text)])
    if claim is None:
        return False
    citation.version, citation.start, citation.end, citation.quote = version, claim.start, claim.end, claim.quote
    around = Passage.objects.filter(version=version, start__lt=claim.end, end__gt=claim.start)
    citation.passage = around.order_by("position").first()
    citation.save(update_fields=["version", "passage", "start", "end", "quote"])
    return True


def rewrite_answer(answer_id: uuid.UUID) -> None:
    """Have an answer that lost its source written anew, if it still stands withdrawn and the course wants answers."""
    answer = Answer.objects.current().filter(pk=answer_id, status=AnswerStatus.WITHDRAWN).first()
    if answer is not None and answer.withdrawal_reason in SOURCE_REASONS:
        _regenerate(answer)


def replace_hints() -> int:
    """Have hints written as answers whose assignment is under no embargo any more; return how many.

    What staff endorsed or edited stays: it is theirs.
    """
    rows = Answer.objects.current().filter(is_hint=True, status__in=_UNTOUCHED)
    rows = rows.under_no_embargo().exclude(thread__course__ai__mode="off")
    return sum(_regenerate(answer) for answer in rows.order_by("queued_at", "pk")[:HINTS_PER_ROUND])


@transaction.atomic
def _regenerate(answer: Answer) -> bool:
    answer = lock_answer(answer)
    if not answer.is_current or answer.is_pending:
        return False
    try:
        regenerate_answer(by=None, answer=answer)
    except Refused:  # switched off
        return False
    return True
