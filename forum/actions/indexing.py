"""What threads ask is turned into vectors in the background."""

import uuid

from forum.models import Thread
from forum.search import meaning
from quokkaq.lib.jobs import enqueue

INDEX_TASK = "forum.index_thread"
# So many at once: a worker is busy for about two seconds.
BATCH = 200


def enqueue_indexing(*, thread: Thread) -> None:
    """Enqueue the making of a thread's vectors, with the transaction that posts it."""
    enqueue(INDEX_TASK, of=thread.institution_id, queue="indexing", thread_id=str(thread.pk))


def index_thread(thread_id: uuid.UUID) -> None:
    """Make the vectors of a thread."""
    meaning.index_threads([thread_id])


def index_threads() -> int:
    """Make the vectors that are missing or out of date, some at a time; return how many were made."""
    return meaning.index_threads(meaning.threads_to_index(BATCH))
