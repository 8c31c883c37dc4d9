"""What was asked before: threads like the one being written, and titles that start like what is being typed.

Threads are found by rare words of the title and ranked by BM25, divided by what the written title would score against
itself, plus `SPELLING_WEIGHT` times how much of their spelling two titles share (Dice coefficient of their runs of four
letters), which sees what stemming doesn't: "wifi" and "wi-fi", "setup" and "set up". Figures: docs/adr/0005.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db import OperationalError, connection, transaction
from django.db.models import FloatField
from django.db.models.expressions import RawSQL

from accounts.access import Member
from forum.models import SearchEntry, Thread
from forum.search import ranking
from quokkaq.lib.fulltext import analyse, dice, letter_runs, parse, quote_lexeme, saturation

CANDIDATES = 300
RAREST = 5
BODY_CHARACTERS = 1500
# What a word counts that stands in the text only, not in the title.
BODY_WEIGHT = 0.25
SPELLING_WEIGHT = 0.4
LIKELY = 0.62
SEVERE = 0.82
# Whoever waits for a page waits no longer than that for similar threads.
TIMEOUT_MS = 400
SHORTEST_SUGGESTION = 3


class Likeness(StrEnum):
    """How sure it is that two threads ask the same."""

    RELATED = "related"
    LIKELY = "likely"
    SEVERE = "severe"


@dataclass(frozen=True)
class Similar:
    """A thread like the one being written; `likeness` from 0 to 1."""

    thread: Thread
    share: float

    @property
    def likeness(self) -> Likeness:
        if self.share >= SEVERE:
            return Likeness.SEVERE
        return Likeness.LIKELY if self.share >= LIKELY else Likeness.RELATED


def similar_threads(member: Member, *, title: str, body: str = "", limit: int = 5) -> list[Similar]:
    """Return the threads the member may read that are most like what they write, best first; nothing if it takes long."""
    rarity = ranking.rarity(member.course)  # measured outside the hurry: it is measured once, for everybody
    try:
        with transaction.atomic():
            _hurry()
            return _similar(member, title, body, limit, rarity)
    except OperationalError:
        return []


def _hurry() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)])


def _similar(member: Member, title: str, body: str, limit: int, rarity: ranking.Rarity) -> list[Similar]:
    in_title, in_body = analyse([title, body[:BODY_CHARACTERS]])
    if not in_title:
        return []
    weights = {lexeme: rarity.of(lexeme) for lexeme in in_title}
    weights |= {lexeme: BODY_WEIGHT * rarity.of(lexeme) for lexeme in in_body if lexeme not in in_title}
    words = ranking.any_of(rarity.rarest(in_title, RAREST))
    rows = SearchEntry.objects.filter(post=None).in_course(member, words).visible_to(member)
    rank = RawSQL("ts_rank(vector, %s::tsquery, 1)", [ranking.any_of(in_title)], output_field=FloatField())
    rows = rows.annotate(rank=rank).order_by("-rank", "pk")
    found = {
        entry: (key, name) for entry, key, name in rows.values_list("pk", "thread_id", "thread__title")[:CANDIDATES]
    }
    scores = ranking.scores(list(found), weights, rarity.mean_length)
    length = len(in_title) + len(in_body)
    itself = sum(
        weight * saturation(ranking.FIELD_WEIGHT["A" if lexeme in in_title else "B"], length, rarity.mean_length)
        for lexeme, weight in weights.items()
    )
    spelt = letter_runs(title)
    shares = {
        key: (min(1.0, scores[entry] / itself) + SPELLING_WEIGHT * dice(spelt, letter_runs(name)))
        / (1 + SPELLING_WEIGHT)
        for entry, (key, name) in found.items()
    }
    best = sorted(shares, key=lambda key: (-shares[key], key))[:limit]
    threads = Thread.objects.visible_to(member).listed().in_bulk(best)
    return [Similar(threads[key], shares[key]) for key in best if key in threads]


def suggest(member: Member, typed: str, *, limit: int = 6) -> Sequence[Thread]:
    """Return threads the member may read whose titles have the words typed, the last one perhaps not typed to its end."""
    words = typed.replace("\x00", " ").split()
    if not words or len(words[-1]) < SHORTEST_SUGGESTION:
        return []
    *whole, last = words
    try:
        with transaction.atomic():
            _hurry()
            start = quote_lexeme(last.lower()) + ":*A"
            parsed = parse(" ".join(whole)) if whole else ""
            query = f"({parsed}) & {start}" if parsed else start
            rows = SearchEntry.objects.filter(post=None).in_course(member, query).visible_to(member)
            rank = RawSQL("ts_rank(vector, %s::tsquery, 1)", [query], output_field=FloatField())
            keys = list(rows.annotate(rank=rank).order_by("-rank", "pk").values_list("thread_id", flat=True)[:limit])
            found = Thread.objects.visible_to(member).listed().in_bulk(keys)
            return [found[key] for key in keys if key in found]
    except OperationalError:
        return []
