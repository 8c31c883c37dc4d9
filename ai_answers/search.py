"""Find the passages of a course that a question is about.

The rest of the app knows one function, `retrieve`. It ranks with Okapi BM25 (`quokkaq.lib.fulltext`), computed over every matching passage with exact term counts from
PostgreSQL's text-search vectors, so questions and passages share one tokenizer and stemmer. PostgreSQL's own `ts_rank`
knows no inverse document frequency and is measurably worse (docs/adr/0004).
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Avg, Count
from django.db.models.functions import Length

from accounts.access import Member
from ai_answers.models import Passage
from ai_answers.querysets import PassageQuerySet
from quokkaq.lib.fulltext import analyse, inverse_document_frequency, quote_lexeme, saturation

# A word of the title says more about what is asked than one of the story around it, and there are fewer of them.
TITLE_WEIGHT = 3.0
BODY_WEIGHT = 0.5
BODY_CHARACTERS = 1500
# A course with a handful of passages can't tell which words are rare. It is counted as if so many passages about
# something else stood beside it; in a large course they change nothing.
BACKGROUND_PASSAGES = 200


@dataclass(frozen=True)
class Question:
    """What was asked."""

    title: str
    body: str = ""


@dataclass(frozen=True)
class ScoredPassage:
    """A passage, how well it fits, and the length in characters of the version it stands in."""

    passage: Passage
    score: float
    document_length: int


@dataclass(frozen=True)
class Retrieval:
    """Passages, best first, with what an engine needs to weigh them.

    `weights` says how much each lexeme of the question counts (inverse document frequency in the course, times where it
    stands); `asked` are the lexemes of the title with their inverse document frequency alone.
    """

    passages: Sequence[ScoredPassage]
    weights: Mapping[str, float]
    asked: Mapping[str, float]


def retrieve(question: Question, *, member: Member, limit: int = 8) -> Retrieval:
    """Return the passages of the member's course, among those they may read, that fit the question best.

    Four queries at any size; scores are BM25 sums, comparable within one call only.
    """
    title, body = analyse([question.title, question.body[:BODY_CHARACTERS]])
    places = {lexeme: TITLE_WEIGHT * (lexeme in title) + BODY_WEIGHT * (lexeme in body) for lexeme in title | body}
    visible = Passage.objects.visible_to(member).current()
    documents, mean_length = _corpus_size(visible)
    matches = _term_counts(visible, list(places))
    frequencies = Counter(lexeme for counts, _ in matches.values() for lexeme in counts)
    idf = {
        lexeme: inverse_document_frequency(documents + BACKGROUND_PASSAGES, frequencies[lexeme]) for lexeme in places
    }
    weights = {lexeme: place * idf[lexeme] for lexeme, place in places.items()}
    scores = {
        passage_id: sum(weights[lexeme] * saturation(count, length, mean_length) for lexeme, count in counts.items())
        for passage_id, (counts, length) in matches.items()
    }
    best = sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))[:limit]
    rows = visible.filter(pk__in=best).annotate(document_length=Length("version__text"))
    found: dict[uuid.UUID, Any] = {p.pk: p for p in rows.with_source()}
    return Retrieval(
        [ScoredPassage(found[key], scores[key], found[key].document_length) for key in best if key in found],
        weights,
        {lexeme: idf[lexeme] for lexeme in title},
    )


def _corpus_size(visible: PassageQuerySet) -> tuple[int, float]:
    sizes = visible.aggregate(documents=Count("pk"), mean=Avg("word_count"))
    return sizes["documents"], float(sizes["mean"] or 1.0) or 1.0


def _term_counts(visible: PassageQuerySet, lexemes: list[str]) -> dict[uuid.UUID, tuple[dict[str, int], int]]:
    """Return for each passage with at least one of the lexemes: how often it has each, and its length in words."""
    if not lexemes:
        return {}
    any_of = " | ".join(quote_lexeme(lexeme) for lexeme in lexemes)
    ids, parameters = visible.values("pk").query.sql_with_params()
    matches: dict[uuid.UUID, tuple[dict[str, int], int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT p.id, p.word_count, l.lexeme, cardinality(l.positions)
            FROM ai_answers_passage p, LATERAL unnest(p.search) AS l
            WHERE p.search @@ %s::tsquery AND l.lexeme = ANY(%s) AND p.id IN ({ids})
            """,  # noqa: S608 (the inner query is the ORM's, its values stay parameters)
            [any_of, lexemes, *parameters],
        )
        for passage_id, length, lexeme, count in cursor.fetchall():
            matches.setdefault(passage_id, ({}, length))[0][lexeme] = count
    return matches
