"""Noting that an earlier thread spared a question."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.access import Member
from forum import access
from forum.actions.drafts import discard_draft
from forum.actions.threads import lock_thread_row
from forum.models import Deflection, Thread

# Saying so again within that time is the same question that wasn't asked.
SAME_QUESTION = timedelta(hours=1)


@transaction.atomic
def record_deflection(*, by: Member, thread: Thread) -> Deflection:
    """Note that `thread` answers what the member was about to ask, and forget their draft.

    Once per person and thread within an hour: the lock on the thread makes a second click wait for the first. No audit
    row: who nearly asked what is nobody's business.
    """
    access.require(by.may_write)
    thread = lock_thread_row(thread)
    discard_draft(by=by, thread=None, post=None)
    earlier = Deflection.objects.visible_to(by).filter(thread=thread, created_at__gt=timezone.now() - SAME_QUESTION)
    return earlier.first() or Deflection.objects.create(
        institution_id=thread.institution_id, user=by.user, course=by.course, thread=thread
    )
