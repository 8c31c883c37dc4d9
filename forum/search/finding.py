"""Answering a search: candidates by the index, ranked by BM25, merged from every source, cut into pages."""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from django.core import signing
from django.db import connections
from django.db.models import Exists, FloatField, Model, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import Truncator

from accounts.access import Member
from accounts.models import User
from forum.models import Anonymity, Byline, Kind, Post, Pseudonym, SearchEntry, Status, Thread, Visibility, Writing
from forum.querysets import SearchEntryQuerySet, ThreadQuerySet
from forum.search import ranking
from forum.search.query import Query, part_words
from quokkaq.lib import replica
from quokkaq.lib.fulltext import LANGUAGE, analyse, parse
from quokkaq.lib.keyset import BadCursor
from quokkaq.lib.markdown import plain_text

M = TypeVar("M", bound=Model)
Rows = TypeVar("Rows", bound=QuerySet[Any])
PAGE_SIZE = 20
# The index gives so many candidates of a kind for ranking; nobody reads further than that.
CANDIDATES = 300
# With more words than that in an "any of" search, the rarest ones find the candidates: measured, 4 lose nothing.
RAREST = 4
# Where even the rarest word wanted stands in more of the sampled threads, only the best-ranked entries are looked at,
# whoever may read them; unless they leave less than a page.
COMMON = 50
# So many of the newest texts that are wanted are looked through for words that stand everywhere.
WANTED = 2_000
# Of the people and pseudonyms that a `by:` may mean, no more are looked for.
MEANT = 100
# Of all that more people than that have written, the newest of each is looked at.
FEW = 10
# With fewer results that have all the words, those that have some are added.
ENOUGH = 5
NOTHING_TO_LOOK_FOR = (
    "There is nothing to look for: words like “the” stand everywhere, and -word only takes away. Add another word."
)
_SALT = "forum.search"
# Marks that PostgreSQL puts around found words; nothing people write contains them, and they are never sent out.
_OPEN, _CLOSE = "\ue000", "\ue001"
# Stand in, while PostgreSQL marks what was found, for signs at which it wouldn't part words (or which it would drop).
_PARTED = {".": "\ue002", "/": "\ue003", "<": "\ue004", ">": "\ue005"}
_PART, _JOIN = str.maketrans(_PARTED), str.maketrans({stand_in: sign for sign, stand_in in _PARTED.items()})


@dataclass(frozen=True)
class Meant:
    """Who may be meant by `by:`: people, in what they wrote as one of `seen` (kinds of anonymity), and pseudonyms."""

    people: Sequence[uuid.UUID] = ()
    seen: Sequence[str] = ()
    pseudonyms: Sequence[uuid.UUID] = ()

    def wrote(self) -> Q:
        """Return the condition on what they wrote."""
        # Values, no subqueries: the database can look them up in its indexes.
        return Q(author__in=self.people, anonymity__in=self.seen) | Q(pseudonym__in=self.pseudonyms)


@dataclass(frozen=True)
class Request:
    """What a source is asked for: `words` is a `tsquery` (empty: no words given), `weights` what each lexeme counts."""

    query: Query
    words: str
    weights: Mapping[str, float]
    mean_length: float
    # The same for sources that keep `list.append` as one word.
    whole_words: str
    whole_weights: Mapping[str, float]
    is_common: bool = False  # even the rarest of the words stands in many texts
    meant: Meant | None = None  # by `by:`

    @property
    def written_by(self) -> Q:
        """Return the condition on what somebody wrote; none when anybody may have."""
        return Q() if self.meant is None else self.meant.wrote()


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
    writing: Writing | None = None
    detail: str = ""
    is_endorsed: bool = False
    title: SafeString = field(default_factory=lambda: SafeString(""))
    snippet: SafeString = field(default_factory=lambda: SafeString(""))

    @property
    def place_name(self) -> str:
        """Say what kind of thing this is."""
        match self.place:
            case "threads":
                return str(self.thread.get_kind_display()) if self.thread else "Thread"
            case "posts":
                return "Reply"
            case "answers":
                return "AI answer"
            case _:
                return "Material"


@dataclass(frozen=True)
class Results:
    """A page of results, and the cursor of the next one (empty on the last)."""

    hits: Sequence[Hit]
    next_cursor: str = ""
    loose: bool = False  # some of these have only some of the words
    problem: str = ""  # why there is nothing to look for


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
    request = _request(query, member)
    if query.words and not request.words:
        return Results([], problem=NOTHING_TO_LOOK_FOR)
    hits, loose = _ranked(member, request), False
    is_plain = "!" not in request.words and "<" not in request.words
    if len(hits) < ENOUGH and len(request.weights) > 1 and is_plain:
        rarity = ranking.rarity(member.course)
        some = rarity.rarest(request.weights, RAREST)
        wider = replace(
            request,
            words=ranking.any_of(some),
            whole_words=ranking.any_of(rarity.rarest(request.whole_weights, RAREST)),
            is_common=_is_common(rarity, some, any_of=True),
        )
        known = {hit.key for hit in hits}
        more = [hit for hit in _ranked(member, wider) if hit.key not in known]
        loose = bool(more)
        # Whatever has all the words stays before whatever has some.
        best = max((hit.score for hit in more), default=0.0)
        for hit in hits:
            hit.score += best
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
    _mark(shown, ranking.any_of(request.weights) if request.words and is_plain else request.words)
    more_to_come = len(hits) > start + PAGE_SIZE
    return Results(shown, _cursor(hits[start + PAGE_SIZE - 1], scope) if more_to_come else "", loose)


def _request(query: Query, member: Member) -> Request:
    rarity = ranking.rarity(member.course)
    parted = part_words(query.words)
    words = parse(parted) if parted.strip() else ""
    lexemes, as_typed = analyse([parted, query.words]) if words else ({}, {})
    weights = {lexeme: rarity.of(lexeme) for lexeme in lexemes}
    whole = {lexeme: rarity.of(lexeme) for lexeme in as_typed}
    return Request(
        query,
        words,
        weights,
        rarity.mean_length,
        whole_words=parse(query.words) if words and whole.keys() != weights.keys() else words,
        whole_weights=whole,
        # What is taken away by `-word` may be as rare as it likes.
        is_common=bool(weights) and _is_common(rarity, weights, any_of="|" in words or "!" in words),
        meant=_meant(member, query),
    )


def _is_common(rarity: ranking.Rarity, lexemes: Collection[str], *, any_of: bool) -> bool:
    counts = [rarity.containing.get(lexeme, 1) for lexeme in lexemes]
    return (sum(counts) if any_of else min(counts)) > COMMON


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
    query = request.query
    if request.words:
        return _rank_entries("threads", member, request)
    rows = dated(_wanted(Thread.objects.visible_to(member), member, query).filter(request.written_by), query)
    found = rows.order_by("-created_at", "-id").values_list("pk", "created_at")[:CANDIDATES]
    return [Hit("threads", key, when.timestamp()) for key, when in found]


def rank_posts(member: Member, request: Request) -> list[Hit]:
    """Rank replies and comments. Without words, they are listed only when somebody's are asked for."""
    query = request.query
    if request.words:
        return _rank_entries("posts", member, request)
    if request.meant is None:
        return []
    posts = _posts_by(member, request.meant, query)
    if query.tags or query.states:
        posts = posts.filter(thread__in=_wanted(Thread.objects.visible_to(member), member, query))
    rows = posts.order_by("-created_at", "-id")
    return [Hit("posts", key, when.timestamp()) for key, when in rows.values_list("pk", "created_at")[:CANDIDATES]]


def _rank_entries(place: str, member: Member, request: Request) -> list[Hit]:
    key = "thread_id" if place == "threads" else "post_id"
    rank = RawSQL("ts_rank(vector, %s::tsquery, 1)", [request.words], output_field=FloatField())
    found: dict[uuid.UUID, uuid.UUID] = {}
    seen: QuerySet[Any] = Thread.objects.visible_to(member) if place == "threads" else Post.objects.visible_to(member)
    of_seen = Q(Exists(dated(seen, request.query).filter(pk=OuterRef(key))), post__isnull=place == "threads")
    for rows in _candidates(place, member, request):
        ranked = rows.filter(of_seen).annotate(rank=rank).order_by("-rank", "pk")[:CANDIDATES]
        found = dict(ranked.values_list("pk", key))
        if len(found) >= PAGE_SIZE:
            break
    scores = ranking.scores(SearchEntry, "vector", list(found), request.weights, request.mean_length)
    return [Hit(place, found[entry], score) for entry, score in scores.items()]


def _candidates(place: str, member: Member, request: Request) -> Iterator[SearchEntryQuerySet]:
    """Yield where to look for what may be read and is of the days wanted: if that is too little, in the next one.

    A rare word finds few rows. With one that stands everywhere the best are taken first, whoever may read them and whatever
    else is wanted; then the newest that are wanted. Neither reads the whole course.
    """
    query = request.query
    entries = SearchEntry.objects.in_course(member, request.words)
    model, key = (Thread, "thread_id") if place == "threads" else (Post, "post_id")
    if not request.is_common:
        if request.meant is not None:
            entries = entries.filter(Exists(model.objects.filter(request.written_by, pk=OuterRef(key))))
        yield _of_threads_wanted(entries, member, query)
        return
    if request.meant is None:
        # Tags and states leave few of them.
        deep = ranking.DEEP * (4 if query.tags or query.states else 1)
        best = ranking.best_entries(member.course, request.words, posts=place != "threads", deep=deep)
        yield _of_threads_wanted(SearchEntry.objects.filter(pk__in=best), member, query)
    if request.meant is not None:
        written: QuerySet[Any] = (
            dated(Thread.objects.visible_to(member).filter(request.written_by), query)
            if place == "threads"
            else _posts_by(member, request.meant, query)
        )
        newest = _first(written.order_by("-created_at", "-pk"))
        yield _of_threads_wanted(entries.filter(**{f"{key}__in": newest}), member, query)
    elif query.tags or query.states or query.after or query.before:
        threads = _wanted(Thread.objects.visible_to(member), member, query)
        if query.after:
            threads = threads.filter(last_activity_at__gte=query.after)
        if query.before:
            threads = threads.filter(created_at__lt=query.before)
        newest = _first(threads.order_by("-last_activity_at", "-pk"))
        yield entries.filter(thread_id__in=newest)


def _first(rows: "QuerySet[Any]") -> list[uuid.UUID]:
    """Return the keys of the first `WANTED` rows: as a list, that they are looked up by."""
    return list(rows.values_list("pk", flat=True)[:WANTED])


def _of_threads_wanted(rows: SearchEntryQuerySet, member: Member, query: Query) -> SearchEntryQuerySet:
    if not (query.tags or query.states):
        return rows
    return rows.filter(Exists(_wanted(Thread.objects.all(), member, query).filter(pk=OuterRef("thread_id"))))


def rank_rows(place: str, request: Request, rows: QuerySet[M], column: str) -> list[Hit]:
    """Rank rows of another source that fit `request.whole_words` by their `tsvector` column; keys are theirs."""
    rank = RawSQL(f"ts_rank({column}, %s::tsquery, 1)", [request.whole_words], output_field=FloatField())  # noqa: S611 (ours)  # rule: raw-sql (a column named by our code)
    fitting = rows.filter(**{f"{column}__matches": request.whole_words}).annotate(rank=rank).order_by("-rank", "pk")
    keys = list(fitting.values_list("pk", flat=True)[:CANDIDATES])
    scores = ranking.scores(rows.model, column, keys, request.whole_weights, request.mean_length)
    return [Hit(place, key, score) for key, score in scores.items()]


def threads_with(query: Query, *, member: Member, threads: ThreadQuerySet) -> ThreadQuerySet:
    """Return those of `threads` that fit a search; its words may stand in the thread or in what was replied to it."""
    rows, meant = dated(_wanted(threads, member, query), query), _meant(member, query)
    if meant is not None:
        rows = rows.filter(meant.wrote())
    if not query.words:
        return rows
    words = parse(part_words(query.words))
    if not words:
        return rows.none()
    entries = SearchEntry.objects.in_course(member, words).visible_to(member)
    return rows.filter(pk__in=entries.values("thread_id"))


def _wanted(threads: ThreadQuerySet, member: Member, query: Query) -> ThreadQuerySet:
    """Return those of the threads that have the tags and states asked for."""
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
                if not member.is_staff:
                    threads = threads.filter(author=member.user)
            case "pinned":
                threads = threads.filter(is_pinned=True)
            case "locked":
                threads = threads.filter(is_locked=True)
            case "following":
                threads = threads.followed_by(member)
            case _:
                threads = threads.filter(kind=state)
    return threads


def _meant(member: Member, query: Query) -> Meant | None:
    """Return who is meant by `by:`, as far as the member may know it; None when it isn't asked.

    By the names `Writing.byline` would show: who hides is found by their pseudonym, and by their name only where staff
    see it beside.
    """
    if not query.by:
        return None
    if query.by.lower() == "me":
        return Meant([member.user.pk], Anonymity.values)
    people = User.objects.filter(enrollments__course=member.course, display_name__icontains=query.by)
    names = Pseudonym.objects.filter(thread__in=Thread.objects.in_reach_of(member), name__icontains=query.by)
    return Meant(
        list(people.values_list("pk", flat=True)[:MEANT]),
        [Anonymity.NAMED, Anonymity.CLASSMATES] if member.is_staff else [Anonymity.NAMED],
        list(names.order_by("-pk").values_list("pk", flat=True)[:MEANT]),
    )


def _posts_by(member: Member, meant: Meant, query: Query) -> QuerySet[Post]:
    """Return what they replied in the days that the query asks for: of many people the newest of each, `WANTED` in all."""
    posts = dated(Post.objects.visible_to(member), query)
    if len(meant.people) <= FEW:
        return posts.filter(meant.wrote())
    with connections[replica.reading()].cursor() as cursor:
        cursor.execute(
            """
            SELECT newest.id FROM unnest(%s::uuid[]) AS author(id) CROSS JOIN LATERAL (
                SELECT p.id FROM forum_post p
                WHERE p.author_id = author.id AND p.anonymity = ANY(%s) AND p.deleted_at IS NULL
                    AND p.created_at >= %s AND p.created_at < %s
                ORDER BY p.created_at DESC LIMIT %s
            ) AS newest
            """,
            [
                list(meant.people),
                list(meant.seen),
                query.after or "-infinity",
                query.before or "infinity",
                WANTED // len(meant.people),
            ],
        )
        newest = [row[0] for row in cursor.fetchall()]
    return posts.filter(Q(pk__in=newest) | Q(pseudonym__in=meant.pseudonyms))


def dated(rows: Rows, query: Query, column: str = "created_at") -> Rows:
    """Return what was written in the days that the query asks for."""
    if query.after:
        rows = rows.filter(**{f"{column}__gte": query.after})
    if query.before:
        rows = rows.filter(**{f"{column}__lt": query.before})
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
    hit.writing = writing
    hit.is_endorsed = writing.endorsement_count > 0


def _mark(hits: Sequence[Hit], words: str) -> None:
    """Cut snippets around what was found and mark it. One query; everything but our marks is escaped."""
    texts = [_clean(text) for hit in hits for text in (hit.heading, hit.text)]
    if words and texts:
        options = f"StartSel={_OPEN}, StopSel={_CLOSE}"
        cut = f'{options}, MaxFragments=2, MinWords=12, MaxWords=28, FragmentDelimiter=" … "'
        with connections[replica.reading()].cursor() as cursor:
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
                    texts,
                ],
            )
            texts = [row[0] for row in cursor.fetchall()]
    for hit, heading, snippet in zip(hits, texts[::2], texts[1::2], strict=True):
        hit.title, hit.snippet = _marked(heading), _marked(snippet if words else Truncator(snippet).words(40, " …"))


def _clean(text: str) -> str:
    for sign in (_OPEN, _CLOSE, *_PARTED.values()):
        text = text.replace(sign, "")
    return text.translate(_PART)


def _marked(text: str) -> SafeString:
    html = escape(text.translate(_JOIN)).replace(_OPEN, "<mark>").replace(_CLOSE, "</mark>")
    return mark_safe(html)  # noqa: S308 (escaped above)  # rule: mark-safe (escaped above)


register_source("threads", rank_threads, fill_threads)
register_source("posts", rank_posts, fill_posts)
