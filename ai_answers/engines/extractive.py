"""The embedded engine: quotes the sentences that fit best, word for word, or abstains."""

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ai_answers import ranking
from ai_answers.engines.base import Abstention, Quote, Request, Source, Statement, Task, Usage
from ai_answers.passages import Span, split_sentences
from ai_answers.search import Retrieval, ScoredPassage
from quokkaq.lib.embedding import local_embedder
from quokkaq.lib.embedding.minilm import Vectors
from quokkaq.lib.fulltext import analyse

MAX_QUOTATIONS = 4
PASSAGES_READ = 6
MIN_SENTENCE = 25
MAX_SENTENCE = 700
# A sentence is judged by the question's words in it, by its meaning, and by the passage around it: one that shares words
# by chance stands in a passage that doesn't fit.
LEXICAL_SHARE = 0.5
PASSAGE_WEIGHT = 1.0
# A further quotation must be nearly as good as the first, or the answer gets longer and worse.
MIN_RELATIVE_SCORE = 0.75
# A hint names so many places to read.
MAX_HINTS = 3
# A summary has at most so many points, and reads at most so many sentences: each is compared with each.
MAX_POINTS = 6
MAX_SUMMARISED = 200
# LexRank: Erkan & Radev, "LexRank: Graph-based Lexical Centrality as Salience in Text Summarization", 2004.
DAMPING = 0.85
ITERATIONS = 50
# Two points that are this alike say the same.
SAME = 0.75
# Ends like a sentence: leaves out grammar rules, table rows, and lead-ins to code (“For example:”).
_COMPLETE = re.compile(r"[.!?][\"'”’)\]*_$]*\Z")


@dataclass(frozen=True)
class _Sentence:
    source: ScoredPassage
    span: Span
    score: float


class ExtractiveEngine:
    """Scores the sentences of the best passages against the question, and quotes one to four."""

    name = "extractive"
    model = ""
    prompt = ""
    is_remote = False

    def most(self, request: Request) -> Usage:
        """Return nothing: it reads and writes without a model."""
        return Usage()

    def write(self, request: Request, *, deadline: float) -> Iterator[Statement | Abstention | Usage]:
        """Yield one statement for each source that is quoted, or abstain when the sources hardly answer.

        A hint names where to read and quotes nothing but headings. A summary says what most of its sources are about.
        """
        if request.task == Task.SUMMARY:
            yield from summarise(request.sources)
            return
        retrieval = request.retrieval
        if retrieval is None or not retrieval.passages:
            yield Abstention("nothing_found")
            return
        if ranking.answerable(self.features(retrieval)) < ranking.ANSWER_FROM:
            yield Abstention("low_coverage")
            return
        if request.task == Task.HINT:
            yield from _hints(retrieval.passages)
            return
        chosen = _choose(_scored_sentences(retrieval.passages[:PASSAGES_READ], retrieval))
        if not chosen:
            yield Abstention("no_sentence")
            return
        yield from _statements(chosen, retrieval.passages)
        yield Usage()

    def features(self, retrieval: Retrieval) -> dict[str, float]:
        """Return the features of a retrieval; coverage is worked out for one that came without."""
        return {"coverage": self.coverage(retrieval), **retrieval.features}

    def coverage(self, retrieval: Retrieval) -> float:
        """Return the idf-weighted share (0-1) of the title's words that one passage holds, for the best of them."""
        if "coverage" in retrieval.features:
            return retrieval.features["coverage"]
        texts = [f"{s.passage.heading}\n{s.passage.text}" for s in retrieval.passages[:PASSAGES_READ]]
        return ranking.coverage(retrieval.asked, analyse(texts))


def _scored_sentences(sources: Sequence[ScoredPassage], retrieval: Retrieval) -> list[_Sentence]:
    candidates = [
        (source, span)
        for source in sources
        for span in split_sentences(source.passage.text)
        if MIN_SENTENCE <= span.end - span.start <= MAX_SENTENCE
        and _COMPLETE.search(source.passage.text, span.start, span.end)
    ]
    if not candidates:
        return []
    analysed = analyse([source.passage.text[span.start : span.end] for source, span in candidates])
    total = sum(retrieval.weights.values()) or 1.0
    best = sources[0].score or 1.0
    sentences = []
    for (source, span), lexemes in zip(candidates, analysed, strict=True):
        words = sum(retrieval.weights.get(lexeme, 0.0) for lexeme in lexemes) / total
        near = source.sentences.get((span.start, span.end))
        fit = words if near is None else LEXICAL_SHARE * words + (1 - LEXICAL_SHARE) * max(near, 0.0)
        score = fit + PASSAGE_WEIGHT * source.score / best if fit > 0 else 0.0
        sentences.append(_Sentence(source, span, score))
    return sentences


def _choose(sentences: list[_Sentence]) -> list[_Sentence]:
    """Return the best sentence and up to three more that are nearly as good, in reading order.

    Where several sources say the same words, the shortest source is quoted: it is the one about just this.
    """
    unique: dict[str, _Sentence] = {}
    best = max((sentence.score for sentence in sentences), default=0.0)
    for sentence in sorted(sentences, key=lambda s: (s.source.document_length, -s.score)):
        text = " ".join(_text(sentence).split())
        first = unique.get(text, sentence)
        unique[text] = replace(first, score=max(first.score, sentence.score))
    ranked = sorted(unique.values(), key=lambda s: -s.score)[:MAX_QUOTATIONS]
    chosen = [sentence for sentence in ranked if 0 < best * MIN_RELATIVE_SCORE <= sentence.score]
    return sorted(chosen, key=lambda s: (-s.source.score, s.span.start))


def _text(sentence: _Sentence) -> str:
    return sentence.source.passage.text[sentence.span.start : sentence.span.end]


def _statements(chosen: Sequence[_Sentence], passages: Sequence[ScoredPassage]) -> Iterator[Statement]:
    """Yield one statement per material that is quoted: “Calls” says …"""
    numbers = {scored.passage.pk: number for number, scored in enumerate(passages, start=1)}
    quotes: dict[str, list[Quote]] = {}
    for sentence in chosen:
        passage = sentence.source.passage
        quotes.setdefault(passage.version.material.title, []).append(Quote(numbers[passage.pk], _text(sentence)))
    for title, of_title in quotes.items():
        yield Statement(f"“{_escaped(title)}” says", of_title)


def _hints(passages: Sequence[ScoredPassage]) -> Iterator[Statement | Abstention | Usage]:
    """Yield a pointer to each of the best places to read. It quotes how the place begins where that is a heading."""
    yielded: set[str] = set()
    for number, scored in enumerate(passages, start=1):
        passage = scored.passage
        lead = _lead(passage.text)
        if not lead or passage.heading in yielded or len(yielded) == MAX_HINTS:
            continue
        yielded.add(passage.heading)
        place = f", {passage.place}" if passage.place else ""
        yield Statement(f"Read “{_escaped(passage.heading)}”{place}, which begins like this", [Quote(number, lead)])
    if not yielded:
        yield Abstention("no_heading")
        return
    yield Usage()


def _lead(text: str) -> str:
    """Return the first words of a passage, enough to find the place in the source, and too few to be a solution."""
    words = re.match(r"\s*(?:\S+\s+){0,7}\S+", text)
    return words[0].strip() if words else ""


def summarise(sources: Sequence[Source]) -> Iterator[Statement | Abstention | Usage]:
    """Yield the sentences of the sources that most others are like (LexRank), in reading order, each with its quotation."""
    found = [
        (number, source.text[span.start : span.end])
        for number, source in enumerate(sources, start=1)
        for span in split_sentences(source.text)
        if MIN_SENTENCE <= span.end - span.start <= MAX_SENTENCE and _COMPLETE.search(source.text, span.start, span.end)
    ][:MAX_SUMMARISED]
    if not found:
        yield Abstention("nothing_found")
        return
    alike = _likeness([text for _, text in found])
    ranks = central(alike)
    chosen: list[int] = []
    for place in sorted(range(len(found)), key=lambda place: (-ranks[place], place)):
        if len(chosen) < min(MAX_POINTS, max(2, len(found) // 3)) and all(alike[place, c] < SAME for c in chosen):
            chosen.append(place)
    for place in sorted(chosen):
        number, text = found[place]
        yield Statement(f"“{_escaped(sources[number - 1].title)}” says", [Quote(number, text)])
    yield Usage()


def central(alike: Vectors) -> Vectors:
    """Return how central each of n sentences is, summing to 1, from their likeness (n x n, 0-1): the walk of LexRank."""
    count = len(alike)
    edges = np.clip(alike, 0, None).astype(np.float32)
    np.fill_diagonal(edges, 0)
    sums = edges.sum(1, keepdims=True)
    steps = np.where(sums > 0, edges / np.where(sums > 0, sums, 1), 1 / count)
    ranks = np.full(count, 1 / count, np.float32)
    for _ in range(ITERATIONS):
        ranks = (1 - DAMPING) / count + DAMPING * (ranks @ steps)
    result: Vectors = ranks.astype(np.float32)
    return result


def _likeness(texts: Sequence[str]) -> Vectors:
    """Return the cosine of each text with each: by the embedded model, or by their words without it."""
    model = local_embedder()
    if model is not None:
        vectors = model.embed(texts)
    else:
        counts = analyse(texts)
        words = {word: place for place, word in enumerate(sorted({word for found in counts for word in found}))}
        vectors = np.zeros((len(texts), max(1, len(words))), np.float32)
        for row, found in enumerate(counts):
            for word in found:
                vectors[row, words[word]] = 1
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    alike: Vectors = vectors @ vectors.T
    return alike


def _escaped(title: str) -> str:
    return "".join(f"\\{c}" if c in string.punctuation else c for c in " ".join(title.split()))
