"""What people do in a course, as requests, and by what an answer shows that it is the right one.

The mix is that of `capacity.toml`: how often each is done by a student a day. Used by the load test (`locustfile.py`) and by
the benchmarks, so that all speak of the same day.
"""

import random
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

INPUTS = Path(__file__).with_name("capacity.toml")
SENTENCES = (
    "I tried it with the example from the lecture and got another result.",
    "The assignment says that both are allowed, so which one is meant here?",
    "It works when I leave the second line out, and I don't see why.",
    "Thank you, that was it: the index starts at zero.",
    "See the reading of last week, there is a drawing of exactly this.",
)


@dataclass(frozen=True)
class Place:
    """What somebody knows of a course: its name in addresses, threads that everybody there may read, words to look for."""

    slug: str
    numbers: Sequence[int]
    words: Sequence[str]


@dataclass(frozen=True)
class Act:
    """A request, the statuses that are right, and what an answer of status 200 must hold."""

    kind: str
    path: str
    shows: str
    fields: Mapping[str, str] | None = None
    statuses: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return "GET" if self.fields is None else "POST"

    def problem(self, status: int, body: str, location: str = "") -> str:
        """Say what is wrong with an answer, nothing if it is right. `location` is where it leads to."""
        if status not in self.statuses:
            return f"status {status}"
        if "/sign-in/" in location and self.kind != "sign_in":
            return "signed out"
        if status == 200 and self.shows not in body:
            return f"an answer without {self.shows!r}"
        return ""


def inputs() -> dict[str, Any]:
    """Return what stands in `capacity.toml`."""
    return tomllib.loads(INPUTS.read_text())


def mix() -> dict[str, float]:
    """Return how many requests of each kind a student who is there makes in a day, staff's shared out among them."""
    return {kind: float(many) for kind, many in inputs()["requests"].items()}


STAFF_ONLY = ("queue", "insights")
HTMX = {"HX-Request": "true"}


def act(kind: str, place: Place, draw: random.Random) -> Act:
    """Return one request of a kind. Raises `KeyError` for one that takes more than a place: `static`, `sign_in`."""
    course = f"/c/{place.slug}"
    return {
        "courses": lambda: Act(kind, "/courses/", f"{course}/"),
        "list": lambda: _list(kind, course, draw),
        "thread": lambda: thread(place.slug, _number(place, draw)),
        "count": lambda: Act(kind, "/inbox/count/?shown=0", 'id="bell"', statuses=(200, 204), headers=HTMX),
        "inbox": lambda: Act(kind, "/inbox/", "<h1>Inbox</h1>"),
        "search": lambda: Act(kind, f"{course}/search/?q={_words(place, draw, 2).replace(' ', '+')}", 'id="search"'),
        "suggest": lambda: _suggest(kind, course, _words(place, draw, 1)),
        "materials": lambda: Act(kind, f"{course}/materials/", "<h1>Materials</h1>"),
        "ask": lambda: Act(kind, f"{course}/ask/", 'name="form_key"'),
        "similar": lambda: Act(
            kind, f"{course}/similar/", "", fields={"title": _words(place, draw, 6), "body": ""}, headers=HTMX
        ),
        "new_thread": lambda: _new_thread(kind, course, _words(place, draw, 7), draw),
        "reply": lambda: reply(place.slug, _number(place, draw), draw),
        # 403: one's own.
        "vote": lambda: replace(vote(place.slug, _number(place, draw), draw), statuses=(302, 403)),
        "queue": lambda: Act(kind, f"{course}/queue/", "<h1>Queue</h1>"),
        "insights": lambda: Act(kind, f"{course}/insights/", "<h1>Insights</h1>"),
    }[kind]()


def _number(place: Place, draw: random.Random) -> int:
    """Return a thread: of two, one is among the newest ten that are known."""
    newest = draw.random() < 0.5
    return draw.choice(place.numbers[:10] if newest else place.numbers)


def _words(place: Place, draw: random.Random, many: int) -> str:
    return " ".join(draw.choice(place.words) for _ in range(many))


def _list(kind: str, course: str, draw: random.Random) -> Act:
    shown = draw.choices(("", "?show=unanswered", "?show=mine", "?sort=new"), (7, 1, 1, 1))[0]
    return Act(kind, f"{course}/{shown}", 'class="course-nav"')


def thread(slug: str, number: int) -> Act:
    """Return the opening of one thread."""
    return Act("thread", f"/c/{slug}/{number}/", f'<span class="number">#{number}</span>')


def _suggest(kind: str, course: str, word: str) -> Act:
    return Act(
        kind, f"{course}/search/suggest/?box=course-search&q={word[:5]}", 'id="course-search-status"', headers=HTMX
    )


def _text(draw: random.Random) -> str:
    return " ".join(draw.choices(SENTENCES, k=draw.randint(1, 6)))


def _new_thread(kind: str, course: str, title: str, draw: random.Random) -> Act:
    fields = {
        "title": f"{title.capitalize()}?"[:200], "body": _text(draw), "kind": "question", "visibility": "course",
        "anonymity": "named", "form_key": _key(draw),
    }  # fmt: skip
    # 200: something like it was asked before, and the page offers to post it all the same.
    return Act(kind, f"{course}/ask/", 'name="confirmed"', fields=fields, statuses=(200, 302))


def reply(slug: str, number: int, draw: random.Random) -> Act:
    """Return a reply to one thread."""
    fields = {"body": _text(draw), "anonymity": "named", "form_key": _key(draw)}
    return Act("reply", f"/c/{slug}/{number}/reply/", "", fields=fields, statuses=(302,))


def vote(slug: str, number: int, draw: random.Random) -> Act:
    """Return a vote for one thread, given or taken back."""
    return Act("vote", f"/c/{slug}/{number}/vote/", "", fields={"on": draw.choice("01")}, statuses=(302,))


def sign_in(email: str, password: str) -> Act:
    """Return the sending of the form with which somebody comes in."""
    fields = {"email": email, "password": password, "next": ""}
    return Act("sign_in", "/sign-in/", "", fields=fields, statuses=(302,))


def _key(draw: random.Random) -> str:
    return str(uuid.UUID(int=draw.getrandbits(128), version=4))
