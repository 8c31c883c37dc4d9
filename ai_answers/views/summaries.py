"""The summary of a long thread, on its page."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.access import Member, Refused, SignedInRequest, get_member, stand_in, values_of
from accounts.decorators import login_required
from ai_answers import access, actions
from ai_answers.models import AnswerMode, CourseAI, SummaryPoint, SummaryState, ThreadSummary
from forum.access import get_live_thread
from forum.models import Thread
from forum.views.threads import thread_page
from quokkaq.lib.database.prepared import Asked, Prepared


@dataclass(frozen=True)
class Point:
    """A point whose words stand where it says, with the anchor of that place on the page."""

    text: str
    quote: str
    anchor: str


def _facts(staff: bool, *, thread: UUID, **of: UUID) -> Any:
    read = Q(posts__deleted_at=None, posts__moderation="shown")
    size = {"replies": Count("posts", filter=read), "length": Sum(Length("posts__body"), filter=read)}
    # rule: unfiltered-manager (a subquery of a thread that is visible)
    mode = CourseAI.objects.filter(course=OuterRef("course")).values("mode")
    # rule: unfiltered-manager (a subquery of a thread that is visible)
    known = ThreadSummary.objects.filter(thread=OuterRef("pk")).values("pk")
    return (
        Thread.objects.visible_to(stand_in(staff=staff, **of))
        .filter(pk=thread)
        .values("pk")
        .annotate(**size, mode=Subquery(mode[:1]), summed_up=Subquery(known[:1]))
        .order_by()
        .values_list("replies", "length", "mode", "summed_up")
    )


_FACTS = Prepared[tuple[int, int | None, str | None, UUID | None]](_facts)


def ask_about_summary(member: Member, thread: Thread) -> Asked[tuple[int, int | None, str | None, UUID | None]]:
    """Ask how long a thread is, and whether it was summed up."""
    return _FACTS(member.is_staff, **values_of(member), thread=thread.pk)


def summary_panel(request: HttpRequest, member: Member, thread: Thread, facts: list[Any]) -> str:
    """Return the HTML of a thread's summary, or of the button for one; empty for a short or private thread.

    Two queries once there is a summary.
    """
    if not access.may_be_summed_up(thread) or not facts:
        return ""
    replies, length, mode, summed_up = facts[0]
    if mode == AnswerMode.OFF:
        return ""
    is_long = replies >= actions.LONG_REPLIES or (length or 0) >= actions.LONG_CHARACTERS
    if not is_long and not summed_up:
        return ""
    return render_to_string("ai_answers/_summary.html", _context(member, thread, bool(summed_up)), request)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def summary(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show the summary alone (the page asks for it while it is being made), or ask for one."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    access.require_summary(thread)
    if request.method == "POST":
        try:
            actions.request_summary(by=member, thread=thread)
        except Refused as refusal:
            messages.error(request, str(refusal))
            return thread_page(request, member, thread, status=409)
    if request.htmx:
        return render(request, "ai_answers/_summary.html", _context(member, thread, True))
    return redirect(f"{reverse('forum:thread', args=[slug, number])}#summary")


def _context(member: Member, thread: Thread, summed_up: bool) -> dict[str, object]:
    found = ThreadSummary.objects.visible_to(member).filter(thread=thread).first() if summed_up else None
    points, is_stale = _points(member, thread, found) if found is not None else ([], False)
    return {
        "member": member,
        "thread": thread,
        "summary": found,
        "points": points,
        "is_stale": is_stale,
        "is_pending": found is not None and found.state in (SummaryState.QUEUED, SummaryState.WRITING),
        "may_ask": member.may_write,
    }


def _points(member: Member, thread: Thread, found: ThreadSummary) -> tuple[list[Point], bool]:
    """Return the points that still hold for this reader, and whether the thread says something else by now.

    Checked each time: a post may have been edited, hidden or deleted since.
    """
    if found.state != SummaryState.READY:
        return [], False
    texts = actions.texts_of(thread)
    bodies = {text.post.pk if text.post else None: text.body for text in texts}
    points = [
        Point(point.text, point.quote, f"post-{point.post_id}" if point.post_id else "thread-title")
        for point in SummaryPoint.objects.visible_to(member).filter(summary=found)
        if point.quote in bodies.get(point.post_id, "")
    ]
    return points, found.digest != actions.digest_of(thread, texts)
