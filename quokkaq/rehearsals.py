"""What operators are shown of restore drills: how each went, and how long they take."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from quokkaq.lib.charts import Series, bars
from quokkaq.models import RestoreDrill

# A drill a month for three years; in the chart, those that a phone has room for.
LISTED = 36
DRAWN = 12


@require_safe
def drills(request: HttpRequest) -> HttpResponse:
    """The last drills, newest first, and how long they took."""
    rows = list(RestoreDrill.objects.all()[:LISTED])
    context = {**admin.site.each_context(request), "title": "Restore drills", "rows": rows, "chart": _chart(rows)}
    return render(request, "admin/restore_drills.html", context)


@require_safe
def drill(request: HttpRequest, number: int) -> HttpResponse:
    """One drill: its steps, and what was wrong."""
    row = get_object_or_404(RestoreDrill, pk=number)
    context = {**admin.site.each_context(request), "title": str(row), "row": row, "steps": _steps(row)}
    return render(request, "admin/restore_drill.html", context)


@dataclass(frozen=True)
class Step:
    name: str
    seconds: float
    percent: int


def _steps(row: RestoreDrill) -> list[Step]:
    longest = max((step["seconds"] for step in row.steps), default=0) or 1
    return [Step(step["name"], step["seconds"], round(100 * step["seconds"] / longest)) for step in row.steps]


def _chart(rows: Sequence[RestoreDrill]) -> str:
    """Draw the last drills that succeeded: how long one that failed took says nothing of how long restoring takes."""
    done = [row for row in rows if row.succeeded][:DRAWN][::-1]
    if not done:
        return ""
    return bars(
        "drill-seconds",
        title="Seconds that each restore drill took",
        description=f"The last drills that succeeded ({len(done)}), the newest on the right. The numbers stand in the table below.",
        labels=[f"{row.started_at:%d %b}" for row in done],
        series=[Series("Seconds", [round(row.seconds or 0) for row in done])],
    )
