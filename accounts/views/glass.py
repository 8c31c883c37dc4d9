"""Operators look into an institution."""

import uuid

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import actions
from accounts.access import SignedInRequest, get_institution_to_enter
from accounts.decorators import login_required
from accounts.forms import UndamagedText
from accounts.middleware import GLASS_KEY
from quokkaq.lib.logs import unlogged


class ReasonForm(forms.Form):
    """Why an operator looks into somebody else's institution."""

    reason = UndamagedText(
        label="Why do you need to look?", min_length=10, max_length=200,
        help_text="It is kept in the institution’s own log, with your name and the time.",
    )  # fmt: skip


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def enter_institution(request: SignedInRequest, institution_id: uuid.UUID) -> HttpResponse:
    """Ask an operator why, and let them look for an hour."""
    institution = get_institution_to_enter(request.user, institution_id)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        context = {"form": form, "institution": institution}
        return render(request, "accounts/enter_institution.html", context, status=422 if form.is_bound else 200)
    until = actions.enter_institution(by=request.user, institution=institution, reason=form.cleaned_data["reason"])
    request.session[GLASS_KEY] = {
        "institution": str(institution.pk), "name": institution.name, "until": until.timestamp(),
    }  # fmt: skip
    request.session.cycle_key()
    return redirect("admin:index")


@login_required
@require_POST
@unlogged
def leave_institution(request: SignedInRequest) -> HttpResponse:
    """Go back to what is the operator's own."""
    glass = request.session.pop(GLASS_KEY, None)
    if glass is None:
        raise Http404
    institution = get_institution_to_enter(request.user, uuid.UUID(glass["institution"]))
    actions.leave_institution(by=request.user, institution=institution)
    return redirect("admin:index")
