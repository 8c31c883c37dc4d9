"""Error pages. Those for 500 and 503 have no context, so they work with everything else down."""

import logging
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from accounts.decorators import written_in
from quokkaq.lib import request_id

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 with `Retry-After` when the database is away or its pool used up, else 500."""
    error = sys.exc_info()[1]
    context = {"request_id": request_id.current()}
    if isinstance(error, OperationalError | InterfaceError):
        log.error("database unavailable: %s", type(error).__name__)
        response = HttpResponse(render_to_string("503.html", context), status=503)
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    return HttpResponse(render_to_string("500.html", context), status=500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Say what to do when a form's token is missing or old, and give back what was typed so that nothing is lost."""
    return render(request, "403_csrf.html", {"kept": written_in(request)}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404, the same for missing and for somebody else's; what was written to it comes back."""
    return render(request, "404.html", {"kept": written_in(request)}, status=404)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403; what was written comes back."""
    return render(request, "403.html", {"kept": written_in(request)}, status=403)
