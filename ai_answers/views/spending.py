"""What the AI of a course did and cost: a page for its staff."""

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import SignedInRequest, get_member, require_staff
from accounts.decorators import login_required
from ai_answers.actions.calls import choose_engine
from ai_answers.spending import DAYS, HEADER, Report, report, rows
from quokkaq.lib.charts import Series, bars
from quokkaq.lib.spreadsheet import csv_response

DEFAULT_DAYS = 7


@login_required
@require_safe
def spending(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the sums of today, 7, 30 or 90 days."""
    member = get_member(request.user, slug)
    require_staff(member)
    days, known = _days(request)
    found = report(member, days)
    engine, notice = choose_engine(member.course)
    context = {
        "member": member, "section": "course", "part": "spending", "report": found, "days": days, "chart": _chart(found),
        "engine": engine, "notice": notice,
        "choices": [(choice, "Today" if choice == 1 else f"{choice} days", choice == days) for choice in DAYS],
        "problem": "" if known else f"There are numbers of today, 7, 30 and 90 days. Showing {days} days.",
    }  # fmt: skip
    return render(request, "ai_answers/spending.html", context, status=200 if known else 400)


@login_required
@require_safe
def spending_csv(request: SignedInRequest, slug: str) -> HttpResponse:
    """Download the sums by engine."""
    member = get_member(request.user, slug)
    require_staff(member)
    days, known = _days(request)
    if not known:
        raise Http404
    return csv_response(f"{slug}-ai-{days}-days.csv", HEADER, rows(report(member, days)))


def _days(request: SignedInRequest) -> tuple[int, bool]:
    """Return the days asked for, and whether there are such numbers."""
    asked = request.GET.get("days", str(DEFAULT_DAYS))
    known = asked in [str(days) for days in DAYS]
    return (int(asked) if known else DEFAULT_DAYS), known


def _chart(found: Report) -> str:
    each = "hour of today" if found.days == 1 else "day"
    return bars(
        "calls",
        title=f"Calls for each {each}",
        description=f"{found.calls} calls in all. The numbers stand in the table below.",
        labels=[bucket.label for bucket in found.buckets],
        series=[Series("Calls", [bucket.calls for bucket in found.buckets])],
    )
