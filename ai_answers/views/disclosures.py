"""What left this server for a person: their consent, and the log only they can read."""

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts.access import Member, SignedInRequest
from accounts.decorators import login_required
from ai_answers import access, actions
from ai_answers.actions.calls import choose_engine
from ai_answers.engines.configured import connections
from ai_answers.forms import ConsentForm
from ai_answers.models import Disclosure
from quokkaq.lib.http import safe_target
from quokkaq.lib.keyset import BadCursor, Page, page

PAGE_SIZE = 20
PROVIDERS = {"openai": "OpenAI-compatible model", "anthropic": "Anthropic"}


@login_required
@require_safe
def disclosures(request: SignedInRequest) -> HttpResponse:
    """Show the person's consent, and what was sent for them, newest first."""
    cursor, problem = request.GET.get("cursor", ""), ""
    try:
        found = _page(request, cursor)
    except BadCursor:
        cursor, problem = "", "That page isn’t there. Showing the newest."
        found = _page(request, "")
    context = {
        "consent": access.find_consent(request.user),
        "asked_before": access.decided_before(request.user),
        "rows": [(row, PROVIDERS.get(row.provider, row.provider)) for row in found.items],
        "next": found.next_cursor, "cursor": cursor, "problem": problem,
        "has_models": bool(connections()),
    }  # fmt: skip
    return render(request, "ai_answers/disclosures.html", context, status=400 if problem else 200)


@login_required
@require_POST
def change_consent(request: SignedInRequest) -> HttpResponse:
    """Give consent or withdraw it, and go back to where it was asked."""
    form = ConsentForm(request.POST)
    back = safe_target(request, form.data.get("next")) or reverse("ai:disclosures")
    if not form.is_valid():
        messages.error(request, "Choose whether your texts may go to a model outside this server.")
        return HttpResponseRedirect(back)
    actions.set_consent(by=request.user, is_given=form.is_given)
    done = (
        "Your texts may go to the model from now on."
        if form.is_given
        else "From now on your texts stay on this server."
    )
    messages.success(request, done)
    return HttpResponseRedirect(back)


def consent_context(member: Member, back: str) -> dict[str, object]:
    """Return the context of `ai_answers/_consent.html`: it asks who hasn't decided, where a model outside would answer."""
    engine, _ = choose_engine(member.course)
    asks = engine.is_remote and access.find_consent(member.user) is None
    return {"consent_asked_of": PROVIDERS.get(engine.name, engine.name) if asks else "", "consent_next": back}


def _page(request: SignedInRequest, cursor: str) -> Page[Disclosure]:
    rows = Disclosure.objects.of(request.user).select_related("course", "call")
    return page(rows, order="sent_at", cursor=cursor, size=PAGE_SIZE, scope=f"disclosures:{request.user.pk}")
