"""Times as people read them."""

from datetime import datetime
from functools import lru_cache

from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe


def ago(when: datetime) -> SafeString:
    """Return a short relative time (`3 h ago`) as `<time>` with the full one as its title, in the reader's time zone."""
    now = timezone.now()
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
    zone = timezone.get_current_timezone()
    return _element(when, str(zone), text, "" if text else timezone.localtime(now, zone).year)


@lru_cache(maxsize=20_000)
def _element(when: datetime, zone: str, text: str, year: int | str) -> SafeString:
    """Return the element, with the date for a `text` where that is empty: without the year when it is this `year`."""
    local = timezone.localtime(when)
    text = text or f"{local.day} {local:%b}" + (f" {local.year}" if local.year != year else "")
    title = f"{local.day} {local:%B %Y, %H:%M %Z}"
    html = f'<time datetime="{when.isoformat()}" title="{title}">{text}</time>'
    return mark_safe(html)  # noqa: S308 (digits and names of months)  # rule: mark-safe (digits, names of months and zones)
