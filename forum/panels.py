"""Places on the thread page that other apps fill. The forum doesn't know who they are."""

from collections.abc import Callable

from django.http import HttpRequest

from accounts.access import Member
from forum.models import Thread

# Returns the HTML of the panel, empty for none. It costs a constant number of queries.
ThreadPanel = Callable[[HttpRequest, Member, Thread], str]

_panels: list[ThreadPanel] = []


def register_thread_panel(panel: ThreadPanel) -> None:
    """Show `panel` between the question and its replies."""
    if panel not in _panels:
        _panels.append(panel)


def thread_panels(request: HttpRequest, member: Member, thread: Thread) -> list[str]:
    """Return the HTML of every registered panel."""
    return [panel(request, member, thread) for panel in _panels]
