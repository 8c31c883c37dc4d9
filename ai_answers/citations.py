"""The promise of QuokkaQ: a quotation is exactly what the source says, at the place it names, or it isn't published."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ai_answers.engines import Quote, Statement
from ai_answers.models import Citation, MaterialVersion, Passage

# Fewer characters stand in any text, and say nothing.
MIN_QUOTE = 12
_MARKER = re.compile(r"\[(\d{1,3})\]")
_SENTENCE_END = re.compile(r"([.!?:;]+)\s*\Z")


class UnsupportedQuotation(Exception):
    """An engine returned nothing whose quotation stands in its source."""


@dataclass(frozen=True)
class Claim:
    """One quotation: characters `start` to `end` of the version that `passage` belongs to, which are `quote`."""

    passage: Passage
    start: int
    end: int
    quote: str


@dataclass
class Composition:
    """An answer as it grows: Markdown in which `[n]` stands for the n-th claim, counted from 1.

    `unsupported` statements came without a quotation; `dropped` ones with quotations of which none is in its source.
    """

    paragraphs: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    unsupported: int = 0
    dropped: int = 0

    @property
    def body(self) -> str:
        return " ".join(self.paragraphs)

    def add(self, statement: Statement, passages: Sequence[Passage]) -> bool:
        """Add what of a statement holds, and tell whether anything was added.

        Every quotation is looked for in its passage; what is stored is the passage's own text. A statement all of whose
        quotations are made up is left out.
        """
        text = _MARKER.sub(r"\\[\1]", statement.text.strip())
        if not text:
            return False
        found = [claim for quote in statement.quotes if (claim := locate(quote, passages)) is not None]
        if statement.quotes and not found:
            self.dropped += 1
            return False
        if not found:
            self.unsupported += 1
            self.paragraphs.append(text)
            return True
        numbers: list[int] = []
        for claim in found:
            if claim not in self.claims:
                self.claims.append(claim)
            number = self.claims.index(claim) + 1
            if number not in numbers:
                numbers.append(number)
        end = _SENTENCE_END.search(text)
        stem, stop = (text[: end.start()], end[1]) if end else (text, ".")
        self.paragraphs.append(f"{stem} {_listed([f'[{number}]' for number in numbers])}{stop}")
        return True


def locate(quote: Quote, passages: Sequence[Passage]) -> Claim | None:
    """Return where the words of `quote` stand in its passage, white space aside, as the passage has them; None if nowhere."""
    if not 1 <= quote.source <= len(passages):
        return None
    passage = passages[quote.source - 1]
    match = find_words(quote.text, passage.text)
    if match is None:
        return None
    return Claim(passage, passage.start + match.start(), passage.start + match.end(), match[0])


def find_words(quote: str, text: str) -> re.Match[str] | None:
    """Return where the words of `quote` first stand in `text`, white space aside; None if nowhere, or if they are too few."""
    words = quote.split()
    if sum(map(len, words)) < MIN_QUOTE:
        return None
    return re.search(r"\s+".join(map(re.escape, words)), text)


def is_exact(text: str, start: int, end: int, quote: str) -> bool:
    """Tell whether `quote` is what `text` says from `start` to `end` (code points, end exclusive)."""
    return 0 <= start < end <= len(text) and text[start:end] == quote and bool(quote.strip())


def check_claims(claims: Iterable[Claim]) -> None:
    """Raise `UnsupportedQuotation` unless there are claims and every one is exact in the stored versions, read here."""
    claims = list(claims)
    if not claims:
        raise UnsupportedQuotation("no claims")
    versions = {claim.passage.version_id for claim in claims}
    texts = dict(MaterialVersion.objects.filter(pk__in=versions).values_list("pk", "text"))
    for number, claim in enumerate(claims, start=1):
        if not is_exact(texts.get(claim.passage.version_id, ""), claim.start, claim.end, claim.quote):
            raise UnsupportedQuotation(f"claim {number} of {len(claims)}")


def still_hold(citations: Sequence[Citation]) -> bool:
    """Tell whether every citation loaded by `with_source()` says what its source says now. An answer without any doesn't."""
    return bool(citations) and all(citation.quote == citation.source_text for citation in citations)


def _listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else items[0]
