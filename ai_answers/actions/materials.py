"""Materials come in, and are cut into passages."""

import hashlib
import re

from django.db import transaction

from accounts.access import Member, require_staff, require_writer
from accounts.actions import audit
from ai_answers.models import Material, MaterialFormat, MaterialKind, MaterialVersion, Passage
from ai_answers.passages import normalise, split_passages


@transaction.atomic
def import_material(
    *, by: Member, title: str, kind: MaterialKind, format: MaterialFormat, text: str, material: Material | None = None
) -> MaterialVersion:
    """Store a text as a new material, or as the next version of one, and cut it into passages.

    The same text again makes no new version. Earlier versions stay: answers cite them.
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
    digest = hashlib.sha256(text.encode()).hexdigest()
    newest = material.versions.first()
    if newest is not None and (newest.sha256, newest.format) == (digest, format):
        material.save(update_fields=["title", "kind"])
        return newest
    version = MaterialVersion.objects.create(
        institution_id=material.institution_id,
        material=material,
        number=newest.number + 1 if newest else 1,
        format=format,
        text=text,
        sha256=digest,
        created_by=by.user,
    )
    Passage.objects.bulk_create(
        Passage(
            institution_id=material.institution_id,
            version=version,
            position=position,
            heading=_heading(title, span.heading),
            start=span.start,
            end=span.end,
            text=text[span.start : span.end],
            word_count=len(text[span.start : span.end].split()),
        )
        for position, span in enumerate(split_passages(text))
    )
    material.current_version = version
    material.save(update_fields=["title", "kind", "current_version"])
    audit("material.imported", material, by=by.user, course=by.course, version=version.number)
    return version


def _heading(title: str, section: str) -> str:
    """Return `title · section`, or the title alone where the section only repeats it."""
    same = [re.sub(r"\W+", "", text).casefold() for text in (title, section)]
    return title if same[1] in ("", same[0]) else f"{title} · {section}"[:300]
