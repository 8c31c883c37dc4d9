"""Putting files with a text, and taking them away."""

import uuid
from collections.abc import Collection

from accounts.access import Member
from accounts.actions import attach_uploads, detach_uploads
from accounts.models import Purpose
from forum import access
from forum.models import MAX_ATTACHMENTS, Anonymity, Attachment, Post, Thread


def set_attachments(*, by: Member, writing: Thread | Post, uploads: Collection[uuid.UUID]) -> bool:
    """Make the files with these keys those of a text, in the transaction that stores it; tell whether that changed any.

    Those it has already may stay; new ones have to be the member's own. Raises `Refused` when one can't be attached.
    """
    key = {"thread": writing} if isinstance(writing, Thread) else {"post": writing}
    had = {item.upload_id: item for item in Attachment.objects.filter(**key).select_related("upload")}
    wanted = list(dict.fromkeys(uploads))
    if len(wanted) > MAX_ATTACHMENTS:
        raise access.Refused(f"Up to {MAX_ATTACHMENTS} files can be attached. Remove some.")
    gone = [item for upload, item in had.items() if upload not in wanted]
    new = attach_uploads(by=by, uploads=[upload for upload in wanted if upload not in had], purpose=Purpose.ATTACHMENT)
    if writing.anonymity != Anonymity.NAMED:
        for upload in new:
            if not upload.tells_no_author:
                raise access.Refused(
                    f"“{upload.original_name}” may carry your name inside, as PDF and Office files do, and you hide it "
                    "here. Attach a picture or plain text instead, or show your name."
                )
    if gone:
        Attachment.objects.filter(pk__in=[item.pk for item in gone]).delete()
        detach_uploads(item.upload for item in gone)
    Attachment.objects.bulk_create(
        Attachment(institution_id=writing.institution_id, upload=upload, position=wanted.index(upload.pk), **key)
        for upload in new
    )
    return bool(gone or new)
