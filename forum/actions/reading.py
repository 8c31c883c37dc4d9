"""Who has read what. Reading never locks a thread."""

from datetime import datetime

from django.db import connection, transaction

from accounts.access import Member
from forum.models import Thread, ThreadRead


def mark_read(*, by: Member, thread: Thread, up_to: datetime) -> None:
    """Note that the member has seen everything up to a time. One upsert."""
    ThreadRead.objects.bulk_create(
        [ThreadRead(institution_id=thread.institution_id, thread=thread, user=by.user, read_at=up_to)],
        update_conflicts=True,
        unique_fields=["user", "thread"],
        update_fields=["read_at"],
    )


def count_readers() -> int:
    """Add readers not counted yet to their threads, all in one statement; return how many there were."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            WITH fresh AS (
                SELECT id, thread_id FROM forum_threadread WHERE NOT is_counted ORDER BY id FOR UPDATE SKIP LOCKED
            ), marked AS (
                UPDATE forum_threadread r SET is_counted = TRUE FROM fresh WHERE r.id = fresh.id RETURNING r.thread_id
            ), counted AS (
                SELECT thread_id, count(*) AS readers FROM marked GROUP BY thread_id
            ), added AS (
                UPDATE forum_thread t SET reader_count = t.reader_count + counted.readers
                FROM counted WHERE t.id = counted.thread_id
            )
            SELECT count(*) FROM marked
            """
        )
        return int(cursor.fetchone()[0])
