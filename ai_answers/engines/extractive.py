"""The embedded engine: quotes the sentences that fit best, word for word, or abstains."""

from collections.abc import Sequence
from dataclasses import dataclass

from ai_answers.engines.base import Abstention, Claim, Composition
from ai_answers.passages import Span, split_sentences
from ai_answers.search import Question, Retrieval, ScoredPassage, analyse

MAX_QUOTATIONS = 4
PASSAGES_READ = 6
MIN_SENTENCE = 25
MAX_SENTENCE = 700
# Share of what is asked (words of the title, weighed by idf) that the best passage must be about.
# Below it, what is found is usually another topic that shares a word. Measured in docs/adr/0004.
MIN_COVERAGE = 0.55
# A further quotation must be nearly as good as the first, or the answer gets longer and worse.
MIN_RELATIVE_SCORE = 0.6


@dataclass(frozen=True)
class _Sentence:
    source: ScoredPassage
    span: Span
    score: float
    lexemes: frozenset[str]


class ExtractiveEngine:
    """Scores the sentences of the best passages by the question's words in them, and quotes one to four."""

    name = "extractive"

    def compose(self, question: Question, retrieval: Retrieval) -> Composition | Abstention:
        """Return quotations, or abstain when no passage is about enough of the question."""
        if not retrieval.passages:
            return Abstention("nothing_found")
        sources = retrieval.passages[:PASSAGES_READ]
        if self.coverage(retrieval) < MIN_COVERAGE:
            return Abstention("low_coverage")
        chosen = _choose(_scored_sentences(sources, retrieval))
        if not chosen:
            return Abstention("no_sentence")
        claims = [_claim(sentence) for sentence in chosen]
        return Composition(_body(claims), claims)

    def coverage(self, retrieval: Retrieval) -> float:
        """Return the idf-weighted share (0-1) of the title's words that one passage holds, for the best of them."""
        asked = {lexeme: retrieval.idf[lexeme] for lexeme in retrieval.title_lexemes} or dict(retrieval.idf)
        total = sum(asked.values())
        if not total:
            return 0.0
        texts = [f"{s.passage.heading}\n{s.passage.text}" for s in retrieval.passages[:PASSAGES_READ]]
        return max(sum(asked[lexeme] for lexeme in asked if lexeme in found) / total for found in analyse(texts))


def _scored_sentences(sources: Sequence[ScoredPassage], retrieval: Retrieval) -> list[_Sentence]:
    candidates = [
        (source, span)
        for source in sources
        for span in split_sentences(source.passage.text)
        if MIN_SENTENCE <= span.end - span.start <= MAX_SENTENCE
    ]
    if not candidates:
        return []
    analysed = analyse([source.passage.text[span.start : span.end] for source, span in candidates])
    best_passage = sources[0].score or 1.0
    sentences = []
    for (source, span), lexemes in zip(candidates, analysed, strict=True):
        shared = frozenset(lexeme for lexeme in lexemes if lexeme in retrieval.idf)
        weight = sum(retrieval.idf[lexeme] * (2 if lexeme in retrieval.title_lexemes else 1) for lexeme in shared)
        # The passage around it counts too: a sentence that shares words by chance stands in a passage that doesn't fit.
        sentences.append(_Sentence(source, span, weight * (0.5 + 0.5 * source.score / best_passage), shared))
    return sentences


def _choose(sentences: list[_Sentence]) -> list[_Sentence]:
    """Return the best sentence and up to three more that are nearly as good and not about less, in reading order."""
    ranked = sorted(sentences, key=lambda s: -s.score)
    if not ranked or ranked[0].score <= 0:
        return []
    best = ranked[0]
    chosen = [best]
    for sentence in ranked[1:]:
        if len(chosen) == MAX_QUOTATIONS or sentence.score < MIN_RELATIVE_SCORE * best.score:
            break
        if all(_text(sentence) != _text(other) for other in chosen):
            chosen.append(sentence)
    return sorted(chosen, key=lambda s: (-s.source.score, s.span.start))


def _text(sentence: _Sentence) -> str:
    return sentence.source.passage.text[sentence.span.start : sentence.span.end]


def _claim(sentence: _Sentence) -> Claim:
    passage = sentence.source.passage
    start = passage.start + sentence.span.start
    return Claim(passage, start, passage.start + sentence.span.end, _text(sentence))


def _body(claims: Sequence[Claim]) -> str:
    """Return one sentence that says which source holds which quotation: “Calls” says [1] and [2]; “Names” says [3]."""
    markers: dict[str, list[str]] = {}
    for number, claim in enumerate(claims, start=1):
        markers.setdefault(claim.passage.version.material.title, []).append(f"[{number}]")
    parts = [f"“{_escaped(title)}” says {' and '.join(numbers)}" for title, numbers in markers.items()]
    return f"In the course materials, {'; '.join(parts)}."


def _escaped(title: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+-.!|$~" else c for c in title)
