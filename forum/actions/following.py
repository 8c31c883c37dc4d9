"""Wanting to hear of a thread, or not."""

from django.db import transaction

from accounts.access import Member
from accounts.models import User
from forum import access
from forum.models import DESPITE_MUTE, Follow, FollowState, Notification, Thread


@transaction.atomic
def set_follow(*, by: Member, thread: Thread, state: FollowState | None) -> None:
    """Follow a thread, mute it, or (None) neither. Mail about a muted thread that waits isn't sent any more."""
    access.require(not thread.deleted_at)
    if state is None:
        Follow.objects.visible_to(by).filter(thread=thread).delete()
        return
    Follow.objects.bulk_create(
        [Follow(institution_id=thread.institution_id, user=by.user, thread=thread, state=state)],
        update_conflicts=True,
        unique_fields=["user", "thread"],
        update_fields=["state"],
    )
    if state == FollowState.MUTED:
        Notification.objects.filter(user=by.user, thread=thread, mailed_at=None).exclude(kind__in=DESPITE_MUTE).update(
            mail_due_at=None
        )


def follow(*, user: User, thread: Thread) -> None:
    """Follow a thread one takes part in, unless one said something else about it before."""
    Follow.objects.bulk_create(
        [Follow(institution_id=thread.institution_id, user=user, thread=thread, state=FollowState.FOLLOWING)],
        ignore_conflicts=True,
    )
