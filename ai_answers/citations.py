"""The promise of QuokkaQ: a quotation is exactly what the source says, at the place it names, or it isn't published."""

from collections.abc import Sequence

from ai_answers.engines import Composition
from ai_answers.models import Citation, MaterialVersion


class UnsupportedQuotation(Exception):
    """An engine returned a quotation that isn't in its source."""


def is_exact(text: str, start: int, end: int, quote: str) -> bool:
    """Tell whether `quote` is what `text` says from `start` to `end` (code points, end exclusive)."""
    return 0 <= start < end <= len(text) and text[start:end] == quote and bool(quote.strip())


def check_composition(composition: Composition) -> None:
    """Raise `UnsupportedQuotation` unless every claim is exact and every claim has its `[n]` in the text, and no other.

    The claims are compared with the stored versions, read here, not with what the engine was given.
    """
    if not composition.claims:
        raise UnsupportedQuotation("no claims")
    texts = dict(
        MaterialVersion.objects.filter(pk__in={claim.passage.version_id for claim in composition.claims}).values_list(
            "pk", "text"
        )
    )
    for number, claim in enumerate(composition.claims, start=1):
        text = texts.get(claim.passage.version_id, "")
        if not is_exact(text, claim.start, claim.end, claim.quote):
            raise UnsupportedQuotation(f"claim {number} of {len(composition.claims)}")
        if f"[{number}]" not in composition.body:
            raise UnsupportedQuotation(f"claim {number} has no marker")


def still_hold(citations: Sequence[Citation]) -> bool:
    """Tell whether every citation loaded by `with_source()` says what its source says now. An answer without any doesn't."""
    return bool(citations) and all(citation.quote == citation.source_text for citation in citations)
