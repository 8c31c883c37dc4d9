"""People are shown their institution's rows and times in their own time zone, and make as many requests as they need."""

import time
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import reverse
from django.utils import timezone

from accounts.backends import opening
from accounts.decorators import written_in
from accounts.models import User
from accounts.reaching import institution_of_person
from accounts.signing_in import INSTITUTION, keep_up, owes_second_factor
from quokkaq.lib import error_pages, tenancy
from quokkaq.lib import request_id as work
from quokkaq.lib.http import client_network
from quokkaq.lib.logs import refused
from quokkaq.lib.metrics.definitions import RATE_LIMITED
from quokkaq.lib.ratelimit import Limit, hit

# Which other institution an operator looks into, and until when.
GLASS_KEY = "glass"


class TenancyMiddleware:
    """Work for the institution of who is signed in, and for nobody where nobody is.

    Requests without a session cookie (probes, scrapes) don't touch the session, so they cost no query.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        entered = self._scope_of(request)
        work.note(
            user=entered.person, institution=entered.institution if entered.institution != tenancy.EVERY else None
        )
        opens = opening.set("")
        try:
            with tenancy.within(entered):
                response = self.get_response(request)
        finally:
            opening.reset(opens)
        if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
            # It is written when this middleware has long returned.
            content = _written_within(entered, response.streaming_content)  # type: ignore[arg-type]  # we have no asynchronous ones
            response.streaming_content = content
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: dict[str, Any]) -> None:
        match = request.resolver_match
        if match and match.route.startswith("c/<slug:slug>/"):
            opening.set(kwargs["slug"])

    def _scope_of(self, request: HttpRequest) -> tenancy.Scope:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return tenancy.NOBODY
        session = request.session
        person = session.get(SESSION_KEY)
        if person is None:
            return tenancy.NOBODY
        institution = session.get(INSTITUTION)
        if institution is None:  # it began before there was a wall
            found = institution_of_person(person)
            institution = session[INSTITUTION] = str(found) if found else ""
        glass = session.get(GLASS_KEY)
        # Their own pages stay their own.
        if glass and glass["until"] > time.time() and request.path.startswith(reverse("admin:index")):
            institution = glass["institution"]
        return tenancy.Scope(UUID(institution) if institution else None, UUID(person))


def _written_within(entered: tenancy.Scope, content: Iterable[bytes]) -> Iterator[bytes]:
    """Write each piece in the scope of the request, and leave it in between: the server's thread does other things, too."""
    pieces = iter(content)
    while True:
        with tenancy.within(entered):
            try:
                piece = next(pieces)
            except StopIteration:
                return
        yield piece


class TimeZoneMiddleware:
    """Activate the signed-in person's time zone while a view runs.

    Requests without a session cookie (probes, scrapes) don't touch the session, so they cost no query.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            return self.get_response(request)
        finally:
            timezone.deactivate()

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
            timezone.activate(zoneinfo.ZoneInfo(request.user.time_zone))


# Probes and scrapes; a mail server with its secret.
UNLIMITED = frozenset({"health", "ready", "startup", "status", "ping", "metrics"})
# What pages send and fetch by themselves, while somebody types, waits or looks.
BACKGROUND = frozenset(
    {
        "inbox:count", "inbox:inbound", "forum:suggest", "forum:similar", "forum:preview", "forum:draft-thread",
        "forum:draft-reply", "forum:draft-comment", "forum:insert-template", "ai_answers:message",
        "ai_answers:message-stream", "ai_answers:preview-panel", "ai_answers:answer", "ai_answers:imports",
        "accounts:avatar", "accounts:file", "accounts:upload", "admin:jsi18n", "admin:autocomplete",
    }
)  # fmt: skip
# Sending one file takes up to four of these.
UPLOADS = frozenset(
    {"accounts:start-upload", "accounts:upload-content", "accounts:upload-confirm", "accounts:upload-discard"}
)
SAFE = ("GET", "HEAD", "OPTIONS")


class RateLimitMiddleware:
    """Answer 429 to who asks for more in a minute than a person can read or write.

    People are counted each for themselves. Who isn't signed in is counted by address, which a whole lecture hall may
    share: `RATE_ADDRESS_FACTOR` times as much. Signing in has limits of its own on top.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.resolver_match is None:
            # No view was found: what looks for hidden doors is counted too.
            return self._limited(request, "") or response
        return response

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponseBase | None:
        match = request.resolver_match
        return self._limited(request, match.view_name if match else "")

    def _limited(self, request: HttpRequest, route: str) -> HttpResponseBase | None:
        if route in UNLIMITED:
            return None
        kind, most = _kind(request, route)
        # What only reads is let through by guess, as long as it is little.
        loose = kind in ("reads", "background")
        if most == 0:
            return None
        # Without a session's cookie nobody is signed in, and the session isn't looked for.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
            wait = hit(Limit(f"{kind}.person", most, 60, loose=loose), str(request.user.pk))
        else:
            address = client_network(request)
            wait = hit(Limit(f"{kind}.address", most * settings.RATE_ADDRESS_FACTOR, 60), address)
        return _too_many(request, kind, wait) if wait else None


def _kind(request: HttpRequest, route: str) -> tuple[str, int]:
    if route in BACKGROUND:
        return "background", settings.RATE_BACKGROUND_PER_MINUTE
    if route in UPLOADS:
        return "uploads", settings.RATE_UPLOADS_PER_MINUTE
    if request.method in SAFE:
        return "reads", settings.RATE_READS_PER_MINUTE
    return "writes", settings.RATE_WRITES_PER_MINUTE


def _too_many(request: HttpRequest, kind: str, wait: int) -> HttpResponse:
    """Say how long to wait, and give back what was typed."""
    RATE_LIMITED.inc(kind)
    refused("rate_limited", limit=kind)
    did, then = (
        ("opened more pages in a minute than QuokkaQ shows to one person", "reload this page")
        if request.method in SAFE
        else ("sent more in a minute than QuokkaQ takes from one person", "go back and send it again")
    )
    sentence = f"You {did}. Wait {wait} second{'' if wait == 1 else 's'}, then {then}."
    headers = {"Retry-After": str(wait)}
    kept = written_in(request)
    return error_pages.answer(request, 429, sentence=sentence, kept=kept, headers=headers, retry_after=wait)


class SessionMiddleware:
    """Keeps sessions up to date, and brings who owes a second factor to where it is set up: nothing else opens.

    Requests without a session cookie don't touch the session, so they cost no query.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponseBase | None:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES or not isinstance(request.user, User):
            return None
        # Looked up by now: a page asks for it hundreds of times, and a proxy answers slowly.
        user: User = getattr(request.user, "_wrapped", request.user)
        request.user = user
        keep_up(request, user)
        match = request.resolver_match
        if match is None or match.view_name in OPEN_WITHOUT_SECOND_FACTOR:
            return None
        return HttpResponseRedirect(reverse("mfa_index")) if owes_second_factor(request, user) else None


# Where somebody sets up, or proves, their second factor, and how they leave.
OPEN_WITHOUT_SECOND_FACTOR = {
    "health", "ready", "startup", "status", "ping", "metrics",
    "accounts:sign-out", "account_logout",
    "mfa_index", "mfa_activate_totp", "mfa_add_webauthn", "mfa_view_recovery_codes", "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn", "account_reauthenticate", "account_set_password", "sign-in-again",
}  # fmt: skip
