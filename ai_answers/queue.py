"""What the machine leaves to people."""

import uuid

from django.db.models import BooleanField, Exists, F, OuterRef, Q
from django.db.models.expressions import ExpressionWrapper

from accounts.access import Member
from ai_answers.confidence import MEDIUM_FROM
from ai_answers.models import SOURCE_REASONS, Answer, AnswerFeedback, AnswerStatus
from ai_answers.querysets import MIN_UNHELPFUL, AnswerQuerySet
from forum.models import Moderation, Post, Status
from forum.queue import EACH, Need, Reason

ABSTAINED = Reason("the AI found no answer in the materials", 10, Need.AI)
FAILED = Reason("the AI failed to answer", 15, Need.AI)
DRAFT = Reason("a draft of the AI waits for you", 12, Need.AI)
PERSON = Reason("somebody asks for a person, not the AI", 25, Need.AI)
UNHELPFUL = Reason("readers find the AI’s answer unhelpful", 15, Need.AI)
WITHDRAWN = Reason("the AI’s answer lost its source", 10, Need.AI)
UNSURE = Reason("the AI is not sure of its answer", 5, Need.AI)

_WANTS_PERSON = Exists(
    AnswerFeedback.objects.filter(answer=OuterRef("pk"), wants_person=True).exclude(
        # Staff have replied since.
        Exists(
            Post.objects.filter(
                thread=OuterRef("answer__thread"),
                is_by_staff=True,
                deleted_at=None,
                created_at__gt=OuterRef("created_at"),
            )
        )
    )
)


def with_needs(answers: AnswerQuerySet) -> AnswerQuerySet:
    """Add to each answer what staff should look at: `wants_person`, `is_unhelpful`, `lost_source` and `is_unsure`."""
    published = Q(status=AnswerStatus.PUBLISHED)
    conditions = {
        "is_unhelpful": Q(unhelpful_count__gte=MIN_UNHELPFUL, unhelpful_count__gt=F("helpful_count")),
        "lost_source": Q(status=AnswerStatus.WITHDRAWN, withdrawal_reason__in=SOURCE_REASONS),
        "is_unsure": published & Q(confidence__lt=MEDIUM_FROM),
    }
    flags = {name: ExpressionWrapper(found, output_field=BooleanField()) for name, found in conditions.items()}
    return answers.annotate(wants_person=_WANTS_PERSON, **flags)


def needing_people(answers: AnswerQuerySet) -> AnswerQuerySet:
    """Return the answers, with their needs, that staff should look at beside those the machine gave up on."""
    shown = Q(status__in=(AnswerStatus.PUBLISHED, AnswerStatus.ENDORSED, AnswerStatus.EDITED))
    wanted = Q(is_unhelpful=True) & shown | Q(lost_source=True) | Q(is_unsure=True)
    return with_needs(answers).filter(Q(status=AnswerStatus.DRAFT) | wanted | (Q(wants_person=True) & shown))


def reasons_of(answer: Answer) -> list[Reason]:
    """Return why staff should look at an answer that comes with its needs."""
    found = {
        PERSON: getattr(answer, "wants_person", False),
        UNHELPFUL: answer.is_shown and getattr(answer, "is_unhelpful", False),
        FAILED: answer.status == AnswerStatus.FAILED,
        DRAFT: answer.status == AnswerStatus.DRAFT,
        ABSTAINED: answer.status == AnswerStatus.ABSTAINED,
        WITHDRAWN: getattr(answer, "lost_source", False),
        UNSURE: getattr(answer, "is_unsure", False),
    }
    return [reason for reason, applies in found.items() if applies]


def given_up(member: Member) -> dict[uuid.UUID, list[Reason]]:
    """Return the open threads whose answer the machine abstained from or failed at, newest first. One query."""
    rows = (
        Answer.objects.visible_to(member)
        .filter(status__in=(AnswerStatus.ABSTAINED, AnswerStatus.FAILED))
        .filter(thread__status=Status.OPEN, thread__moderation=Moderation.SHOWN, thread__duplicate_of=None)
        .values_list("thread", "status")[:EACH]
    )
    return {thread: [FAILED if status == AnswerStatus.FAILED else ABSTAINED] for thread, status in rows}


def to_review(member: Member) -> dict[uuid.UUID, list[Reason]]:
    """Return the unsettled threads with an answer that staff should look at, newest first. One query."""
    unsettled = Answer.objects.visible_to(member).exclude(thread__status=Status.RESOLVED)
    rows = needing_people(unsettled).defer("search", "body", "body_html", "original_body")
    return {answer.thread_id: reasons_of(answer) for answer in rows[:EACH]}
