"""The answer panel of a thread, and what people do to the answer in it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, Refused, SignedInRequest, get_member, require_staff
from accounts.decorators import login_required
from ai_answers import access, actions
from ai_answers.citations import still_hold
from ai_answers.forms import AnswerForm, FeedbackForm, WithdrawForm
from ai_answers.models import Answer, AnswerFeedback, FeedbackReason
from forum.access import get_live_thread
from forum.differences import difference
from forum.models import Thread
from quokkaq.lib.database.prepared import Asked, Prepared

# After this long a waiting answer is said to be late.
LATE_AFTER_SECONDS = 30
PANEL = "ai_answers/_panel.html"


def _answer_facts(staff: bool, *, thread: UUID, **of: UUID) -> Any:
    return Answer.objects.current().filter(thread_id=thread).values_list("status", flat=True)


_ANSWER_FACTS = Prepared[str](_answer_facts)


def ask_about_answer(member: Member, thread: Thread) -> Asked[str]:
    """Ask whether there is an answer at all: most threads have none to read more of."""
    return _ANSWER_FACTS(member.is_staff, thread=thread.pk)


def answer_panel(request: HttpRequest, member: Member, thread: Thread, statuses: list[str]) -> str:
    """Return the HTML of the machine's answer to a thread, empty when there is none, nor will be."""
    if not statuses:
        return ""
    context = _panel_context(member, thread)
    return render_to_string(PANEL, context, request) if context["answer"] or context["awaits_staff"] else ""


@login_required
@require_safe
def answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show the panel alone: the page asks for it while the answer is being written."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    if not request.htmx:
        return redirect("forum:thread", slug=slug, number=number)
    return render(request, PANEL, _panel_context(member, thread))


@login_required
@require_POST
def endorse_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Endorse the machine's answer as staff, or take it back (`on=0`)."""
    on = request.POST.get("on") != "0"
    return _do(request, slug, number, lambda by, found: actions.set_answer_endorsement(by=by, answer=found, on=on))


@login_required
@require_POST
def retry_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Try again after a failure."""
    return _do(request, slug, number, lambda by, found: actions.retry_answer(by=by, answer=found))


@login_required
@require_POST
def publish_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Let everybody read a draft."""
    return _do(request, slug, number, lambda by, found: actions.publish_answer(by=by, answer=found))


@login_required
@require_POST
def regenerate_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Have another answer written in place of this one."""
    return _do(request, slug, number, lambda by, found: actions.regenerate_answer(by=by, answer=found))


@login_required
@require_POST
def answer_feedback(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Say whether the answer helps and, if not, why; or take that back."""
    form = FeedbackForm(request.POST)

    def act(by: Member, found: Answer) -> None:
        if not form.is_valid():
            raise Refused(" ".join(str(error) for errors in form.errors.values() for error in errors))
        data = form.cleaned_data
        reason = FeedbackReason(data["reason"])
        actions.give_feedback(by=by, answer=found, helpful=data["helpful"], reason=reason, comment=data["comment"])

    return _do(request, slug, number, act)


@login_required
@require_POST
def ask_person(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Ask for a person to look at the thread, or take that back (`on=0`)."""
    on = request.POST.get("on") != "0"
    return _do(request, slug, number, lambda by, found: actions.ask_person(by=by, answer=found, on=on))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Change the words of an answer over its quotations."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    require_staff(member)
    found = access.get_answer(member, thread)
    access.require(access.may_change(member, found))
    citations = list(found.citations.all())
    initial = {"body": found.body, "seen": actions.edit_token(found)}
    form = AnswerForm(
        request.POST if request.method == "POST" else None,
        initial=initial,
        numbers={citation.number for citation in citations},
    )
    refusal = ""
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            actions.edit_answer(by=member, answer=found, body=data["body"], seen=data["seen"])
            return redirect(_panel_url(thread))
        except Refused as problem:
            refusal = str(problem)
    context = _page_context(member, thread, found) | {
        "form": form,
        "citations": [(citation, citation.source_url(slug)) for citation in citations],
        "refusal": refusal,
    }
    return render(request, "ai_answers/edit.html", context, status=409 if refusal else 422 if form.errors else 200)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def withdraw_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Take an answer back, with a reason."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    require_staff(member)
    found = access.get_answer(member, thread)
    access.require(access.may_change(member, found))
    form = WithdrawForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        actions.withdraw_answer(by=member, answer=found, reason=form.why())
        return redirect(_panel_url(thread))
    context = _page_context(member, thread, found) | {"form": form}
    return render(request, "ai_answers/withdraw.html", context, status=422 if form.errors else 200)


@login_required
@require_safe
def answer_history(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show every answer the thread had, what staff changed in each, and what readers said of it, to staff."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    require_staff(member)
    answers = Answer.objects.history(member, thread).select_related("edited_by", "withdrawn_by").with_citations()
    rows = [
        (row, difference(row.original_body, row.body) if row.edited_at else [], AnswerFeedback.objects.reasons_for(row))
        for row in answers[:20]
    ]
    context = {"member": member, "thread": thread, "rows": rows, "section": "threads"}
    return render(request, "ai_answers/history.html", context)


def _do(request: SignedInRequest, slug: str, number: int, act: Callable[[Member, Answer], None]) -> HttpResponse:
    """Do `act` to the answer of a thread and show the panel again; a refusal is said in it."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    problem = ""
    try:
        act(member, access.get_answer(member, thread))
    except Refused as refusal:
        problem = str(refusal)
    if request.htmx:
        return render(request, PANEL, _panel_context(member, thread) | {"problem": problem})
    if problem:
        messages.error(request, problem)
    return redirect(_panel_url(thread))


def _panel_url(thread: Thread) -> str:
    return f"{reverse('forum:thread', args=[thread.course.slug, thread.number])}#ai-answer"


def _page_context(member: Member, thread: Thread, found: Answer) -> dict[str, object]:
    return {"member": member, "thread": thread, "answer": found, "section": "threads"}


def _panel_context(member: Member, thread: Thread) -> dict[str, object]:
    found = access.find_answer(member, thread)
    context: dict[str, object] = {"answer": found, "course": member.course, "member": member, "thread": thread}
    if found is None:
        return context | {"awaits_staff": access.awaits_staff(member, thread)}
    cited = actions.cited_numbers(found.body)
    citations = [citation for citation in found.citations.all() if citation.number in cited]
    may_change = access.may_change(member, found)
    # Quotations are checked again each time they are shown: a wrong one is never on a page, whatever happened to it.
    withheld = (found.is_shown or may_change) and not still_hold(citations)
    may_give_feedback = access.may_give_feedback(member, found) and not withheld
    return context | {
        "citations": [(c, c.source_url(member.course.slug)) for c in citations],
        "is_late": found.is_pending and (timezone.now() - found.queued_at).total_seconds() > LATE_AFTER_SECONDS,
        "is_text_shown": (found.is_shown or (member.is_staff and found.status == "draft")) and not withheld,
        "may_change": may_change,
        "may_endorse": access.may_endorse(member, found) and not withheld,
        "may_give_feedback": may_give_feedback,
        "may_publish": access.may_publish(member, found) and not withheld,
        "may_regenerate": access.may_regenerate(member, found),
        "may_retry": access.may_retry(member, found, thread),
        "my_endorsement": any(e.endorser_id == member.user.pk for e in found.endorsements.all()),
        "my_feedback": access.my_feedback(member, found) if may_give_feedback else None,
        "feedback_form": FeedbackForm() if may_give_feedback else None,
        "withheld": withheld,
    }
