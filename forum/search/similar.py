"""What was asked before: threads like the one being written.

Threads are found by rare words of the written title. How sure it is that two threads ask the same is read from their
titles alone: the share of the written title's words, weighed by their rarity in the course and saturated as BM25 does
with the written title's own length as the mean, so that a title is wholly like itself in every course; and
`SPELLING_WEIGHT` times how much of their spelling the titles share (Dice coefficient of their runs of four letters),
which sees what stemming doesn't: "wifi" and "wi-fi", "setup" and "set up". What stands in the texts only breaks ties.
Figures, and how the thresholds were chosen: docs/adr/0005.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from django.db import DatabaseError, connection
from django.db.models import FloatField
from django.db.models.expressions import RawSQL
from django.utils.text import Truncator

from accounts.access import Member
from forum.models import SearchEntry, Thread
from forum.search import ranking
from forum.search.finding import plain_text
from forum.search.hurry import hurried
from forum.search.query import part_words
from quokkaq.lib.fulltext import analyse, dice, letter_runs, saturation

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


@dataclass(frozen=True)
class Similar:
    """A thread like the one being written; `share` says how alike their titles are, from 0 to 1."""

    thread: Thread
    share: float
    words: int

    @property
    def is_worth_showing(self) -> bool:
        return self.share >= WORTH_SHOWING

    @property
    def excerpt(self) -> str:
        """Return the start of what the thread says, as one line of plain text."""
        return Truncator(plain_text(self.thread.html())).chars(140)

    @property
    def likeness(self) -> Likeness:
        if self.words < SURE_WORDS:
            return Likeness.RELATED
        if self.share >= SEVERE:
            return Likeness.SEVERE
        return Likeness.LIKELY if self.share >= LIKELY else Likeness.RELATED


def similar_threads(member: Member, *, title: str, body: str = "", limit: int = 5) -> list[Similar]:
    """Return the threads the member may read that are most like what they write, best first.

    Nothing when it takes long or fails: nobody is kept from asking by a check.
    """
    try:
        rarity = ranking.rarity(member.course)
        with hurried(TIMEOUT_MS):
            return _similar(member, title, body, limit, rarity)
    except DatabaseError as error:
        log.warning("similar threads not looked up: %s", type(error).__name__)
        return []


def _similar(member: Member, title: str, body: str, limit: int, rarity: ranking.Rarity) -> list[Similar]:
    in_title, in_body = analyse([part_words(title), part_words(body[:BODY_CHARACTERS])])
    if not in_title:
        return []
    words = ranking.any_of(rarity.rarest(in_title, RAREST))
    best_entries = ranking.best_entries(member.course, words, posts=False)
    rows = SearchEntry.objects.filter(pk__in=best_entries).visible_to(member)
    rank = RawSQL("ts_rank(vector, %s::tsquery, 1)", [ranking.any_of(in_title)], output_field=FloatField())
    rows = rows.annotate(rank=rank).order_by("-rank", "pk")
    found = {
        entry: (key, name) for entry, key, name in rows.values_list("pk", "thread_id", "thread__title")[:CANDIDATES]
    }
    measured = _measure(list(found), in_title, in_body, rarity)
    spelt = letter_runs(title)
    shares: dict[UUID, float] = {}
    order: dict[UUID, float] = {}
    for entry, (key, name) in found.items():
        alike, related = measured[entry]
        shares[key] = (alike + SPELLING_WEIGHT * dice(spelt, letter_runs(name))) / (1 + SPELLING_WEIGHT)
        order[key] = shares[key] + RELATED_WEIGHT * related
    best = sorted(order, key=lambda key: (-order[key], key))[:limit]
    threads = Thread.objects.visible_to(member).listed().in_bulk(best)
    return [Similar(threads[key], shares[key], len(in_title)) for key in best if key in threads]


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
    with connection.cursor() as cursor:
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
