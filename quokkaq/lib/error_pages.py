"""What is answered instead of a page: what went wrong, what to do, and the id of the request to quote.

Those for 403, 404 and 429 are pages of the site. The others know nothing but the request: they come with the database away.
Pages that fetch a piece get a piece, scripts get JSON or a line.
"""

from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed, JsonResponse
from django.template.loader import render_to_string
from django.utils.html import format_html

from quokkaq.lib import request_id

SAFE = ("GET", "HEAD", "OPTIONS")
# Title and sentence. A page that says more hands its own sentence over.
SAID = {
    400: ("That request made no sense", "Something in it was damaged, or it was cut off. Go back and try again."),
    403: (
        "You can’t do that",
        "This is for course staff, or the course is read-only for you. If you think it should work, ask your instructor.",
    ),
    404: ("There is nothing here", "The address may be wrong, the thing may be deleted, or it isn’t yours to see."),
    405: ("This address takes no such request", "It belongs to a button or form of a page. Go back and use it there."),
    413: (
        "This is too large",
        "What you sent is larger than any file QuokkaQ takes. Go back: your text is still in the form. Attach smaller files, "
        "or fewer at once.",
    ),
    429: ("A little slower, please", "You asked for more in a minute than QuokkaQ gives to one person."),
    500: ("Something broke on our side", "It has been noted. Try again in a moment."),
    503: (
        "QuokkaQ is catching its breath",
        "The database can’t be reached right now. Nothing you posted before is lost. Try again in a few seconds.",
    ),
}
IN_SITE = frozenset({403, 404, 429})


def answer(
    request: HttpRequest,
    status: int,
    *,
    title: str = "",
    sentence: str = "",
    kept: Sequence[str] = (),
    headers: dict[str, str] | None = None,
    **more: Any,
) -> HttpResponse:
    """Return the answer for a status, in the form the caller takes.

    Args:
        title: another than the usual one.
        sentence: another than the usual one.
        kept: what somebody wrote, to give it back.
        more: what scripts are told besides.
    """
    title, sentence = title or SAID[status][0], sentence or SAID[status][1]
    number = "" if request_id.current() == request_id.NONE else request_id.current()
    is_piece = "HX-Request" in request.headers
    response: HttpResponse
    if is_piece and request.method in SAFE:
        # It may be put anywhere; htmx itself leaves what is there.
        response = HttpResponse(format_html('<p class="note" role="alert">{}</p>', sentence), status=status)
    elif request.accepts("text/html"):
        context = {
            "status": status,
            "title": title,
            "sentence": sentence,
            "number": number,
            "kept": kept,
            "theme": _theme(request),
            "may_retry": status >= 500 and request.method in SAFE,
        }
        template = "components/error.html" if is_piece else f"error{'_in_site' * (status in IN_SITE)}.html"
        with_site = request if status in IN_SITE and not is_piece else None
        response = HttpResponse(render_to_string(template, context, with_site), status=status)
    elif request.accepts("application/json") and not request.accepts("text/plain"):
        response = JsonResponse({"error": sentence, "request_id": number, **more}, status=status)
    else:
        quoted = f" (request {number})" if number else ""
        response = HttpResponse(f"{sentence}{quoted}\n", content_type="text/plain; charset=utf-8", status=status)
    for name, value in (headers or {}).items():
        response[name] = value
    return response


def _theme(request: HttpRequest) -> str:
    """Return the theme of who is signed in where that is known already: nothing is asked for it."""
    user = getattr(request, "_cached_user", None)
    return str(getattr(user, "theme", "auto"))


class ErrorPageMiddleware:
    """Put a page into answers for requests that an address doesn't take: views leave them empty."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed) and not response.content:
            page = answer(request, 405)
            response.content = page.content
            response["Content-Type"] = page["Content-Type"]
        return response
