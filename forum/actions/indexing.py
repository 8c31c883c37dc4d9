"""What threads ask is turned into vectors in the background."""

import uuid

from forum.models import Thread
from forum.search import meaning
from quokkaq.lib import tenancy
from quokkaq.lib.jobs import enqueue, enqueue_once

INDEX_TASK = "forum.index_thread"
INDEX_MISSING_TASK = "forum.index_missing_threads"
# So many at once: a worker is busy for about two seconds.
BATCH = 200


def enqueue_indexing(*, thread: Thread) -> None:
    """Enqueue the making of a thread's vectors, with the transaction that posts it."""
    enqueue(INDEX_TASK, of=thread.institution_id, queue="indexing", thread_id=str(thread.pk))


def index_thread(thread_id: uuid.UUID) -> None:
    """Make the vectors of a thread."""
    meaning.index_threads([thread_id])


def enqueue_missing_threads() -> bool:
    """Have vectors made that are missing or out of date; return whether a job was enqueued for it."""
    return bool(meaning.threads_to_index(1)) and _enqueue_batch()


def index_threads() -> int:
    """Make some of the vectors that are missing or out of date; return how many. More get their turn in another job."""
    keys = meaning.threads_to_index(BATCH)
    made = meaning.index_threads(keys)
    if made and len(keys) == BATCH:
        _enqueue_batch()
    return made


def _enqueue_batch() -> bool:
    return enqueue_once(INDEX_MISSING_TASK, of=None, queue="indexing", key=f"index-threads:{tenancy.institution()}")
