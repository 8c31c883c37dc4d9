"""What passages mean, as vectors of themselves and of each of their sentences.

Runs as a job: about 10 passages a second on one core with the embedded model. Safe to run twice, also at once: what is
there already is left as it is.
"""

import logging
import time
import uuid
from collections.abc import Sequence
from itertools import groupby

from django.db import transaction
from django.utils import timezone

from accounts.models import Course, User
from ai_answers.measures import count_call
from ai_answers.models import AIConsent, CallOutcome, Disclosure, ModelCall, Passage, PassageVector, Purpose
from ai_answers.passages import split_sentences
from ai_answers.privacy import pseudonyms_in
from ai_answers.querysets import PassageQuerySet
from ai_answers.search import Meaning, Question
from quokkaq.lib.embedding import Embedder, EmbeddingUnavailable, embedder
from quokkaq.lib.embedding.minilm import Vectors

log = logging.getLogger(__name__)

PROVIDER = "embedding service"

# Passages embedded together; what a killed job loses.
BATCH = 32
# A sentence shorter than this says nothing by itself; one per row is stored of a long table.
MIN_SENTENCE = 15
MAX_SENTENCES = 60


def unindexed(model: str) -> PassageQuerySet:
    """Return the passages of newest versions that have no vectors of the model yet, oldest first."""
    return Passage.objects.current().without_vectors(model).filter(version__material__deleted_at=None).order_by("pk")


def texts_of(passage: Passage) -> list[tuple[int, int, str]]:
    """Return what of a passage is embedded, as (start, end, text): itself with its heading, then its sentences."""
    spans = [span for span in split_sentences(passage.text) if span.end - span.start >= MIN_SENTENCE]
    whole = (0, len(passage.text), f"{passage.heading}\n{passage.text}")
    return [whole, *((span.start, span.end, passage.text[span.start : span.end]) for span in spans[:MAX_SENTENCES])]


def index_passages(passage_ids: Sequence[uuid.UUID]) -> int:
    """Embed those of some passages that have no vectors yet, and return how many that were; 0 without a model.

    Stored batch by batch: a job that is killed goes on where it was. Raises `EmbeddingUnavailable` when a service outside
    doesn't answer.
    """
    model = embedder()
    if model is None:
        return 0
    done = 0
    for start in range(0, len(passage_ids), BATCH):
        passages = _waiting(passage_ids[start : start + BATCH], model.name)
        # What leaves is written down per course.
        for course, of_course in groupby(passages, key=lambda passage: passage.version.material.course):
            done += _store(list(of_course), course, model)
    return done


def _store(passages: Sequence[Passage], course: Course, model: Embedder) -> int:
    parts = [(passage, number, *part) for passage in passages for number, part in enumerate(texts_of(passage))]
    texts = [text for *_, text in parts]
    vectors = embed_outside(texts, course=course, user=None, model=model) if model.is_remote else model.embed(texts)
    rows = [
        PassageVector(
            institution_id=passage.institution_id, passage=passage, model=model.name, part=number,
            start=start, end=end, vector=vector,
        )
        for (passage, number, start, end, _), vector in zip(parts, vectors, strict=True)
    ]  # fmt: skip
    with transaction.atomic():
        # A passage may have been deleted meanwhile; its vectors would have nothing to stand for.
        alive = set(
            Passage.objects.select_for_update(no_key=True)
            .filter(pk__in=[passage.pk for passage in passages])
            .order_by("pk")
            .values_list("pk", flat=True)
        )
        # Conflicts: another worker was here first.
        PassageVector.objects.bulk_create(
            [row for row in rows if row.passage_id in alive], batch_size=500, ignore_conflicts=True
        )
    return len(alive)


def _waiting(passage_ids: Sequence[uuid.UUID], model: str) -> list[Passage]:
    """Return those of some passages that exist and have no vectors of the model yet, course by course."""
    rows = Passage.objects.filter(pk__in=passage_ids).without_vectors(model)
    rows = rows.order_by("version__material__course_id", "pk").select_related("version__material__course")
    return list(rows.defer("search", "version__text"))


def meaning_of(question: Question, *, course: Course, user: User | None) -> Meaning | None:
    """Return what a question means by the service outside, or None: there is none, it fails, or who asks hasn't agreed.

    For `retrieve(..., meaning=)`, which goes by words alone then. The embedded model needs none of this.
    """
    model = embedder()
    if model is None or not model.is_remote or user is None:
        return None
    if not AIConsent.objects.given().filter(user=user).exists():
        return None
    try:
        return Meaning(model.name, embed_outside([question.meant], course=course, user=user, model=model)[0].tolist())
    except EmbeddingUnavailable as error:
        log.warning("no vector for a question: %s", error)
        return None


def embed_outside(texts: Sequence[str], *, course: Course, user: User | None, model: Embedder) -> Vectors:
    """Embed texts by a service outside: without what identifies people, and written down before they leave.

    Raises `EmbeddingUnavailable`; the ledger then says so.
    """
    pseudonyms = pseudonyms_in(texts, course, user)
    masked = [pseudonyms.mask(text) for text in texts]
    started = time.monotonic()
    name = model.name
    with transaction.atomic():
        call = ModelCall.objects.create(
            institution_id=course.institution_id, course=course, user=user, purpose=Purpose.EMBEDDING,
            engine="embedding", model=name[:80], outcome=CallOutcome.RESERVED,
        )  # fmt: skip
        Disclosure.objects.create(
            institution_id=course.institution_id, call=call, user=user, course=course, provider=PROVIDER,
            model=name[:80], text="\n\n".join(masked),
        )  # fmt: skip
    call.outcome, call.reason = CallOutcome.ERROR, "EmbeddingUnavailable"
    try:
        vectors = model.embed(masked)
        call.outcome, call.reason = CallOutcome.ANSWERED, ""
        return vectors
    finally:
        call.duration_ms = round((time.monotonic() - started) * 1000)
        call.settled_at = timezone.now()
        call.save(update_fields=["outcome", "reason", "duration_ms", "settled_at"])
        count_call("embedding", call.outcome, call.duration_ms / 1000)
