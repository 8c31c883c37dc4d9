"""Find the passages of a course that a question is about.

The rest of the app knows one function, `retrieve`. It ranks with Okapi BM25 (Robertson & Zaragoza, "The Probabilistic
Relevance Framework: BM25 and Beyond", 2009), computed over every matching passage with exact term counts from
PostgreSQL's text-search vectors, so questions and passages share one tokenizer and stemmer. PostgreSQL's own `ts_rank`
knows no inverse document frequency and is measurably worse (docs/adr/0004).
"""

import math
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Avg, Count
from django.db.models.functions import Length

from accounts.access import Member
from ai_answers.models import SEARCH_LANGUAGE, Passage
from ai_answers.querysets import PassageQuerySet

K1 = 1.2
B = 0.75
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
    found: dict[uuid.UUID, Any] = {
        p.pk: p for p in rows.select_related("version__material").defer("search", "version__text")
    }
    return Retrieval(
        [ScoredPassage(found[key], scores[key], found[key].document_length) for key in best if key in found],
        weights,
        {lexeme: idf[lexeme] for lexeme in title},
    )


def inverse_document_frequency(documents: int, containing: int) -> float:
    """Return ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative."""
    return math.log(1 + (documents - containing + 0.5) / (containing + 0.5))


def saturation(count: int, length: int, mean_length: float) -> float:
    """Return the BM25 weight of a term that occurs `count` times in a document of `length` words."""
    return count * (K1 + 1) / (count + K1 * (1 - B + B * length / mean_length))


def analyse(texts: Sequence[str]) -> list[Counter[str]]:
    """Return the lexemes of each text (stemmed, without stop words) with how often they occur. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT t.place, l.lexeme, cardinality(l.positions)
            FROM unnest(%s::text[]) WITH ORDINALITY AS t(content, place),
                 LATERAL unnest(to_tsvector(%s::regconfig, t.content)) AS l
            """,
            [list(texts), SEARCH_LANGUAGE],
        )
        lexemes: list[Counter[str]] = [Counter() for _ in texts]
        for place, lexeme, count in cursor.fetchall():
            lexemes[place - 1][lexeme] = count
    return lexemes


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


def quote_lexeme(lexeme: str) -> str:
    """Return a lexeme as a literal of PostgreSQL's `tsquery` input syntax."""
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"
