"""A file becomes a version of a material. Every step can be cut off anywhere and done again."""

import tempfile
import uuid

from django.db import transaction
from django.utils import timezone

from accounts.access import Member, Refused, require_staff, require_writer
from accounts.actions import attach_uploads, audit, detach_uploads
from accounts.models import Purpose, Upload
from ai_answers.actions.materials import store_version
from ai_answers.models import ImportState, Material, MaterialFormat, MaterialImport, MaterialKind
from ai_answers.parsing import Parsed, Problem, Unreadable, read_file
from ai_answers.passages import cut
from quokkaq.lib.inspecting import sentence
from quokkaq.lib.jobs import enqueue
from quokkaq.lib.storage import store

IMPORT_TASK = "ai_answers.read_import"
_UNFINISHED = (ImportState.QUEUED, ImportState.READING)


@transaction.atomic
def start_import(
    *,
    by: Member,
    title: str,
    kind: MaterialKind,
    format: MaterialFormat,
    upload: uuid.UUID,
    material: Material | None = None,
) -> MaterialImport:
    """Make a file that was sent a material as soon as it is checked. Raises `Refused` when the file can't be had."""
    require_staff(by)
    require_writer(by)
    (file,) = attach_uploads(by=by, uploads=[upload], purpose=Purpose.MATERIAL)
    started = MaterialImport.objects.create(
        institution_id=by.course.institution_id,
        course=by.course,
        material=material,
        created_by=by.user,
        title=title,
        kind=kind,
        format=format,
        upload=file,
        original_name=file.original_name,
        size=file.size,
        state=ImportState.CHECKING,
    )
    if file.is_clean:
        go_on_with_import(file)
    return started


def go_on_with_import(file: Upload) -> None:
    """Read a file that has been checked, or say why it was refused. Call it in the transaction that says so."""
    waiting = (
        MaterialImport.objects.select_for_update(of=("self",)).filter(upload=file, state=ImportState.CHECKING).first()
    )
    if waiting is None:
        return
    if not file.is_clean:
        waiting.state, waiting.problem = ImportState.FAILED, sentence(file.rejection)
        waiting.finished_at = timezone.now()
    else:
        waiting.state, waiting.storage_key, waiting.size = ImportState.QUEUED, file.storage_key, file.size
    waiting.save(update_fields=["state", "storage_key", "size", "problem", "finished_at"])
    if file.is_clean:
        _enqueue(waiting)


@transaction.atomic
def retry_import(*, by: Member, failed: MaterialImport) -> None:
    """Read a file again that couldn't be read."""
    require_staff(by)
    require_writer(by)
    failed = MaterialImport.objects.select_for_update(of=("self",)).get(pk=failed.pk, course=by.course)
    if failed.state != ImportState.FAILED:
        return
    if not failed.storage_key:
        raise Refused("The file isn’t there any more. Upload it again.")
    failed.state, failed.problem, failed.finished_at = ImportState.QUEUED, "", None
    failed.save(update_fields=["state", "problem", "finished_at"])
    _enqueue(failed)


@transaction.atomic
def dismiss_import(*, by: Member, failed: MaterialImport) -> None:
    """Forget a file that couldn't be read."""
    require_staff(by)
    require_writer(by)
    row = MaterialImport.objects.select_for_update(of=("self",)).filter(pk=failed.pk, course=by.course).first()
    if row is None or row.state != ImportState.FAILED:
        return
    row.delete()
    if row.upload is not None:
        detach_uploads([row.upload])
    elif row.storage_key:
        transaction.on_commit(lambda: store().delete(row.storage_key), robust=True)


def read_import(import_id: uuid.UUID) -> None:
    """Read the file of an import in a child process and store what it says as a version; note why, when it can't be read.

    Reading takes place outside any transaction; the version, its passages and the switch to it come in one.
    """
    waiting = MaterialImport.objects.filter(pk=import_id, state__in=_UNFINISHED)
    if not waiting.update(state=ImportState.READING):
        return
    found = waiting.get()
    try:
        with tempfile.TemporaryFile() as file:
            for chunk in store().chunks(found.storage_key):
                file.write(chunk)
            file.seek(0)
            parsed = read_file(file, found.format)
    except Unreadable as error:
        fail_import(import_id, error.sentence)
        return
    try:
        _store(import_id, parsed)
    except Refused as error:
        fail_import(import_id, str(error))


def fail_import(import_id: uuid.UUID, problem: str = "") -> None:
    """Say on the page why a file didn't become a material."""
    sentence = problem or "Reading this file failed, several times. Try again later, or tell who runs QuokkaQ."
    MaterialImport.objects.filter(pk=import_id, state__in=_UNFINISHED).update(
        state=ImportState.FAILED, problem=sentence, finished_at=timezone.now()
    )


@transaction.atomic
def _store(import_id: uuid.UUID, parsed: Parsed) -> None:
    """Make what was read a version, unless another worker was faster. Raises `Refused` when it has no place any more."""
    found = (
        MaterialImport.objects.select_for_update(of=("self",))
        .select_related("course", "created_by")
        .filter(pk=import_id, state__in=_UNFINISHED)
        .first()
    )
    if found is None:
        return
    spans = cut(parsed)
    if not spans:
        raise Refused(Unreadable(Problem.NO_TEXT).sentence)
    material = _place(found)
    version, is_new = store_version(
        material, format=MaterialFormat(found.format), text=parsed.text, spans=spans, created_by=found.created_by
    )
    found.material = material
    if is_new:
        found.version, found.state = version, ImportState.INDEXING
        found.passages_total = len(spans)
        audit("material.imported", material, by=found.created_by, course=found.course, version=version.number)
    else:
        # The same text as before: there is nothing to do, and the version has its own import.
        found.state, found.finished_at = ImportState.READY, timezone.now()
    found.save(update_fields=["material", "version", "state", "passages_total", "finished_at"])


def _place(found: MaterialImport) -> Material:
    """Return the locked material that an import is a version of, or a new one."""
    same = Material.objects.filter(course=found.course, title=found.title, deleted_at=None, thread=None)
    if found.material_id is None:
        if same.exists():
            raise Refused(f"This course already has a material called “{found.title}”. Add a version to it instead.")
        return Material.objects.create(
            institution_id=found.institution_id, course=found.course, title=found.title, kind=found.kind
        )
    material = Material.objects.select_for_update(of=("self",)).get(pk=found.material_id)
    if material.deleted_at is not None:
        raise Refused("This material was deleted meanwhile. Restore it, and try again.")
    if same.exclude(pk=material.pk).exists():
        raise Refused(f"This course already has another material called “{found.title}”.")
    material.title, material.kind = found.title, found.kind
    return material


def _enqueue(waiting: MaterialImport) -> None:
    enqueue(
        IMPORT_TASK,
        of=waiting.institution_id,
        queue="materials",
        lock=f"import:{waiting.pk}",
        import_id=str(waiting.pk),
    )
