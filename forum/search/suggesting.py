"""Completing what is typed into the search box: threads whose titles have those words."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import DatabaseError
from django.db.models import FloatField
from django.db.models.expressions import RawSQL
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from accounts.access import Member
from forum.models import SearchEntry, Thread
from forum.search.hurry import hurried
from quokkaq.lib.fulltext import analyse, quote_lexeme

log = logging.getLogger(__name__)

SHORTEST = 3
LONGEST = 100
# So many titles are ranked before those that the reader may see, and that fit, are taken.
CANDIDATES = 60
# Suffixes that the stemmer takes off are about so long: "recursio" is looked for as "recurs", too.
_SUFFIX = 5
TIMEOUT_MS = 400
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Suggestion:
    """A thread, and its title as HTML with what was typed marked."""

    thread: Thread
    title: SafeString


def suggest(member: Member, typed: str, *, limit: int = 6) -> Sequence[Suggestion]:
    """Return threads the member may read whose titles have the words typed, the last one perhaps not to its end.

    Nothing when fewer than three letters were typed, or when it takes long.
    """
    words = _WORD.findall(typed[:LONGEST].lower())
    if sum(map(len, words)) < SHORTEST:
        return []
    try:
        with hurried(TIMEOUT_MS):
            return _suggest(member, words, limit)
    except DatabaseError as error:
        log.warning("no suggestions: %s", error)
        return []


def _suggest(member: Member, words: Sequence[str], limit: int) -> list[Suggestion]:
    *whole, last = words
    stems, stem_of_last = analyse([" ".join(whole), last])
    wanted = [f"{quote_lexeme(stem)}:A" for stem in sorted(stems)]
    if len(last) >= SHORTEST:
        wanted.append(f"({' | '.join(_starts(last))})")
    if not wanted:
        return []
    query = " & ".join(wanted)
    entries = SearchEntry.objects.filter(post=None).in_course(member, query)
    rank = RawSQL("ts_rank(vector, %s::tsquery, 1)", [query], output_field=FloatField())
    best = entries.annotate(rank=rank).order_by("-rank", "-thread_id")[:CANDIDATES]
    keys = list(best.values_list("thread_id", flat=True))
    found = Thread.objects.visible_to(member).listed().in_bulk(keys)
    starts = [last, *stem_of_last, *(stem[:-1] for stem in stem_of_last if stem.endswith("i"))]
    fitting = [
        found[key] for key in keys if key in found and (len(last) < SHORTEST or _has_start(found[key].title, starts))
    ]
    return [Suggestion(thread, _mark(thread.title, [*whole, *stems, *starts])) for thread in fitting[:limit]]


def _starts(word: str) -> list[str]:
    """Return the parts of a `tsquery` that fit titles with a word that starts like this: itself, and shorter stems."""
    shorter = [word[:end] for end in range(max(SHORTEST, len(word) - _SUFFIX), len(word) + 1)]
    stems = {*shorter, *(f"{stem[:-1]}i" for stem in shorter if stem.endswith("y"))}
    return [f"{quote_lexeme(word)}:*A", *(f"{quote_lexeme(stem)}:A" for stem in sorted(stems))]


def _has_start(title: str, starts: Sequence[str]) -> bool:
    return any(word.startswith(start) for word in _WORD.findall(title.lower()) for start in starts)


def _mark(title: str, starts: Sequence[str]) -> SafeString:
    """Return the title as HTML; of every word that starts like one typed, the start is marked."""
    html, position = [], 0
    for match in _WORD.finditer(title):
        length = max((len(start) for start in starts if start and match[0].lower().startswith(start)), default=0)
        if length:
            end = match.start() + length
            html += [escape(title[position : match.start()]), "<mark>", escape(title[match.start() : end]), "</mark>"]
            position = end
    html.append(escape(title[position:]))
    return mark_safe("".join(html))  # noqa: S308 (all but our marks is escaped)  # rule: mark-safe (all but our marks is escaped)
