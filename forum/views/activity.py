"""Everybody's own activity and points. Nobody sees anybody else's."""

from datetime import datetime, time, timedelta

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.access import Member, SignedInRequest, get_member
from accounts.decorators import login_required
from forum import points
from forum.activity import COUNTED, activity, counts_since
from forum.insights import DAYS
from quokkaq.lib.keyset import BadCursor
from quokkaq.lib.spreadsheet import csv_response

_DAMAGED = "This page address is damaged or out of date. Showing the first page."


@login_required
@require_safe
def own_activity(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show what one did in the course and what came of it."""
    member = get_member(request.user, slug)
    cursor, problem = request.GET.get("cursor", ""), ""
    try:
        happened, following = activity(member, cursor)
    except BadCursor:
        cursor, problem = "", _DAMAGED
        happened, following = activity(member)
    counts = counts_since(member, _moments())
    context = {
        "member": member,
        "section": "activity",
        "events": happened,
        "numbers": [(label, counts[kind]) for kind, label in COUNTED.items()],
        "days": DAYS,
        "cursor": cursor,
        "next": following,
        "problem": problem,
    }
    return render(request, "forum/activity.html", context, status=400 if problem else 200)


@login_required
@require_safe
def own_points(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show one's points: for what, when, and what comes next."""
    member = _with_points(request, slug)
    cursor, problem = request.GET.get("cursor", ""), ""
    try:
        entries, following = points.ledger(member, cursor)
    except BadCursor:
        cursor, problem = "", _DAMAGED
        entries, following = points.ledger(member)
    context = {
        "member": member,
        "section": "activity",
        "entries": entries,
        "standing": points.standing(member),
        "since": list(zip(DAYS, points.points_since(member, _moments()), strict=True)),
        "rules": [(reason.label, worth, points.DEFINITIONS[reason]) for reason, worth in points.POINTS.items()],
        "cursor": cursor,
        "next": following,
        "problem": problem,
    }
    return render(request, "forum/points.html", context, status=400 if problem else 200)


@login_required
@require_safe
def own_points_csv(request: SignedInRequest, slug: str) -> HttpResponse:
    """Download one's own ledger."""
    member = _with_points(request, slug)
    rows = [
        (timezone.localtime(entry.at).isoformat(timespec="seconds"), entry.reason.label, f"#{entry.number}",
         entry.title, entry.points, entry.total)
        for entry in points.whole_ledger(member)
    ]  # fmt: skip
    header = ("When", "What for", "Thread", "Title", "Points", "Total")
    return csv_response(f"{slug}-my-points-{timezone.localdate()}.csv", header, rows)


def _with_points(request: SignedInRequest, slug: str) -> Member:
    """Return the member of a course that shows points, or raise 404."""
    member = get_member(request.user, slug)
    if member.course.points_hidden:
        raise Http404
    return member


def _moments() -> list[datetime]:
    """Return when the last 7, 30 and 90 days of the reader began."""
    today = timezone.localdate()
    return [timezone.make_aware(datetime.combine(today - timedelta(days=days - 1), time.min)) for days in DAYS]
