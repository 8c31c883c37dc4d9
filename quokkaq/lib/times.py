"""Times as people read them."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe


def ago(when: datetime) -> SafeString:
    """Return a short relative time (`3 h ago`) as `<time>` with the full one as its title, in the reader's time zone."""
    return clock()(when)


def clock() -> Callable[[datetime], SafeString]:
    """Return `ago` as of this moment, for the many times of a page."""
    now, zone = timezone.now(), timezone.get_current_timezone()
    zone_name, this_year = str(zone), timezone.localtime(now, zone).year

    def ago(when: datetime) -> SafeString:
        seconds = max(0, int((now - when).total_seconds()))
        if seconds < 60:
            text = "just now"
        elif seconds < 3600:
            text = f"{seconds // 60} min ago"
        elif seconds < 86400:
            text = f"{seconds // 3600} h ago"
        elif seconds < 7 * 86400:
            text = f"{seconds // 86400} d ago"
        else:
            text = ""
        return _element(when, zone_name, text, "" if text else this_year)

    return ago


@lru_cache(maxsize=20_000)
def _element(when: datetime, zone: str, text: str, year: int | str) -> SafeString:
    """Return the element, with the date for a `text` where that is empty: without the year when it is this `year`."""
    local = timezone.localtime(when)
    text = text or f"{local.day} {local:%b}" + (f" {local.year}" if local.year != year else "")
    title = f"{local.day} {local:%B %Y, %H:%M %Z}"
    html = f'<time datetime="{when.isoformat()}" title="{title}">{text}</time>'
    return mark_safe(html)  # noqa: S308 (digits and names of months)  # rule: mark-safe (digits, names of months and zones)
