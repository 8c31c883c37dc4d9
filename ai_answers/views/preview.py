"""What the materials say to a question before it is posted."""

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.views.decorators.http import require_POST, require_safe

from accounts.access import Member, Refused, SignedInRequest, get_member
from accounts.decorators import login_required
from ai_answers import access, actions
from ai_answers.models import Conversation, Message, Speaker
from ai_answers.transcripts import Shown, shown
from ai_answers.views.disclosures import consent_context
from forum.forms import ThreadForm
from forum.views.threads import ask_page


def ask_panel(request: HttpRequest, member: Member) -> str:
    """Return the button on the page on which a thread is written; empty where the course wants no answers before posting."""
    closed = access.why_no_preview(member, access.policy_of(member.course))
    return "" if closed else _panel(request, member, None)


@login_required
@require_POST
def preview(request: SignedInRequest, slug: str) -> HttpResponse:
    """Answer a question that isn't posted; without JavaScript the whole page comes again, with all that was typed."""
    member = get_member(request.user, slug)
    form = ThreadForm(request.POST, member=member)
    one, problem = None, ""
    # What else is missing stops nobody from looking.
    form.is_valid()
    if wrong := [*form.errors.get("title", []), *form.errors.get("body", [])]:
        problem = str(wrong[0])
    else:
        typed = {name: str(form.cleaned_data[name]) for name in ("title", "body")}
        try:
            begun = actions.start_preview(by=member, **typed, form_key=form.key())
            one = _reply(member, begun)
        except Refused as refusal:
            problem = str(refusal)
    panel = _panel(request, member, one, problem)
    if request.htmx:
        return HttpResponse(panel)
    return ask_page(request, member, ThreadForm(request.POST, member=member), panels=[panel])


@login_required
@require_safe
def preview_panel(request: SignedInRequest, slug: str, preview_id: uuid.UUID) -> HttpResponse:
    """Show the panel alone: the page asks for it while the answer is being written."""
    member = get_member(request.user, slug)
    found = access.get_preview(member, preview_id)
    if not request.htmx:
        return redirect("forum:ask", slug=slug)
    return HttpResponse(_panel(request, member, _reply(member, found)))


@login_required
@require_POST
def accept_preview(request: SignedInRequest, slug: str, preview_id: uuid.UUID) -> HttpResponse:
    """Take what the materials say for an answer instead of asking."""
    member = get_member(request.user, slug)
    actions.accept_preview(by=member, preview=access.get_preview(member, preview_id))
    # The next question starts with a form of its own.
    request.session.pop(f"ask:{member.course.pk}", None)
    messages.success(request, "Good that the materials say so. Your question wasn’t posted.")
    return redirect("forum:list", slug=slug)


def _reply(member: Member, conversation: Conversation) -> Shown:
    said = Message.objects.visible_to(member).filter(conversation=conversation, speaker=Speaker.MACHINE)
    return shown(member, list(said.select_related("conversation").with_citations()))[0]


def _panel(request: HttpRequest, member: Member, one: Shown | None, problem: str = "") -> str:
    context = {"member": member, "one": one, "problem": problem} | consent_context(member, request.path)
    return render_to_string("ai_answers/_preview.html", context, request)
