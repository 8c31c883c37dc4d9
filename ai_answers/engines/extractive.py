"""The embedded engine: quotes the sentences that fit best, word for word, or abstains."""

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ai_answers.engines.base import Abstention, Quote, Request, Statement, Usage
from ai_answers.passages import Span, split_sentences
from ai_answers.search import Retrieval, ScoredPassage
from quokkaq.lib.fulltext import analyse

MAX_QUOTATIONS = 4
PASSAGES_READ = 6
MIN_SENTENCE = 25
MAX_SENTENCE = 700
# Share of what is asked (words of the title, weighed by idf) that the best passage must be about.
# Below it, what is found is usually another topic that shares a word. Measured in docs/adr/0004.
MIN_COVERAGE = 0.6
# A title of few and common words (sum of idf below this) says too little to tell one topic from another.
MIN_EVIDENCE = 4.5
# A further quotation must be nearly as good as the first, or the answer gets longer and worse.
MIN_RELATIVE_SCORE = 0.6
# Ends like a sentence: leaves out grammar rules, table rows, and lead-ins to code (“For example:”).
_COMPLETE = re.compile(r"[.!?][\"'”’)\]*_$]*\Z")


@dataclass(frozen=True)
class _Sentence:
    source: ScoredPassage
    span: Span
    score: float


class ExtractiveEngine:
    """Scores the sentences of the best passages by the question's words in them, and quotes one to four."""

    name = "extractive"
    model = ""
    prompt = ""
    is_remote = False

    def most(self, request: Request) -> Usage:
        """Return nothing: it reads and writes without a model."""
        return Usage()

    def write(self, request: Request, *, deadline: float) -> Iterator[Statement | Abstention | Usage]:
        """Yield one statement for each source that is quoted, or abstain when no passage is about enough of the question."""
        retrieval = request.retrieval
        if retrieval is None or not retrieval.passages:
            yield Abstention("nothing_found")
            return
        sources = retrieval.passages[:PASSAGES_READ]
        if self.coverage(retrieval) < MIN_COVERAGE:
            yield Abstention("low_coverage")
            return
        chosen = _choose(_scored_sentences(sources, retrieval))
        if not chosen:
            yield Abstention("no_sentence")
            return
        yield from _statements(chosen, retrieval.passages)
        yield Usage()

    def coverage(self, retrieval: Retrieval) -> float:
        """Return the idf-weighted share (0-1) of the title's words that one passage holds, for the best of them."""
        total = max(sum(retrieval.asked.values()), MIN_EVIDENCE)
        texts = [f"{s.passage.heading}\n{s.passage.text}" for s in retrieval.passages[:PASSAGES_READ]]
        held = (sum(idf for word, idf in retrieval.asked.items() if word in found) for found in analyse(texts))
        return max(held, default=0.0) / total


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
    best_passage = sources[0].score or 1.0
    sentences = []
    for (source, span), lexemes in zip(candidates, analysed, strict=True):
        weight = sum(retrieval.weights.get(lexeme, 0.0) for lexeme in lexemes)
        # The passage around it counts too: a sentence that shares words by chance stands in a passage that doesn't fit.
        sentences.append(_Sentence(source, span, weight * (0.5 + 0.5 * source.score / best_passage)))
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


def _escaped(title: str) -> str:
    return "".join(f"\\{c}" if c in string.punctuation else c for c in " ".join(title.split()))
