"""The thread list of a course."""

from dataclasses import dataclass, field
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.access import Member, SignedInRequest, get_member
from accounts.decorators import login_required
from forum.models import Assignment, Kind, SavedView, Status, Tag, Thread, Visibility
from forum.querysets import ThreadQuerySet
from forum.search import Query, parse_query, threads_with
from forum.views.search import query_problems, thread_called
from quokkaq.lib.keyset import BadCursor, Page, page

PAGE_SIZE = 25

FILTERS = {
    "all": "All",
    "unanswered": "Unanswered",
    "unread": "Unread",
    "mine": "Mine",
    "following": "Following",
    "endorsed": "Endorsed",
    "resolved": "Resolved",
    "private": "Private",
}
SORTS = {
    "active": ("Active", "last_activity_at"),
    "new": ("New", "created_at"),
    "top": ("Top", "vote_count"),
}


@dataclass
class Listing:
    """Which threads are asked for, as the address says it."""

    show: str = "all"
    sort: str = "active"
    tag: str = ""
    kind: str = ""
    assignment: str = ""
    q: str = ""
    cursor: str = ""
    problems: list[str] = field(default_factory=list)
    search: Query = field(default_factory=lambda: parse_query(""))

    @classmethod
    def from_query(cls, request: SignedInRequest, tags: list[Tag], assignments: list[Assignment]) -> "Listing":
        """Read the address; what it asks for and doesn't exist is dropped and said in `problems`."""
        asked = cls()
        for name, default in _DEFAULTS.items():
            setattr(asked, name, request.GET.get(name) or default)
        if asked.show not in FILTERS:
            asked.problems.append("There is no such filter. Showing all threads.")
            asked.show = "all"
        if asked.sort not in SORTS:
            asked.problems.append("There is no such order. Showing active threads first.")
            asked.sort = "active"
        if asked.kind and asked.kind not in Kind.values:
            asked.problems.append("There is no such kind of thread. Showing every kind.")
            asked.kind = ""
        if asked.tag and asked.tag not in {tag.slug for tag in tags}:
            asked.problems.append("This course has no such tag. Showing every tag.")
            asked.tag = ""
        if asked.assignment and asked.assignment not in {assignment.slug for assignment in assignments}:
            asked.problems.append("This course has no such assignment. Showing every assignment.")
            asked.assignment = ""
        asked.search = parse_query(asked.q)
        asked.q = asked.search.typed
        asked.problems += query_problems(asked.search, tags)
        if asked.search.places:
            asked.problems.append("This list holds threads only: “in:” works on the search page.")
        return asked

    def query(self, **changes: str) -> str:
        """Return the query string of this listing with some of it changed; a change starts at the first page."""
        values = {name: getattr(self, name) for name in _DEFAULTS if name != "cursor"} | changes
        kept = {name: value for name, value in values.items() if value and value != _DEFAULTS[name]}
        return f"?{urlencode(kept)}" if kept else "?"

    def hidden(self) -> list[tuple[str, str]]:
        """Return what the form that filters by words has to carry along."""
        values = {name: str(getattr(self, name)) for name in _DEFAULTS if name not in ("q", "cursor")}
        return [(name, value) for name, value in values.items() if value != _DEFAULTS[name]]

    @property
    def is_filtered(self) -> bool:
        return bool(self.show != "all" or self.tag or self.kind or self.assignment or self.q)

    def threads(self, member: Member) -> ThreadQuerySet:
        """Return the threads of this listing that the member may read."""
        threads = Thread.objects.visible_to(member)
        match self.show:
            case "unanswered":
                threads = threads.filter(status=Status.OPEN, kind=Kind.QUESTION)
            case "unread":
                threads = threads.unread_by(member)
            case "mine":
                threads = threads.filter(author=member.user)
            case "following":
                threads = threads.followed_by(member)
            case "endorsed":
                threads = threads.filter(endorsement_count__gt=0)
            case "resolved":
                threads = threads.filter(status=Status.RESOLVED)
            case "private":
                threads = threads.filter(visibility=Visibility.STAFF)
                if not member.is_staff:
                    threads = threads.filter(author=member.user)  # as `visible_to` says, but found by an index
        if self.tag:
            threads = threads.filter(tags__slug=self.tag)
        if self.kind:
            threads = threads.filter(kind=self.kind)
        if self.assignment:
            threads = threads.filter(assignment__slug=self.assignment)
        return threads_with(self.search, member=member, threads=threads) if self.q else threads

    def page(self, member: Member) -> Page[Thread]:
        """Return the page the cursor points at; a bad cursor is said in `problems` and gives the first one."""
        rows = self.threads(member).with_reader(member).listed()
        if not self.is_filtered:
            rows = rows.filter(is_pinned=False)
        order = SORTS[self.sort][1]
        scope = f"{member.course.pk}:{self.query()}"
        try:
            return page(rows, order=order, cursor=self.cursor, size=PAGE_SIZE, scope=scope)
        except BadCursor:
            self.problems.append("This page address is damaged or out of date. Showing the first page.")
            self.cursor = ""
            return page(rows, order=order, cursor="", size=PAGE_SIZE, scope=scope)


_DEFAULTS = {"show": "all", "sort": "active", "tag": "", "kind": "", "assignment": "", "q": "", "cursor": ""}


@login_required
@require_safe
def thread_list(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the threads of a course, pinned ones first."""
    member = get_member(request.user, slug)
    tags = list(Tag.objects.visible_to(member))
    assignments = list(Assignment.objects.visible_to(member))
    listing = Listing.from_query(request, tags, assignments)
    called = thread_called(member, listing.search)
    if called is not None:
        return redirect(called)
    found = listing.page(member)
    pinned: list[Thread] = []
    if not listing.is_filtered and not listing.cursor:
        pinned = list(Thread.objects.visible_to(member).filter(is_pinned=True).with_reader(member).listed())
    context = {
        "member": member,
        "listing": listing,
        "pinned": [(thread, thread.byline(member)) for thread in pinned],
        "threads": [(thread, thread.byline(member)) for thread in found.items],
        "next": listing.query(cursor=found.next_cursor) if found.next_cursor else "",
        "filters": [(listing.query(show=key), label, listing.show == key) for key, label in FILTERS.items()],
        "sorts": [(listing.query(sort=key), label, listing.sort == key) for key, (label, _) in SORTS.items()],
        "tags": [(listing.query(tag="" if listing.tag == t.slug else t.slug), t, listing.tag == t.slug) for t in tags],
        "assignments": [
            (listing.query(assignment="" if listing.assignment == a.slug else a.slug), a, listing.assignment == a.slug)
            for a in assignments
        ],
        "kinds": [
            (listing.query(kind="" if listing.kind == key else key), label, listing.kind == key)
            for key, label in Kind.choices
        ],
        "views": [(view, f"?{view.query}" == listing.query()) for view in SavedView.objects.visible_to(member)],
        "hidden": listing.hidden(),
        "without_words": listing.query(q=""),
        "search_url": f"{reverse('forum:search', args=[slug])}?{urlencode({'q': listing.q})}",
        "section": "threads",
    }
    return render(request, "forum/thread_list.html", context, status=400 if listing.problems else 200)
