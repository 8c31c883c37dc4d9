"""The answer panel of a thread."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from accounts.access import Member, SignedInRequest, get_member
from accounts.decorators import login_required
from ai_answers import access, actions
from ai_answers.citations import still_hold
from ai_answers.models import Answer
from forum.access import get_live_thread
from forum.models import Thread

# After this long a waiting answer is said to be late.
LATE_AFTER_SECONDS = 30


def answer_panel(request: HttpRequest, member: Member, thread: Thread) -> str:
    """Return the HTML of the machine's answer to a thread, empty when none was asked for."""
    answer = access.find_answer(member, thread)
    if answer is None:
        return ""
    return render_to_string("ai_answers/_panel.html", _panel_context(member, thread, answer), request)


@login_required
@require_safe
def answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show the panel alone: the page asks for it while the answer is being written."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    found = access.get_answer(member, thread)
    if not request.htmx:
        return redirect("forum:thread", slug=slug, number=number)
    return render(request, "ai_answers/_panel.html", _panel_context(member, thread, found))


@login_required
@require_POST
def endorse_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Endorse the machine's answer as staff, or take it back (`on=0`)."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    found = access.get_answer(member, thread)
    actions.set_answer_endorsement(by=member, answer=found, on=request.POST.get("on") != "0")
    return _after_change(request, member, thread)


@login_required
@require_POST
def retry_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Try again after a failure."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    actions.retry_answer(by=member, answer=access.get_answer(member, thread))
    return _after_change(request, member, thread)


def _after_change(request: SignedInRequest, member: Member, thread: Thread) -> HttpResponse:
    if request.htmx:
        context = _panel_context(member, thread, access.get_answer(member, thread))
        return render(request, "ai_answers/_panel.html", context)
    return redirect(f"{reverse('forum:thread', args=[member.course.slug, thread.number])}#ai-answer")


def _panel_context(member: Member, thread: Thread, found: Answer) -> dict[str, object]:
    citations = list(found.citations.all())
    # Quotations are checked again each time they are shown: a wrong one is never on a page, whatever happened to it.
    withheld = found.is_shown and not still_hold(citations)
    return {
        "answer": found,
        "citations": [(c, c.source_url(member.course.slug)) for c in citations],
        "course": member.course,
        "is_late": found.is_pending and (timezone.now() - found.queued_at).total_seconds() > LATE_AFTER_SECONDS,
        "may_endorse": access.may_endorse(member, found) and not withheld,
        "may_retry": access.may_retry(member, found, thread),
        "member": member,
        "my_endorsement": any(e.endorser_id == member.user.pk for e in found.endorsements.all()),
        "thread": thread,
        "withheld": withheld,
    }
