"""Private conversations. Nobody but the person reads them; what the machine says is checked before it is stored."""

import hashlib
import uuid
from math import ceil

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.formats import date_format

from accounts.access import Member, Refused
from accounts.actions import audit
from accounts.models import User
from ai_answers import access
from ai_answers.actions.answers import render_answer
from ai_answers.actions.budget import BudgetExceeded, asks_per_hour, next_ask
from ai_answers.actions.calls import Consultation, consult
from ai_answers.citations import Claim, Composition, UnsupportedQuotation, check_claims
from ai_answers.engines import Abstention, Engine, Request, Source, Task, Turn
from ai_answers.indexing import meaning_of
from ai_answers.models import (
    WAITED_FOR,
    Citation,
    Conversation,
    ConversationKind,
    MaterialKind,
    Message,
    MessageState,
    Passage,
    Purpose,
    Speaker,
)
from ai_answers.search import Question, Retrieval, retrieve
from ai_answers.transcripts import is_withheld
from forum.access import members_of
from forum.models import Assignment, Thread
from quokkaq.lib.jobs import enqueue

REPLY_TASK = "ai_answers.reply"
# How much of what was said before a follow-up question is understood by.
TURNS_KEPT = 6
TURN_CHARACTERS = 1500
# A follow-up of so few words (“And for lists?”) says too little to search by alone.
SHORT_FOLLOW_UP = 4
TITLE_CHARACTERS = 200
# What the asker typed first says what it is about; the rest of a long message is the story around it.
QUESTION_CHARACTERS = 300


@transaction.atomic
def start_conversation(*, by: Member, text: str, form_key: uuid.UUID) -> Conversation:
    """Begin a conversation with its first question, and enqueue the answer. The same form sent again begins no other.

    Raises `Refused` with the reason when the machine can't be asked now.
    """
    key = _key(form_key, by, text)
    _lock(by)
    earlier = Conversation.objects.visible_to(by).filter(pk=key).first()
    if earlier is not None:
        return earlier
    require_ask(by, access.why_no_conversation(by, access.policy_of(by.course)))
    conversation = Conversation.objects.create(
        pk=key,
        institution_id=by.course.institution_id,
        user=by.user,
        course=by.course,
        title=" ".join(text.split())[:TITLE_CHARACTERS],
    )
    add_question(conversation, text)
    return conversation


@transaction.atomic
def ask(*, by: Member, conversation: Conversation, text: str, form_key: uuid.UUID) -> Message:
    """Ask something more, and return the message that the answer will stand in.

    Raises `Refused` with the reason when the machine can't be asked now, or is still answering.
    """
    key = _key(form_key, by, text, str(conversation.pk))
    _lock(by)
    conversation = _locked(by, conversation)
    earlier = Message.objects.visible_to(by).filter(conversation=conversation, pk=key).first()
    if earlier is not None:
        return Message.objects.get(conversation=conversation, position=earlier.position + 1)
    require_ask(by, access.why_no_conversation(by, access.policy_of(by.course)))
    if conversation.messages.filter(state__in=WAITED_FOR).exists():
        raise Refused("The answer before is still being written. Wait for it, or stop it.")
    return add_question(conversation, text, key=key)


def add_question(conversation: Conversation, text: str, *, key: uuid.UUID | None = None) -> Message:
    """Store a question and the place for its answer, and enqueue the work. Call it with the conversation locked or new."""
    last = conversation.messages.aggregate(last=Max("position"))["last"] or 0
    common = {"institution_id": conversation.institution_id, "conversation": conversation}
    question = Message(**common, position=last + 1, speaker=Speaker.PERSON, body=text)
    question.pk = key or question.pk
    question.save(force_insert=True)
    reply = Message.objects.create(**common, position=last + 2, speaker=Speaker.MACHINE, state=MessageState.QUEUED)
    conversation.last_message_at = timezone.now()
    conversation.save(update_fields=["last_message_at"])
    _enqueue(reply)
    return reply


class AskedTooOften(Refused):
    """The person has asked as often as they may; in so many `seconds` they may again."""

    def __init__(self, sentence: str, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


def require_ask(by: Member, reason: str) -> None:
    """Raise `Refused` with `reason`, or `AskedTooOften`. Call it with the person locked.

    Calls in the ledger count, so that deleting a conversation gives none back.
    """
    if reason:
        raise Refused(reason)
    try:
        most = asks_per_hour(by.course)
    except BudgetExceeded as exceeded:
        raise Refused(str(exceeded)) from None
    now = timezone.now()
    waiting = Message.objects.filter(conversation__user=by.user, state__in=WAITED_FOR).count()
    until = next_ask(by.user, most, now, waiting=waiting)
    if until is not None:
        raise AskedTooOften(
            f"You have asked {most} times within an hour, which is the limit. "
            f"You can ask again at {date_format(timezone.localtime(until), 'H:i')}.",
            max(1, ceil((until - now).total_seconds())),
        )


@transaction.atomic
def stop_reply(*, by: Member, message: Message) -> None:
    """Let the machine say no more. What it has said stays."""
    message = _locked_reply(by, message)
    if message.state == MessageState.QUEUED:
        message.state = MessageState.STOPPED
        message.finished_at = timezone.now()
    if message.state in (MessageState.WRITING, MessageState.STOPPED):
        message.stop_asked_at = message.stop_asked_at or timezone.now()
        message.save(update_fields=["state", "finished_at", "stop_asked_at"])


@transaction.atomic
def retry_reply(*, by: Member, message: Message) -> None:
    """Send an answer that failed or was stopped back to work; it begins anew. Raises `Refused` with the reason when not."""
    _lock(by)
    message = _locked_reply(by, message)
    if message.is_pending:
        return
    if not access.may_retry_message(message):
        raise PermissionDenied
    require_ask(by, access.why_no_conversation(by, access.policy_of(by.course)))
    message.state = MessageState.QUEUED
    message.stop_asked_at = message.finished_at = None
    message.error_code = ""
    message.save(update_fields=["state", "stop_asked_at", "finished_at", "error_code"])
    _enqueue(message)


@transaction.atomic
def delete_conversation(*, by: Member, conversation: Conversation) -> None:
    """Delete all that was said, for good. What it cost stays in the ledger.

    The audit row names no course: its staff aren't told who talks with the machine.
    """
    conversation = _locked(by, conversation)
    audit("conversation.deleted", conversation, by=by.user)
    conversation.delete()


@transaction.atomic
def link_thread(*, conversation_id: uuid.UUID, thread: Thread) -> None:
    """Note that the person turned a conversation of theirs into a thread."""
    Conversation.objects.filter(
        pk=conversation_id, kind=ConversationKind.CHAT, user=thread.author_id, course=thread.course_id
    ).update(thread=thread)


def write_reply(message_id: uuid.UUID, *, engine: Engine | None = None) -> None:
    """Find passages, let the engine speak, and store each statement once its quotations are checked.

    Safe to run any number of times: it begins anew, and a run that was overtaken stops by itself. Raises whatever the
    engine raises: the task is retried.
    """
    begun = _begin(message_id)
    if begun is None:
        return
    message, member = begun
    question, history = _asked(member, message)
    meaning = meaning_of(question, course=member.course, user=member.user)
    retrieval = retrieve(question, member=member, meaning=meaning)
    passages = [scored.passage for scored in retrieval.passages]
    request = Request(
        _task(member, message, question, retrieval),
        question,
        [Source(passage.heading, passage.text) for passage in passages],
        history=history,
        retrieval=retrieval,
    )
    is_preview = message.conversation.kind == ConversationKind.PREVIEW
    purpose = Purpose.PREVIEW if is_preview else Purpose.CONVERSATION
    state, code, composition = MessageState.DONE, "", Composition()
    wanted, abstained = True, False
    try:
        with consult(request, course=member.course, user=member.user, purpose=purpose, engine=engine) as consultation:
            for said in consultation:
                if isinstance(said, Abstention):
                    abstained = True
                    continue
                composition.add(said, passages)
                wanted = _store(message, consultation, composition, request.task)
                if not wanted:
                    break
            if wanted and not abstained and not composition.claims:
                raise UnsupportedQuotation("no claims")
    except UnsupportedQuotation:
        # It may be made up, so nothing of it is shown. Asking again is the person's choice.
        state, code = MessageState.ABSTAINED, "unsupported"
    if not wanted:
        return
    if abstained and not composition.claims:
        state, code = MessageState.ABSTAINED, "abstained"
    _finish(message, consultation, composition, state, code, request.task)


def fail_reply(message_id: uuid.UUID, error: BaseException) -> None:
    """Give up: show that it failed; its reader may try again."""
    Message.objects.filter(pk=message_id, state__in=WAITED_FOR).update(
        state=MessageState.FAILED, error_code=type(error).__name__[:80], finished_at=timezone.now()
    )


@transaction.atomic
def _begin(message_id: uuid.UUID) -> tuple[Message, Member] | None:
    """Empty the message and mark it as being written; None when nobody waits for it, or the asker has left the course."""
    message = (
        Message.objects.select_for_update(of=("self",), no_key=True)
        .select_related("conversation__course", "conversation__user")
        .filter(pk=message_id)
        .first()
    )
    if message is None or not message.is_pending:
        return None
    talk = message.conversation
    member = members_of(talk.user, [talk.course_id]).get(talk.course_id)
    message.citations.all().delete()
    message.body = message.body_html = ""
    message.unsupported_count = 0
    message.attempts += 1
    message.state = MessageState.WRITING
    if member is None or message.stop_asked_at is not None:
        message.state = MessageState.STOPPED
        message.finished_at = timezone.now()
    message.save()
    return (message, member) if member is not None and message.is_pending else None


@transaction.atomic
def _store(message: Message, consultation: Consultation, composition: Composition, task: Task) -> bool:
    """Store what holds so far; tell whether more is wanted.

    It isn't when the person pressed stop or deleted the conversation, or another worker took over. Words alone wait for
    the first quotation: what nothing stands behind is shown to nobody.
    """
    row = _still_writing(message)
    if row is None:
        return False
    _take(row, consultation, composition, task)
    if row.stop_asked_at is not None:
        row.state = MessageState.STOPPED
        row.finished_at = timezone.now()
    row.save()
    return row.stop_asked_at is None


@transaction.atomic
def _finish(
    message: Message,
    consultation: Consultation,
    composition: Composition,
    state: MessageState,
    code: str,
    task: Task,
) -> None:
    row = _still_writing(message)
    if row is None:
        return
    _take(row, consultation, composition, task)
    row.state = state
    row.error_code = code
    row.finished_at = timezone.now()
    row.save()


def _still_writing(message: Message) -> Message | None:
    """Return the message, locked, unless it is gone or somebody else writes it."""
    return (
        Message.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk=message.pk, state=MessageState.WRITING, attempts=message.attempts)
        .first()
    )


def _take(row: Message, consultation: Consultation, composition: Composition, task: Task) -> None:
    """Put what holds so far into the row, and the quotations that are new beside it."""
    row.engine, row.model = consultation.engine.name, consultation.engine.model
    row.is_remote = consultation.engine.is_remote
    row.is_hint = task == Task.HINT
    if not composition.claims:
        return
    row.body = composition.body
    row.body_html = _local_markers(row, render_answer(composition.body, len(composition.claims)))
    row.unsupported_count = composition.unsupported
    known = row.citations.count()
    new = composition.claims[known:]
    if new:
        check_claims(new)
        Citation.objects.bulk_create(_citation(row, number, claim) for number, claim in enumerate(new, start=known + 1))


def _citation(row: Message, number: int, claim: Claim) -> Citation:
    return Citation(
        institution_id=row.institution_id,
        message=row,
        number=number,
        version_id=claim.passage.version_id,
        passage=claim.passage,
        start=claim.start,
        end=claim.end,
        quote=claim.quote,
    )


def _local_markers(row: Message, html: str) -> str:
    """Return the HTML with its markers leading to the quotations of this message: a page shows several."""
    return html.replace('href="#quotation-', f'href="#quotation-{row.position}-')


def _asked(member: Member, message: Message) -> tuple[Question, list[Turn]]:
    """Return what is asked, and what was said before that its asker may still read."""
    talk = message.conversation
    said = [row for row in access.messages_of(member, talk) if row.position < message.position]
    text = said[-1].body
    if talk.kind == ConversationKind.PREVIEW:
        return Question(talk.title, text), []
    earlier = said[:-1]
    hidden = access.unreadable_sources(member, earlier)
    history = [
        Turn(row.speaker == Speaker.MACHINE, row.body[:TURN_CHARACTERS])
        for row in earlier
        if row.body and (row.speaker == Speaker.PERSON or not is_withheld(row, hidden))
    ][-TURNS_KEPT:]
    before = next((row.body for row in reversed(earlier) if row.speaker == Speaker.PERSON), "")
    title, story = text[:QUESTION_CHARACTERS], text[QUESTION_CHARACTERS:]
    if before and len(text.split()) <= SHORT_FOLLOW_UP:
        title = f"{before[:QUESTION_CHARACTERS]} {title}"
    return Question(title, f"{story}\n{before}".strip()), history


def _task(member: Member, message: Message, question: Question, retrieval: Retrieval) -> Task:
    """Return what the engine is to write: while an assignment is under embargo, hints only to what is about it.

    That is a question which names it, or whose best passage stands on an assignment's sheet.
    """
    embargoed = Assignment.objects.visible_to(member).filter(embargo_until__gt=timezone.now())
    titles = [title.casefold() for title in embargoed.values_list("title", flat=True)]
    if titles and not member.is_staff:
        text = f"{question.title}\n{question.body}".casefold()
        best: Passage | None = retrieval.passages[0].passage if retrieval.passages else None
        on_sheet = best is not None and best.version.material.kind == MaterialKind.ASSIGNMENT
        if on_sheet or any(title in text for title in titles):
            return Task.HINT
    is_preview = message.conversation.kind == ConversationKind.PREVIEW
    return Task.ANSWER if is_preview else Task.CONVERSATION


def _key(form_key: uuid.UUID, by: Member, *parts: str) -> uuid.UUID:
    """Return the same id for the same text sent from the same form by the same person."""
    content = "\x1f".join((str(by.user.pk), str(by.course.pk), *parts))
    return uuid.uuid5(form_key, hashlib.sha256(content.encode()).hexdigest())


def _lock(by: Member) -> None:
    """Let the person's other requests wait: what they ask is counted."""
    User.objects.select_for_update(no_key=True).get(pk=by.user.pk)


def _locked(by: Member, conversation: Conversation) -> Conversation:
    found = (
        Conversation.objects.visible_to(by).chats().select_for_update(of=("self",)).filter(pk=conversation.pk).first()
    )
    if found is None:
        raise PermissionDenied
    return found


def _locked_reply(by: Member, message: Message) -> Message:
    found = (
        Message.objects.visible_to(by)
        .select_for_update(of=("self",), no_key=True)
        .filter(pk=message.pk, speaker=Speaker.MACHINE)
        .first()
    )
    if found is None:
        raise PermissionDenied
    return found


def _enqueue(message: Message) -> None:
    # Ids only, as arguments are shown in the admin. The lock keeps two workers off one answer.
    enqueue(
        REPLY_TASK, of=message.institution_id, queue="answers", lock=f"message:{message.pk}",
        message_id=str(message.pk),
    )  # fmt: skip
