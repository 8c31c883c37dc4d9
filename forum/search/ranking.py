"""How well a text fits some words: BM25 over the words' rarity in the course."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.core.cache import cache
from django.db import connections
from django.db.models import Model
from django.db.models.expressions import RawSQL

from accounts.models import Course
from forum.querysets import course_lexeme, in_course
from quokkaq.lib import replica
from quokkaq.lib.fulltext import inverse_document_frequency, quote_lexeme, saturation

# Word statistics come from so many of the newest threads of a course, and are kept for so long.
SAMPLED_THREADS = 10_000
KEPT_WORDS = 8_000
STATISTICS_SECONDS = 600
# A word of a title says more about a thread than one of its text. The keys are PostgreSQL's weights.
FIELD_WEIGHT = {"A": 1.0, "B": 0.4, "C": 0.4, "D": 0.4}
DEEP = 400
POOL = 2_000
THREAD_POOL = 4_000
# In a course with a handful of threads no word is rare yet: it is counted as if so many others stood beside them.
BACKGROUND = 50


@dataclass(frozen=True)
class Rarity:
    """In how many of `documents` sampled threads of a course each word stands; words not named stand in one or none."""

    documents: int
    containing: Mapping[str, int]
    mean_length: float

    def of(self, lexeme: str) -> float:
        """Return the inverse document frequency of a word in the course."""
        return inverse_document_frequency(self.documents + BACKGROUND, self.containing.get(lexeme, 1))

    def rarest(self, lexemes: Collection[str], count: int) -> list[str]:
        """Return the `count` rarest of some words: what is relevant nearly always holds one of them."""
        return sorted(lexemes, key=lambda lexeme: (self.containing.get(lexeme, 1), lexeme))[:count]


def rarity(course: Course) -> Rarity:
    """Return the word statistics of a course. One query, when they aren't in the cache."""
    key = f"forum.rarity:{course.pk.hex}"
    found = cache.get(key)
    if isinstance(found, Rarity):
        return found
    made = _measure(course)
    # A young course changes fast and is measured fast.
    cache.set(key, made, STATISTICS_SECONDS if made.documents == SAMPLED_THREADS else 5 + made.documents // 10)
    return made


def _measure(course: Course) -> Rarity:
    # `ts_stat` takes its query as a text; what is put into it are a UUID of ours and a constant.
    sample = (
        "SELECT e.vector FROM forum_searchentry e WHERE e.post_id IS NULL AND e.thread_id IN ("  # noqa: S608
        f"SELECT t.id FROM forum_thread t WHERE t.course_id = '{course.pk}' AND t.deleted_at IS NULL"
        f" ORDER BY t.created_at DESC, t.id DESC LIMIT {SAMPLED_THREADS})"
    )
    with connections[replica.reading()].cursor() as cursor:
        cursor.execute("SELECT word, ndoc FROM ts_stat(%s) ORDER BY ndoc DESC", [sample])
        counted: list[tuple[str, int]] = cursor.fetchall()
    documents = next((count for word, count in counted if word == course_lexeme(course)), 0)
    words = sum(count for _, count in counted) - documents
    mean = words / documents if documents else 1.0
    return Rarity(documents, {word: count for word, count in counted[:KEPT_WORDS] if count > 1}, max(mean, 1.0))


def scores(
    model: type[Model], column: str, rows: Collection[uuid.UUID], weights: Mapping[str, float], mean_length: float
) -> dict[uuid.UUID, float]:
    """Return the BM25 score of each row's `tsvector` for words with the given weights. One query.

    A word's count is the sum of `FIELD_WEIGHT` over its occurrences (BM25F's idea of weighing fields before saturation).
    """
    keys = list(rows)
    found = [0.0] * len(keys)
    if not (keys and weights):
        return dict(zip(keys, found, strict=True))
    with connections[replica.reading()].cursor() as cursor:
        cursor.execute(  # rule: raw-sql (names of our models)
            f"""
            SELECT key.number, length(r.{column}), l.lexeme, array_to_string(l.weights, '')
            FROM unnest(%s::uuid[]) WITH ORDINALITY AS key(id, number)
                JOIN {model._meta.db_table} r ON r.id = key.id, LATERAL unnest(r.{column}) AS l
            WHERE l.lexeme = ANY(%s)
            """,  # noqa: S608 (names of ours)
            [keys, list(weights)],
        )
        for number, length, lexeme, places in cursor.fetchall():
            count = sum([FIELD_WEIGHT[place] for place in places])
            found[number - 1] += weights[lexeme] * saturation(count, length, mean_length)
    return dict(zip(keys, found, strict=True))


def best_entries(course: Course, words: str, *, posts: bool, deep: int = DEEP) -> RawSQL:
    """Return a subquery: the `deep` entries of a course that fit `words` best, whoever may read them.

    With a word that stands everywhere, only `POOL` are compared: the time goes into reading the rows.
    """
    which, pool = ("NOT NULL", POOL) if posts else ("NULL", THREAD_POOL)
    return RawSQL(  # noqa: S611 (constants, and parameters)  # rule: raw-sql (constants)
        f"""
        SELECT pool.id FROM (
            SELECT id, vector FROM forum_searchentry WHERE post_id IS {which} AND vector @@ %s::tsquery LIMIT {pool:d}
        ) AS pool ORDER BY ts_rank(pool.vector, %s::tsquery, 1) DESC, pool.id LIMIT {deep:d}
        """,  # noqa: S608 (constants)
        [in_course(course, words), words],
    )


def any_of(lexemes: Collection[str]) -> str:
    """Return the `tsquery` that any of the words fits."""
    return " | ".join(quote_lexeme(lexeme) for lexeme in sorted(lexemes))
