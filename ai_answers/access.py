"""The doors to materials and answers."""

import uuid

from django.http import Http404

from accounts.access import Member
from accounts.models import User
from ai_answers.models import AIConsent, Answer, AnswerStatus, Material, MaterialVersion
from forum.models import Thread


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


def find_consent(user: User) -> AIConsent | None:
    """Return what a person decided about models outside this server; None when they weren't asked."""
    return AIConsent.objects.filter(user=user).first()


def may_endorse(member: Member, answer: Answer) -> bool:
    return member.is_staff and member.may_write and answer.is_shown


def may_retry(member: Member, answer: Answer, thread: Thread) -> bool:
    """The asker and staff may send a failed answer back to work."""
    return member.may_write and answer.status == AnswerStatus.FAILED and (thread.is_by(member) or member.is_staff)
