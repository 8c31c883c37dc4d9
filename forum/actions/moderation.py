"""Hiding, approving and pointing elsewhere: what staff do with a text so that the course stays readable."""

from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from accounts.access import Member, member_of
from accounts.actions import audit
from accounts.models import AuditEvent, Enrollment, Role, User
from forum import access
from forum.actions.mentions import note_mentions, people_called
from forum.actions.posts import lock_post_row, settle_without
from forum.actions.threads import editor_shown, lock_thread_row, refresh_status
from forum.models import Moderation, Post, Thread
from forum.signals import post_added, text_decided

Text = Thread | Post


@transaction.atomic
def hide_text(*, by: Member, text: Text, reason: str) -> None:
    """Take a text out of sight of everybody but its author and staff, who read `reason`. One that waited is refused so."""
    text, thread = lock_text(text)
    access.require(access.may_judge(by, text) and not text.deleted_at and not thread.deleted_at)
    if text.moderation == Moderation.HIDDEN:
        raise access.Refused("A colleague has hidden this already.")
    waited = text.moderation == Moderation.PENDING
    judge(by, text, Moderation.HIDDEN, reason)
    if isinstance(text, Post):
        settle_without(text, thread)
    _note(by, text, "refused" if waited else "hidden")


@transaction.atomic
def unhide_text(*, by: Member, text: Text) -> None:
    """Let everybody who may read the thread see a hidden text again, or see a refused one after all."""
    text, thread = lock_text(text)
    access.require(access.may_judge(by, text) and not thread.deleted_at)
    if text.moderation != Moderation.HIDDEN:
        raise access.Refused("This isn't hidden any more: a colleague was faster.")
    last = AuditEvent.objects.filter(
        target_id=text.pk, verb__in=[f"{_kind(text)}.{verb}" for verb in ("refused", "approved")]
    ).first()
    judge(by, text, Moderation.SHOWN)
    if isinstance(text, Post):
        refresh_status(thread)
    _note(by, text, "unhidden")
    if last is not None and last.verb.endswith("refused"):
        _tell_of_first_sight(text)


@transaction.atomic
def approve_text(*, by: Member, text: Text) -> None:
    """Let others see a text that waited. They are told of it now, as if it had just been written."""
    text, thread = lock_text(text)
    access.require(access.may_judge(by, text) and not thread.deleted_at)
    if text.moderation != Moderation.PENDING or text.deleted_at:
        raise access.Refused(f"{_named(text)} doesn't wait for approval any more: somebody was faster.")
    judge(by, text, Moderation.SHOWN)
    if isinstance(text, Post):
        refresh_status(thread)
    else:
        text.last_activity_at = text.moderated_at or timezone.now()
        text.save(update_fields=["last_activity_at"])
    _note(by, text, "approved")
    _tell_of_first_sight(text)


@transaction.atomic
def approve_all(*, by: Member, texts: Iterable[Text]) -> int:
    """Approve all of them or, when one can't be, none; return how many there were."""
    # By thread, so that two colleagues who do this at once lock in the same order.
    ordered = sorted(texts, key=lambda text: (text.thread_id if isinstance(text, Post) else text.pk, text.pk))
    for text in ordered:
        approve_text(by=by, text=text)
    return len(ordered)


@transaction.atomic
def set_duplicate(*, by: Member, thread: Thread, of: Thread | None) -> None:
    """Say that a thread asks what another one asked before, or (`None`) that it doesn't after all."""
    thread = lock_thread_row(thread)
    access.require(access.may_mark_duplicate(by, thread))
    if of is not None:
        if of.pk == thread.pk:
            raise access.Refused("A thread isn't a duplicate of itself. Give the number of the other one.")
        if of.duplicate_of_id == thread.pk:
            raise access.Refused(f"#{of.number} is marked as the same question as this one already.")
        access.require(Thread.objects.visible_to(by).filter(pk=of.pk).exists())
    thread.duplicate_of = of
    thread.save(update_fields=["duplicate_of"])
    shown = editor_shown(by, thread)
    verb = "thread.marked-duplicate" if of else "thread.unmarked-duplicate"
    audit(verb, thread, by=shown.user if shown else None, course=by.course, **({"of": of.number} if of else {}))


def lock_text(text: Text) -> tuple[Text, Thread]:
    """Return a text and its thread as they are now, both locked."""
    thread = lock_thread_row(text.thread if isinstance(text, Post) else text)
    return (lock_post_row(text), thread) if isinstance(text, Post) else (thread, thread)


def judge(by: Member, text: Text, moderation: Moderation, reason: str = "") -> None:
    """Write down what staff decided about a locked text, and what its author reads about it."""
    shown = editor_shown(by, text)
    text.moderation, text.moderation_reason = moderation, reason
    text.moderated_by, text.moderated_at = shown.user if shown else None, timezone.now()
    text.save(update_fields=["moderation", "moderation_reason", "moderated_by", "moderated_at"])


def _note(by: Member, text: Text, verb: str) -> None:
    shown = editor_shown(by, text)
    audit(f"{_kind(text)}.{verb}", text, by=shown.user if shown else None, course=by.course)
    text_decided.send(sender=type(text), writing=text, by=by)


def _kind(text: Text) -> str:
    return "post" if isinstance(text, Post) else "thread"


def _named(text: Text) -> str:
    return f"A reply in “{text.thread.title}”" if isinstance(text, Post) else f"“{text.title}”"


def _tell_of_first_sight(text: Text) -> None:
    """Do what posting does when a text is shown at once: tell those who follow, and those it calls by name."""
    thread = text.thread if isinstance(text, Post) else text
    if isinstance(text, Post):
        post_added.send(sender=Post, post=text)
    if text.author is not None:
        people = people_called(thread, text.body)
        note_mentions(by=_author(text.author, thread), writing=text, people=people)


def _author(user: User, thread: Thread) -> Member:
    enrollment = Enrollment.objects.filter(user=user, course=thread.course).select_related("course").first()
    return member_of(enrollment, user) if enrollment else Member(user, thread.course, Role.STUDENT, active=False)
