"""What gives points for sharing what the machine said."""

from django.db.models import QuerySet

from accounts.access import Member
from ai_answers.models import Conversation
from forum.models import Thread


def shared_threads(member: Member) -> QuerySet[Thread]:
    """Return the threads the member made of conversations of theirs."""
    linked = Conversation.objects.visible_to(member).chats().filter(thread__isnull=False)
    return Thread.objects.in_reach_of(member).filter(pk__in=linked.values("thread"))
