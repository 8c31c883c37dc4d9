"""The thread list of a course."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.access import Member, SignedInRequest, get_member, stand_in, values_of
from accounts.decorators import login_required
from forum import access
from forum.lines import SHOWN, rows
from forum.models import Assignment, Kind, SavedView, Status, Tag, Thread, Visibility
from forum.querysets import ThreadQuerySet
from forum.search import Query, parse_query, threads_with
from forum.views.search import query_problems, thread_called
from quokkaq.lib.database.prepared import Asked, Prepared, Value, together
from quokkaq.lib.fragments import fragment, hole
from quokkaq.lib.keyset import BadCursor, Page, cut, read_place, seek

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


class Address(NamedTuple):
    """What makes one list another one, in the words of its address."""

    show: str = "all"
    sort: str = "active"
    tag: str = ""
    kind: str = ""
    assignment: str = ""
    q: str = ""

    def query(self, *, cursor: str = "", **changes: str) -> str:
        """Return the query string with some of it changed."""
        found = _query(self._replace(**changes) if changes else self)
        return f"{found}{'' if found == '?' else '&'}{urlencode({'cursor': cursor})}" if cursor else found


_DEFAULTS: dict[str, str] = Address._field_defaults


@lru_cache(maxsize=2_000)
def _query(address: Address) -> str:
    asked = {name: value for name, value in address._asdict().items() if value and value != _DEFAULTS[name]}
    return f"?{urlencode(asked)}" if asked else "?"


# An address, what it is called, and whether it is the list that is shown.
Choice = tuple[str, str, bool]


class Sidebar(NamedTuple):
    """All that stands beside a list: the lists that differ from it in one thing, and the views somebody saved."""

    slug: str
    at: Address
    tags: tuple[tuple[str, str], ...]
    assignments: tuple[tuple[str, str], ...]
    saved: tuple[tuple[UUID, str, str], ...]

    def filters(self) -> list[Choice]:
        return [(self.at.query(show=key), label, self.at.show == key) for key, label in FILTERS.items()]

    def kinds(self) -> list[Choice]:
        return [
            (self.at.query(kind="" if self.at.kind == key else key), label, self.at.kind == key)
            for key, label in Kind.choices
        ]

    def of_assignments(self) -> list[Choice]:
        here = self.at.assignment
        return [
            (self.at.query(assignment="" if here == key else key), label, here == key)
            for key, label in self.assignments
        ]

    def of_tags(self) -> list[Choice]:
        return [
            (self.at.query(tag="" if self.at.tag == key else key), label, self.at.tag == key)
            for key, label in self.tags
        ]

    def views(self) -> list[tuple[UUID, str, str, bool]]:
        return [(key, name, query, f"?{query}" == self.at.query()) for key, name, query in self.saved]


@dataclass
class Listing:
    """Which threads are asked for, as the address says it."""

    at: Address = field(default_factory=Address)
    cursor: str = ""
    problems: list[str] = field(default_factory=list)
    search: Query = field(default_factory=lambda: parse_query(""))

    @classmethod
    def from_query(cls, request: SignedInRequest, tags: list[Tag], assignments: list[Assignment]) -> "Listing":
        """Read the address; what it asks for and doesn't exist is dropped and said in `problems`."""
        at = Address(*(request.GET.get(name) or default for name, default in _DEFAULTS.items()))
        search, problems = parse_query(at.q), []
        if at.show not in FILTERS:
            problems.append("There is no such filter. Showing all threads.")
            at = at._replace(show=_DEFAULTS["show"])
        if at.sort not in SORTS:
            problems.append("There is no such order. Showing active threads first.")
            at = at._replace(sort=_DEFAULTS["sort"])
        if at.kind and at.kind not in Kind.values:
            problems.append("There is no such kind of thread. Showing every kind.")
            at = at._replace(kind="")
        if at.tag and at.tag not in {tag.slug for tag in tags}:
            problems.append("This course has no such tag. Showing every tag.")
            at = at._replace(tag="")
        if at.assignment and at.assignment not in {assignment.slug for assignment in assignments}:
            problems.append("This course has no such assignment. Showing every assignment.")
            at = at._replace(assignment="")
        problems += query_problems(search, tags)
        if search.places:
            problems.append("This list holds threads only: “in:” works on the search page.")
        return cls(at._replace(q=search.typed), request.GET.get("cursor", ""), problems, search)

    def hidden(self) -> list[tuple[str, str]]:
        """Return what the form that filters by words has to carry along."""
        asked = self.at._replace(q="")._asdict()
        return [(name, value) for name, value in asked.items() if value != _DEFAULTS[name]]

    @property
    def is_filtered(self) -> bool:
        return self.at._replace(sort=_DEFAULTS["sort"]) != Address()

    def threads(self, member: Member) -> ThreadQuerySet:
        """Return the threads of this listing that the member may read."""
        threads = Thread.objects.visible_to(member)
        match self.at.show:
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
        if self.at.tag:
            threads = threads.filter(tags__slug=self.at.tag)
        if self.at.kind:
            threads = threads.filter(kind=self.at.kind)
        if self.at.assignment:
            threads = threads.filter(assignment__slug=self.at.assignment)
        return threads_with(self.search, member=member, threads=threads) if self.at.q else threads

    def page(self, member: Member) -> Page[Thread]:
        """Return the page the cursor points at; a bad cursor is said in `problems` and gives the first one."""
        rows = self.threads(member).with_read(member).listed()
        place = self._place(member)
        return self.cut(list(seek(rows, order=self.order, place=place, size=PAGE_SIZE)), member)

    def plain(self, member: Member) -> list[Asked[Thread]]:
        """Ask for a listing that isn't filtered: its page without pinned threads, and before the first page those."""
        place = self._place(member)
        of: dict[str, Value] = dict(values_of(member))
        if place is not None:
            return [_PAGES(member.is_staff, self.order, True, **of, key=place[0], row=place[1])]
        return [_PAGES(member.is_staff, self.order, False, **of), _PINNED(member.is_staff, **of)]

    def cut(self, found: list[Thread], member: Member) -> Page[Thread]:
        """Make a page of the rows that were found for it."""
        return cut(found, order=self.order, size=PAGE_SIZE, scope=self._scope(member))

    @property
    def order(self) -> str:
        return SORTS[self.at.sort][1]

    def _scope(self, member: Member) -> str:
        return f"{member.course.pk}:{self.at.query()}"

    def _place(self, member: Member) -> tuple[Any, UUID] | None:
        if not self.cursor:
            return None
        try:
            return read_place(
                self.cursor, Thread.objects.visible_to(member), order=self.order, scope=self._scope(member)
            )
        except BadCursor:
            self.problems.append("This page address is damaged or out of date. Showing the first page.")
            self.cursor = ""
            return None


def _pages(
    staff: bool, order: str, seeks: bool, *, key: Any = None, row: UUID | None = None, **of: UUID
) -> QuerySet[Thread]:
    member = stand_in(staff=staff, **of)
    rows: Any = Thread.objects.visible_to(member).filter(is_pinned=False).with_read(member).listed().only(*SHOWN, order)
    return seek(rows, order=order, place=(key, row) if seeks and row else None, size=PAGE_SIZE)


def _pinned(staff: bool, **of: UUID) -> ThreadQuerySet:
    member = stand_in(staff=staff, **of)
    return Thread.objects.visible_to(member).filter(is_pinned=True).with_read(member).listed().only(*SHOWN)


_PAGES = Prepared[Thread](_pages)
_PINNED = Prepared[Thread](_pinned)
_TAGS = Prepared[Tag](lambda **of: Tag.objects.visible_to(stand_in(staff=False, **of)))
_ASSIGNMENTS = Prepared[Assignment](lambda **of: Assignment.objects.visible_to(stand_in(staff=False, **of)))
_VIEWS = Prepared[SavedView](lambda **of: SavedView.objects.visible_to(stand_in(staff=False, **of)))


@login_required
@require_safe
def thread_list(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the threads of a course, pinned ones first."""
    member = get_member(request.user, slug)
    # Who opens the list as it is has everything with one look into the database.
    plain = all(request.GET.get(name, "") in ("", default) for name, default in _DEFAULTS.items() if name != "sort")
    of = values_of(member)
    its = {name: of[name] for name in ("course", "institution")}
    mine: list[Asked[Any]] = [_TAGS(**its), _ASSIGNMENTS(**its), _VIEWS(**of), access.waiting(request.user)]
    if plain:
        listing = Listing.from_query(request, [], [])
        tags, assignments, views, waiting, *found_rows = together(*mine, *listing.plain(member))
    else:
        tags, assignments, views, waiting = together(*mine)
        listing = Listing.from_query(request, tags, assignments)
        called = thread_called(member, listing.search)
        if called is not None:
            return redirect(called)
        # What was asked for may not exist: then all is shown, as it is.
        found_rows = [] if listing.is_filtered else together(*listing.plain(member))
    found = listing.page(member) if listing.is_filtered else listing.cut(found_rows[0], member)
    pinned: list[Thread] = found_rows[1] if len(found_rows) > 1 else []
    base, token = reverse("forum:list", args=[slug]), get_token(request)
    context = {
        "member": member,
        "listing": listing,
        "waiting": len(waiting),
        "csrf_token": token,
        "base": base,
        "pinned": pinned,
        "threads": found.items,
        "rows": rows([*pinned, *found.items], member, base),
        "next": listing.at.query(cursor=found.next_cursor) if found.next_cursor else "",
        "sidebar": fragment(
            "forum/_sidebar.html",
            holes={"csrf": token},
            sidebar=Sidebar(
                slug,
                listing.at,
                tuple([(tag.slug, tag.name) for tag in tags]),
                tuple([(assignment.slug, assignment.title) for assignment in assignments]),
                tuple([(view.pk, view.name, view.query) for view in views]),
            ),
            csrf_token=hole("csrf"),
        ),
        "sorts": [(listing.at.query(sort=key), label, listing.at.sort == key) for key, (label, _) in SORTS.items()],
        "hidden": listing.hidden(),
        "without_words": listing.at.query(q=""),
        "section": "threads",
    }
    return render(request, "forum/thread_list.html", context, status=400 if listing.problems else 200)
