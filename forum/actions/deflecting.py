"""Noting that an earlier thread, or the course's materials, spared a question."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.access import Member
from accounts.models import User
from forum import access
from forum.actions.drafts import discard_draft
from forum.actions.threads import lock_thread_row
from forum.models import Deflection, Thread

# Saying so again within that time is the same question that wasn't asked.
SAME_QUESTION = timedelta(hours=1)


@transaction.atomic
def record_deflection(*, by: Member, thread: Thread | None) -> Deflection:
    """Note that `thread` (None: what the materials say) answers what the member was about to ask; forget their draft.

    Once per person and thread within an hour: the lock on the thread, or the person, makes a second click wait for the
    first. No audit row: who nearly asked what is nobody's business.
    """
    access.require(by.may_write)
    if thread is None:
        User.objects.select_for_update(no_key=True).get(pk=by.user.pk)
    else:
        thread = lock_thread_row(thread)
    discard_draft(by=by, thread=None, post=None)
    earlier = Deflection.objects.visible_to(by).filter(
        course=by.course, thread=thread, created_at__gt=timezone.now() - SAME_QUESTION
    )
    return earlier.first() or Deflection.objects.create(
        institution_id=by.course.institution_id, user=by.user, course=by.course, thread=thread
    )
