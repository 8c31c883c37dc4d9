"""Answering a search: candidates by the index, ranked by BM25, merged from every source, cut into pages."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import unescape
from typing import TypeVar

from django.core import signing
from django.db import connection
from django.db.models import Exists, FloatField, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.html import escape, strip_tags
from django.utils.safestring import SafeString, mark_safe

from accounts.access import Member
from forum.models import Anonymity, Byline, Kind, Post, SearchEntry, Status, Thread, Visibility, Writing
from forum.querysets import SearchEntryQuerySet, ThreadQuerySet
from forum.search import ranking
from forum.search.query import Query
from quokkaq.lib.fulltext import LANGUAGE, analyse, parse
from quokkaq.lib.keyset import BadCursor

W = TypeVar("W", Thread, Post)
PAGE_SIZE = 20
# The index gives so many candidates of a kind for ranking; nobody reads further than that.
CANDIDATES = 300
# With more words than that in an "any of" search, the rarest ones find the candidates (BENCH: 4 lose nothing).
RAREST = 4
# With fewer results that have all the words, those that have some are added.
ENOUGH = 5
_SALT = "forum.search"
# Marks that PostgreSQL puts around found words; nothing people write contains them, and they are never sent out.
_OPEN, _CLOSE = "\ue000", "\ue001"


@dataclass(frozen=True)
class Request:
    """What a source is asked for: `words` is a `tsquery` (empty: no words given), `weights` what each lexeme counts."""

    query: Query
    words: str
    weights: Mapping[str, float]
    mean_length: float


@dataclass
class Hit:
    """One result. `text` is plain text around which the snippet is cut; `title` and `snippet` are HTML once marked."""

    place: str
    key: uuid.UUID
    score: float
    heading: str = ""
    url: str = ""
    text: str = ""
    by: Byline | None = None
    when: datetime | None = None
    thread: Thread | None = None
    detail: str = ""
    title: SafeString = field(default_factory=lambda: SafeString(""))
    snippet: SafeString = field(default_factory=lambda: SafeString(""))


@dataclass(frozen=True)
class Results:
    """A page of results, and the cursor of the next one (empty on the last)."""

    hits: Sequence[Hit]
    next_cursor: str = ""
    loose: bool = False  # some of these have only some of the words


# Ranks first (keys and scores only), then fills in those that are shown.
Ranker = Callable[[Member, Request], Iterable[Hit]]
Filler = Callable[[Member, Sequence[Hit]], None]
_sources: dict[str, tuple[Ranker, Filler]] = {}


def register_source(place: str, rank: Ranker, fill: Filler) -> None:
    """Let search look in one more place. Both functions cost a constant number of queries and see what `member` may."""
    _sources[place] = (rank, fill)


def find(query: Query, *, member: Member, cursor: str = "") -> Results:
    """Return a page of what fits, best first. Raises `BadCursor`."""
    if query.is_empty:
        return Results([])
    request = _request(query, member, parse(query.words) if query.words else "")
    if query.words and not request.words:
        return Results([])  # nothing but words like "the"
    hits, loose = _ranked(member, request), False
    if len(hits) < ENOUGH and len(request.weights) > 1 and "!" not in request.words and '"' not in query.words:
        rare = ranking.rarity(member.course).rarest(request.weights, RAREST)
        wider = Request(query, ranking.any_of(rare), request.weights, request.mean_length)
        known = {hit.key for hit in hits}
        # Whatever has all the words stays before whatever has some.
        top = max((hit.score for hit in hits), default=0.0)
        more = [hit for hit in _ranked(member, wider) if hit.key not in known]
        loose = bool(more)
        for hit in hits:
            hit.score += max((other.score for other in more), default=0.0) + top
        hits += more
    hits.sort(key=lambda hit: (-hit.score, hit.key))
    scope = f"{member.course.pk}:{query.typed}"
    start = _after(hits, cursor, scope) if cursor else 0
    shown = hits[start : start + PAGE_SIZE]
    for place, (_, fill) in _sources.items():
        of_place = [hit for hit in shown if hit.place == place]
        if of_place:
            fill(member, of_place)
    # What was deleted between ranking and showing has no heading.
    shown = [hit for hit in shown if hit.heading]
    _mark(shown, request.words)
    more_to_come = len(hits) > start + PAGE_SIZE
    return Results(shown, _cursor(hits[start + PAGE_SIZE - 1], scope) if more_to_come else "", loose)


def _request(query: Query, member: Member, words: str) -> Request:
    rarity = ranking.rarity(member.course)
    lexemes = analyse([query.words])[0] if words else {}
    return Request(query, words, {lexeme: rarity.of(lexeme) for lexeme in lexemes}, rarity.mean_length)


def _ranked(member: Member, request: Request) -> list[Hit]:
    places = request.query.places or list(_sources)
    return [hit for place, (rank, _) in _sources.items() if place in places for hit in rank(member, request)]


def _cursor(hit: Hit, scope: str) -> str:
    return signing.dumps([hit.score, hit.key.hex, scope], salt=_SALT, compress=True)


def _after(hits: Sequence[Hit], cursor: str, scope: str) -> int:
    """Return where the page after a cursor starts: after its row or, when that is gone, after its score."""
    try:
        score, key, made_for = signing.loads(cursor, salt=_SALT)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise BadCursor from error
    if made_for != scope:
        raise BadCursor
    for position, hit in enumerate(hits):
        if hit.key.hex == key:
            return position + 1
    return sum((-hit.score, hit.key.hex) <= (-score, key) for hit in hits)


# Threads and posts


def rank_threads(member: Member, request: Request) -> list[Hit]:
    """Rank what threads say themselves."""
    threads = _wanted(member, request.query)
    if request.words:
        entries = SearchEntry.objects.filter(post=None)
        return _rank_entries(
            "threads", member, request, entries.filter(Exists(threads.filter(pk=OuterRef("thread_id"))))
        )
    rows = _dated(_by(threads, member, request.query), request.query).order_by("-created_at", "-id")
    return [Hit("threads", key, when.timestamp()) for key, when in rows.values_list("pk", "created_at")[:CANDIDATES]]


def rank_posts(member: Member, request: Request) -> list[Hit]:
    """Rank replies and comments. Without words, they are listed only when somebody's are asked for."""
    query = request.query
    if request.words:
        entries = SearchEntry.objects.exclude(post=None)
        if query.tags or query.states:
            entries = entries.filter(Exists(_wanted(member, query).filter(pk=OuterRef("thread_id"))))
        return _rank_entries("posts", member, request, entries)
    if not query.by:
        return []
    posts = Post.objects.visible_to(member)
    if query.tags or query.states:
        posts = posts.filter(thread__in=_wanted(member, query))
    rows = _dated(_by(posts, member, query), query).order_by("-created_at", "-id")
    return [Hit("posts", key, when.timestamp()) for key, when in rows.values_list("pk", "created_at")[:CANDIDATES]]


def _rank_entries(place: str, member: Member, request: Request, entries: SearchEntryQuerySet) -> list[Hit]:
    key = "thread_id" if place == "threads" else "post_id"
    query = request.query
    rows = entries.in_course(member, request.words).visible_to(member)
    if query.by or query.after or query.before:
        written = (
            _dated(_by(Thread.objects.all(), member, query), query).filter(pk=OuterRef(key))
            if place == "threads"
            else _dated(_by(Post.objects.all(), member, query), query).filter(pk=OuterRef(key))
        )
        rows = rows.filter(Exists(written))
    best = rows.annotate(
        rank=RawSQL("ts_rank(vector, %s::tsquery, 1)", [request.words], output_field=FloatField())
    ).order_by("-rank", "pk")[:CANDIDATES]
    found = dict(best.values_list("pk", key))
    scores = ranking.scores(list(found), request.weights, request.mean_length)
    return [Hit(place, found[entry], score) for entry, score in scores.items()]


def _wanted(member: Member, query: Query) -> ThreadQuerySet:
    """Return the threads the member may read that have the tags and states asked for."""
    threads = Thread.objects.visible_to(member)
    for tag in query.tags:
        threads = threads.filter(tags__slug=tag)
    for state in query.states:
        match state:
            case "unanswered":
                threads = threads.filter(status=Status.OPEN, kind=Kind.QUESTION)
            case "answered" | "resolved":
                threads = threads.filter(status=state, kind__in=[Kind.QUESTION, Kind.DISCUSSION])
            case "unread":
                threads = threads.unread_by(member)
            case "mine":
                threads = threads.filter(author=member.user)
            case "endorsed":
                threads = threads.filter(endorsement_count__gt=0)
            case "private":
                threads = threads.filter(visibility=Visibility.STAFF)
            case "pinned":
                threads = threads.filter(is_pinned=True)
            case "locked":
                threads = threads.filter(is_locked=True)
            case _:
                threads = threads.filter(kind=state)
    return threads


def _by(rows: QuerySet[W], member: Member, query: Query) -> QuerySet[W]:
    """Return what somebody wrote, as far as the member may know it: by the names `Writing.byline` would show."""
    if not query.by:
        return rows
    if query.by.lower() == "me":
        return rows.filter(author=member.user)
    known = Q(anonymity=Anonymity.NAMED)
    if member.is_staff:
        known |= Q(anonymity=Anonymity.CLASSMATES)
    return rows.filter((known & Q(author__display_name__icontains=query.by)) | Q(pseudonym__name__icontains=query.by))


def _dated(rows: QuerySet[W], query: Query) -> QuerySet[W]:
    if query.after:
        rows = rows.filter(created_at__gte=query.after)
    if query.before:
        rows = rows.filter(created_at__lt=query.before)
    return rows


def fill_threads(member: Member, hits: Sequence[Hit]) -> None:
    """Load the threads that are shown."""
    rows = Thread.objects.visible_to(member).listed().in_bulk([hit.key for hit in hits])
    for hit in hits:
        thread = rows.get(hit.key)
        if thread is not None:
            thread.course = member.course
            _fill(hit, thread, thread, member)


def fill_posts(member: Member, hits: Sequence[Hit]) -> None:
    """Load the posts that are shown."""
    rows = Post.objects.visible_to(member).select_related("author", "pseudonym", "thread")
    found = rows.in_bulk([hit.key for hit in hits])
    for hit in hits:
        post = found.get(hit.key)
        if post is not None:
            post.thread.course = member.course
            _fill(hit, post, post.thread, member)
            hit.url += f"#post-{post.pk}"


def _fill(hit: Hit, writing: Writing, thread: Thread, member: Member) -> None:
    hit.heading = thread.title
    hit.url = thread.get_absolute_url()
    hit.text = plain_text(writing.html())
    hit.by = writing.byline(member)
    hit.when = writing.created_at
    hit.thread = thread


def plain_text(html: str) -> str:
    """Return the words of rendered Markdown, without its marks."""
    return " ".join(unescape(strip_tags(html)).split())


def _mark(hits: Sequence[Hit], words: str) -> None:
    """Cut snippets around what was found and mark it. One query; everything but our marks is escaped."""
    texts = [text for hit in hits for text in (hit.heading, hit.text)]
    if words and texts:
        options = f"StartSel={_OPEN}, StopSel={_CLOSE}"
        cut = f"{options}, MaxFragments=2, MinWords=12, MaxWords=28, FragmentDelimiter= … "
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT CASE WHEN place %% 2 = 1 THEN ts_headline(%s::regconfig, content, %s::tsquery, %s)
                    ELSE ts_headline(%s::regconfig, content, %s::tsquery, %s) END
                FROM unnest(%s::text[]) WITH ORDINALITY AS t(content, place) ORDER BY place
                """,
                [
                    LANGUAGE,
                    words,
                    f"{options}, HighlightAll=true",
                    LANGUAGE,
                    words,
                    cut,
                    [_clean(text) for text in texts],
                ],
            )
            texts = [row[0] for row in cursor.fetchall()]
    for hit, heading, snippet in zip(hits, texts[::2], texts[1::2], strict=True):
        hit.title, hit.snippet = _marked(heading), _marked(snippet if words else snippet[:200])


def _clean(text: str) -> str:
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def _marked(text: str) -> SafeString:
    html = escape(text).replace(_OPEN, "<mark>").replace(_CLOSE, "</mark>")
    return mark_safe(html)  # noqa: S308 (escaped above)


register_source("threads", rank_threads, fill_threads)
register_source("posts", rank_posts, fill_posts)
