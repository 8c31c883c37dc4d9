"""The life of an answer. Every step can be cut off anywhere and done again."""

import logging
import re
import uuid

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Case, UUIDField, Value, When
from django.utils import timezone

from accounts.access import Member, Refused
from accounts.actions import audit
from accounts.models import Role, User
from ai_answers import access, confidence, ranking
from ai_answers.actions.calls import consult
from ai_answers.actions.confidence import calibration_for, probability_of
from ai_answers.citations import Composition, check_claims
from ai_answers.engines import Abstention, Engine, ExtractiveEngine, Request, Source, Task
from ai_answers.indexing import meaning_of
from ai_answers.measures import count_answer
from ai_answers.models import (
    PENDING,
    Answer,
    AnswerEndorsement,
    AnswerMode,
    AnswerStatus,
    Citation,
    CourseAI,
    Material,
    MaterialVersion,
    Purpose,
)
from ai_answers.neutralising import render_neutral
from ai_answers.search import Question, Retrieval, retrieve
from forum.actions import enqueue_telling, refresh_status
from forum.models import NotificationKind, Thread
from quokkaq.lib.jobs import enqueue

log = logging.getLogger(__name__)

GENERATE_TASK = "ai_answers.generate_answer"
_MARKER = re.compile(r"(?<!\\)\[(\d{1,2})\]")
# Stand for the brackets of a marker while Markdown is rendered; nothing else in the text may contain them.
_OPEN, _CLOSE = "\ue000", "\ue001"


@transaction.atomic
def request_answer(*, thread: Thread) -> Answer | None:
    """Note that a thread wants an answer and enqueue the work, both or neither. Asking twice asks once.

    In a course where the machine is off, nothing happens, then or later.
    """
    if access.is_off(thread.course):
        return None
    answer, created = Answer.objects.get_or_create(
        thread=thread, is_current=True, defaults={"institution_id": thread.institution_id}
    )
    if created:
        _enqueue(answer)
    return answer


@transaction.atomic
def remove_answer(*, thread: Thread) -> None:
    """Forget what the machine said to a thread. What it cost stays in the ledger."""
    Answer.objects.filter(thread=thread).delete()


@transaction.atomic
def swap_answers(*, source: Thread, target: Thread) -> dict[str, str]:
    """Let a published answer of `source` stand in `target`, if that has none; return which answer was whose, by id.

    An unpublished one of `target` goes to `source` meanwhile: a thread has one answer.
    """
    answers = {
        row.thread_id: row for row in Answer.objects.current().select_for_update().filter(thread__in=(source, target))
    }
    theirs, ours = answers.get(source.pk), answers.get(target.pk)
    if theirs is None or not theirs.is_shown or (ours is not None and ours.is_shown):
        return {}
    places = {str(answer.pk): str(answer.thread_id) for answer in answers.values()}
    _place({theirs.pk: target.pk} | ({ours.pk: source.pk} if ours else {}))
    return places


@transaction.atomic
def return_answers(places: dict[str, str]) -> None:
    """Put answers back to the threads they were written for."""
    there = set(Answer.objects.select_for_update().filter(pk__in=places).values_list("pk", flat=True))
    _place({key: uuid.UUID(places[str(key)]) for key in there})


def _place(threads: dict[uuid.UUID, uuid.UUID]) -> None:
    """Set the threads of answers, all in one statement: in between, two would stand in one thread."""
    whens = [When(pk=answer, then=Value(thread)) for answer, thread in threads.items()]
    if whens:
        Answer.objects.filter(pk__in=threads).update(thread_id=Case(*whens, output_field=UUIDField()))


@transaction.atomic
def retry_answer(*, by: Member, answer: Answer) -> None:
    """Send a failed answer back to work."""
    answer = Answer.objects.select_for_update(of=("self",)).select_related("thread").get(pk=answer.pk)
    if not access.may_retry(by, answer, answer.thread):
        raise PermissionDenied
    answer.status = AnswerStatus.QUEUED
    answer.queued_at = timezone.now()
    answer.finished_at = None
    answer.error_code = ""
    answer.save(update_fields=["status", "queued_at", "finished_at", "error_code"])
    _enqueue(answer)


def _enqueue(answer: Answer) -> None:
    # By name: the task module stands above this one. The lock keeps two workers off one answer; ids only, as
    # arguments are shown in the admin.
    enqueue(
        GENERATE_TASK, of=answer.institution_id, queue="answers", lock=f"answer:{answer.pk}",
        answer_id=str(answer.pk),
    )  # fmt: skip


def generate_answer(answer_id: uuid.UUID, *, engine: Engine | None = None) -> None:
    """Find passages, let the engine write, check every quotation, publish. Safe to run any number of times.

    Nothing is locked while the engine works; what it says is stored only if the answer is still waited for.
    Raises whatever the engine raises: the task is retried.
    """
    answer = _begin(answer_id)
    if answer is None:
        return
    thread = answer.thread
    question = Question(thread.title, thread.body)
    meaning = meaning_of(question, course=thread.course, user=thread.author)
    retrieval = retrieve(question, member=_reader(thread), exclude_thread=thread, meaning=meaning)
    passages = [scored.passage for scored in retrieval.passages]
    sources = [Source(passage.heading, passage.text) for passage in passages]
    task = Task.HINT if answer.is_hint else Task.ANSWER
    request = Request(task, question, sources, retrieval=retrieval)
    composition = Composition()
    with consult(
        request, course=thread.course, user=thread.author, purpose=Purpose.ANSWER, answer=answer, engine=engine
    ) as consultation:
        abstained = False
        for said in consultation:
            if isinstance(said, Abstention):
                abstained = True
            else:
                composition.add(said, passages)
        if not abstained:
            check_claims(composition.claims)
    if abstained:
        _finish(answer_id, consultation.engine, None, {})
    else:
        _finish(answer_id, consultation.engine, composition, _features(retrieval, composition))


def _features(retrieval: Retrieval, composition: Composition) -> dict[str, float]:
    return confidence.features(
        answerable=ranking.answerable(ExtractiveEngine().features(retrieval)),
        scores=[scored.score for scored in retrieval.passages],
        statements=len(composition.paragraphs),
        citations=len(composition.claims),
        unsupported=composition.unsupported,
        dropped=composition.dropped,
    )


def fail_answer(answer_id: uuid.UUID, error: BaseException) -> None:
    """Give up: show the answer as failed, with the kind of error for staff."""
    failed = Answer.objects.filter(pk=answer_id, status__in=PENDING).update(
        status=AnswerStatus.FAILED, error_code=type(error).__name__[:80], finished_at=timezone.now()
    )
    if failed:
        count_answer(Answer(status=AnswerStatus.FAILED))


def _reader(thread: Thread) -> Member:
    """Return through whose eyes the passages are found: a plain student of the course, whoever asked.

    What an answer quotes is shown to everybody who may read the thread, so it may not know more than they do.
    """
    # Somebody erased since then is stood in for by a person with no rows of their own.
    return Member(thread.author or User(institution_id=thread.institution_id), thread.course, Role.STUDENT)


@transaction.atomic
def _begin(answer_id: uuid.UUID) -> Answer | None:
    """Mark the answer as being worked on; None when it is done, gone, or not wanted any more."""
    answer = (
        Answer.objects.select_for_update(of=("self",), no_key=True)
        .select_related("thread__course", "thread__author", "thread__assignment")
        .filter(pk=answer_id)
        .first()
    )
    if answer is None or not answer.is_pending:
        return None
    if access.is_off(answer.thread.course):
        supersede(answer)
        return None
    assignment = answer.thread.assignment
    answer.status = AnswerStatus.GENERATING
    answer.attempts += 1
    answer.is_hint = assignment is not None and assignment.is_embargoed
    answer.save(update_fields=["status", "attempts", "is_hint"])
    return answer


@transaction.atomic
def _finish(answer_id: uuid.UUID, engine: Engine, composition: Composition | None, features: dict[str, float]) -> None:
    """Store what the engine wrote (None: it abstained), unless another worker was faster, or nobody wants it any more."""
    answer = (
        Answer.objects.select_for_update(of=("self",), no_key=True).select_related("thread__course").get(pk=answer_id)
    )
    if not answer.is_pending:
        return
    policy = access.policy_of(answer.thread.course)
    if policy.mode == AnswerMode.OFF:
        supersede(answer)
        return
    answer.engine, answer.model, answer.prompt = engine.name, engine.model, engine.prompt
    answer.finished_at = timezone.now()
    answer.error_code = ""
    if composition is None:
        answer.status = AnswerStatus.ABSTAINED
    else:
        answer.calibration = calibration_for(answer.thread.course)
        answer.features = features
        answer.confidence = probability_of(features, answer.calibration)
        answer.status = _status_for(policy, answer.confidence)
        if answer.status != AnswerStatus.ABSTAINED:
            _write(answer, composition)
        if answer.status == AnswerStatus.PUBLISHED:
            enqueue_telling(NotificationKind.AI_ANSWER, thread=answer.thread)
    answer.save(
        update_fields=[
            "status", "engine", "model", "prompt", "body", "body_html", "unsupported_count", "dropped_count",
            "confidence", "features", "calibration", "finished_at", "error_code",
        ]
    )  # fmt: skip
    count_answer(answer)


def _status_for(policy: CourseAI, probability: float) -> AnswerStatus:
    """Return what becomes of an answer that staff would endorse with this probability."""
    if probability < policy.draft_from:
        return AnswerStatus.ABSTAINED
    if policy.mode == AnswerMode.DRAFT or probability < policy.publish_from:
        return AnswerStatus.DRAFT
    return AnswerStatus.PUBLISHED


def _write(answer: Answer, composition: Composition) -> None:
    answer.body = composition.body
    answer.body_html = render_answer(composition.body, len(composition.claims))
    answer.unsupported_count, answer.dropped_count = composition.unsupported, composition.dropped
    Citation.objects.bulk_create(
        Citation(
            institution_id=answer.institution_id,
            answer=answer,
            number=number,
            version_id=claim.passage.version_id,
            passage=claim.passage,
            start=claim.start,
            end=claim.end,
            quote=claim.quote,
        )
        for number, claim in enumerate(composition.claims, start=1)
    )
    _recheck_what_changed({claim.passage.version_id for claim in composition.claims})


def _recheck_what_changed(versions: set[uuid.UUID]) -> None:
    """Have sources checked again that changed while the engine was writing.

    Their lock makes a change wait for this transaction, and so find the answer, or this one see the change.
    """
    from ai_answers.actions.rechecking import enqueue_recheck  # it stands on this module

    quoted = MaterialVersion.objects.filter(pk__in=versions).values("material")
    for material in Material.objects.select_for_update(no_key=True).filter(pk__in=quoted).order_by("pk"):
        if material.deleted_at or material.current_version_id not in versions:
            enqueue_recheck(material=material)


def render_answer(body: str, count: int) -> str:
    """Return the HTML of an answer, with each `[n]` from 1 to `count` linked to its quotation below.

    Only markers the engine wrote are linked: a `[2]` in the title of a material is escaped, and stays text.
    """
    clean = body.replace(_OPEN, "").replace(_CLOSE, "")
    html = render_neutral(_MARKER.sub(lambda match: f"{_OPEN}{match[1]}{_CLOSE}", clean))

    def link(match: re.Match[str]) -> str:
        number = int(match[1])
        return f'<a class="marker" href="#quotation-{number}">[{number}]</a>' if 1 <= number <= count else f"[{number}]"

    return re.sub(f"{_OPEN}(\\d+){_CLOSE}", link, html)


def cited_numbers(body: str) -> set[int]:
    """Return the numbers of the quotations that the markers of an answer's Markdown point at."""
    return {int(number) for number in _MARKER.findall(body)}


def supersede(answer: Answer) -> None:
    """Let a locked answer make room for another one. Names under it go: they stood for what isn't shown any more."""
    AnswerEndorsement.objects.filter(answer=answer).delete()
    answer.status, answer.is_current = AnswerStatus.SUPERSEDED, None
    answer.save(update_fields=["status", "is_current"])


def lock_answer(answer: Answer) -> Answer:
    """Return the answer as it is now, with its thread and course, locked until the end of the transaction."""
    rows = Answer.objects.select_for_update(of=("self",), no_key=True)
    return rows.select_related("thread__course").get(pk=answer.pk)


@transaction.atomic
def regenerate_answer(*, by: Member | None, answer: Answer) -> None:
    """Have another answer written in place of this one, which stays in the history. `by` is None for the machine itself.

    Raises `Refused` while the machine is off in the course.
    """
    answer = lock_answer(answer)
    if by is not None and not access.may_regenerate(by, answer):
        raise PermissionDenied
    if access.is_off(answer.thread.course):
        raise Refused("The AI is switched off in this course.")
    supersede(answer)
    audit("answer.regenerated", answer, by=by.user if by else None, course=answer.thread.course)
    refresh_status(answer.thread)
    request_answer(thread=answer.thread)
