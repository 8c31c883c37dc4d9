"""The doors to materials and answers."""

import uuid
from collections.abc import Iterable

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils import timezone

from accounts.access import Member
from accounts.models import Course, User
from ai_answers.models import (
    SHOWN,
    AIConsent,
    Answer,
    AnswerFeedback,
    AnswerMode,
    AnswerStatus,
    Conversation,
    ConversationKind,
    CourseAI,
    Material,
    MaterialImport,
    MaterialVersion,
    Message,
    MessageState,
    Speaker,
)
from forum.models import Thread, Visibility


def require(allowed: bool) -> None:
    """Raise 403 unless `allowed`."""
    if not allowed:
        raise PermissionDenied


def get_material(member: Member, material_id: uuid.UUID) -> Material:
    """Return a material of the member's course, or raise 404. An endorsed thread has its own page."""
    material = Material.objects.visible_to(member).taught().filter(pk=material_id).first()
    if material is None:
        raise Http404
    return material


def get_deleted_material(member: Member, material_id: uuid.UUID) -> Material:
    """Return a removed material, to staff of its course, or raise 404."""
    material = Material.objects.deleted_in(member).filter(pk=material_id).first()
    if material is None:
        raise Http404
    return material


def get_import(member: Member, import_id: uuid.UUID) -> MaterialImport:
    """Return an import of the member's course to its staff, or raise 404."""
    found = MaterialImport.objects.visible_to(member).filter(pk=import_id).first()
    if found is None:
        raise Http404
    return found


def get_version(member: Member, material: Material, number: int | None) -> MaterialVersion:
    """Return a version of the material without its text, the newest when no number is given, or raise 404."""
    versions = MaterialVersion.objects.visible_to(member).filter(material=material).defer("text")
    version = versions.filter(number=number).first() if number else versions.order_by("-number").first()
    if version is None:
        raise Http404
    version.material = material
    return version


def find_original(member: Member, version: MaterialVersion) -> MaterialImport | None:
    """Return the import of the file that a version was read from, to staff, if the file is still there."""
    return MaterialImport.objects.visible_to(member).filter(version=version).exclude(storage_key="").first()


def find_answer(member: Member, thread: Thread) -> Answer | None:
    """Return the machine's answer to a thread the member may read, with citations and endorsements, if there is one."""
    return Answer.objects.visible_to(member).filter(thread=thread).with_citations().first()


def get_answer(member: Member, thread: Thread) -> Answer:
    """Return the machine's answer to the thread, or raise 404."""
    answer = find_answer(member, thread)
    if answer is None:
        raise Http404
    return answer


def awaits_staff(member: Member, thread: Thread) -> bool:
    """Tell whether the answer to a thread the member may read is a draft; what it says is for staff."""
    return Answer.objects.current().filter(thread=thread, status=AnswerStatus.DRAFT).exists()


def my_feedback(member: Member, answer: Answer) -> AnswerFeedback | None:
    """Return what the member said about the answer. One query."""
    return AnswerFeedback.objects.of(member).filter(answer=answer).first()


def policy_of(course: Course) -> CourseAI:
    """Return what the course lets the machine do; where nobody has said so yet, the defaults, unsaved. One query."""
    found = CourseAI.objects.filter(course=course).first()
    return found or CourseAI(course=course, institution_id=course.institution_id)


def is_off(course: Course) -> bool:
    return policy_of(course).mode == AnswerMode.OFF


def find_consent(user: User) -> AIConsent | None:
    """Return what a person decided about models outside this server; None when they weren't asked in today's words."""
    return AIConsent.objects.valid().filter(user=user).first()


def decided_before(user: User) -> bool:
    """Tell whether a person decided about models outside this server, in whatever words they were asked."""
    return AIConsent.objects.filter(user=user).exists()


def may_endorse(member: Member, answer: Answer) -> bool:
    """Endorsing a draft publishes it."""
    return may_change(member, answer)


def may_change(member: Member, answer: Answer) -> bool:
    """Staff edit and withdraw what is shown, and what waits for them."""
    return member.is_staff and member.may_write and answer.status in (AnswerStatus.DRAFT, *SHOWN)


def may_publish(member: Member, answer: Answer) -> bool:
    return may_change(member, answer) and answer.status == AnswerStatus.DRAFT


def may_regenerate(member: Member, answer: Answer) -> bool:
    """Staff have another answer written, unless one is on its way."""
    done = not answer.is_pending and answer.status != AnswerStatus.SUPERSEDED
    return member.is_staff and member.may_write and done


def may_give_feedback(member: Member, answer: Answer) -> bool:
    """Students say whether an answer helps, and ask for a person; staff endorse, edit or withdraw."""
    return not member.is_staff and member.may_write and answer.is_shown


def may_retry(member: Member, answer: Answer, thread: Thread) -> bool:
    """The asker and staff may send a failed answer back to work."""
    return member.may_write and answer.status == AnswerStatus.FAILED and (thread.is_by(member) or member.is_staff)


def get_conversation(member: Member, conversation_id: uuid.UUID) -> Conversation:
    """Return a conversation of the member's own, or raise 404."""
    found = Conversation.objects.visible_to(member).chats().filter(pk=conversation_id).first()
    if found is None:
        raise Http404
    found.course = member.course
    return found


def shared_as(member: Member, conversation: Conversation) -> Thread | None:
    """Return the thread a conversation was turned into, if the member may still read it."""
    if conversation.thread_id is None:
        return None
    thread = Thread.objects.visible_to(member).filter(pk=conversation.thread_id).first()
    if thread is not None:
        thread.course = member.course
    return thread


def get_preview(member: Member, preview_id: uuid.UUID) -> Conversation:
    """Return what the machine says to a question the member is writing, or raise 404."""
    found = Conversation.objects.visible_to(member).filter(kind=ConversationKind.PREVIEW, pk=preview_id).first()
    if found is None:
        raise Http404
    found.course = member.course
    return found


def get_message(member: Member, message_id: uuid.UUID) -> Message:
    """Return something the machine said to the member, with its conversation and quotations, or raise 404."""
    found = (
        Message.objects.visible_to(member)
        .filter(pk=message_id, speaker=Speaker.MACHINE)
        .select_related("conversation")
        .with_citations()
        .first()
    )
    if found is None:
        raise Http404
    found.conversation.course = member.course
    return found


def messages_of(member: Member, conversation: Conversation) -> list[Message]:
    """Return what was said in a conversation of the member's own, in order, with quotations. Three queries."""
    found = list(Message.objects.visible_to(member).filter(conversation=conversation).with_citations())
    for message in found:
        message.conversation = conversation
    return found


def unreadable_sources(member: Member, messages: Iterable[Message]) -> set[uuid.UUID]:
    """Return the cited versions that the member can't read (any more). One query, or none without quotations.

    A thread that was cited may have become private since.
    """
    cited = {citation.version_id for message in messages for citation in message.citations.all()}
    if not cited:
        return set()
    readable = MaterialVersion.objects.visible_to(member).filter(pk__in=cited)
    return cited - set(readable.order_by().values_list("pk", flat=True))


def why_no_talk(member: Member, policy: CourseAI) -> str:
    """Say in a sentence why the member can't ask the machine anything now; empty when they can."""
    if not member.may_write:
        return "This course is read-only for you."
    if policy.mode == AnswerMode.OFF:
        return f"Staff have switched the AI off in {member.course.code}."
    until = member.course.posting_closed_until
    if not member.is_staff and until is not None and until > timezone.now():
        # An exam: whoever mustn't ask the course mustn't ask its machine.
        return member.posting_closed
    return ""


def why_no_conversation(member: Member, policy: CourseAI) -> str:
    """Say in a sentence why the member can't talk with the machine now; empty when they can."""
    reason = why_no_talk(member, policy)
    if not reason and not policy.conversations:
        return f"Staff have switched private conversations off in {member.course.code}."
    return reason


def why_no_preview(member: Member, policy: CourseAI) -> str:
    """Say in a sentence why the member gets no answer before posting; empty when they can have one."""
    reason = why_no_talk(member, policy)
    if not reason and not policy.previews:
        return f"Staff have switched answers before posting off in {member.course.code}."
    return reason


def may_retry_message(message: Message) -> bool:
    """Tell whether its reader may send an answer back to work."""
    return message.state in (MessageState.FAILED, MessageState.STOPPED)


def may_be_summed_up(thread: Thread) -> bool:
    """Tell whether every student of the course may read the thread: of what is private, nothing is summed up."""
    return (
        thread.visibility == Visibility.COURSE
        and thread.is_shown
        and thread.deleted_at is None
        and thread.merged_into_id is None
    )


def require_summary(thread: Thread) -> None:
    """Raise 404 for a thread that nothing is summed up of."""
    if not may_be_summed_up(thread):
        raise Http404
