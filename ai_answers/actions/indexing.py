"""Passages get the vectors by which their meaning is found. Every step can be cut off anywhere and done again."""

import uuid

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from ai_answers.indexing import index_passages, unindexed
from ai_answers.models import ImportState, MaterialImport, MaterialKind, MaterialVersion, Passage
from quokkaq.lib.embedding import embedder
from quokkaq.lib.jobs import enqueue

INDEX_TASK = "ai_answers.index_version"
# Passages between two looks at the progress, and at most in one round of upkeep.
BATCH = 32
UPKEEP_ROUND = 640

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
    enqueue(
        INDEX_TASK, of=version.institution_id, queue="materials", lock=f"index:{version.pk}", version_id=str(version.pk)
    )


def index_version(version_id: uuid.UUID) -> None:
    """Embed the passages of a version, batch by batch, and keep count in its import. Unchanged ones cost nothing."""
    version = MaterialVersion.objects.select_related("material").defer("text").filter(pk=version_id).first()
    if version is None:
        return
    copy_vectors(version)
    keys = list(Passage.objects.filter(version=version).order_by("position").values_list("pk", flat=True))
    imports = MaterialImport.objects.filter(version=version, state=ImportState.INDEXING)
    imports.update(passages_total=len(keys), passages_done=0)
    # One that was replaced meanwhile is never searched.
    for at in range(0, len(keys), BATCH) if version.pk == version.material.current_version_id else ():
        index_passages(keys[at : at + BATCH])
        imports.update(passages_done=min(at + BATCH, len(keys)))
    imports.update(state=ImportState.READY, passages_done=F("passages_total"), finished_at=timezone.now())
    if version.material.kind == MaterialKind.THREAD:
        forget_uncited(version)


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
    """Embed passages without vectors of the present model: a task was lost, or there was another then; return how many."""
    model = embedder()
    if model is None:
        return 0
    keys = list(unindexed(model.name).values_list("pk", flat=True)[:UPKEEP_ROUND])
    done = 0
    for at in range(0, len(keys), BATCH):
        embedded = index_passages(keys[at : at + BATCH])
        if not embedded:
            break  # there is no model
        done += embedded
    return done
