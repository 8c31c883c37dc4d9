"""Passages get the vectors by which their meaning is found. Every step can be cut off anywhere and done again."""

import time
import uuid

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from ai_answers.indexing import index_passages, unindexed
from ai_answers.models import ImportState, MaterialImport, MaterialKind, MaterialVersion, Passage
from ai_answers.querysets import PassageQuerySet
from quokkaq.lib.embedding import embedder
from quokkaq.lib.jobs import enqueue_once

INDEX_TASK = "ai_answers.index_version"
# Passages between two looks at the progress.
BATCH = 16
# After so long a job makes way for others and enqueues the rest. A batch may take as long again.
TURN_SECONDS = 3.0
# Versions that one round of upkeep has embedded.
UPKEEP_ROUND = 100

# Equal heading and text mean the same: what was embedded for an earlier version is taken over, of every model.
_COPY = """
INSERT INTO ai_answers_passagevector (id, institution_id, passage_id, model, part, start, "end", vector)
SELECT DISTINCT ON (new.id, v.model, v.part)
       gen_random_uuid(), new.institution_id, new.id, v.model, v.part, v.start, v."end", v.vector
FROM ai_answers_passage new
JOIN ai_answers_passage old ON old.heading = new.heading AND old.text = new.text AND old.version_id <> new.version_id
JOIN ai_answers_materialversion earlier ON earlier.id = old.version_id AND earlier.material_id = %s
JOIN ai_answers_passagevector v ON v.passage_id = old.id
WHERE new.version_id = %s
ORDER BY new.id, v.model, v.part, old.id DESC
ON CONFLICT DO NOTHING
"""


def enqueue_indexing(version: MaterialVersion) -> None:
    """Have the passages of a version embedded, if the transaction commits that made it."""
    _enqueue(version.pk, of=version.institution_id)


def _enqueue(version_id: uuid.UUID, *, of: uuid.UUID) -> bool:
    return enqueue_once(INDEX_TASK, of=of, queue="materials", key=f"index:{version_id}", version_id=str(version_id))


def index_version(version_id: uuid.UUID, *, seconds: float = TURN_SECONDS) -> None:
    """Embed passages of a version for some seconds, and keep count in its import; enqueue the rest, if there is one.

    What is embedded already is left as it is, so a turn that is cut off costs a batch. Unchanged passages cost nothing.
    """
    ends = time.monotonic() + seconds
    version = MaterialVersion.objects.select_related("material").defer("text").filter(pk=version_id).first()
    if version is None:
        return
    passages = Passage.objects.filter(version=version)
    left = _left(passages)
    total = passages.count()
    if len(left) == total:  # the first turn
        copy_vectors(version)
        left = _left(passages)
    if version.pk != version.material.current_version_id:
        left = []  # one that was replaced meanwhile is never searched
    imports = MaterialImport.objects.filter(version=version, state=ImportState.INDEXING)
    imports.update(passages_total=total, passages_done=total - len(left))
    while left:
        index_passages(left[:BATCH])
        left = left[BATCH:]
        imports.update(passages_done=total - len(left))
        if left and time.monotonic() > ends:
            _enqueue(version.pk, of=version.institution_id)
            return
    imports.update(state=ImportState.READY, passages_done=F("passages_total"), finished_at=timezone.now())
    if version.material.kind == MaterialKind.THREAD:
        forget_uncited(version)


def _left(passages: PassageQuerySet) -> list[uuid.UUID]:
    """Return which of some passages have no vectors of the present model yet, in their order; none without a model."""
    model = embedder()
    return list(passages.without_vectors(model.name).order_by("position").values_list("pk", flat=True)) if model else []


@transaction.atomic
def copy_vectors(version: MaterialVersion) -> int:
    """Take over the vectors of passages that stand, heading and text the same, in another version; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(_COPY, [version.material_id, version.pk])
        return int(cursor.rowcount)


def forget_uncited(version: MaterialVersion) -> None:
    """Delete what an endorsed thread said before, unless an answer quotes it: its own history keeps that."""
    MaterialVersion.objects.filter(material=version.material, number__lt=version.number, citations=None).delete()


def index_missing() -> int:
    """Enqueue versions with passages without vectors of the present model: a task was lost, or there was another then.

    Returns how many.
    """
    model = embedder()
    if model is None:
        return 0
    found = unindexed(model.name).order_by("version").values_list("version", "institution").distinct()[:UPKEEP_ROUND]
    return sum(_enqueue(version, of=institution) for version, institution in found)
