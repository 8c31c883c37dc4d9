"""What leaves this server says nothing of who people are: names, addresses and numbers become placeholders.

Placeholders are made anew for each request and forgotten after it. They are stable within it: whoever is “Person 1” in
the question is “Person 1” in the sources.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from accounts.models import Course, User
from ai_answers.engines import Quote, Request, Source, Statement
from ai_answers.search import Question
from quokkaq.lib.pii import find_identifiers

# Names that are words, too: only with a capital are they taken for a name.
_WORDS = frozenset(
    [
        "will",
        "mark",
        "may",
        "grace",
        "hope",
        "art",
        "bill",
        "pat",
        "sue",
        "rob",
        "jack",
        "drew",
        "chase",
        "dean",
        "frank",
        "rich",
        "max",
        "min",
        "ray",
        "rose",
        "joy",
        "faith",
        "violet",
        "iris",
        "ivy",
        "lily",
        "amber",
        "ruby",
        "pearl",
        "dawn",
        "eve",
        "summer",
        "autumn",
        "april",
        "june",
        "august",
        "penny",
        "jade",
        "miles",
        "page",
        "reed",
        "stone",
        "wood",
        "young",
        "long",
        "short",
        "small",
        "little",
        "brown",
        "black",
        "white",
        "green",
        "gray",
        "grey",
        "king",
        "price",
        "bell",
        "cook",
        "baker",
        "field",
        "ford",
        "case",
        "star",
        "hash",
        "set",
        "map",
        "list",
        "key",
        "root",
        "heap",
        "ruth",
        "sky",
        "an",
        "so",
        "do",
        "in",
        "to",
        "he",
        "we",
        "go",
        "no",
        "my",
        "ma",
        "can",
        "sun",
        "son",
        "lee",
        "li",
        "hill",
        "lane",
        "park",
        "day",
        "bond",
        "cross",
        "love",
        "moon",
        "rice",
        "swift",
        "sharp",
        "strong",
        "power",
        "fox",
        "wolf",
        "bush",
        "banks",
        "best",
        "good",
        "child",
        "fields",
    ]
)
_LABELS = ("Person", "Member", "Individual", "Somebody")
_KINDS = {"email": "email", "phone": "phone", "id": "id", "key": "key"}
_MIN_PART = 2


@dataclass(frozen=True)
class _Replaced:
    """A text and its masked form: characters `there` of the masked one stand for characters `here` of the original."""

    original: str
    masked: str
    # Start and end in the masked text, start and end in the original.
    pieces: Sequence[tuple[int, int, int, int]]

    def original_of(self, start: int, end: int) -> str:
        """Return what stands in the original where the masked text has `start` to `end`, whole placeholders only."""
        return self.original[self._back(start, at_end=False) : self._back(end, at_end=True)]

    def _back(self, place: int, *, at_end: bool) -> int:
        shift = 0
        for masked_start, masked_end, start, end in self.pieces:
            if place <= masked_start:
                break
            if place < masked_end:
                return end if at_end else start
            shift = end - masked_end
        return place + shift


class Pseudonyms:
    """Masks the texts of one request, and puts back what an engine made of them."""

    def __init__(self, names: Iterable[str], texts: Collection[str] = ()) -> None:
        everything = "\n".join(texts)
        self._label = next((word for word in _LABELS if not re.search(rf"\b{word} \d", everything)), "Person no.")
        self._people: dict[str, str] = {}
        self._forms: dict[str, set[str]] = {}
        self._masks: dict[tuple[str, str], str] = {}
        self._sources: list[_Replaced] = []
        self._whose, self._pattern = _compiled(names, everything)

    def mask_request(self, request: Request) -> Request:
        """Return the request as it may leave: masked, and without the scores and rows behind its sources."""
        self._sources = [self._replaced(source.text) for source in request.sources]
        sources = [
            Source(self.mask(source.title), replaced.masked)
            for source, replaced in zip(request.sources, self._sources, strict=True)
        ]
        question = Question(self.mask(request.question.title), self.mask(request.question.body))
        history = [replace(turn, text=self.mask(turn.text)) for turn in request.history]
        return Request(request.task, question, sources, history)

    def mask(self, text: str) -> str:
        return self._replaced(text).masked

    def unmask(self, statement: Statement) -> Statement:
        """Return a statement with its quotations as the original sources have them.

        In its text a placeholder becomes a name again where the request had just one form of it; else it stays.
        """
        quotes = [self._original(quote) for quote in statement.quotes]
        certain = {mask: next(iter(forms)) for mask, forms in self._forms.items() if len(forms) == 1}
        text = statement.text
        if certain:
            masks = "|".join(re.escape(mask) for mask in sorted(certain, key=len, reverse=True))
            text = re.sub(rf"(?<!\w)(?:{masks})(?!\w)", lambda match: certain[match[0]], text)
        return Statement(text, quotes)

    def _original(self, quote: Quote) -> Quote:
        """Return the words of the original source that stand where the quotation stands in the masked one."""
        if not 1 <= quote.source <= len(self._sources) or not quote.text.strip():
            return quote
        source = self._sources[quote.source - 1]
        found = re.search(r"\s+".join(map(re.escape, quote.text.split())), source.masked)
        return Quote(quote.source, source.original_of(*found.span())) if found else quote

    def _replaced(self, text: str) -> _Replaced:
        spans = [(start, end, self._mask_of(kind, text[start:end])) for start, end, kind in find_identifiers(text)]
        if self._pattern is not None:
            taken = [(start, end) for start, end, _ in spans]
            for match in self._pattern.finditer(text):
                free = all(match.end() <= start or end <= match.start() for start, end in taken)
                if free and not _is_a_word(match[0]):
                    spans.append((match.start(), match.end(), self._name_of(match[0])))
        spans.sort()
        parts: list[str] = []
        pieces, last, length = [], 0, 0
        for start, end, mask in spans:
            parts += [text[last:start], mask]
            length += start - last
            pieces.append((length, length + len(mask), start, end))
            length += len(mask)
            last = end
        parts.append(text[last:])
        return _Replaced(text, "".join(parts), pieces)

    def _name_of(self, form: str) -> str:
        person = self._whose[" ".join(form.casefold().split())]
        mask = self._people.setdefault(person, f"{self._label} {len(self._people) + 1}")
        self._forms.setdefault(mask, set()).add(form)
        return mask

    def _mask_of(self, kind: str, form: str) -> str:
        """Return a placeholder of an address, number or key. It is never put back into a text, only into quotations."""
        number = 1 + sum(1 for other, _ in self._masks if other == kind)
        return self._masks.setdefault((kind, form.casefold()), f"[{_KINDS[kind]} {number}]")


def pseudonyms_for(request: Request, course: Course, user: User | None = None) -> Pseudonyms:
    """Return what masks a request in a course: everybody who is or was in it, and who asks. One query."""
    return pseudonyms_in(texts_of(request), course, user)


def pseudonyms_in(texts: Collection[str], course: Course, user: User | None = None) -> Pseudonyms:
    """Return what masks texts of a course, the same way in all of them. One query."""
    names = set(
        User.objects.filter(enrollments__course=course, institution_id=course.institution_id)
        .order_by()
        .values_list("display_name", flat=True)
    )
    if user is not None:
        names.add(user.display_name)
    return Pseudonyms(names, texts)


def texts_of(request: Request) -> list[str]:
    """Return every text of a request."""
    sources = [text for source in request.sources for text in (source.title, source.text)]
    return [request.question.title, request.question.body, *sources, *(turn.text for turn in request.history)]


def _compiled(names: Iterable[str], texts: str) -> tuple[dict[str, str], re.Pattern[str] | None]:
    """Return whose each form of a name is, and what finds the forms; only of people whose name stands in the texts.

    A first or last name that two people share is somebody of its own: nobody can tell which of the two is meant.
    """
    words = set(re.findall(r"\w+", texts.casefold()))
    whose: dict[str, str] = {}
    shared: set[str] = set()
    for name in names:
        whole = " ".join(name.casefold().split())
        parts = [part for part in re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", whole) if len(part) >= _MIN_PART]
        if not words & set(re.findall(r"\w+", whole)):
            continue
        for form in {whole, *parts}:
            if form in whose and whose[form] != whole and form != whole:
                shared.add(form)
            whose[form] = whole
    whose |= {form: f"?{form}" for form in shared}
    if not whose:
        return {}, None
    forms = sorted(whose, key=len, reverse=True)
    pattern = "|".join(r"\s+".join(map(re.escape, form.split())) for form in forms)
    return whose, re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)


def _is_a_word(form: str) -> bool:
    """Tell whether what looks like a name is more likely the word: “will”, but not “Will”."""
    return form.islower() and form in _WORDS
