"""Find the passages of a course that a question is about.

The rest of the app knows one function, `retrieve`. It reads what every passage of the course scores, by words and by
meaning, and leaves the weighing to pure functions (`ai_answers.ranking`). Words are weighed by Okapi BM25
(`quokkaq.lib.fulltext`), over exact term counts from PostgreSQL's text-search vectors, so that questions and passages share
one stemmer; PostgreSQL's own `ts_rank` knows no inverse document frequency and is measurably worse (docs/adr/0004).
Meanings are compared with pgvector, exactly, inside the course: thousands of vectors take milliseconds.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.models import Min, Q
from django.db.models.functions import Length
from pgvector.django import MaxInnerProduct

from accounts.access import Member
from ai_answers import ranking
from ai_answers.models import Passage, PassageVector
from ai_answers.ranking import Nearness
from forum.models import Thread
from quokkaq.lib import replica
from quokkaq.lib.embedding import TokenEmbedder, embedder, local_embedder
from quokkaq.lib.fulltext import analyse, inverse_document_frequency, quote_lexeme, saturation

# A word of the title says more about what is asked than one of the story around it, and there are fewer of them.
TITLE_WEIGHT = 3.0
BODY_WEIGHT = 0.5
BODY_CHARACTERS = 1500
# So much of the body is read for its meaning; the more of a story, the less of a question.
MEANT_CHARACTERS = 400
# A course with a handful of passages can't tell which words are rare. It is counted as if so many passages about
# something else stood beside it; in a large course they change nothing.
BACKGROUND_PASSAGES = 200
# Among so many of the best passages, one must be about what is asked.
LOOKED_AT = 6


@dataclass(frozen=True)
class Question:
    """What was asked."""

    title: str
    body: str = ""

    @property
    def meant(self) -> str:
        """The part of it that is read for its meaning."""
        return f"{self.title}\n{self.body[:MEANT_CHARACTERS]}".strip()


@dataclass(frozen=True)
class Meaning:
    """What a question means, as a vector of length 1 by the model named."""

    model: str
    vector: Sequence[float]


@dataclass(frozen=True)
class ScoredPassage:
    """A passage, how well it fits (0-1), and the length in characters of the version it stands in.

    `sentences` holds the cosine of each of its sentences with the question, by (start, end) in the passage's text; empty
    without vectors.
    """

    passage: Passage
    score: float
    document_length: int
    sentences: Mapping[tuple[int, int], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Retrieval:
    """Passages, best first, with what an engine needs to weigh them.

    `weights` says how much each lexeme of the question counts (inverse document frequency in the course, times where it
    stands); `asked` are the lexemes of the title with their inverse document frequency alone. `features` are described at
    `ranking.evidence`.
    """

    passages: Sequence[ScoredPassage]
    weights: Mapping[str, float]
    asked: Mapping[str, float]
    features: Mapping[str, float] = field(default_factory=dict)


def retrieve(
    question: Question,
    *,
    member: Member,
    limit: int = 8,
    exclude_thread: Thread | None = None,
    meaning: Meaning | None = None,
) -> Retrieval:
    """Return the passages of the member's course, among those they may read, that fit the question best.

    Seven queries at most, at any size, and nothing leaves this server. Without the embedded model, or vectors in the
    course, words alone decide.

    Args:
        question: what is asked.
        member: whose eyes are used.
        limit: how many passages.
        exclude_thread: the thread that asks: it is no source for itself.
        meaning: what the question means, where a service outside was asked (`actions.meaning_of`); by default the
            embedded model says, unless the installation uses such a service.
    """
    words = ranking.words_of(question.title)
    title, body, *stems = analyse([question.title, question.body[:BODY_CHARACTERS], *(word for _, word in words)])
    places = {lexeme: TITLE_WEIGHT * (lexeme in title) + BODY_WEIGHT * (lexeme in body) for lexeme in title | body}
    if not places:
        return Retrieval([], {}, {})
    visible = Passage.objects.visible_to(member).current()
    if exclude_thread is not None:
        visible = visible.exclude(version__material__thread=exclude_thread)
    # Named one by one: as a subquery, what a course holds is guessed wrongly after an import, and the plans take seconds.
    lengths = dict(visible.order_by().values_list("pk", "word_count"))
    documents, mean_length = len(lengths), sum(lengths.values()) / max(1, len(lengths)) or 1.0
    matches = _term_counts(list(lengths), list(places))
    frequencies = Counter(lexeme for counts, _ in matches.values() for lexeme in counts)
    idf = {
        lexeme: inverse_document_frequency(documents + BACKGROUND_PASSAGES, frequencies[lexeme]) for lexeme in places
    }
    weights = {lexeme: place * idf[lexeme] for lexeme, place in places.items()}
    lexical = {
        passage_id: sum(weights[lexeme] * saturation(count, length, mean_length) for lexeme, count in counts.items())
        for passage_id, (counts, length) in matches.items()
    }
    model = None if meaning else _embedded_model(list(lengths))
    if model is not None:
        meaning = Meaning(model.name, model.embed([question.meant])[0].tolist())
    semantic = _nearness(meaning, list(lengths)) if meaning else {}
    scores = ranking.fuse(lexical, semantic)
    best = _best_first(scores)[: max(limit, ranking.RERANKED)]
    rows = visible.filter(pk__in=best).annotate(document_length=Length("version__text"))
    found: dict[uuid.UUID, Any] = {p.pk: p for p in rows.with_source()}
    if model is not None:
        rarities = [
            (start, word, max((idf.get(lexeme, 0.0) for lexeme in stem), default=0.0))
            for (start, word), stem in zip(words, stems, strict=True)
        ]
        scores = ranking.rerank(scores, _likeness(model, question.title, rarities, found))
        best = _best_first(scores)
    best = best[:limit]
    sentences = _sentences(meaning, best) if meaning else {}
    passages = [
        ScoredPassage(found[key], scores[key], found[key].document_length, sentences.get(key, {}))
        for key in best
        if key in found
    ]
    asked = {lexeme: idf[lexeme] for lexeme in title}
    features: dict[str, float] = {}
    if passages:
        features = ranking.evidence(
            question=question.title,
            text=f"{passages[0].passage.heading}\n{passages[0].passage.text}",
            coverage=ranking.coverage(asked, [matches[key][0] for key in best[:LOOKED_AT] if key in matches]),
            margin=ranking.lexical_margin(list(lexical.values())),
            nearest=_nearest(list(semantic.values())),
        )
    return Retrieval(passages, weights, asked, features)


def _nearest(rows: Sequence[Nearness]) -> Nearness | None:
    return Nearness(max(row.whole for row in rows), max(row.sentence for row in rows)) if rows else None


def _best_first(scores: Mapping[uuid.UUID, float]) -> list[uuid.UUID]:
    return sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))


def _embedded_model(passages: list[uuid.UUID]) -> TokenEmbedder | None:
    """Return the embedded model, unless a service is to say what is meant, or no passage has vectors to compare with."""
    model = local_embedder() if embedder() is local_embedder() else None
    if model is None or not PassageVector.objects.filter(model=model.name, passage__in=passages).exists():
        return None
    return model


def _likeness(
    model: TokenEmbedder, title: str, rarities: Sequence[tuple[int, str, float]], passages: Mapping[uuid.UUID, Passage]
) -> dict[uuid.UUID, float]:
    """Return how alike the title of a question and each passage are, token by token."""
    texts = [f"{passage.heading}\n{passage.text}" for passage in passages.values()]
    asked, *read = model.embed_tokens([title, *texts])
    weights = ranking.token_weights(asked, rarities)
    return {key: ranking.late_interaction(asked, weights, tokens) for key, tokens in zip(passages, read, strict=True)}


def _nearness(meaning: Meaning, passages: list[uuid.UUID]) -> dict[uuid.UUID, Nearness]:
    distance = MaxInnerProduct("vector", meaning.vector)
    rows = (
        PassageVector.objects.filter(model=meaning.model, passage__in=passages)
        .order_by()
        .values("passage_id")
        # pgvector's `<#>` is the inner product with its sign turned, so that the smallest is the nearest.
        .annotate(whole=Min(distance, filter=Q(part=0)), sentence=Min(distance, filter=Q(part__gt=0)))
        .values_list("passage_id", "whole", "sentence")
    )
    return {
        key: Nearness(-whole, -whole if sentence is None else -sentence)
        for key, whole, sentence in rows
        if whole is not None
    }


def _sentences(meaning: Meaning, passages: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[tuple[int, int], float]]:
    rows = (
        PassageVector.objects.filter(model=meaning.model, passage__in=passages, part__gt=0)
        .annotate(distance=MaxInnerProduct("vector", meaning.vector))
        .values_list("passage_id", "start", "end", "distance")
    )
    found: dict[uuid.UUID, dict[tuple[int, int], float]] = {}
    for passage, start, end, distance in rows:
        found.setdefault(passage, {})[start, end] = -distance
    return found


def _term_counts(passages: list[uuid.UUID], lexemes: list[str]) -> dict[uuid.UUID, tuple[dict[str, int], int]]:
    """Return for each passage with at least one of the lexemes: how often it has each, and its length in words."""
    if not lexemes:
        return {}
    any_of = " | ".join(quote_lexeme(lexeme) for lexeme in lexemes)
    matches: dict[uuid.UUID, tuple[dict[str, int], int]] = {}
    with connections[replica.reading()].cursor() as cursor:
        cursor.execute(
            """
            SELECT p.id, p.word_count, l.lexeme, cardinality(l.positions)
            FROM ai_answers_passage p, LATERAL unnest(p.search) AS l
            WHERE p.search @@ %s::tsquery AND l.lexeme = ANY(%s) AND p.id = ANY(%s)
            """,
            [any_of, lexemes, passages],
        )
        for passage_id, length, lexeme, count in cursor.fetchall():
            matches.setdefault(passage_id, ({}, length))[0][lexeme] = count
    return matches
