"""What staff tell each other about a thread."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Tenanted, User
from forum.models.threads import Thread
from forum.models.writing import MAX_BODY
from forum.querysets import StaffNoteQuerySet


class StaffNote(Tenanted):
    """A note on a thread for its staff. In a table of its own, so that nothing made for everybody can hold one."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="staff_notes")
    author = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    body = models.TextField(max_length=MAX_BODY)
    body_html = models.TextField(editable=False)
    submission_key = models.UUIDField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = StaffNoteQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["author", "submission_key"], name="staff_note_sent_once"),
            models.CheckConstraint(
                condition=Q(body__length__gte=1, body__length__lte=MAX_BODY), name="staff_note_body_length"
            ),
        ]
        indexes = [models.Index(fields=["thread", "created_at", "id"], name="staff_note_by_thread")]

    def __str__(self) -> str:
        return f"Note {str(self.pk)[-6:]}"
