"""A file becomes a version of a material. Every step can be cut off anywhere and done again."""

import uuid

from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from accounts.access import Member, Refused, require_staff, require_writer
from accounts.actions import audit
from ai_answers.actions.materials import store_version
from ai_answers.models import ImportState, Material, MaterialFormat, MaterialImport, MaterialKind
from ai_answers.parsing import MAX_FILE, Parsed, Problem, Unreadable, read_file
from ai_answers.passages import cut
from quokkaq.lib import request_id

IMPORT_TASK = "ai_answers.read_import"
FOLDER = "materials"
_UNFINISHED = (ImportState.QUEUED, ImportState.READING)


def start_import(
    *,
    by: Member,
    title: str,
    kind: MaterialKind,
    format: MaterialFormat,
    file: File[bytes],
    name: str,
    material: Material | None = None,
) -> MaterialImport:
    """Put a file into the storage, under a name that says nothing, and have it read.

    The file is stored first: a row without one could never be read, a file without a row harms nobody.
    """
    require_staff(by)
    require_writer(by)
    key = default_storage.save(f"{FOLDER}/{uuid.uuid4()}", file)
    try:
        with transaction.atomic():
            started = MaterialImport.objects.create(
                institution_id=by.course.institution_id,
                course=by.course,
                material=material,
                created_by=by.user,
                title=title,
                kind=kind,
                format=format,
                storage_key=key,
                original_name=name[-200:],
                size=file.size,
            )
            _enqueue(started)
    except BaseException:
        default_storage.delete(key)
        raise
    return started


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
    transaction.on_commit(lambda: default_storage.delete(row.storage_key), robust=True)


def read_import(import_id: uuid.UUID) -> None:
    """Read the file of an import in a child process and store what it says as a version; note why, when it can't be read.

    Reading takes place outside any transaction; the version, its passages and the switch to it come in one.
    """
    waiting = MaterialImport.objects.filter(pk=import_id, state__in=_UNFINISHED)
    if not waiting.update(state=ImportState.READING):
        return
    found = waiting.get()
    with default_storage.open(found.storage_key) as file:
        data = file.read(MAX_FILE + 1)
    try:
        parsed = read_file(data, found.format)
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
    app.configure_task(IMPORT_TASK, queue="materials", lock=f"import:{waiting.pk}").defer(
        import_id=str(waiting.pk), request_id=request_id.current()
    )
