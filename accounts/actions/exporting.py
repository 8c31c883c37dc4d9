"""A copy of what is kept about somebody, for them: asked for, put together, mailed about, and gone after a week."""

import logging
import tempfile
import uuid
from datetime import timedelta
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from accounts import archiving
from accounts.access import Refused
from accounts.actions.auditing import audit
from accounts.actions.uploads import expire, put_export
from accounts.mailing import mail_person
from accounts.models import (
    EXPORT_LIFE,
    EXPORT_UNDER_WAY,
    EXPORTS_PER_DAY,
    DataExport,
    ExportState,
    Upload,
    User,
)
from quokkaq.lib.jobs import enqueue

log = logging.getLogger(__name__)
EXPORT_TASK = "accounts.build_data_export"
EXPORT_MAIL_TASK = "accounts.mail_data_export"
# Without a sign of life for so long, a copy has lost its task.
_QUIET = timedelta(minutes=10)
_BATCH = 200


class _GivenUpError(Exception):
    """Nobody waits for this copy any more."""


@transaction.atomic
def request_export(*, by: User) -> DataExport:
    """Have a copy of a person's data put together. Raises `Refused` while one is, and after a few on one day."""
    User.objects.select_for_update(no_key=True, of=("self",)).get(pk=by.pk)
    mine = DataExport.objects.visible_to(by)
    if mine.under_way().exists():
        raise Refused("A copy is being put together already. It will be here when it is ready.")
    if mine.filter(created_at__gt=timezone.now() - timedelta(days=1)).count() >= EXPORTS_PER_DAY:
        raise Refused(f"You have asked for {EXPORTS_PER_DAY} copies today. Take the newest, or ask again tomorrow.")
    export = DataExport.objects.create(institution_id=by.institution_id, user=by)
    audit("data_export.requested", export, by=by)
    _enqueue(export)
    return export


def build_export(export_id: uuid.UUID) -> None:
    """Put one copy together. Cut off anywhere, it is begun again."""
    export = DataExport.objects.select_related("user").filter(pk=export_id, state__in=EXPORT_UNDER_WAY).first()
    if export is None:
        return
    person = export.user
    _touch(export, ExportState.RUNNING, done=0, total=archiving.count(person))
    with tempfile.TemporaryDirectory(prefix="quokkaq-") as folder:
        path = Path(folder) / "data.zip"
        try:
            for done in archiving.write(path, person):
                _touch(export, ExportState.RUNNING, done=done)
            name = f"quokkaq-{timezone.now():%Y-%m-%d}.zip"
            upload = put_export(by=person, course=None, name=name, content_type="application/zip", data=path)
            _finish(export, upload)
        except _GivenUpError:
            log.info("a copy of somebody's data isn't wanted any more", extra={"data_export": str(export.pk)})


@transaction.atomic
def _finish(export: DataExport, upload: Upload) -> None:
    row = DataExport.objects.select_for_update(of=("self",)).filter(pk=export.pk, state=ExportState.RUNNING).first()
    if row is None:
        raise _GivenUpError
    upload.save(force_insert=True)
    now = timezone.now()
    row.state, row.upload, row.done = ExportState.READY, upload, row.total
    row.finished_at = row.touched_at = now
    row.expires_at, row.error_code = now + EXPORT_LIFE, ""
    row.save()
    enqueue(EXPORT_MAIL_TASK, of=row.institution_id, queue="mail", export_id=str(row.pk))


def fail_export(export_id: uuid.UUID, error: Exception) -> None:
    """Say that a copy can't be made now; its person may ask for another."""
    DataExport.objects.filter(pk=export_id, state__in=EXPORT_UNDER_WAY).update(
        state=ExportState.FAILED, error_code=type(error).__name__[:80], finished_at=timezone.now()
    )


def mail_export(export_id: uuid.UUID) -> None:
    """Tell a person that their copy is ready. The mail leads to their page and holds no link to the file."""
    export = DataExport.objects.select_related("user").filter(
        pk=export_id, state=ExportState.READY, mailed_at=None, user__is_active=True
    ).first()  # fmt: skip
    if export is None:
        return
    mail_person(export.user.email, "Your data is ready", "data_ready", {"export": export})
    DataExport.objects.filter(pk=export_id).update(mailed_at=timezone.now())


def sweep_exports() -> None:
    """Start again what lost its task, and let go of copies a week old. For one institution: call it in its scope."""
    now = timezone.now()
    quiet = DataExport.objects.under_way().filter(touched_at__lt=now - _QUIET)
    for key in list(quiet.values_list("pk", flat=True)[:_BATCH]):
        with transaction.atomic():
            row = DataExport.objects.select_for_update(of=("self",), skip_locked=True).filter(pk=key).first()
            if row is not None and row.is_under_way and not _is_queued(row):
                row.state, row.touched_at = ExportState.QUEUED, now
                row.save(update_fields=["state", "touched_at"])
                _enqueue(row)
    old = DataExport.objects.filter(state=ExportState.READY, expires_at__lt=now)
    for key in list(old.values_list("pk", flat=True)[:_BATCH]):
        with transaction.atomic():
            row = DataExport.objects.select_for_update(of=("self",)).get(pk=key)
            if row.upload_id is not None:
                expire(Upload.objects.select_for_update(of=("self",)).get(pk=row.upload_id))
            row.state = ExportState.EXPIRED
            row.save(update_fields=["state"])


def _touch(export: DataExport, state: ExportState, **fields: int) -> None:
    """Show how far it is; raise when nobody waits any more."""
    found = DataExport.objects.filter(pk=export.pk, state__in=EXPORT_UNDER_WAY)
    if not found.update(state=state, touched_at=timezone.now(), **fields):
        raise _GivenUpError


def _enqueue(export: DataExport) -> None:
    enqueue(
        EXPORT_TASK, of=export.institution_id, queue="exports", lock=f"data-export:{export.pk}",
        export_id=str(export.pk),
    )  # fmt: skip


def _is_queued(export: DataExport) -> bool:
    from procrastinate.contrib.django.models import ProcrastinateJob

    return ProcrastinateJob.objects.filter(lock=f"data-export:{export.pk}", status__in=("todo", "doing")).exists()
