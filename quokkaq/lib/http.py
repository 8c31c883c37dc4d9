"""Middleware that answers before, or instead of, a view."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote
from wsgiref.headers import Headers

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.urls import Resolver404, resolve
from django.utils.http import url_has_allowed_host_and_scheme

from quokkaq.lib import error_pages

METHODS = ("GET", "HEAD", "POST", "OPTIONS")


class KnownMethodsMiddleware:
    """Answer 405 to any other method, above metrics and logs: a made-up method must not make a new metric series."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in METHODS:
            return HttpResponseNotAllowed(METHODS)
        return self.get_response(request)


class BodyLimitMiddleware:
    """Answer 413 to what is larger than its route takes, before any of it is read, and 411 to what doesn't say its size.

    `settings.LARGE_BODIES` names the routes that take files or long texts, each with its bytes; all others take a
    megabyte.
    """

    MOST = 1024 * 1024

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.META.get("HTTP_TRANSFER_ENCODING"):
            return HttpResponse("Send a Content-Length.\n", content_type="text/plain", status=411)
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            return error_pages.answer(request, 400)
        if int(length) > self.MOST and int(length) > self._most(request.path_info):
            return error_pages.answer(request, 413)
        return self.get_response(request)

    def _most(self, path: str) -> int:
        try:
            route = resolve(path).view_name
        except Resolver404:
            return 0
        return int(settings.LARGE_BODIES.get(route, 0))


class FormEncodingMiddleware:
    """Mark bytes of a posted form that aren't UTF-8 as U+FFFD, which the forms then refuse beside the field.

    Django would read the whole form as Latin-1 instead, and quietly store something nobody typed.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        charset = (request.content_params or {}).get("charset", "utf-8").lower()
        if charset not in ("utf-8", "utf8"):
            return error_pages.answer(request, 400)
        if request.method == "POST" and request.content_type == "application/x-www-form-urlencoded":
            try:
                request.body.decode()
            except UnicodeDecodeError:
                setattr(request, "_body", request.body.decode(errors="replace").encode())  # noqa: B010 (not public)
        return self.get_response(request)


# What a page may ask a browser for, refused: no page of ours uses any of it. Of what Chromium knows; it complains about others.
NO_FEATURES = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "autoplay", "browsing-topics",
        "camera", "compute-pressure", "cross-origin-isolated", "display-capture", "encrypted-media", "fullscreen",
        "gamepad", "geolocation", "gyroscope", "hid", "identity-credentials-get", "idle-detection", "keyboard-map",
        "local-fonts", "magnetometer", "microphone", "midi", "otp-credentials", "payment", "picture-in-picture",
        "screen-wake-lock", "serial", "storage-access", "sync-xhr", "unload", "usb", "window-management",
        "xr-spatial-tracking",
    )
)  # fmt: skip
# Passkeys, on our own pages only.
PERMISSIONS_POLICY = f"{NO_FEATURES}, publickey-credentials-create=(self), publickey-credentials-get=(self)"


def add_static_headers(headers: Headers, path: str, url: str) -> None:
    """Give a static file the headers that pages have (WhiteNoise answers above our middleware)."""
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["X-Content-Type-Options"] = "nosniff"
    if path.endswith(".svg"):
        # Opened by itself an SVG is a document.
        headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


class ResponsePolicyMiddleware:
    """Refuse browser features no page of ours uses, and let nobody keep a page: it is for the one who asked, now."""

    HEADERS = {
        "Permissions-Policy": PERMISSIONS_POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Permitted-Cross-Domain-Policies": "none",
        "Cache-Control": "private, no-cache",
    }

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in self.HEADERS.items():
            response.setdefault(name, value)
        return response


def client_address(request: HttpRequest) -> str:
    """Return where a request comes from: the last address in `X-Forwarded-For` that isn't one of our own proxies.

    The header is read only when the one who connected is a proxy of ours (`settings.TRUSTED_PROXIES`), and from the
    right: what stands further left was written by whoever sent it. Over a Unix socket there is no address: then the
    proxy at its other end is ours. Without any the answer is "".
    """
    nearest = _ip(request.META.get("REMOTE_ADDR", ""))
    if nearest is None and request.META.get("REMOTE_ADDR"):
        return ""
    if nearest is not None and not _is_ours(nearest):
        return str(nearest)
    found = nearest
    if settings.TRUSTED_PROXIES:
        for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            address = _ip(hop.strip())
            if address is None:
                break
            found = address
            if not _is_ours(address):
                break
    return str(found) if found is not None else ""


def comes_from_our_proxy(request: HttpRequest) -> bool:
    """Tell whether the one who connected is a proxy of ours, so that its headers may be believed."""
    nearest = _ip(request.META.get("REMOTE_ADDR", ""))
    if nearest is None:
        return bool(settings.TRUSTED_PROXIES) and not request.META.get("REMOTE_ADDR")
    return _is_ours(nearest)


def client_network(request: HttpRequest) -> str:
    """Return the address limits count by: of IPv6 the /64, which is what one household or one machine has."""
    address = _ip(client_address(request))
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or "")


def safe_target(request: HttpRequest, target: object) -> str:
    """Return where somebody wants to go next, if that is a path on this site; else "".

    Every `next` goes through here. Browsers read a backslash as a slash and drop control characters, so neither is
    taken, as they stand or encoded.
    """
    if not isinstance(target, str) or not target.startswith("/") or len(target) > 2000:
        return ""
    plain = unquote(target)
    if any(character == "\\" or ord(character) < 33 or ord(character) == 127 for character in target):
        return ""
    if plain.startswith(("//", "/\\")) or any(ord(character) < 32 for character in plain):
        return ""
    host = request.get_host()
    return target if url_has_allowed_host_and_scheme(target, {host}, require_https=request.is_secure()) else ""


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_ours(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _networks(tuple(settings.TRUSTED_PROXIES)))


@lru_cache(maxsize=8)
def _networks(texts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text, strict=False) for text in texts]
