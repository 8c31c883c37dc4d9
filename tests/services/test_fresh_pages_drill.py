"""No page is ever stale: what was acknowledged is on the next page anybody gets, and what was taken away is on none.

Eight people write, edit, vote, endorse, hide and delete in a few threads, all at once, against gunicorn as shipped (two
processes, each with its own memory). After each acknowledged act eight others, who may be answered by the other process, read
the thread and the list, as its author and staff do too. Counts are held between what was certainly done and what might be.
"""

import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import unescape
from http.client import HTTPException

import pytest
from django.conf import settings
from django.test import Client
from pytest_django.plugin import DjangoDbBlocker

from accounts.access import Member
from accounts.models import Role, User
from accounts.signing_in import SECOND_FACTOR
from tests import factories
from tests.serving import Browser, Place, Web, web, within

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("connections")]

PAIRS = 8
THREADS = 4
SECONDS = 10
# On a machine with much to do it goes on until every act was looked at, but no longer than that.
LONGER = 60
ACTS = {"reply", "edit", "vote", "endorse", "title", "tell staff", "hide", "delete"}
# The whole course but the hot threads: they stand below whatever was answered since.
QUIET = 6
SLUG = "cs-fresh"
STAFF = "fresh-staff"
_ROW = re.compile(
    r'<li class="thread-row.*?href="/c/cs-fresh/(?P<number>\d+)/">(?P<title>.*?)</a>.*?title="Replies">.*?</svg>\s*(?P<replies>\d+)'
    r'.*?title="Votes">.*?</svg>\s*(?P<votes>\d+)',
    re.DOTALL,
)


@dataclass(frozen=True)
class Changes:
    """What was done so far to a count that starts at 0; each of the four only grows."""

    adding: int = 0
    added: int = 0
    removing: int = 0
    removed: int = 0

    def until(self, later: "Changes") -> tuple[int, int]:
        """Return the least and the most that a page may say which was asked for at `self` and had come by `later`.

        What was acknowledged before it was asked for is in it; what was begun before it came may be.
        """
        return self.added - later.removing, later.adding - self.removed


@dataclass
class Hot:
    """A thread that is written to, and what is known of it."""

    number: int
    replies: Changes = Changes()
    # When each reply was begun and acknowledged (None: not yet).
    written: dict[str, tuple[float, float | None]] = field(default_factory=dict)

    def count(self, **more: int) -> None:
        """Note that a reply is being added or removed, or was."""
        self.replies = replace(
            self.replies, **{name: getattr(self.replies, name) + number for name, number in more.items()}
        )


@dataclass
class Reply:
    """One that somebody wrote, and what it says now."""

    thread: Hot
    key: str
    text: str


class Done(Exception):
    """The time is over."""


@dataclass
class Site:
    """The course, who is in it, and what went wrong."""

    port: int
    cookies: dict[str, str]
    names: dict[str, str]
    hot: list[Hot]
    private: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    wrong: list[str] = field(default_factory=list)
    checked: int = 0
    acts: Counter[str] = field(default_factory=Counter)

    def browser(self, name: str) -> Browser:
        return Browser(lambda: self.port, self.cookies[name])


@pytest.fixture(scope="module")
def site(place: Place, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    with django_db_blocker.unblock():
        made = furnished(place)
    with web(place.cluster) as server:
        made.port = server.port
        assert isinstance(server, Web)
        yield made


def furnished(place: Place) -> Site:
    """Make a course with pairs of students, a member of staff, threads that are written to, and quiet ones."""
    with within(place.cluster):
        home = User.objects.get(email="sam@example.edu").institution
        assert home is not None
        course = factories.make_course(home, SLUG)
        people = {STAFF: factories.make_user(home, STAFF)}
        factories.enroll(people[STAFF], course, Role.INSTRUCTOR)
        for name in (f"{part}-{pair}" for pair in range(PAIRS) for part in ("writer", "reader")):
            people[name] = factories.make_user(home, name)
            factories.enroll(people[name], course)
        by = {name: Member(user, course, role_of(name)) for name, user in people.items()}
        for place_in_list in range(QUIET):
            factories.make_thread(by["writer-0"], f"A quiet question {place_in_list}")
        hot = [Hot(factories.make_thread(by[f"writer-{n}"], f"A busy question {n} v0").number) for n in range(THREADS)]
        private = factories.make_thread(by["writer-0"], "A secret question", visibility="staff").number
        for place_in_list in range(QUIET):
            factories.make_thread(by["writer-0"], f"A later quiet question {place_in_list}")
        return Site(
            0, {name: cookie_of(user) for name, user in people.items()},
            {name: user.display_name for name, user in people.items()}, hot, private,
        )  # fmt: skip


def role_of(name: str) -> Role:
    return Role.INSTRUCTOR if name == STAFF else Role.STUDENT


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    session = client.session
    session[SECOND_FACTOR] = str(user.pk)
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


class Pair:
    """Somebody who writes and somebody else who reads, each on connections of their own; the writer waits for the reader."""

    def __init__(self, site: Site, number: int) -> None:
        self.site, self.number = site, number
        self.writer, self.reader = f"writer-{number}", f"reader-{number}"
        # One connection to write by, and one for each who reads.
        self.acting = {name: site.browser(name) for name in (self.writer, self.reader, STAFF)}
        self.reading = {name: site.browser(name) for name in (self.writer, self.reader, STAFF)}
        self.work: list[Callable[[], None] | None] = []
        self.asked, self.answered = threading.Semaphore(0), threading.Semaphore(0)
        self.turn = self.title = self.looked = 0

    # Writing

    def write(self) -> None:
        """Go through the life of a reply again and again, and have each act looked at."""
        try:
            while True:
                self.life()
                self.turn += 1
        except Done:
            pass
        except (OSError, HTTPException, AssertionError) as error:
            self.fault(f"{type(error).__name__}: {error}")
        finally:
            self.work.append(None)
            self.asked.release()

    def life(self) -> None:
        """Reply, have something done to it, and take it away; each step is seen at once."""
        thread = self.site.hot[(self.number + self.turn) % THREADS]
        text, begun = f"first {uuid.uuid4().hex}", time.monotonic()
        anonymity = "classmates" if self.turn % 3 == 2 else "named"
        with self.site.lock:
            thread.count(adding=1)
            thread.written[text] = (begun, None)
        self.post(self.writer, thread, "reply/", body=text, anonymity=anonymity, form_key=str(uuid.uuid4()))
        with self.site.lock:
            thread.count(added=1)
            thread.written[text] = (begun, time.monotonic())
        self.have_read("reply", lambda: self.shows(thread, text, begun, anonymity))
        reply = Reply(thread, self.key_of(thread, text), text)
        acts = [self.edit, self.vote, self.endorse, self.retitle, self.tell_staff]
        acts[(self.number + self.turn) % len(acts)](reply)
        hides = (self.number + self.turn) % 2 == 1
        with self.site.lock:
            thread.count(removing=1)
        if hides:
            self.post(STAFF, thread, f"posts/{reply.key}/hide/", reason="It gives the answer away.")
        else:
            self.post(self.writer, thread, f"posts/{reply.key}/delete/")
        with self.site.lock:
            thread.count(removed=1)
        self.have_read("hide" if hides else "delete", lambda: self.gone(thread, reply.text, for_all=not hides))

    def edit(self, reply: "Reply") -> None:
        before, reply.text = reply.text, f"second {uuid.uuid4().hex}"
        self.post(self.writer, reply.thread, f"posts/{reply.key}/edit/", body=reply.text)
        self.have_read("edit", lambda: self.in_post(reply, without=before))

    def vote(self, reply: "Reply") -> None:
        self.post(self.reader, reply.thread, f"posts/{reply.key}/vote/", on="1")
        self.have_read("vote", lambda: self.in_post(reply, votes=1))
        self.post(self.reader, reply.thread, f"posts/{reply.key}/vote/", on="0")
        self.have_read("vote", lambda: self.in_post(reply, votes=0))

    def endorse(self, reply: "Reply") -> None:
        self.post(STAFF, reply.thread, f"posts/{reply.key}/endorse/", on="1")
        self.have_read("endorse", lambda: self.in_post(reply, endorsed=True))
        self.post(STAFF, reply.thread, f"posts/{reply.key}/endorse/", on="0")
        self.have_read("endorse", lambda: self.in_post(reply, endorsed=False))

    def tell_staff(self, reply: "Reply") -> None:
        """Reply where only staff read."""
        secret = f"secret {uuid.uuid4().hex}"
        fields = {"body": secret, "anonymity": "named", "form_key": str(uuid.uuid4())}
        self.post(STAFF, Hot(self.site.private), "reply/", **fields)
        self.have_read("tell staff", lambda: self.private(secret))

    def retitle(self, reply: "Reply") -> None:
        """Give the thread they started another title; who started none edits the reply."""
        if self.number >= THREADS:
            return self.edit(reply)
        self.title += 1
        own = self.site.hot[self.number]
        title = f"A busy question {self.number} v{self.title}."
        self.post(self.writer, own, "edit/", title=title, body="It does.")
        self.have_read("title", lambda: self.titled(own, title))
        return None

    def post(self, name: str, thread: Hot, what: str, **fields: str) -> None:
        """Do something, and be told that it was done."""
        status, said = self.acting[name].ask("POST", f"/c/{SLUG}/{thread.number}/{what}", fields)
        assert status == 302, f"{name} {what}: {status} {said[:300]}"

    def key_of(self, thread: Hot, text: str) -> str:
        _, page = self.acting[self.writer].ask("GET", f"/c/{SLUG}/{thread.number}/")
        keys = re.findall(r'id="post-([0-9a-f-]{36})"', page.partition(text)[0])
        assert keys, "the author doesn't see their reply"
        return str(keys[-1])

    def have_read(self, act: str, look: Callable[[], None]) -> None:
        """Let the reader look, and wait for them: what comes next would change what they see. Raises `Done` in the end."""
        self.work.append(look)
        self.asked.release()
        assert self.answered.acquire(timeout=60), "the reader isn't done"
        with self.site.lock:
            self.site.acts[act] += 1
            seen = set(self.site.acts) == ACTS
        if time.monotonic() > self.until + (0 if seen else LONGER):
            raise Done

    # Reading

    def read(self) -> None:
        """Look when there is something new, until the writer has gone."""
        while True:
            self.asked.acquire()
            look = self.work.pop(0)
            if look is None:
                return
            self.looked += 1
            try:
                look()
            except (OSError, HTTPException) as error:
                self.fault(f"{type(error).__name__}: {error}")
            self.answered.release()

    def readers(self) -> list[str]:
        """Return who looks this time: always somebody else, and the author and staff in turns."""
        return [self.reader, STAFF if self.looked % 2 else self.writer]

    def fault(self, what: str) -> None:
        with self.site.lock:
            self.site.wrong.append(f"pair {self.number}, turn {self.turn}: {what}")

    def want(self, holds: bool, what: str) -> None:
        with self.site.lock:
            self.site.checked += 1
        if not holds:
            self.fault(what)

    def page(self, name: str, thread: int) -> str:
        status, page = self.reading[name].ask("GET", f"/c/{SLUG}/{thread}/")
        self.want(status == 200, f"{name} gets {status} for a thread")
        return unescape(page)

    def rows(self, name: str) -> list[tuple[int, str, int, int]]:
        """Return number, title, replies and votes of each line of the list."""
        status, page = self.reading[name].ask("GET", f"/c/{SLUG}/")
        self.want(status == 200, f"{name} gets {status} for the list")
        found = _ROW.finditer(page)
        return [(int(row["number"]), unescape(row["title"]), int(row["replies"]), int(row["votes"])) for row in found]

    def shows(self, thread: Hot, text: str, begun: float, anonymity: str) -> None:
        """A new reply is on its page and in the list, for everybody, and names nobody who hides."""
        own = self.site.names[self.writer]
        for name in self.readers():
            page = self.page(name, thread.number)
            self.want(text in page, f"{name} doesn't see a new reply")
            article = article_with(page, text)
            if name != self.writer:
                hidden = anonymity != "named" and name != STAFF
                self.want((own in article) != hidden, f"{name}: the author of a reply as {anonymity}")
            self.in_list(name, thread, begun)

    def in_list(self, name: str, thread: Hot, begun: float) -> None:
        with self.site.lock:
            asked = thread.replies
        rows = self.rows(name)
        with self.site.lock:
            low, high = asked.until(thread.replies)
            later = {
                hot.number
                for hot in self.site.hot
                if any(done is None or done >= begun for _, done in hot.written.values())
            }
        numbers = [number for number, *_ in rows]
        self.want(thread.number in numbers, f"{name} misses a thread in the list")
        if thread.number not in numbers:
            return
        place = numbers.index(thread.number)
        replies = rows[place][2]
        self.want(low <= replies <= high, f"{name} reads {replies} replies in the list, not {low} to {high}")
        above = set(numbers[:place]) - later - {self.site.private}
        self.want(not above, f"{name} sees {above} above a thread that was answered later")
        self.want(
            name == STAFF or self.is_own_secret(name) or self.site.private not in numbers, f"{name} sees a secret"
        )

    def is_own_secret(self, name: str) -> bool:
        return name == "writer-0"

    def in_post(
        self, reply: "Reply", *, without: str = "", votes: int | None = None, endorsed: bool | None = None
    ) -> None:
        """A reply says what it says now, with its votes and who stands behind it."""
        for name in self.readers():
            page = self.page(name, reply.thread.number)
            article = article_with(page, f'id="post-{reply.key}"')
            self.want(reply.text in article, f"{name} doesn't see the edited text")
            self.want(not without or without not in page, f"{name} sees the text before it was edited")
            if votes is not None:
                counted = re.search(r"</svg>(?:<span[^>]*>Upvote, </span>)?\s*(\d+)<span[^>]*> votes", article)
                self.want(counted is not None and int(counted[1]) == votes, f"{name} sees other votes than {votes}")
                if name == self.reader:
                    self.want(
                        f'aria-pressed="{"true" if votes else "false"}"' in article, "the voter's own mark is wrong"
                    )
            if endorsed is not None:
                self.want(("Endorsed by" in article) == endorsed, f"{name}: an endorsement should be there: {endorsed}")

    def gone(self, thread: Hot, text: str, *, for_all: bool) -> None:
        """What was deleted nobody sees; what was hidden its author and staff see."""
        for name in self.readers():
            seen = text in self.page(name, thread.number)
            may_see = not for_all and name != self.reader
            self.want(
                seen == may_see, f"{name} {'sees' if seen else 'misses'} what was {'deleted' if for_all else 'hidden'}"
            )
            self.counts(name, thread)

    def counts(self, name: str, thread: Hot) -> None:
        with self.site.lock:
            asked = thread.replies
        found = {number: replies for number, _, replies, _ in self.rows(name)}
        with self.site.lock:
            low, high = asked.until(thread.replies)
        self.want(
            low <= found.get(thread.number, -1) <= high,
            f"{name}: {found.get(thread.number)} replies, not {low} to {high}",
        )

    def titled(self, thread: Hot, title: str) -> None:
        for name in self.readers():
            titles = {number: called for number, called, _, _ in self.rows(name)}
            self.want(titles.get(thread.number) == title, f"{name} reads an old title in the list")
            self.want(title in self.page(name, thread.number), f"{name} reads an old title")

    def private(self, secret: str) -> None:
        """Staff see what they wrote to a private thread; nobody else does, nor that there is one."""
        self.want(secret in self.page(STAFF, self.site.private), "staff miss a private reply")
        status, page = self.reading[self.reader].ask("GET", f"/c/{SLUG}/{self.site.private}/")
        self.want(status == 404 and secret not in page, f"a student gets {status} for a private thread")
        self.want(
            self.site.private not in [row[0] for row in self.rows(self.reader)], "a student reads of a private thread"
        )

    def start(self, until: float) -> None:
        self.until = until
        self.writing = threading.Thread(target=self.write, daemon=True)
        self.looking = threading.Thread(target=self.read, daemon=True)
        self.writing.start()
        self.looking.start()

    def finish(self) -> None:
        self.writing.join(90)
        self.looking.join(90)
        for browser in (*self.acting.values(), *self.reading.values()):
            browser.close()


def article_with(page: str, text: str) -> str:
    """Return the reply of a page in which something stands."""
    before, found, after = page.partition(text)
    if not found:
        return ""
    return before[before.rfind("<article") :] + found + after.partition("</article>")[0]


@contextmanager
def all_at_once(site: Site, seconds: float) -> Iterator[list[Pair]]:
    pairs = [Pair(site, number) for number in range(PAIRS)]
    until = time.monotonic() + seconds
    for pair in pairs:
        pair.start(until)
    try:
        yield pairs
    finally:
        for pair in pairs:
            pair.finish()


def test_what_was_acknowledged_is_on_the_next_page_of_everybody(site: Site) -> None:
    with all_at_once(site, SECONDS):
        pass
    assert not site.wrong, f"{len(site.wrong)} of {site.checked}: " + "\n".join(site.wrong[:20])
    assert set(site.acts) == ACTS, site.acts
