"""Places on the forum's pages that other apps fill. The forum doesn't know who they are."""

from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpRequest

from accounts.access import Member
from forum.models import Thread
from quokkaq.lib.database.prepared import Asked

# Returns what a panel has to know before it is made: it is asked together with all that the page asks.
AskThread = Callable[[Member, Thread], Asked[Any]]
# Returns the HTML of the panel, empty for none, from the rows that answer. It costs a constant number of queries more.
ThreadPanel = Callable[[HttpRequest, Member, Thread, list[Any]], str]
# The same for the page on which a thread is written. It stands inside the form, so it may hold buttons but no form.
AskPanel = Callable[[HttpRequest, Member], str]
# Returns what a new thread begins with (`title`, `body`), for what stands behind the colon of an origin; None for nothing.
AskOrigin = Callable[[Member, str], dict[str, str] | None]


_panels: list[tuple[AskThread, ThreadPanel]] = []
_ask_panels: list[AskPanel] = []
_origins: dict[str, AskOrigin] = {}


def register_thread_panel(ask: AskThread, panel: ThreadPanel) -> None:
    """Show `panel` between the question and its replies."""
    if (ask, panel) not in _panels:
        _panels.append((ask, panel))


class PanelsOf:
    """Every registered panel of one thread: what they ask, and then their HTML."""

    def __init__(self, member: Member, thread: Thread) -> None:
        self._of = (member, thread)
        self.asked = [ask(member, thread) for ask, _ in _panels]

    def html(self, request: HttpRequest, answers: Sequence[list[Any]]) -> list[str]:
        """Return the HTML of each; `answers` are the rows that `asked` found."""
        return [panel(request, *self._of, rows) for (_, panel), rows in zip(_panels, answers, strict=True)]


def register_ask_panel(panel: AskPanel) -> None:
    """Show `panel` on the page on which a thread is written."""
    if panel not in _ask_panels:
        _ask_panels.append(panel)


def ask_panels(request: HttpRequest, member: Member) -> list[str]:
    """Return the HTML of every registered panel of that page."""
    return [panel(request, member) for panel in _ask_panels]


def register_ask_origin(name: str, origin: AskOrigin) -> None:
    """Let `ask/?from=name:…` open the page prefilled. `thread_started` says where a thread came from."""
    _origins[name] = origin


def prefilled(member: Member, origin: str) -> dict[str, str]:
    """Return what a thread from `origin` begins with; empty when there is no such origin, or it isn't the member's."""
    name, _, rest = origin.partition(":")
    found = _origins[name](member, rest) if name in _origins else None
    return found | {"origin": origin} if found else {}
