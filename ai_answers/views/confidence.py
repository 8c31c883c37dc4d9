"""How far the machine's confidence can be trusted."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.access import Refused, SignedInRequest, get_member, may_set_up, require_set_up, require_staff
from accounts.decorators import login_required
from ai_answers import actions
from ai_answers.confidence import FEATURES, MEANING, PRIOR, Bin
from ai_answers.models import Answer
from quokkaq.lib.charts import curve


@login_required
@require_safe
def confidence(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show to staff what the confidence of answers is made of, and how often it came true."""
    member = get_member(request.user, slug)
    require_staff(member)
    calibration = actions.calibration_for(member.course)
    # rule: unfiltered-manager (its own course, for staff; only counted)
    judged = [good for _, good in Answer.objects.filter(thread__course=member.course).judgements()]
    bins = [Bin(*row) for row in calibration.parameters.get("reliability", [])] if calibration else []
    context = {
        "member": member,
        "calibration": calibration,
        "judged": len(judged),
        "good": sum(judged),
        "bins": bins,
        "diagram": _diagram(bins) if bins else "",
        "levels": [(level.label, meaning) for level, meaning in MEANING.items()],
        "prior": [(FEATURES[name], weight) for name, weight in PRIOR.items()],
        "min_judged": actions.MIN_JUDGED,
        "min_each": actions.MIN_EACH,
        "may_fit": may_set_up(member, "ai"),
        "section": "course",
        "part": "confidence",
    }
    return render(request, "ai_answers/confidence.html", context)


@login_required
@require_POST
def refit(request: SignedInRequest, slug: str) -> HttpResponse:
    """Learn now from what people judged, instead of tonight."""
    member = get_member(request.user, slug)
    require_set_up(member, "ai")
    try:
        fitted = actions.refit_course(by=member)
        messages.success(request, f"Learned from {fitted.judged} judged answers. New answers use it.")
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("ai_answers:confidence", slug=slug)


def _diagram(bins: list[Bin]) -> str:
    judged = sum(row.count for row in bins)
    return curve(
        "reliability",
        title="What was said, and what came true",
        description=f"{judged} answers by their confidence. Points on the diagonal are right; below it, the machine was too sure. The numbers stand in the table below.",
        points=[(row.said * 100, row.true * 100) for row in bins],
    )
