"""Mail seen from outside: unsubscribing, replies coming in, and (outside production) mails that weren't sent anywhere."""

import hashlib
import hmac
import time
import uuid

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import SignedInRequest
from accounts.decorators import login_required
from forum import access, actions
from forum.actions.incoming import MAX_MAIL_BYTES, NotAMailError
from forum.models import Mail
from quokkaq.lib import tenancy
from quokkaq.lib.keyset import BadCursor, page
from quokkaq.lib.logs import unlogged

# How far the clock of a mail service may be off, and how long what it signed can be used.
MAX_SKEW_SECONDS = 300
PAGE_SIZE = 50


@csrf_exempt  # rule: csrf-exempt (the link of the mail is the proof)
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Ask what to switch off, and do it on POST, for whoever holds the link of a mail.

    GET never acts: programs that look for viruses follow links. Mail programs post `List-Unsubscribe=One-Click`
    (RFC 8058), from anywhere and without a session, so there is no CSRF token: the link is the proof.
    """
    with tenancy.scope(actions.institution_of_unsubscribe(token)):
        return _unsubscribe(request, token)


def _unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    wish = actions.read_unsubscribe(token)
    if wish is None:
        return render(request, "forum/unsubscribe.html", {"wish": None, "done": "", "problem": ""}, status=404)
    if request.method != "POST":
        return render(request, "forum/unsubscribe.html", {"wish": wish, "done": "", "problem": ""})
    what = wish.what if request.POST.get("List-Unsubscribe") == "One-Click" else request.POST.get("what", "")
    labels = dict(wish.choices)
    if what not in labels:
        context = {"wish": wish, "done": "", "problem": "Choose what to stop."}
        return render(request, "forum/unsubscribe.html", context, status=422)
    actions.act_on_unsubscribe(wish=wish, what=what)
    return render(request, "forum/unsubscribe.html", {"wish": wish, "done": labels[what], "problem": ""})


@csrf_exempt  # rule: csrf-exempt (signed by the mail service)
@require_POST
@unlogged
def inbound(request: HttpRequest) -> HttpResponse:
    """Take a mail (`message/rfc822`) from the mail service, which signs it.

    Headers: `X-QuokkaQ-Timestamp`, seconds since 1970, and `X-QuokkaQ-Signature`, the hex HMAC-SHA256 of
    timestamp, a dot and the body, under `INBOUND_MAIL_SECRET`.
    """
    if not settings.INBOUND_MAIL_SECRET:
        raise Http404
    if request.content_type != "message/rfc822":
        return JsonResponse({"error": "Send the mail itself, as message/rfc822."}, status=415)
    raw = _body(request)
    if raw is None:
        return JsonResponse({"error": f"A mail may have {MAX_MAIL_BYTES} bytes."}, status=413)
    stamp = request.headers.get("X-QuokkaQ-Timestamp", "")
    signature = request.headers.get("X-QuokkaQ-Signature", "")
    if not hmac.compare_digest(signature.encode(), _sign(stamp, raw).encode()):
        return JsonResponse({"error": "The signature is missing or wrong."}, status=401)
    if abs(time.time() - int(stamp)) > MAX_SKEW_SECONDS:
        return JsonResponse({"error": "The timestamp is too old, or a clock is wrong."}, status=403)
    try:
        outcome = actions.receive_mail(raw)
    except NotAMailError as error:
        return JsonResponse({"error": str(error)}, status=400)
    return JsonResponse({"outcome": outcome})


def _body(request: HttpRequest) -> bytes | None:
    """Return what was posted; None when it is larger than a mail may be."""
    try:
        return request.body if len(request.body) <= MAX_MAIL_BYTES else None
    except RequestDataTooBig:
        return None


def _sign(stamp: str, body: bytes) -> str:
    """Return the signature a body must have; for a stamp that isn't a number, one that nothing equals."""
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 12):
        return "\0"
    return hmac.new(settings.INBOUND_MAIL_SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()


def _require_no_production() -> None:
    if settings.PRODUCTION:
        raise Http404


@login_required
@require_safe
def mails(request: SignedInRequest) -> HttpResponse:
    """List the mails to the person (demo and development: there they go nowhere else)."""
    _require_no_production()
    rows = Mail.objects.visible_to(request.user)
    cursor = request.GET.get("cursor", "")
    try:
        found = page(rows, order="created_at", cursor=cursor, size=PAGE_SIZE, scope=str(request.user.pk))
    except BadCursor:
        found = page(rows, order="created_at", cursor="", size=PAGE_SIZE, scope=str(request.user.pk))
    return render(request, "forum/mails.html", {"mails": found.items, "next_cursor": found.next_cursor})


@login_required
@require_safe
def mail(request: SignedInRequest, mail_id: uuid.UUID) -> HttpResponse:
    """Show a mail as text, with its headers."""
    _require_no_production()
    found = access.get_mail(request.user, mail_id)
    headers = {"Subject": found.subject, "Message-ID": found.message_id, **found.headers}
    return render(request, "forum/mail.html", {"mail": found, "headers": headers})


# Mails carry their style with them; nothing in the page may run or load. A policy that allows a style stands for this
# page alone, and the header it replaces is made for every other.
_MAIL_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-popups allow-top-navigation-by-user-activation; frame-ancestors 'none'"


@login_required
@require_safe
def mail_html(request: SignedInRequest, mail_id: uuid.UUID) -> HttpResponse:
    """Show a mail as mail programs do."""
    _require_no_production()
    response = HttpResponse(access.get_mail(request.user, mail_id).html)
    response["Content-Security-Policy"] = _MAIL_POLICY
    return response
