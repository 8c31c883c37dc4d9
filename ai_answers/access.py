"""The doors to materials and answers."""

import uuid

from django.core.exceptions import PermissionDenied
from django.http import Http404

from accounts.access import Member
from accounts.models import Course
from ai_answers.models import (
    SHOWN,
    Answer,
    AnswerFeedback,
    AnswerMode,
    AnswerStatus,
    CourseAI,
    Material,
    MaterialVersion,
)
from forum.models import Thread


def require(allowed: bool) -> None:
    """Raise 403 unless `allowed`."""
    if not allowed:
        raise PermissionDenied


def get_material(member: Member, material_id: uuid.UUID) -> Material:
    """Return a material of the member's course, or raise 404."""
    material = Material.objects.visible_to(member).filter(pk=material_id).first()
    if material is None:
        raise Http404
    return material


def get_version(member: Member, material: Material, number: int | None) -> MaterialVersion:
    """Return a version of the material without its text, the newest when no number is given, or raise 404."""
    versions = MaterialVersion.objects.visible_to(member).filter(material=material).defer("text")
    version = versions.filter(number=number).first() if number else versions.order_by("-number").first()
    if version is None:
        raise Http404
    version.material = material
    return version


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
