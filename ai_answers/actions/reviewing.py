"""What staff do with answers of the machine: publish, edit, endorse, withdraw; one, or many at once."""

import uuid
from collections.abc import Callable, Collection, Mapping

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from rapidfuzz.distance import Levenshtein

from accounts.access import Member, Refused
from accounts.actions import audit
from ai_answers import access
from ai_answers.actions.answers import cited_numbers, lock_answer, regenerate_answer, render_answer
from ai_answers.actions.evaluating import keep_as_case
from ai_answers.citations import still_hold
from ai_answers.measures import count_answer
from ai_answers.models import (
    STAFF_REASONS,
    Answer,
    AnswerEndorsement,
    AnswerStatus,
    Citation,
    WithdrawalReason,
)
from ai_answers.passages import split_sentences
from forum.actions import enqueue_telling, refresh_status
from forum.models import NotificationKind
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import ENDORSEMENTS

MAX_BULK = 100
GONE = "A source no longer says what the answer quotes."

Act = Callable[[Member, Answer], None]


@transaction.atomic
def set_answer_endorsement(*, by: Member, answer: Answer, on: bool) -> None:
    """Put one's name as staff under an answer of the machine, or take it away. A draft is published by it.

    Raises `Refused` when a source no longer says what the answer quotes.
    """
    answer = lock_answer(answer)
    if not access.may_endorse(by, answer):
        raise PermissionDenied
    if on:
        _require_sources(answer)
        _, created = AnswerEndorsement.objects.get_or_create(
            answer=answer, endorser=by.user, defaults={"institution_id": answer.institution_id, "role": by.role}
        )
        if created:
            audit("answer.endorsed", answer, by=by.user, course=by.course)
            count(ENDORSEMENTS)
    else:
        gone, _ = AnswerEndorsement.objects.filter(answer=answer, endorser=by.user).delete()
        if gone:
            audit("answer.unendorsed", answer, by=by.user, course=by.course)
    was_draft = answer.status == AnswerStatus.DRAFT
    if AnswerEndorsement.objects.filter(answer=answer).exists():
        status = AnswerStatus.ENDORSED
    elif was_draft:
        status = AnswerStatus.DRAFT
    else:
        status = AnswerStatus.EDITED if answer.edited_at else AnswerStatus.PUBLISHED
    if status != answer.status:
        answer.status = status
        answer.save(update_fields=["status"])
        if was_draft:
            enqueue_telling(NotificationKind.AI_ANSWER, thread=answer.thread, actor=by.user)
    keep_as_case(answer)
    refresh_status(answer.thread)


@transaction.atomic
def publish_answer(*, by: Member, answer: Answer) -> None:
    """Let everybody who may read the thread read a draft, without putting one's name under it."""
    answer = lock_answer(answer)
    if not access.may_publish(by, answer):
        raise PermissionDenied
    _require_sources(answer)
    answer.status = AnswerStatus.PUBLISHED
    answer.save(update_fields=["status"])
    audit("answer.published", answer, by=by.user, course=by.course)
    enqueue_telling(NotificationKind.AI_ANSWER, thread=answer.thread, actor=by.user)


@transaction.atomic
def edit_answer(*, by: Member, answer: Answer, body: str, seen: str) -> None:
    """Replace what the machine wrote by one's own words over the same quotations; a draft is published by it.

    Each `[n]` must be the number of a quotation of the answer. A quotation without its marker isn't shown, but stays, so
    that its marker can be put back. Endorsements go: they stood for another text. The machine's words are kept, and how
    far the new ones are from them.

    Args:
        seen: `edit_token` of the answer the editor had before them.

    Raises `Refused` when the markers don't fit, or somebody else edited it meanwhile.
    """
    answer = lock_answer(answer)
    if not access.may_change(by, answer):
        raise PermissionDenied
    if seen != edit_token(answer):
        raise Refused(
            "Somebody else has changed this answer meanwhile. Your text is still here; compare before you save."
        )
    _require_sources(answer)
    quotes = dict(answer.citations.values_list("number", "quote"))
    check_markers(body, set(quotes))
    was_draft = answer.status == AnswerStatus.DRAFT
    if not answer.edited_at:
        answer.original_body = answer.body
    answer.body = body
    answer.body_html = render_answer(body, max(quotes))
    answer.edit_distance = edit_distance(answer.original_body, body, quotes)
    answer.unsupported_count = unsupported_sentences(body)
    answer.edited_by, answer.edited_at = by.user, timezone.now()
    AnswerEndorsement.objects.filter(answer=answer).delete()
    answer.status = AnswerStatus.EDITED
    answer.save(
        update_fields=[
            "body", "body_html", "original_body", "edit_distance", "unsupported_count", "edited_by", "edited_at",
            "status",
        ]
    )  # fmt: skip
    audit("answer.edited", answer, by=by.user, course=by.course, distance=round(answer.edit_distance, 3))
    refresh_status(answer.thread)
    if was_draft:
        enqueue_telling(NotificationKind.AI_ANSWER, thread=answer.thread, actor=by.user)


def edit_distance(before: str, after: str, quotes: Mapping[int, str]) -> float:
    """Return how far `after` is from `before`, with the quotations each points at: 0 the same, 1 nothing kept.

    The Levenshtein distance over the length of the longer one.
    """
    said = [
        "\n".join([text, *(quotes[n] for n in sorted(cited_numbers(text) & set(quotes)))]) for text in (before, after)
    ]
    return Levenshtein.normalized_distance(*said)


def edit_token(answer: Answer) -> str:
    """Return what tells one state of an answer's text from the next."""
    return answer.edited_at.isoformat() if answer.edited_at else str(answer.pk)


def check_markers(body: str, numbers: set[int]) -> None:
    """Raise `Refused` unless the markers of `body` point at quotations with these numbers, one at least."""
    cited = cited_numbers(body)
    if unknown := sorted(cited - numbers):
        known = ", ".join(f"[{number}]" for number in sorted(numbers))
        raise Refused(f"There is no quotation [{unknown[0]}]. This answer has {known}.")
    if not cited:
        raise Refused("Keep at least one quotation, like [1]. Without any, write a reply instead.")


def unsupported_sentences(body: str) -> int:
    """Return how many sentences of an answer have no marker."""
    sentences = [body[span.start : span.end] for span in split_sentences(body)]
    return sum(1 for text in sentences if any(c.isalnum() for c in text) and not cited_numbers(text))


@transaction.atomic
def withdraw_answer(*, by: Member, answer: Answer, reason: WithdrawalReason) -> None:
    """Take an answer back; the asker is told, and whoever had endorsed it."""
    answer = lock_answer(answer)
    if not access.may_change(by, answer):
        raise PermissionDenied
    if reason not in STAFF_REASONS:
        raise Refused("Say why you take it back.")
    withdraw_locked(answer, reason, by=by)


def withdraw_locked(answer: Answer, reason: WithdrawalReason, *, by: Member | None) -> None:
    """Withdraw a locked answer. `by` is None when its source changed. Somebody who acted isn't told."""
    was_shown = answer.is_shown
    endorsers = [row.endorser for row in answer.endorsements.select_related("endorser") if row.endorser]
    AnswerEndorsement.objects.filter(answer=answer).delete()
    answer.status, answer.withdrawal_reason = AnswerStatus.WITHDRAWN, reason
    answer.withdrawn_by, answer.withdrawn_at = by.user if by else None, timezone.now()
    answer.save(update_fields=["status", "withdrawal_reason", "withdrawn_by", "withdrawn_at"])
    actor = by.user if by else None
    audit("answer.withdrawn", answer, by=actor, course=answer.thread.course, reason=str(reason))
    count_answer(answer)
    refresh_status(answer.thread)
    if was_shown:
        enqueue_telling(NotificationKind.AI_WITHDRAWN, thread=answer.thread, actor=actor)
    for endorser in endorsers:
        enqueue_telling(NotificationKind.AI_WITHDRAWN, thread=answer.thread, actor=actor, to=endorser)


def _require_sources(answer: Answer) -> None:
    if not still_hold(list(Citation.objects.filter(answer=answer).with_source())):
        raise Refused(GONE)


# Many at once

# What can be done, by name, with what the answers are afterwards.
REVIEW_ACTS: dict[str, tuple[str, Act]] = {
    "endorse": ("endorsed", lambda by, answer: set_answer_endorsement(by=by, answer=answer, on=True)),
    "publish": ("published", lambda by, answer: publish_answer(by=by, answer=answer)),
    "again": ("asked for again", lambda by, answer: regenerate_answer(by=by, answer=answer)),
}


def withdrawing(reason: WithdrawalReason) -> tuple[str, Act]:
    """Return the act that withdraws answers for one reason."""
    return "withdrawn", lambda by, answer: withdraw_answer(by=by, answer=answer, reason=reason)


@transaction.atomic
def do_to_answers(*, by: Member, keys: Collection[uuid.UUID], act: tuple[str, Act]) -> str:
    """Do `act` to all of these answers or, when one refuses, to none; return what was done in a sentence.

    They are locked by key before anything happens, so two people's bulk actions wait for each other. Raises `Refused`,
    naming the thread and the reason.
    """
    if not (by.is_staff and by.may_write):
        raise PermissionDenied
    done, do = act
    if not keys:
        raise Refused("Nothing was changed. Tick the answers you mean first.")
    if len(set(keys)) > MAX_BULK:
        raise Refused(f"Nothing was changed. Choose up to {MAX_BULK} answers at once.")
    rows = Answer.objects.visible_to(by).filter(pk__in=keys).select_related("thread__course")
    chosen = list(rows.select_for_update(no_key=True, of=("self",)).order_by("pk"))
    if len(chosen) < len(set(keys)):
        raise Refused(
            "Nothing was changed. One of the answers was replaced or moved meanwhile: look at the list again."
        )
    for answer in chosen:
        try:
            do(by, answer)
        except (Refused, PermissionDenied) as refusal:
            reason = str(refusal) or _why_refused(answer)
            raise Refused(
                f"Nothing was changed. The answer to #{answer.thread.number} can’t be {done}: {reason}"
            ) from refusal
    return f"{len(chosen)} answer{'' if len(chosen) == 1 else 's'} {done}."


def _why_refused(answer: Answer) -> str:
    return f"it is {answer.get_status_display().lower()}."
