"""Asking staff to look at a text, and what they decide."""

from enum import StrEnum

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.access import Member
from accounts.actions import audit
from forum import access
from forum.actions.moderation import Text, hide_text, judge, lock_text
from forum.actions.posts import delete_post
from forum.actions.threads import delete_thread, editor_shown
from forum.models import Flag, FlagReason, FlagStatus, Moderation, Post
from forum.signals import text_decided, text_flagged


class Decision(StrEnum):
    DISMISS = "dismiss"
    NOTE = "note"
    HIDE = "hide"
    DELETE = "delete"


@transaction.atomic
def flag_text(*, by: Member, text: Text, reason: FlagReason, details: str = "") -> Flag:
    """Ask staff to look at a text: once per person while nobody has decided. No record names who asked, but the flag."""
    text, thread = lock_text(text)
    access.require(access.may_flag(by, text))
    post = text if isinstance(text, Post) else None
    flag = Flag(
        institution_id=text.institution_id, user=by.user, thread=thread, post=post, reason=reason, details=details
    )
    try:
        with transaction.atomic():
            flag.save(force_insert=True)
    except IntegrityError as error:
        raise access.Refused("You have flagged this already. Staff will look at it.") from error
    audit(f"{'post' if post else 'thread'}.flagged", text, by=None, course=by.course, reason=str(reason))
    text_flagged.send(sender=Flag, flag=flag)
    return flag


@transaction.atomic
def decide_flags(*, by: Member, text: Text, decision: Decision, note: str = "") -> int:
    """Close all open flags of a text, and do with it what was decided; return how many there were.

    `note` is read by the author of the text, and kept with the flags. Raises `Refused` when a colleague was faster.
    """
    text, thread = lock_text(text)
    access.require(access.may_judge(by, text))
    post = text if isinstance(text, Post) else None
    open_flags = Flag.objects.filter(thread=thread, post=post, status=FlagStatus.OPEN)
    keys = list(open_flags.select_for_update().order_by("pk").values_list("pk", flat=True))
    if not keys:
        raise access.Refused("A colleague has decided about this already.")
    status = FlagStatus.DISMISSED if decision == Decision.DISMISS else FlagStatus.UPHELD
    shown = editor_shown(by, text)
    Flag.objects.filter(pk__in=keys).update(
        status=status, decided_by=shown.user if shown else None, decided_at=timezone.now(), decision=note
    )
    kind = "post" if post else "thread"
    audit(f"{kind}.flags-{status}", text, by=shown.user if shown else None, course=by.course, decision=str(decision))
    if decision == Decision.NOTE:
        judge(by, text, Moderation(text.moderation), note)
        text_decided.send(sender=type(text), writing=text, by=by)
    elif decision == Decision.HIDE and text.moderation != Moderation.HIDDEN:
        hide_text(by=by, text=text, reason=note)
    elif decision == Decision.DELETE and not text.deleted_at:
        _delete(by, text, note)
    return len(keys)


def _delete(by: Member, text: Text, note: str) -> None:
    judge(by, text, Moderation(text.moderation), note)
    if isinstance(text, Post):
        delete_post(by=by, post=text)
    else:
        delete_thread(by=by, thread=text)
    text_decided.send(sender=type(text), writing=text, by=by)
