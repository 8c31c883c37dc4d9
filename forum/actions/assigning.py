"""Saying who of the staff sees to a thread."""

from django.db import transaction
from django.utils import timezone

from accounts.access import Member
from accounts.actions import audit
from accounts.models import User
from forum import access
from forum.actions.threads import lock_thread_row
from forum.models import Thread
from forum.signals import thread_assigned


@transaction.atomic
def assign_thread(*, by: Member, thread: Thread, to: User | None) -> None:
    """Give the thread to a member of staff of the course, or (`None`) to nobody.

    Raises `Refused` when `to` doesn't run the course (any more). Nothing happens when it is theirs already.
    """
    access.require(access.may_moderate(by))
    thread = lock_thread_row(thread)
    access.require(not thread.deleted_at and thread.merged_into_id is None)
    if thread.assignee_id == (to.pk if to else None):
        return
    if to is not None and not access.staff_of(by.course).filter(pk=to.pk).exists():
        raise access.Refused(f"{to} isn’t staff of this course any more. Choose somebody else.")
    thread.assignee = to
    thread.assigned_at = timezone.now() if to else None
    thread.save(update_fields=["assignee", "assigned_at"])
    if to is None:
        audit("thread.unassigned", thread, by=by.user, course=by.course)
        return
    audit("thread.assigned", thread, by=by.user, course=by.course, to=str(to.pk))
    if to.pk != by.user.pk:
        thread_assigned.send(sender=Thread, thread=thread, to=to, by=by)
