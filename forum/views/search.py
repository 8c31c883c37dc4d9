"""Finding things in a course, and what was asked before."""

from urllib.parse import urlencode

from django.contrib import messages
from django.db import OperationalError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from psycopg.errors import QueryCanceled

from accounts.access import Member, SignedInRequest, get_member
from accounts.decorators import login_required
from forum import access, actions
from forum.models import MAX_TITLE, Tag, Thread
from forum.search import PLACES, STATES, Query, Results, find, parse_query, similar_threads, suggest
from quokkaq.lib.keyset import BadCursor
from quokkaq.lib.replica import may_be_stale

PLACE_NAMES = {"threads": "Threads", "posts": "Replies", "answers": "AI answers", "materials": "Materials"}
# The ids of the search boxes: in the header, and on the search page.
BOXES = ("course-search", "search")
TOO_SLOW = "This search takes too long. Add a word that is less common."


@login_required
@require_safe
@may_be_stale
def search(request: SignedInRequest, slug: str) -> HttpResponse:
    """Search the course; `#123` alone leads to the thread."""
    member = get_member(request.user, slug)
    query = parse_query(request.GET.get("q", ""))
    thread = thread_called(member, query)
    if thread is not None:
        return redirect("forum:thread", slug=slug, number=thread.number)
    tags = list(Tag.objects.visible_to(member))
    problems = query_problems(query, tags)
    cursor = request.GET.get("cursor", "")
    try:
        results = _results(member, query, cursor, problems)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise  # not the search was slow: the database is away
        results = Results([], problem=TOO_SLOW)
    context = {
        "member": member,
        "query": query,
        "cursor": cursor if cursor and not problems else "",
        "results": results,
        "problems": [*problems, *([results.problem] if results.problem else [])],
        "first": _address(query.typed),
        "next": _address(query.typed, results.next_cursor) if results.next_cursor else "",
        "places": [(_address(query.within()), "Everywhere", not query.places)]
        + [(_address(query.within(place)), PLACE_NAMES[place], query.places == [place]) for place in PLACES],
        "states": STATES,
        "tags": tags,
        "section": "search",
    }
    return render(request, "forum/search.html", context, status=400 if problems else 200)


def _address(typed: str, cursor: str = "") -> str:
    return f"?{urlencode({'q': typed} | ({'cursor': cursor} if cursor else {}))}"


def _results(member: Member, query: Query, cursor: str, problems: list[str]) -> Results:
    """Return the page the cursor points at; a bad cursor is said in `problems` and gives the first one."""
    try:
        return find(query, member=member, cursor=cursor)
    except BadCursor:
        problems.append("This page address is damaged or out of date. Showing the first page.")
        return find(query, member=member)


def thread_called(member: Member, query: Query) -> Thread | None:
    """Return the thread whose number was typed and nothing else, if the member may read it."""
    if query.number is None:
        return None
    return Thread.objects.visible_to(member).filter(number=query.number).first()


def query_problems(query: Query, tags: list[Tag]) -> list[str]:
    """Say in sentences what of a search can't be understood, or leads nowhere."""
    problems = list(query.problems)
    known = {tag.slug for tag in tags}
    problems += [f"This course has no tag “{tag}”." for tag in query.tags if tag not in known]
    if query.number is not None:
        problems.append(f"There is no thread #{query.number} that you can read.")
    return problems


@login_required
@require_safe
@may_be_stale
def suggestions(request: SignedInRequest, slug: str) -> HttpResponse:
    """Return threads for what stands in the search box so far."""
    member = get_member(request.user, slug)
    query = parse_query(request.GET.get("q", ""))
    called = thread_called(member, query)
    found = [(thread, thread.title) for thread in [called] if thread]
    found = found or [(suggestion.thread, suggestion.title) for suggestion in suggest(member, query.words)]
    box = request.GET.get("box", "")
    context = {"member": member, "query": query, "suggestions": found, "box": box if box in BOXES else BOXES[0]}
    return render(request, "forum/_suggestions.html", context)


@login_required
@require_POST
def similar(request: SignedInRequest, slug: str) -> HttpResponse:
    """Return threads like the one being written. The page asks for it while somebody types the title."""
    member = get_member(request.user, slug)
    title = request.POST.get("title", "")[:MAX_TITLE]
    found = similar_threads(member, title=title, body=request.POST.get("body", ""))
    context = {"member": member, "similar": [item for item in found if item.is_worth_showing], "warning": ""}
    return render(request, "forum/_similar.html", context)


@login_required
@require_POST
def deflect(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Take an earlier thread for an answer instead of asking."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    actions.record_deflection(by=member, thread=thread)
    # The next question starts with a form of its own.
    request.session.pop(f"ask:{member.course.pk}", None)
    messages.success(request, "Good that it was here already. Your question wasn’t posted.")
    return redirect(thread)
