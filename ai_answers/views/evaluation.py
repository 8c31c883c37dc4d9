"""How well the machine finds, quotes and holds back: a page for staff."""

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.timezone import localtime
from django.views.decorators.http import require_safe

from accounts.access import SignedInRequest, get_member, require_staff
from accounts.decorators import login_required
from ai_answers.evaluation.reading import Table, newest_runs, over_time
from ai_answers.models import EvaluationCase
from quokkaq.lib.charts import Series, bars


@login_required
@require_safe
def evaluation(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the newest run on each set of questions, and how the runs before went."""
    member = get_member(request.user, slug)
    require_staff(member)
    sets = newest_runs(member)
    context = {
        "member": member,
        "section": "insights",
        "sets": [(name, table, _chart(f"set-{place}", table)) for place, (name, table) in enumerate(sets.items())],
        "cases": EvaluationCase.objects.visible_to(member).count(),
    }
    return render(request, "ai_answers/evaluation.html", context)


def _chart(key: str, table: Table) -> str:
    runs = over_time(table)
    labels = [f"{localtime(run.created_at):%d %b}" for run in runs]
    series = [
        Series(label, [round(100 * run.metrics.get(name, 0)) for run in runs])
        for name, label in (("recall_5", "Right passage among five"), ("answered", "Answered"))
    ]
    said = ", ".join(
        f"{label}: {found} % found, {answered} % answered"
        for label, found, answered in zip(labels, series[0].values, series[1].values, strict=True)
    )
    return bars(key, title=f"Runs on {table.name}", description=said, labels=labels, series=series)
