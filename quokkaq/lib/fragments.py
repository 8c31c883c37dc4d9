"""Pieces of pages, each rendered once for everything it shows.

A fragment's key is all that its template is given: whoever is shown the same gets the same HTML, and whatever changes makes
another key. So nothing is ever stale, and nothing hangs on who looks but through what they are shown. What must differ from
one request to the next (a form's token) is a hole, filled each time.
"""

import secrets
import threading
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from django.conf import settings
from django.template import loader
from django.utils.safestring import SafeString, mark_safe

# Per process; a page of 50 posts is about a quarter of a megabyte.
MAX_BYTES = 24 * 1024 * 1024
# Nobody outside this process knows what a hole looks like, so no text can have one.
_SECRET = secrets.token_hex(12)


def hole(name: str) -> str:
    """Return what stands in a fragment's input where `holes[name]` is to stand in the page."""
    return f"hole-{_SECRET}-{name}"


class _Kept:
    """What was used lately: two halves, of which the older is let go when the younger is full."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._lock = threading.Lock()
        self._young: dict[Hashable, SafeString] = {}
        self._old: dict[Hashable, SafeString] = {}
        self._bytes = 0

    def get(self, key: Hashable) -> SafeString | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: Hashable, html: SafeString) -> None:
        with self._lock:
            self._young[key] = html
            # The key holds the texts that the fragment shows: about as much again.
            self._bytes += 2 * len(html) + 500
            if self._bytes > self._half:
                self._old, self._young, self._bytes = self._young, {}, 0

    def forget(self) -> None:
        with self._lock:
            self._old, self._young, self._bytes = {}, {}, 0


_kept = _Kept(MAX_BYTES)


def forget() -> None:
    """Let go of all that is kept."""
    _kept.forget()


def fragment(template: str, *, holes: Mapping[str, str] | None = None, **shown: Hashable) -> SafeString:
    """Return a template rendered with `shown` and nothing else: it knows no request and no reader.

    Args:
        holes: what to put into its holes, by name: HTML, or text without any markup.
    """
    # With the types: text that may hold markup is equal to the same text that may not.
    key = (*shown.values(), *map(type, shown.values()))
    return kept_fragment(template, key, shown, holes or {})


def kept_fragment(template: str, key: Hashable, context: Mapping[str, Any], holes: Mapping[str, str]) -> SafeString:
    """Return a template rendered with `context`, once for each `key`: it must hold all of the context that is shown."""
    key = (template, key)
    html = None if settings.DEBUG else _kept.get(key)
    if html is None:
        html = loader.render_to_string(template, dict(context))
        _kept.put(key, html)
    return filled(html, holes) if holes else html


def joined(pieces: Iterable[SafeString]) -> SafeString:
    """Return rendered pieces as one."""
    return mark_safe("".join(pieces))  # noqa: S308 (templates rendered them)  # rule: mark-safe (templates rendered them)


def filled(html: str, holes: Mapping[str, str]) -> SafeString:
    """Return a rendered template with its holes filled."""
    for name, filling in holes.items():
        html = html.replace(hole(name), filling)
    return mark_safe(html)  # noqa: S308 (a template rendered it)  # rule: mark-safe (a template rendered it; holes are filled with tokens of ours)
