"""Middleware that answers before, or instead of, a view."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseBase, HttpResponseNotAllowed
from django.template.loader import render_to_string

METHODS = ("GET", "HEAD", "POST", "OPTIONS")


class KnownMethodsMiddleware:
    """Answer 405 to any other method, above metrics and logs: a made-up method must not make a new metric series."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in METHODS:
            return HttpResponseNotAllowed(METHODS)
        return self.get_response(request)


class FormEncodingMiddleware:
    """Mark bytes of a posted form that aren't UTF-8 as U+FFFD, which the forms then refuse beside the field.

    Django would read the whole form as Latin-1 instead, and quietly store something nobody typed.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        charset = (request.content_params or {}).get("charset", "utf-8").lower()
        if charset not in ("utf-8", "utf8"):
            return HttpResponseBadRequest(render_to_string("400.html"))
        if request.method == "POST" and request.content_type == "application/x-www-form-urlencoded":
            try:
                request.body.decode()
            except UnicodeDecodeError:
                setattr(request, "_body", request.body.decode(errors="replace").encode())  # noqa: B010 (not public)
        return self.get_response(request)


class ResponsePolicyMiddleware:
    """Refuse browser features no page of ours uses, and let nobody keep a page: it is for the one who asked, now."""

    POLICY = "camera=(), microphone=(), geolocation=(), payment=(), usb=(), interest-cohort=()"

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.setdefault("Permissions-Policy", self.POLICY)
        response.setdefault("Cache-Control", "private, no-cache")
        return response
