"""Files on their way in: announced, sent, confirmed, attached, or given up. `checking` looks into them.

A file lies in quarantine under a key made of the row's, so whatever is cut off where, the row knows what to delete. The
store is asked before or after a transaction, never inside one.
"""

import hashlib
import io
import logging
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from accounts.access import Member, Refused, require_uploader
from accounts.models import TICKET_LIFE, UNDER_WAY, Course, Purpose, Upload, UploadState, User
from accounts.querysets import UploadQuerySet
from quokkaq.lib.inspecting import LIMITS, Rejection, claimed_type
from quokkaq.lib.jobs import enqueue
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import UPLOADS
from quokkaq.lib.storage import CHUNK_BYTES, FILES, QUARANTINE, TEMPORARY, Ticket, store
from quokkaq.lib.uuid7 import uuid7

log = logging.getLogger(__name__)

CHECK_TASK = "accounts.check_upload"
MAX_UNDER_WAY = 30
# A slow line may need longer than the ticket holds to send what it began.
_GRACE = TICKET_LIFE * 3


@dataclass(frozen=True)
class Started:
    """A file that may be sent now: to the bucket with `ticket`, or to the site itself where there is none."""

    upload: Upload
    ticket: Ticket | None


def quarantine_key(upload: Upload) -> str:
    return f"{QUARANTINE}{upload.pk}"


def file_key(upload: Upload) -> str:
    return f"{FILES}{upload.pk}"


def start_upload(*, by: User, purpose: Purpose, name: str, size: int, member: Member | None = None) -> Started:
    """Announce a file of `size` bytes. Raises `Refused` or `RefusedFile` with a sentence for who chose it.

    `member` says in which course it will stand; a picture of a person stands in none.
    """
    upload = _announce(by=by, purpose=purpose, name=name, size=size, member=member)
    ticket = store().ticket(
        quarantine_key(upload), content_type=upload.content_type, size=size, owner=str(upload.owner_id)
    )
    return Started(upload, ticket)


@transaction.atomic
def _announce(*, by: User, purpose: Purpose, name: str, size: int, member: Member | None) -> Upload:
    require_uploader(by, purpose, member)
    limit = LIMITS[purpose]
    if size < 1:
        raise Refused(f"“{_shown(name)}” is empty.")
    if size > limit:
        raise Refused(f"“{_shown(name)}” is larger than {limit // 1024**2} MB. Make it smaller, or split it.")
    content_type = claimed_type(name, purpose)
    _require_room(by, member, size)
    return Upload.objects.create(
        institution_id=by.institution_id,
        owner=by,
        course=member.course if member else None,
        purpose=purpose,
        original_name=_shown(name),
        content_type=content_type,
        size=size,
    )


def receive_upload(*, by: User, upload: Upload, file: IO[bytes] | Path) -> Upload:
    """Put a file that came to the site itself into quarantine, and confirm it."""
    _require_sendable(upload, by)
    store().put(quarantine_key(upload), file, content_type=upload.content_type, owner=str(by.pk))
    return confirm_upload(by=by, upload=upload)


def confirm_upload(*, by: User, upload: Upload, member: Member | None = None) -> Upload:
    """Take note that a file has arrived, and have it checked. Doing it twice is doing it once.

    What the sender says counts for nothing: the store is asked whose it is, of which type and how large.
    """
    if upload.state == UploadState.PENDING:
        _require_sendable(upload, by)
    key = quarantine_key(upload)
    stored = store().head(key)
    with transaction.atomic():
        row = Upload.objects.select_for_update(of=("self",)).get(pk=upload.pk, owner=by)
        if row.state != UploadState.PENDING:
            return row
        if stored is None:
            raise Refused("The file hasn’t arrived. Send it again.")
        if (stored.size, stored.owner, stored.content_type) != (row.size, str(by.pk), row.content_type):
            log.warning("a file that was sent isn't what was announced", extra={"upload_id": str(row.pk)})
            set_state(row, UploadState.REJECTED, rejection=Rejection.INCOMPLETE)
            transaction.on_commit(lambda: store().delete(key), robust=True)
            return row
        set_state(row, UploadState.UPLOADED)
        enqueue_check(row)
    return row


def store_export(*, by: User, course: Course | None, name: str, content_type: str, data: bytes) -> Upload:
    """Keep what somebody takes along for a week, for them alone. It is ours: there is nothing to look into."""
    upload = put_export(by=by, course=course, name=name, content_type=content_type, data=data)
    upload.save(force_insert=True)
    return upload


def put_export(*, by: User, course: Course | None, name: str, content_type: str, data: bytes | Path) -> Upload:
    """Store the file of an export; return its row, for the caller to save.

    The file comes first: one without a row is swept away, a row without one would promise too much.
    """
    key = uuid7()
    place = f"{TEMPORARY}{key}"
    digest = hashlib.sha256()
    if isinstance(data, Path):
        with data.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        size = data.stat().st_size
    else:
        digest.update(data)
        size = len(data)
    store().put(
        place, data if isinstance(data, Path) else io.BytesIO(data), content_type=content_type, owner=str(by.pk)
    )
    return Upload(
        id=key, institution_id=by.institution_id, owner=by, course=course, purpose=Purpose.EXPORT,
        state=UploadState.CLEAN, original_name=_shown(name), content_type=content_type, size=size,
        sha256=digest.hexdigest(), storage_key=place,
    )  # fmt: skip


@transaction.atomic
def discard_upload(*, by: User, upload: Upload) -> None:
    """Give up a file that is attached to nothing."""
    row = Upload.objects.select_for_update(of=("self",)).filter(pk=upload.pk, owner=by, attached_at=None).first()
    if row is not None:
        expire(row)


def attach_uploads(*, by: Member, uploads: Collection[uuid.UUID], purpose: Purpose) -> list[Upload]:
    """Return the member's own files with these keys, locked and now attached, in the order asked for.

    Call it in the transaction that stores what they are attached to. Raises `Refused` when one of them can't be.
    """
    if not uploads:
        return []
    wanted = list(dict.fromkeys(uploads))
    rows = {
        row.pk: row
        for row in Upload.objects.select_for_update(of=("self",))
        .filter(pk__in=wanted, owner=by.user, course=by.course, purpose=purpose, attached_at=None)
        .order_by("pk")
    }
    for key in wanted:
        row = rows.get(key)
        if row is None or row.state in (UploadState.PENDING, UploadState.EXPIRED):
            raise Refused("A file isn’t there any more. Remove it and attach it again.")
        if row.state == UploadState.REJECTED:
            raise Refused(f"“{row.original_name}” can’t be attached. Remove it first.")
    now = timezone.now()
    for row in rows.values():
        row.attached_at = now
    Upload.objects.bulk_update(rows.values(), ["attached_at"])
    return [rows[key] for key in wanted]


def detach_uploads(uploads: Iterable[Upload]) -> None:
    """Let go of files in the caller's transaction: nobody but their owner sees them, and they are deleted in a week."""
    now = timezone.now()
    Upload.objects.filter(pk__in=[upload.pk for upload in uploads]).update(attached_at=None, state_at=now)


def expire(row: Upload) -> None:
    """Mark a locked row as gone, and delete what lies in the store once that is committed."""
    if row.state == UploadState.EXPIRED:
        return
    keys = {quarantine_key(row), file_key(row), row.storage_key} - {""}
    set_state(row, UploadState.EXPIRED)
    transaction.on_commit(lambda: delete_all(keys), robust=True)


def set_state(row: Upload, state: UploadState, *, rejection: str = "", **fields: object) -> None:
    """Write the next state of a locked row, with what came to be known."""
    row.state, row.rejection, row.state_at = state, rejection, timezone.now()
    if state != UploadState.CLEAN:
        row.storage_key = ""
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=["state", "rejection", "state_at", "storage_key", *fields])
    if state in (UploadState.CLEAN, UploadState.REJECTED, UploadState.EXPIRED):
        count(UPLOADS, state)


def enqueue_check(row: Upload) -> None:
    """Have a file looked into, in the transaction that says it arrived."""
    enqueue(
        CHECK_TASK, of=row.institution_id, queue="uploads", lock=f"upload:{row.pk}",
        upload_id=str(row.pk),
    )  # fmt: skip


def delete_all(keys: Iterable[str]) -> None:
    for key in keys:
        store().delete(key)


def _require_sendable(upload: Upload, by: User) -> None:
    """Raise `Refused` unless the file may arrive now."""
    if upload.owner_id != by.pk or upload.state != UploadState.PENDING:
        raise Refused("This file isn’t expected any more. Attach it again.")
    if upload.created_at < timezone.now() - _GRACE:
        raise Refused("Sending this file took too long. Attach it again.")


def _require_room(by: User, member: Member | None, size: int) -> None:
    """Raise `Refused` when a person or a course has stored enough. Two at once wait for each other."""
    User.objects.select_for_update(no_key=True, of=("self",)).get(pk=by.pk)
    # What we made for them takes none of their room.
    mine = Upload.objects.counted().filter(owner=by).exclude(purpose=Purpose.EXPORT)
    if mine.filter(state__in=UNDER_WAY, attached_at=None).count() >= MAX_UNDER_WAY:
        raise Refused(f"{MAX_UNDER_WAY} of your files are on their way. Wait until some of them are checked.")
    if _total(mine) + size > settings.UPLOAD_QUOTA_PERSON:
        raise Refused(
            f"Your files take up all of your {filesizeformat(settings.UPLOAD_QUOTA_PERSON)}. Remove some of them first."
        )
    if member is None:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"uploads:{member.course.pk}"])
    if _total(Upload.objects.counted().filter(course=member.course)) + size > settings.UPLOAD_QUOTA_COURSE:
        raise Refused(
            f"The files of this course take up all of its {filesizeformat(settings.UPLOAD_QUOTA_COURSE)}. Tell its staff."
        )


def _total(uploads: UploadQuerySet) -> int:
    total: int | None = uploads.aggregate(total=Sum("size"))["total"]
    return total or 0


def _shown(name: str) -> str:
    """Return the name of a file as people read it, cut to fit; it is never used as a path."""
    stem, dot, ending = "".join(c for c in name if c.isprintable()).strip().rpartition(".")
    return f"{stem[: 198 - len(ending)]}{dot}{ending}"[:200] or "file"
