"""Notes that only the staff of a course read."""

import uuid

from django.db import transaction
from django.utils import timezone

from accounts.access import Member
from accounts.actions import audit
from forum import access
from forum.actions.threads import content_key, lock_thread_row
from forum.models import StaffNote, Thread
from quokkaq.lib.markdown import References, render


@transaction.atomic
def add_staff_note(*, by: Member, thread: Thread, body: str, form_key: uuid.UUID) -> StaffNote:
    """Leave a note for the staff of the course. Sending the same form again returns the note of the first time."""
    access.require(access.may_moderate(by))
    thread = lock_thread_row(thread)
    access.require(not thread.deleted_at)
    key = content_key(form_key, str(thread.pk), body)
    earlier = StaffNote.objects.filter(author=by.user, submission_key=key).first()
    if earlier is not None:
        return earlier
    note = StaffNote.objects.create(
        institution_id=thread.institution_id, thread=thread, author=by.user, body=body, submission_key=key,
        body_html=render(body, References(thread.reference_base)),
    )  # fmt: skip
    audit("note.added", note, by=by.user, course=by.course)
    return note


@transaction.atomic
def delete_staff_note(*, by: Member, note: StaffNote) -> None:
    """Take back one's own note."""
    access.require(access.may_moderate(by) and note.author_id == by.user.pk)
    note.deleted_at = timezone.now()
    note.save(update_fields=["deleted_at"])
    audit("note.deleted", note, by=by.user, course=by.course)
