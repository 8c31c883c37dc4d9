"""What is answered when something goes wrong; `quokkaq.lib.error_pages` says it."""

import logging
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from accounts.decorators import written_in
from quokkaq.lib import error_pages, reading_again
from quokkaq.lib.logs import refused

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 with `Retry-After` when the database is away or its pool used up, else 500; what was written comes back.

    A page that was only being read when its connection broke is read once more first.
    """
    error = sys.exc_info()[1]
    if isinstance(error, OperationalError | InterfaceError):
        again = reading_again.answer(error)
        if again is not None:
            return again
        log.error("database unavailable: %s", error)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return error_pages.answer(request, 503, kept=_written(request), headers=headers)
    return error_pages.answer(request, 500, kept=_written(request))


def _written(request: HttpRequest) -> list[str]:
    """Return what was written. Reading the form may be what went wrong."""
    try:
        return written_in(request)
    except Exception:
        return []


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Say what to do when a form's token is missing or old, and give back what was typed so that nothing is lost."""
    # Some of Django's reasons repeat where the request came from; their first words don't.
    refused("csrf.failed", code=reason.partition(" - ")[0].partition(".")[0].replace(" ", "_"))
    sentence = "The form was open for too long, or you signed in or out in another tab. Go back, reload the page and send it again."
    kept = written_in(request)
    return error_pages.answer(request, 403, title="Please send it again", sentence=sentence, kept=kept)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400."""
    return error_pages.answer(request, 400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404, the same for missing and for somebody else's; what was written to it comes back."""
    return error_pages.answer(request, 404, kept=written_in(request))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403; what was written comes back."""
    refused("permission.refused")
    return error_pages.answer(request, 403, kept=written_in(request))
