"""Looking into a file before anybody may have it, and throwing away what nobody wants."""

import hashlib
import logging
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.actions.people import point_avatar_at
from accounts.actions.uploads import delete_all, enqueue_check, expire, file_key, quarantine_key, set_state
from accounts.models import TICKET_LIFE, UNATTACHED_LIFE, UNDER_WAY, Purpose, Upload, UploadState
from accounts.signals import upload_checked
from quokkaq.lib.inspecting import HEAD, IMAGES, TAIL, Findings, RefusedFile, Rejection, first_look, inspect, reencode
from quokkaq.lib.redacting import Safe
from quokkaq.lib.scanner import ScannerDown, scan
from quokkaq.lib.storage import FILES, QUARANTINE, TEMPORARY, Stored, store

log = logging.getLogger(__name__)
_STUCK = timedelta(minutes=5)
_LEFT_OVER = timedelta(hours=1)
_FORGOTTEN = timedelta(days=30)
_BATCH = 500


def check_upload(upload_id: uuid.UUID) -> None:
    """Look into one file, and release it or refuse it.

    Raises `ScannerDown` or `StoreError` when it can't be done now: the file stays where it is. Every step may be cut off
    and done again. The bytes released are those that were looked at: all reads and the copy name the same version.
    """
    row = Upload.objects.filter(pk=upload_id, state__in=(UploadState.UPLOADED, UploadState.SCANNING)).first()
    if row is None:
        return
    Upload.objects.filter(pk=row.pk, state=UploadState.UPLOADED).update(
        state=UploadState.SCANNING, state_at=timezone.now()
    )
    stored = store().head(quarantine_key(row))
    try:
        if stored is None or stored.size != row.size:
            raise _incomplete(row, "the store has none" if stored is None else "the store has another size")
        findings = _look(row, stored)
    except RefusedFile as refusal:
        reject_upload(upload_id, refusal.code)
        return
    _release(upload_id, findings)


def _look(row: Upload, stored: Stored) -> Findings:
    """Return what is known about a file after putting it, or its picture made anew, where files are served from."""
    key, target = quarantine_key(row), file_key(row)
    head = store().read(key, 0, min(HEAD, row.size), version=stored.version)
    tail = store().read(key, max(row.size - TAIL, 0), min(TAIL, row.size), version=stored.version)
    first_look(head, tail, row.size, claimed=row.content_type)
    with tempfile.TemporaryDirectory(prefix="quokkaq-") as folder:
        path = Path(folder) / "file"
        digest = hashlib.sha256()
        with path.open("wb") as copy:
            virus = _scan(_kept(store().chunks(key, version=stored.version), copy, digest))
        if virus:
            log.warning("a file was refused by the scanner", extra={"upload_id": str(row.pk), "signature": virus})
            raise RefusedFile(Rejection.INFECTED)
        if path.stat().st_size != row.size:
            raise _incomplete(row, "less was read than is stored")
        findings = inspect(path, claimed=row.content_type)
        if row.content_type in IMAGES:
            anew = Path(folder) / "anew"
            findings = reencode(path, anew, claimed=row.content_type, purpose=row.purpose)
            store().put(target, anew, content_type=findings.content_type, owner=stored.owner)
            return findings
    if findings.sha256 != digest.hexdigest():
        raise _incomplete(row, "what was looked at isn't what was read")
    store().promote(key, target, content_type=row.served_as, version=stored.version)
    return findings


def _incomplete(row: Upload, why: str) -> RefusedFile:
    log.warning(Safe(f"a file is refused as incomplete: {why}"), extra={"upload_id": str(row.pk)})
    return RefusedFile(Rejection.INCOMPLETE)


def _scan(chunks: Iterator[bytes]) -> str:
    """Return the name of what the scanner found, empty for nothing. All chunks are read in any case."""
    if settings.CLAMD_URL:
        found = scan(chunks)
    elif settings.SCAN_UPLOADS:
        raise ScannerDown("no scanner is set up (CLAMD_URL), and files may not go unscanned (SCAN_UPLOADS)")
    else:
        found = ""
    for _ in chunks:
        pass
    return found


def _kept(chunks: Iterator[bytes], copy: IO[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    """Pass chunks on, keeping a copy and their hash."""
    for chunk in chunks:
        copy.write(chunk)
        digest.update(chunk)
        yield chunk


@transaction.atomic
def _release(upload_id: uuid.UUID, findings: Findings) -> None:
    """Let a checked file be served, unless its owner gave it up meanwhile."""
    row = Upload.objects.select_for_update(of=("self",)).get(pk=upload_id)
    left = quarantine_key(row)
    if row.state != UploadState.SCANNING:
        return
    set_state(
        row, UploadState.CLEAN, storage_key=file_key(row), content_type=findings.content_type, sha256=findings.sha256, size=findings.size,
        width=findings.width, height=findings.height,
    )  # fmt: skip
    if row.purpose == Purpose.AVATAR:
        point_avatar_at(row)
    upload_checked.send(sender=Upload, upload=row)
    transaction.on_commit(lambda: store().delete(left), robust=True)


@transaction.atomic
def reject_upload(upload_id: uuid.UUID, code: str) -> None:
    """Refuse a file for good, and delete it."""
    row = Upload.objects.select_for_update(of=("self",)).filter(pk=upload_id, state__in=UNDER_WAY).first()
    if row is None:
        return
    left = (quarantine_key(row), file_key(row))
    set_state(row, UploadState.REJECTED, rejection=code)
    upload_checked.send(sender=Upload, upload=row)
    transaction.on_commit(lambda: delete_all(left), robust=True)


def sweep_uploads() -> None:
    """Put right what was cut off somewhere: rows without files, files without rows, and what nobody attached."""
    _recheck_stuck()
    now = timezone.now()
    never_sent = Upload.objects.filter(state=UploadState.PENDING, created_at__lt=now - TICKET_LIFE * 4)
    unwanted = Upload.objects.waiting().filter(state_at__lt=now - UNATTACHED_LIFE)
    for found in (never_sent, unwanted):
        for key in list(found.values_list("pk", flat=True)[:_BATCH]):
            with transaction.atomic():
                for row in found.select_for_update(of=("self",)).filter(pk=key, attached_at=None):
                    expire(row)
    _sweep_store(QUARANTINE, timezone.now() - _LEFT_OVER)
    for prefix in (FILES, TEMPORARY):
        _sweep_store(prefix, timezone.now() - timedelta(days=1))
    Upload.objects.filter(
        state__in=(UploadState.EXPIRED, UploadState.REJECTED), attached_at=None, state_at__lt=now - _FORGOTTEN
    ).delete()


def _recheck_stuck() -> None:
    """Have files checked whose task is lost, or has given up because the scanner was away for long."""
    states = (UploadState.UPLOADED, UploadState.SCANNING)
    stuck = Upload.objects.filter(state__in=states, state_at__lt=timezone.now() - _STUCK)
    for key in list(stuck.values_list("pk", flat=True)[:_BATCH]):
        with transaction.atomic():
            row = Upload.objects.select_for_update(of=("self",), skip_locked=True).filter(pk=key).first()
            if row is not None and row.state in states and not _is_queued(row):
                row.state_at = timezone.now()
                row.save(update_fields=["state_at"])
                enqueue_check(row)


def _is_queued(row: Upload) -> bool:
    from procrastinate.contrib.django.models import ProcrastinateJob

    return ProcrastinateJob.objects.filter(lock=f"upload:{row.pk}", status__in=("todo", "doing")).exists()


def _sweep_store(prefix: str, before: datetime) -> None:
    """Delete what lies in the store and belongs to no row that needs it there."""
    keys: list[str] = []
    for key in store().listing(prefix, older_than=before):
        keys.append(key)
        if len(keys) >= _BATCH:
            _delete_unneeded(prefix, keys)
            keys = []
    _delete_unneeded(prefix, keys)


def _delete_unneeded(prefix: str, keys: list[str]) -> None:
    names: dict[uuid.UUID, str] = {}
    for key in keys:
        try:
            names[uuid.UUID(key.removeprefix(prefix))] = key
        except ValueError:
            store().delete(key)
    wanted = UNDER_WAY if prefix == QUARANTINE else (UploadState.CLEAN, UploadState.SCANNING)
    needed = set(Upload.objects.filter(pk__in=names, state__in=wanted).values_list("pk", flat=True))
    for row_key, key in names.items():
        if row_key not in needed:
            store().delete(key)
