"""Files that stand with a text."""

from django.db import models
from django.db.models import Q

from accounts.models import Tenanted, Upload
from forum.models.posts import Post
from forum.models.threads import Thread
from forum.models.writing import Anonymity, Writing
from forum.querysets import AttachmentQuerySet

MAX_ATTACHMENTS = 10


class Attachment(Tenanted):
    """One file of a thread's question, or of a reply or comment. Who sees the text sees the file."""

    upload = models.OneToOneField(Upload, models.CASCADE, related_name="attachment")
    thread = models.ForeignKey(Thread, models.CASCADE, null=True, blank=True, related_name="attachments")
    post = models.ForeignKey(Post, models.CASCADE, null=True, blank=True, related_name="attachments")
    position = models.PositiveSmallIntegerField()

    objects = AttachmentQuerySet.as_manager()

    # Set for a page (`forum.attachments`).
    shown_name: str

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(thread=None, post__isnull=False) | Q(thread__isnull=False, post=None),
                name="attachment_of_one",
            )
        ]
        indexes = [
            models.Index(fields=["thread", "position"], name="attachment_by_thread"),
            models.Index(fields=["post", "position"], name="attachment_by_post"),
        ]

    def __str__(self) -> str:
        return f"Attachment {str(self.pk)[-6:]}"

    @property
    def writing(self) -> Writing:
        """Return the text it stands with."""
        found = self.post or self.thread
        if found is None:
            raise ValueError("an attachment belongs to a text")
        return found

    def name_for(self, writing: Writing) -> str:
        """Return what the file is called for everybody: people write their names into file names, so those of who hides
        are kept back."""
        name = self.upload.original_name
        if writing.anonymity == Anonymity.NAMED:
            return name
        return f"attachment-{self.position + 1}{name[name.rfind('.') :] if '.' in name else ''}"
