"""What threads ask, as vectors: made in the background, compared while somebody types.

Always by the embedded model: no thread leaves the server for this. Without its weights nothing is compared, and the words
decide alone.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F, Q
from pgvector.django import MaxInnerProduct

from accounts.access import Member
from forum.models import Thread, ThreadVector
from quokkaq.lib.embedding import Embedder, local_embedder
from quokkaq.lib.markdown import plain_text

if TYPE_CHECKING:
    from quokkaq.lib.embedding.minilm import Vectors

# The model reads 256 tokens; what comes later in a text isn't looked at.
TEXT_CHARACTERS = 1500
# A text shorter than that adds nothing to its title.
MIN_TEXT = 40
NEAREST = 60


@dataclass(frozen=True)
class Near:
    """How alike a thread is to what is written, as cosines: of the titles, and of titles with texts."""

    title: float
    whole: float


def question_text(title: str, text: str) -> str:
    """Return title and text as they are embedded together."""
    return f"{title}. {' '.join(text.split())[:TEXT_CHARACTERS]}"


def digest_of(title: str, text: str) -> str:
    """Return the SHA-256, in hexadecimal, of what a thread's vectors are made from."""
    return hashlib.sha256(question_text(title, text).encode()).hexdigest()


def index_threads(keys: Sequence[uuid.UUID]) -> int:
    """Make the vectors of threads that have none, or those of an earlier text or model; return how many were made.

    Safe to run any number of times, also at once.
    """
    embedder = local_embedder()
    if embedder is None:
        return 0
    made = ThreadVector.objects.filter(thread__in=keys, model=embedder.name)
    there = set(made.values_list("thread", "course", "digest", "made_from"))
    threads = [(row, plain_text(row.body_html)) for row in Thread.objects.filter(pk__in=keys)]
    wanted = [(row, text) for row, text in threads if _vector_key(row, text) not in there]
    if not wanted:
        return 0
    titles = embedder.embed([row.title for row, _ in wanted])
    wholes = embedder.embed([question_text(row.title, text) for row, text in wanted])
    with transaction.atomic():
        # Their texts may have changed meanwhile: the digest says which one this was, and the upkeep looks again.
        ThreadVector.objects.bulk_create(
            [
                ThreadVector(
                    institution_id=row.institution_id,
                    thread=row,
                    course_id=row.course_id,
                    model=embedder.name,
                    digest=digest_of(row.title, text),
                    of_title=title,
                    of_all=whole,
                    made_from=_written_at(row),
                )
                for (row, text), title, whole in zip(wanted, titles, wholes, strict=True)
            ],
            update_conflicts=True,
            unique_fields=["thread"],
            update_fields=["course", "model", "digest", "of_title", "of_all", "made_from"],
        )
    return len(wanted)


def _written_at(thread: Thread) -> datetime:
    return thread.edited_at or thread.created_at


def _vector_key(thread: Thread, text: str) -> tuple[uuid.UUID, uuid.UUID, str, datetime]:
    return thread.pk, thread.course_id, digest_of(thread.title, text), _written_at(thread)


def threads_to_index(limit: int) -> list[uuid.UUID]:
    """Return threads without vectors of their present text, course and model, newest first."""
    embedder = local_embedder()
    if embedder is None:
        return []
    stale = (
        Q(meaning=None)
        | ~Q(meaning__model=embedder.name)
        | Q(edited_at__gt=F("meaning__made_from"))
        | ~Q(meaning__course=F("course"))
    )
    rows = Thread.objects.filter(stale, deleted_at=None)
    return list(rows.order_by("-created_at", "-pk").values_list("pk", flat=True)[:limit])


def nearest(member: Member, title: str, text: str) -> dict[uuid.UUID, Near]:
    """Return the threads of the course, among those the member may read, whose questions are nearest in meaning.

    Two queries; every thread of the course is compared (no approximate index), then the nearest are checked.
    """
    embedder = local_embedder()
    if embedder is None:
        return {}
    with_text = len(text.strip()) >= MIN_TEXT
    vectors = _embedded(embedder, title, text if with_text else "")
    of_title, of_all = vectors[0], vectors[-1]
    column = "of_all" if with_text else "of_title"
    rows = ThreadVector.objects.filter(course=member.course, model=embedder.name)
    # The sign is turned: pgvector sorts by the negative inner product, which for vectors of length 1 is the cosine.
    rows = rows.annotate(near=MaxInnerProduct(column, of_all if with_text else of_title)).order_by("near")
    keys = list(rows.values_list("pk", flat=True)[:NEAREST])
    measured = (
        ThreadVector.objects.visible_to(member)
        .filter(pk__in=keys)
        .annotate(by_title=MaxInnerProduct("of_title", of_title), by_all=MaxInnerProduct("of_all", of_all))
        .values_list("thread_id", "by_title", "by_all")
    )
    return {key: Near(-by_title, -by_all if with_text else -by_title) for key, by_title, by_all in measured}


def _embedded(embedder: Embedder, title: str, text: str) -> "Vectors":
    return embedder.embed([title, question_text(title, text)] if text else [title])
