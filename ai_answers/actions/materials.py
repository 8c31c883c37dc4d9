"""Materials come in, are cut into passages, and go."""

import hashlib
import re
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from accounts.access import Member, Refused, require_staff, require_writer
from accounts.actions import audit
from accounts.models import User
from ai_answers.actions.indexing import enqueue_indexing
from ai_answers.actions.rechecking import enqueue_recheck
from ai_answers.models import Material, MaterialFormat, MaterialKind, MaterialVersion, Passage
from ai_answers.passages import Span, normalise, split_passages


@transaction.atomic
def import_material(
    *, by: Member, title: str, kind: MaterialKind, format: MaterialFormat, text: str, material: Material | None = None
) -> MaterialVersion:
    """Store a text as a new material, or as the next version of one, and cut it into passages.

    The same text again makes no new version. Earlier versions stay: answers cite them. Words are found at once, meaning
    when the task that is enqueued here has run.
    """
    require_staff(by)
    require_writer(by)
    if material is None:
        material = Material.objects.create(
            institution_id=by.course.institution_id, course=by.course, title=title, kind=kind
        )
    else:
        material = Material.objects.select_for_update(of=("self",)).get(pk=material.pk, course=by.course)
        material.title, material.kind = title, kind
    text = normalise(text)
    version, is_new = store_version(material, format=format, text=text, spans=split_passages(text), created_by=by.user)
    if is_new:
        audit("material.imported", material, by=by.user, course=by.course, version=version.number)
    return version


def store_version(
    material: Material, *, format: MaterialFormat, text: str, spans: Sequence[Span], created_by: User | None
) -> tuple[MaterialVersion, bool]:
    """Make a text the newest version of a locked material, and enqueue what follows; tell whether it is a new one.

    Part of the caller's transaction: text, passages, the switch to them and the tasks come together or not at all.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    newest = material.versions.first()
    if newest is not None and (newest.sha256, newest.format) == (digest, format):
        material.save(update_fields=["title", "kind"])
        return newest, False
    version = MaterialVersion.objects.create(
        institution_id=material.institution_id,
        material=material,
        number=newest.number + 1 if newest else 1,
        format=format,
        text=text,
        sha256=digest,
        created_by=created_by,
    )
    Passage.objects.bulk_create(
        (
            Passage(
                institution_id=material.institution_id,
                version=version,
                position=position,
                heading=_heading(material.title, span.heading),
                locator_kind=span.locator_kind,
                locator=span.locator,
                start=span.start,
                end=span.end,
                text=text[span.start : span.end],
                word_count=len(text[span.start : span.end].split()),
            )
            for position, span in enumerate(spans)
        ),
        batch_size=500,
    )
    material.current_version = version
    material.save(update_fields=["title", "kind", "current_version"])
    enqueue_indexing(version)
    if newest is not None:
        enqueue_recheck(material=material)
    return version, True


@transaction.atomic
def delete_material(*, by: Member, material: Material) -> None:
    """Take a material out of sight: nothing is quoted from it any more, and answers that did are checked again."""
    material = _locked(by, material)
    if material.deleted_at is not None:
        return
    material.deleted_at = timezone.now()
    material.save(update_fields=["deleted_at"])
    audit("material.deleted", material, by=by.user, course=by.course)
    enqueue_recheck(material=material)


@transaction.atomic
def restore_material(*, by: Member, material: Material) -> None:
    """Bring a material back. Answers withdrawn meanwhile stay withdrawn: staff can have them written again.

    Raises `Refused` when another material has its title now.
    """
    material = _locked(by, material)
    if material.deleted_at is None:
        return
    if Material.objects.filter(course=by.course, title=material.title, deleted_at=None, thread=None).exists():
        raise Refused(f"There is another material called “{material.title}” now. Rename or delete that one first.")
    material.deleted_at = None
    material.save(update_fields=["deleted_at"])
    audit("material.restored", material, by=by.user, course=by.course)
    if material.current_version is not None:
        enqueue_indexing(material.current_version)


def _locked(by: Member, material: Material) -> Material:
    """Return the row as it is now, locked, if the member may change it."""
    require_staff(by)
    require_writer(by)
    return Material.objects.select_for_update(of=("self",)).taught().get(pk=material.pk, course=by.course)


def _heading(title: str, section: str) -> str:
    """Return `title · section`, or the title alone where the section only repeats it."""
    same = [re.sub(r"\W+", "", text).casefold() for text in (title, section)]
    return title if same[1] in ("", same[0]) else f"{title} · {section}"[:300]
