"""How a platform is asked: by the one way out, bounded in time and size."""

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx2

from quokkaq.lib import egress

READ_SECONDS = 8.0
MAX_BYTES = 4 * 1024 * 1024
MAX_SECONDS = 20.0
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


class PlatformUnreachable(Exception):
    """The platform didn't answer, or not as agreed. The text is a code, and holds nothing it sent."""


@dataclass(frozen=True)
class Reply:
    """An answer, with the names pylti1p3 expects."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def text(self) -> str:
        return ""  # pylti1p3 puts it into messages of errors, which are logged

    def json(self) -> Any:
        try:
            return json.loads(self.content)
        except ValueError:
            raise PlatformUnreachable("not_json") from None

    @property
    def next_url(self) -> str:
        """Return the address of the next page by the Link header; empty on the last one."""
        found = _NEXT.search(self.headers.get("link", ""))
        return found.group(1) if found else ""


def fetch(method: str, url: str, *, data: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> Reply:
    """Ask a platform. Raises `PlatformUnreachable`."""
    if not url.startswith(("https://", "http://")):
        raise PlatformUnreachable("scheme")
    try:
        with egress.client(seconds=MAX_SECONDS, read_seconds=READ_SECONDS, most=MAX_BYTES) as client:
            response = client.request(method, url, data=data, headers=headers)
        return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)
    except httpx2.TimeoutException:
        raise PlatformUnreachable("timeout") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError):
        raise PlatformUnreachable("connection") from None


class Session:
    """What pylti1p3 takes for a `requests.Session`."""

    def get(self, url: str, headers: dict[str, str] | None = None) -> Reply:
        return fetch("GET", url, headers=headers)

    def post(self, url: str, data: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> Reply:
        return fetch("POST", url, data=data, headers=headers)
