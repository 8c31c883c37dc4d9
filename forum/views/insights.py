"""What a course's rows say about it: pages for its staff."""

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import SignedInRequest, get_member, require_staff
from accounts.decorators import login_required
from forum.insights import DAYS, TABLES, Report, report
from forum.insights.figures import figures
from forum.insights.numbers import WEEKDAYS
from quokkaq.lib.charts import Series, bars, dots
from quokkaq.lib.replica import may_be_stale
from quokkaq.lib.spreadsheet import csv_response

DEFAULT_DAYS = 30


@login_required
@require_safe
@may_be_stale
def insights(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the numbers of a course over 7, 30 or 90 days."""
    member = get_member(request.user, slug)
    require_staff(member)
    days, known = _days(request)
    found = report(member, days)
    context = {
        "member": member,
        "section": "insights",
        "report": found,
        "figures": figures(found),
        "choices": [(choice, choice == days) for choice in DAYS],
        "over_time": _over_time(found),
        "by_hour": _by_hour(found),
        "tables": {name: (table, table.rows(found)) for name, table in TABLES.items()},
        "problem": "" if known else f"There are numbers over {DAYS[0]}, {DAYS[1]} and {DAYS[2]} days. Showing {days}.",
    }
    return render(request, "forum/insights.html", context, status=200 if known else 400)


@login_required
@require_safe
@may_be_stale
def insights_csv(request: SignedInRequest, slug: str, table: str) -> HttpResponse:
    """Download one table of the insights."""
    member = get_member(request.user, slug)
    require_staff(member)
    days, known = _days(request)
    if table not in TABLES or not known:
        raise Http404
    found = report(member, days)
    wanted = TABLES[table]
    name = f"{slug}-{wanted.name}-{days}-days-{found.period.last_day}.csv"
    return csv_response(name, wanted.header, wanted.rows(found))


def _days(request: SignedInRequest) -> tuple[int, bool]:
    """Return the days asked for, and whether there are such numbers."""
    asked = request.GET.get("days", str(DEFAULT_DAYS))
    known = asked in [str(days) for days in DAYS]
    return (int(asked) if known else DEFAULT_DAYS), known


def _over_time(found: Report) -> str:
    each = "day" if found.period.step == 1 else "week"
    return bars(
        "over-time",
        title=f"Questions and answers for each {each}",
        description=f"{sum(found.questions_over_time)} questions and {sum(found.answers_over_time)} answers in "
        f"{found.period.days} days. The numbers stand in the table below.",
        labels=[bucket.label for bucket in found.buckets],
        series=[Series("Questions", found.questions_over_time), Series("Answers", found.answers_over_time)],
    )


def _by_hour(found: Report) -> str:
    return dots(
        "by-hour",
        title="Questions and answers by weekday and hour",
        description="The larger a dot, the more was asked and answered. The numbers stand in the table below.",
        labels=[f"{hour:02}" for hour in range(24)],
        series=[Series(day[:3], hours) for day, hours in zip(WEEKDAYS, found.by_hour, strict=True)],
    )
