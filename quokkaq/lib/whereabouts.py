"""From where somebody acts, as coarsely as the audit log keeps it: a network, a browser's family, never a machine."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponseBase

# An address is shortened to its network: about a house, a campus or a town district.
_IPV4_BITS, _IPV6_BITS = 24, 48
# The first that matches: browsers also claim to be the ones before them.
_BROWSERS = (
    ("Edge", r"\bEdg(?:e|A|iOS)?/"),
    ("Opera", r"\bOPR/|\bOpera\b"),
    ("Samsung Internet", r"\bSamsungBrowser/"),
    ("Firefox", r"\b(?:Firefox|FxiOS)/"),
    ("Chrome", r"\b(?:Chrome|CriOS|Chromium|HeadlessChrome)/"),
    ("Safari", r"\bSafari/"),
    ("curl", r"^curl/"),
    ("Python", r"^(?:python|Python)"),
)
_SYSTEMS = (
    ("iOS", r"\b(?:iPhone|iPad|iPod)\b"),
    ("Android", r"\bAndroid\b"),
    ("Windows", r"\bWindows\b"),
    ("macOS", r"\bMac OS X\b|\bMacintosh\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Linux", r"\bLinux\b|\bX11\b"),
)


@dataclass(frozen=True)
class Whereabouts:
    """`network` is a network in CIDR form, `task` for what the server does by itself, or empty; `agent` like “Firefox, Linux”."""

    network: str = ""
    agent: str = ""


TASK = Whereabouts("task")
NOWHERE = Whereabouts()
_current: ContextVar[Whereabouts] = ContextVar("whereabouts", default=TASK)


def current() -> Whereabouts:
    """Return from where the act being worked on comes; `TASK` outside of a request."""
    return _current.get()


@contextmanager
def acting_from(place: Whereabouts) -> Iterator[Whereabouts]:
    """Take what is done inside the block as done from there."""
    token = _current.set(place)
    try:
        yield place
    finally:
        _current.reset(token)


def network_of(address: str) -> str:
    """Return the network an address lies in (IPv4 /24, IPv6 /48); empty for what is no address."""
    try:
        parsed = ipaddress.ip_address(address.strip().partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, _IPV6_BITS), strict=False))
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, _IPV4_BITS), strict=False))


def agent_of(header: str) -> str:
    """Return the family of a browser and its system, without versions: “Firefox, Linux”; empty when nothing is known."""
    header = header[:500]
    found = [
        next((name for name, pattern in kinds if re.search(pattern, header)), "") for kinds in (_BROWSERS, _SYSTEMS)
    ]
    return ", ".join(name for name in found if name)


class WhereaboutsMiddleware:
    """Let what a request does be known to come from where it came from."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        place = Whereabouts(
            network_of(request.META.get("REMOTE_ADDR") or ""), agent_of(request.headers.get("User-Agent", ""))
        )
        with acting_from(place):
            return self.get_response(request)
