"""Answers of the machine that staff should look at, and what they do to many at once."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.access import Member, Refused, SignedInRequest, get_member, require_staff, require_writer
from accounts.decorators import login_required
from ai_answers import actions
from ai_answers.forms import ReviewForm
from ai_answers.models import Answer, AnswerStatus
from ai_answers.querysets import AnswerQuerySet
from ai_answers.queue import needing_people, reasons_of, with_needs
from forum.models import Status

SHOWS = {
    "all": "All that need a look",
    "drafts": "Drafts",
    "unreviewed": "Published, not reviewed",
    "withdrawn": "Withdrawn",
    "failed": "Failed or found nothing",
}
# What is ranked, and what of it is shown.
MOST_RANKED = 300
SHOWN_AT_ONCE = 50


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: SignedInRequest, slug: str) -> HttpResponse:
    """List answers by how much they need somebody; tick some and endorse, publish or withdraw all of them, or none."""
    member = get_member(request.user, slug)
    require_staff(member)
    if request.method != "POST":
        return _review_page(request, member, ReviewForm(), status=200)
    require_writer(member)
    form = ReviewForm(request.POST)
    if not form.is_valid():
        return _review_page(request, member, form, status=422)
    try:
        done = actions.do_to_answers(by=member, keys=form.keys(), act=form.chosen_act())
    except Refused as refusal:
        return _review_page(request, member, form, status=409, refusal=str(refusal))
    messages.success(request, done)
    show = _show(request)
    return redirect(reverse("ai_answers:review", args=[slug]) + (f"?show={show}" if show != "all" else ""))


def _show(request: SignedInRequest) -> str:
    asked = request.GET.get("show", "all")
    return asked if asked in SHOWS else "all"


def _review_page(
    request: SignedInRequest, member: Member, form: ReviewForm, *, status: int, refusal: str = ""
) -> HttpResponse:
    show = _show(request)
    answers = list(_answers(member, show)[:MOST_RANKED])
    ranked = sorted(
        ((answer, reasons_of(answer)) for answer in answers),
        key=lambda pair: (-sum(reason.points for reason in pair[1]), pair[0].queued_at, pair[0].pk),
    )
    ticked = form.keys()
    for answer in answers:
        answer.thread.course = member.course
    context = {
        "member": member,
        "form": form,
        "refusal": refusal,
        "rows": [(answer, reasons, answer.pk in ticked) for answer, reasons in ranked[:SHOWN_AT_ONCE]],
        "total": len(ranked),
        "shown": SHOWN_AT_ONCE,
        "shows": [(key, label, key == show) for key, label in SHOWS.items()],
        "limit": actions.MAX_BULK,
        "section": "queue",
    }
    return render(request, "ai_answers/review.html", context, status=status)


def _answers(member: Member, show: str) -> AnswerQuerySet:
    answers = Answer.objects.visible_to(member).select_related("thread").defer("search", "thread__body")
    gave_up = (AnswerStatus.FAILED, AnswerStatus.ABSTAINED)
    match show:
        case "drafts":
            return with_needs(answers).filter(status=AnswerStatus.DRAFT)
        case "unreviewed":
            return with_needs(answers).filter(status=AnswerStatus.PUBLISHED)
        case "withdrawn":
            return with_needs(answers).filter(status=AnswerStatus.WITHDRAWN)
        case "failed":
            return with_needs(answers).filter(status__in=gave_up, thread__status=Status.OPEN)
    return needing_people(answers.exclude(thread__status=Status.RESOLVED))
