"""My data: a copy of it, what I agreed to, and the end of it."""

import uuid

from django.conf import settings
from django.contrib import messages
from django.core import signing
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import actions
from accounts.access import Refused, SignedInRequest, get_data_export
from accounts.adapters import AccountAdapter
from accounts.decorators import login_required
from accounts.forms import EraseForm
from accounts.models import ERASURE_WAIT, Consent, DataExport, Erasure
from accounts.signing_in import ask_by_mail, proved_lately, proves_by_mail
from quokkaq.lib.http import client_address
from quokkaq.lib.logs import unlogged
from quokkaq.lib.storage import serve

_SALT = "accounts.data_export"
# A link on a page that was left open has to be asked for again.
LINK_SECONDS = 3600
SHOWN = 5


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def data(request: SignedInRequest) -> HttpResponse:
    """Show the copies of the person's data and what they agreed to; POST asks for a copy."""
    problem = ""
    if request.method == "POST":
        try:
            actions.request_export(by=request.user)
        except Refused as refusal:
            problem = str(refusal)
        else:
            return redirect("accounts:data")
    context = _copies(request) | {
        "problem": problem,
        "consents": Consent.objects.visible_to(request.user)[:50],
        "erasure": Erasure.objects.visible_to(request.user).open().first(),
    }
    return render(request, "accounts/data.html", context, status=422 if problem else 200)


@login_required
@require_safe
def data_progress(request: SignedInRequest) -> HttpResponse:
    """Show how far the copies are: the part of the page that changes by itself."""
    return render(request, "accounts/_data_copies.html", _copies(request))


@login_required
@require_safe
@unlogged
def download_data(request: SignedInRequest, ticket: str) -> HttpResponseBase:
    """Hand out a copy to the person it is of, by a link that holds for an hour."""
    try:
        export_id, user_id = signing.loads(ticket, salt=_SALT, max_age=LINK_SECONDS)
    except signing.SignatureExpired:
        messages.error(request, "This link is too old. Here is a new one.")
        return redirect("accounts:data")
    except (signing.BadSignature, ValueError, TypeError):
        raise Http404 from None
    if user_id != str(request.user.pk):
        raise Http404
    upload = get_data_export(request.user, uuid.UUID(export_id))
    return serve(upload.storage_key, content_type="application/zip", download_as=upload.original_name, inline=False)


@unlogged
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def erase(request: SignedInRequest) -> HttpResponse:
    """Say what goes and what stays; POST has the account erased in a week, or mails a link to who has no password."""
    if "proof" in request.GET:
        if not proves_by_mail(request, request.user, request.GET["proof"]):
            messages.error(request, "This link is too old, was used already, or was asked for in another browser.")
        return redirect("accounts:erase")
    proved = proved_lately(request, request.user)
    if request.method == "POST" and "mail" in request.POST:
        return _mail_proof(request)
    form = EraseForm(request.user, request.POST if request.method == "POST" else None, proved=proved)
    obstacle = actions.obstacle_to_erasing(request.user)
    if request.method == "POST" and form.is_valid():
        try:
            actions.request_erasure(by=request.user, person=request.user)
        except Refused as refusal:
            obstacle = str(refusal)
        else:
            messages.success(request, "Your account will be erased. Until then you can still keep it.")
            return redirect("accounts:erase")
    context = {
        "form": form, "obstacle": obstacle, "erasure": Erasure.objects.visible_to(request.user).open().first(),
        "days": ERASURE_WAIT.days, "backup_days": settings.BACKUP_RETENTION_DAYS,
        "ways": AccountAdapter(request).get_reauthentication_methods(request.user) if form.needs_proof else [],
    }  # fmt: skip
    return render(request, "accounts/erase.html", context, status=422 if request.method == "POST" else 200)


def _mail_proof(request: SignedInRequest) -> HttpResponse:
    if wait := actions.mail_blocked(request.user.email, client_address(request)):
        messages.error(request, "Mails were asked for too often. Look into your mailbox, or try again later.")
        response = redirect("accounts:erase")
        response["Retry-After"] = str(wait)
        return response
    ask_by_mail(request, request.user)
    messages.success(request, "We have mailed you a link. Open it in this browser within half an hour.")
    return redirect("accounts:erase")


@login_required
@require_POST
def keep_account(request: SignedInRequest) -> HttpResponse:
    """Take the request to be erased back."""
    try:
        actions.cancel_erasure(by=request.user)
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "Your account stays.")
    return redirect("accounts:data")


def ticket_for(export: DataExport) -> str:
    """Return what stands in the link to a copy: for one person, for an hour."""
    return signing.dumps([str(export.pk), str(export.user_id)], salt=_SALT)


def _copies(request: SignedInRequest) -> dict[str, object]:
    exports = list(DataExport.objects.visible_to(request.user).select_related("upload")[:SHOWN])
    under_way = any(export.is_under_way for export in exports)
    copies = [(export, ticket_for(export) if export.state == "ready" else "") for export in exports]
    return {"copies": copies, "under_way": under_way}
