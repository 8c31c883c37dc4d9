"""Counters that stand in a row to save counting: how each is defined, whether it holds, and how to set it right."""

from dataclasses import dataclass

from django.db import connection, transaction


@dataclass(frozen=True)
class Counter:
    """`column` of `table` should equal the scalar query `truth`, in which `counted` is the counted counted."""

    table: str
    column: str
    truth: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"

    def drifted(self) -> int:
        """Return in how many rows the counter is wrong."""
        with connection.cursor() as cursor:
            cursor.execute(  # rule: raw-sql (constants below)
                # The parts are the constants below.
                f"SELECT count(*) FROM {self.table} AS counted WHERE counted.{self.column} <> ({self.truth})"  # noqa: S608
            )
            return int(cursor.fetchone()[0])


COUNTERS = (
    Counter(
        "forum_thread", "reply_count",
        "SELECT count(*) FROM forum_post p"
        " WHERE p.thread_id = counted.id AND p.deleted_at IS NULL AND p.moderation = 'shown'",
    ),
    Counter("forum_thread", "vote_count", "SELECT count(*) FROM forum_vote v WHERE v.thread_id = counted.id"),
    Counter(
        "forum_thread", "same_count",
        "SELECT count(*) FROM forum_samequestion s WHERE s.thread_id = counted.id",
    ),
    Counter(
        "forum_thread", "endorsement_count",
        "SELECT (SELECT count(*) FROM forum_endorsement e JOIN forum_post p ON p.id = e.post_id"
        " WHERE p.thread_id = counted.id AND p.deleted_at IS NULL AND p.moderation = 'shown')"
        " + (SELECT count(*) FROM ai_answers_answerendorsement e JOIN ai_answers_answer a ON a.id = e.answer_id"
        " WHERE a.thread_id = counted.id)",
    ),
    Counter(
        "forum_thread", "reader_count",
        "SELECT count(*) FROM forum_threadread r WHERE r.thread_id = counted.id AND r.is_counted",
    ),
    Counter("forum_post", "vote_count", "SELECT count(*) FROM forum_vote v WHERE v.post_id = counted.id"),
    Counter("forum_post", "endorsement_count", "SELECT count(*) FROM forum_endorsement e WHERE e.post_id = counted.id"),
    Counter(
        "ai_answers_answer", "endorsement_count",
        "SELECT count(*) FROM ai_answers_answerendorsement e WHERE e.answer_id = counted.id",
    ),
)  # fmt: skip


@transaction.atomic
def repair(counter: Counter) -> None:
    """Set a counter right in every row, with the table locked against writers meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {counter.table} IN SHARE ROW EXCLUSIVE MODE")  # rule: raw-sql (constants above)
        cursor.execute(  # rule: raw-sql (constants above)
            f"UPDATE {counter.table} AS counted SET {counter.column} = ({counter.truth})"  # noqa: S608 (constants above)
            f" WHERE counted.{counter.column} <> ({counter.truth})"
        )
