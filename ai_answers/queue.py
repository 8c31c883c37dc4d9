"""What the machine leaves to people."""

import uuid

from accounts.access import Member
from ai_answers.models import Answer, AnswerStatus
from forum.models import Moderation, Status
from forum.queue import EACH, Need, Reason

REASONS = {
    AnswerStatus.ABSTAINED: Reason("the AI found no answer in the materials", 10, Need.AI),
    AnswerStatus.FAILED: Reason("the AI failed to answer", 15, Need.AI),
}


def given_up(member: Member) -> dict[uuid.UUID, list[Reason]]:
    """Return the open threads whose answer the machine abstained from or failed at, newest first. One query."""
    rows = (
        Answer.objects.visible_to(member)
        .filter(status__in=REASONS, thread__status=Status.OPEN, thread__moderation=Moderation.SHOWN)
        .filter(thread__duplicate_of=None)
        .values_list("thread", "status")[:EACH]
    )
    return {thread: [REASONS[AnswerStatus(status)]] for thread, status in rows}
