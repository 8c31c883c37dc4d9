"""What the machine would say to a question that isn't posted yet."""

import hashlib
import uuid

from django.core.exceptions import PermissionDenied
from django.db import transaction

from accounts.access import Member
from accounts.models import User
from ai_answers import access
from ai_answers.actions.conversing import add_question, require_ask
from ai_answers.models import Conversation, ConversationKind, MaterialKind, Message, MessageState, Speaker
from forum.actions import record_deflection
from forum.models import Thread


@transaction.atomic
def start_preview(*, by: Member, title: str, body: str, form_key: uuid.UUID) -> Conversation:
    """Ask what the materials say to a question being written. The same text from the same form is asked once.

    Raises `Refused` with the reason when the machine can't be asked now.
    """
    content = "\x1f".join((str(by.user.pk), str(by.course.pk), "preview", title, body))
    key = uuid.uuid5(form_key, hashlib.sha256(content.encode()).hexdigest())
    User.objects.select_for_update(no_key=True).get(pk=by.user.pk)
    earlier = Conversation.objects.visible_to(by).filter(pk=key).first()
    if earlier is not None and not _failed(earlier):
        return earlier
    require_ask(by, access.why_no_preview(by, access.policy_of(by.course)))
    if earlier is not None:
        earlier.delete()
    preview = Conversation.objects.create(
        pk=key,
        institution_id=by.course.institution_id,
        user=by.user,
        course=by.course,
        kind=ConversationKind.PREVIEW,
        title=title,
    )
    add_question(preview, body)
    return preview


def _failed(preview: Conversation) -> bool:
    return preview.messages.filter(speaker=Speaker.MACHINE, state=MessageState.FAILED).exists()


@transaction.atomic
def accept_preview(*, by: Member, preview: Conversation) -> None:
    """Note that it answers what the member was about to ask, which isn't posted then; forget the preview."""
    preview = Conversation.objects.visible_to(by).select_for_update(of=("self",)).get(pk=preview.pk)
    reply = Message.objects.get(conversation=preview, speaker=Speaker.MACHINE)
    if reply.state != MessageState.DONE:
        raise PermissionDenied
    record_deflection(by=by, thread=_only_thread(by, reply))
    preview.delete()


def _only_thread(by: Member, reply: Message) -> Thread | None:
    """Return the thread that was quoted, if nothing else was and the member may read it."""
    kinds = list(reply.citations.values_list("version__material__kind", "version__material__thread").distinct())
    if len(kinds) != 1 or kinds[0][0] != MaterialKind.THREAD:
        return None
    return Thread.objects.visible_to(by).filter(pk=kinds[0][1]).first()
