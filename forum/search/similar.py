"""What was asked before: threads like the one being written.

With the embedded model's weights, the threads nearest in meaning are found and ordered by the cosine of their titles
(and of titles with texts, once a text is typed) and a little of their spelling, which tells "python2" from "python3"
better. Without them, threads are found by rare words of the written title.

How sure it is that two threads ask the same: by meaning, the cosine of their titles, taken down a step where one title
has a number or a negation that the other has not; by wording, the share of the written title's words, weighed by their
rarity in the course and saturated as BM25 does with the written title's own length as the mean, so that a title is
wholly like itself in every course; and `SPELLING_WEIGHT` times how much of their spelling the titles share (Dice
coefficient of their runs of four letters), which sees what stemming doesn't: "wifi" and "wi-fi", "setup" and "set up".
The surer of the two is believed. Figures, and how the thresholds were chosen: docs/adr/0005.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from django.db import DatabaseError, connections
from django.db.models import FloatField
from django.db.models.expressions import RawSQL
from django.utils.text import Truncator

from accounts.access import Member
from forum.models import SearchEntry, Thread
from forum.search import meaning, ranking
from forum.search.hurry import hurried
from forum.search.query import part_words
from quokkaq.lib import replica
from quokkaq.lib.fulltext import analyse, dice, letter_runs, saturation
from quokkaq.lib.markdown import plain_text

log = logging.getLogger(__name__)

CANDIDATES = 300
RAREST = 5
BODY_CHARACTERS = 1500
# What a word of the written text counts beside one of its title, where it stands in the text of another thread.
BODY_WEIGHT = 0.25
# How far all of that may lift a thread above others whose titles are as alike.
RELATED_WEIGHT = 0.25
SPELLING_WEIGHT = 0.5
LIKELY = 0.85
SEVERE = 0.92
# The same by meaning: cosines of titles.
LIKELY_MEANING = 0.76
SEVERE_MEANING = 0.9
# How much the spelling moves the order by meaning.
SPELLING_BESIDE_MEANING = 0.1
# In a course of fewer threads, looking by words as well takes no time worth saving.
SMALL_COURSE = 5_000
# Less alike in meaning than that, a thread isn't worth reading while somebody types.
MEANING_WORTH_SHOWING = 0.4
_NUMBER = re.compile(r"\b\w*\d[\w.]*\b")
_NEGATION = re.compile(r"\b(?:not|no|never|without|un\w+|dis\w+|cannot)\b|n['’]t\b")
# Less alike than that, a thread isn't worth reading while somebody types.
WORTH_SHOWING = 0.25
# Titles of fewer words than that say too little to be sure.
SURE_WORDS = 3
# Whoever waits for a page waits no longer than that for a statement of ours.
TIMEOUT_MS = 400


class Likeness(StrEnum):
    """How sure it is that two threads ask the same."""

    RELATED = "related"
    LIKELY = "likely"
    SEVERE = "severe"

    @property
    def step(self) -> int:
        """Return 0, 1 or 2: the surer, the higher."""
        return list(Likeness).index(self)


@dataclass(frozen=True)
class Similar:
    """A thread like the one being written.

    `share` says how alike their titles are in wording, from 0 to 1; `cosine` how alike in meaning, from -1 to 1, when that
    is known. `words` of the written title count; `differs` when a number or a negation stands in one title only.
    """

    thread: Thread
    share: float
    words: int
    cosine: float | None = None
    differs: bool = False

    @property
    def is_worth_showing(self) -> bool:
        return self.share >= WORTH_SHOWING or (self.cosine is not None and self.cosine >= MEANING_WORTH_SHOWING)

    @property
    def excerpt(self) -> str:
        """Return the start of what the thread says, as one line of plain text."""
        return Truncator(plain_text(self.thread.html())).chars(140)

    @property
    def sureness(self) -> float:
        """Return what duplicates are sorted by: the larger of both measures."""
        return max(self.share, self.cosine if self.cosine is not None else 0.0)

    @property
    def likeness(self) -> Likeness:
        if self.words < SURE_WORDS:
            return Likeness.RELATED
        wording = (self.share >= LIKELY) + (self.share >= SEVERE)
        cosine = self.cosine if self.cosine is not None else -1.0
        by_meaning = (cosine >= LIKELY_MEANING) + (cosine >= SEVERE_MEANING)
        if self.differs:
            wording, by_meaning = max(wording - 1, 0), max(by_meaning - 1, 0)
        return list(Likeness)[max(wording, by_meaning)]


def similar_threads(member: Member, *, title: str, body: str = "", limit: int = 5) -> list[Similar]:
    """Return the threads the member may read that are most like what they write, best first.

    Nothing when it takes long or fails: nobody is kept from asking by a check.
    """
    try:
        rarity = ranking.rarity(member.course)
        with hurried(TIMEOUT_MS):
            return _similar(member, title, body, limit, rarity)
    except DatabaseError as error:
        log.warning("similar threads not looked up: %s", error)
        return []


def _similar(member: Member, title: str, body: str, limit: int, rarity: ranking.Rarity) -> list[Similar]:
    in_title, in_body = analyse([part_words(title), part_words(body[:BODY_CHARACTERS])])
    if not in_title:
        return []
    near = meaning.nearest(member, title, body)
    found = _by_meaning(member, near)
    if not near or rarity.documents < SMALL_COURSE:
        # Also what was posted a moment ago, and has no vectors yet.
        found = _by_words(member, in_title, rarity) | found
    measured = _measure([entry for entry, _ in found.values()], in_title, in_body, rarity)
    spelt = letter_runs(title)
    shares: dict[UUID, float] = {}
    order: dict[UUID, float] = {}
    for key, (entry, name) in found.items():
        alike, related = measured[entry]
        spelling = dice(spelt, letter_runs(name))
        shares[key] = (alike + SPELLING_WEIGHT * spelling) / (1 + SPELLING_WEIGHT)
        if key in near:
            order[key] = (near[key].title + near[key].whole) / 2 + SPELLING_BESIDE_MEANING * spelling
        else:
            order[key] = shares[key] + RELATED_WEIGHT * related
    best = sorted(order, key=lambda key: (-order[key], key))[:limit]
    threads = Thread.objects.visible_to(member).listed().in_bulk(best)
    return [
        Similar(
            threads[key],
            shares[key],
            len(in_title),
            near[key].title if key in near else None,
            _marks(title) != _marks(threads[key].title),
        )
        for key in best
        if key in threads
    ]


def _marks(title: str) -> tuple[frozenset[str], bool]:
    """Return what turns one question into another though all else is the same: its numbers, and whether it negates."""
    text = title.lower()
    return frozenset(_NUMBER.findall(text)), bool(_NEGATION.search(text))


def _by_meaning(member: Member, near: Mapping[UUID, meaning.Near]) -> dict[UUID, tuple[UUID, str]]:
    """Return the search entry and the title of each of these threads."""
    rows = SearchEntry.objects.filter(thread__in=near).of_threads(member)
    return {key: (entry, name) for entry, key, name in rows.values_list("pk", "thread_id", "thread__title")}


def _by_words(member: Member, in_title: Collection[str], rarity: ranking.Rarity) -> dict[UUID, tuple[UUID, str]]:
    """Return the search entry and the title of threads with rare words of a title."""
    words = ranking.any_of(rarity.rarest(in_title, RAREST))
    best_entries = ranking.best_entries(member.course, words, posts=False)
    rows = SearchEntry.objects.filter(pk__in=best_entries).of_threads(member)
    rank = RawSQL("ts_rank(vector, %s::tsquery, 1)", [ranking.any_of(in_title)], output_field=FloatField())
    rows = rows.annotate(rank=rank).order_by("-rank", "pk")
    found = rows.values_list("pk", "thread_id", "thread__title")[:CANDIDATES]
    return {key: (entry, name) for entry, key, name in found}


def _measure(
    entries: Collection[UUID], in_title: Counter[str], in_body: Counter[str], rarity: ranking.Rarity
) -> dict[UUID, tuple[float, float]]:
    """Return for each entry, from 0 to 1: how much its title is like the written one, and its text like all of it."""
    weights = {lexeme: rarity.of(lexeme) for lexeme in in_title}
    all_weights = weights | {lexeme: BODY_WEIGHT * rarity.of(lexeme) for lexeme in in_body if lexeme not in in_title}
    length = len(in_title)
    itself = sum(weight * saturation(in_title[lexeme], length, length) for lexeme, weight in weights.items())
    whole = sum(all_weights.values())
    counts, lengths = _occurrences(entries, all_weights)
    found: dict[UUID, tuple[float, float]] = {}
    for entry in entries:
        in_its_title, in_its_text, its_length = counts.get(entry, {}), 0.0, lengths.get(entry, 1)
        alike = 0.0
        for lexeme, (title_count, text_count) in in_its_title.items():
            if title_count and lexeme in weights:
                alike += weights[lexeme] * saturation(title_count, its_length, length)
            if text_count:
                in_its_text += all_weights[lexeme]
        found[entry] = (min(1.0, alike / itself), in_its_text / whole)
    return found


def _occurrences(
    entries: Collection[UUID], lexemes: Mapping[str, float]
) -> tuple[dict[UUID, dict[str, tuple[int, int]]], dict[UUID, int]]:
    """Return how often each lexeme stands in the title and in the text of each entry, and how long its title is."""
    counts: dict[UUID, dict[str, tuple[int, int]]] = {}
    lengths: dict[UUID, int] = {}
    with connections[replica.reading()].cursor() as cursor:
        cursor.execute(
            """
            SELECT e.id, l.lexeme, l.weights, t.words
            FROM forum_searchentry e,
                 LATERAL (SELECT count(*) AS words FROM unnest(e.vector) AS x WHERE 'A' = ANY(x.weights)) AS t,
                 LATERAL unnest(e.vector) AS l
            WHERE e.id = ANY(%s) AND l.lexeme = ANY(%s)
            """,
            [list(entries), list(lexemes)],
        )
        for entry, lexeme, places, words in cursor.fetchall():
            lengths[entry] = words
            counts.setdefault(entry, {})[lexeme] = (places.count("A"), len(places) - places.count("A"))
    return counts, lengths
