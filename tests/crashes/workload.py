"""What a dozen people do over HTTP, each by their own seeded dice, and the ledger of what they were told."""

import hashlib
import io
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from random import Random
from typing import Literal
from urllib.parse import urlencode

from tests.factories import PASSWORD

Outcome = Literal["acknowledged", "refused", "unknown"]
SECONDS_TO_WAIT = 10
# Where who isn't signed in is sent; a form they sent is shown below the fields of signing in instead.
SIGN_IN, ASKS_TO_SIGN_IN = "/sign-in/", b'name="password"'
TOKEN = re.compile(r"zq[0-9a-f]{10}")
# Asked in the course's lecture, so that answers are published.
QUESTION = "When is a default parameter value evaluated?"


@dataclass(frozen=True)
class Person:
    name: str
    courses: tuple[str, ...]
    role: Literal["student", "staff"] = "student"
    # How they always hide.
    hides: Literal["named", "classmates", "all"] = "named"
    home: bool = True

    @property
    def email(self) -> str:
        return f"{self.name}@example.edu"

    @property
    def full_name(self) -> str:
        return f"{self.name.title()} Surname-{self.name}"


CS, MATH = "cs-101", "math-221"
PEOPLE = (
    Person("ada", (CS, MATH), "staff"),
    Person("tim", (CS, MATH), "staff"),
    Person("sam", (CS,)),
    Person("olga", (CS,)),
    Person("ravi", (CS, MATH)),
    Person("kim", (MATH, CS)),
    Person("wanda", (CS,), hides="classmates"),
    Person("zoe", (CS,), hides="all"),
    Person("finn", (CS,), home=False),
    Person("gus", (CS,), home=False),
    Person("eve", (CS,), "staff", home=False),
)
# Looks and never writes, so that nothing private is ever theirs.
NOOR = Person("noor", (CS,))


@dataclass
class Act:
    """One line of the ledger."""

    number: int
    what: str
    who: str
    target: str
    outcome: Outcome = "unknown"
    # Status or error of each try.
    tries: list[str] = field(default_factory=list)
    at: float = 0.0
    took: float = 0.0

    def __str__(self) -> str:
        return f"#{self.number} at {self.at:.1f} s +{self.took:.1f} {self.who} {self.what} {self.target}: {self.outcome} {self.tries}"


@dataclass
class Text:
    """What somebody wrote, known by a word that stands nowhere else."""

    token: str
    kind: str  # thread, reply, comment, note, conversation
    who: Person
    course: str
    act: Act
    visibility: str = "course"
    thread_kind: str = "question"
    number: int = 0
    post: str = ""
    parent: "Text | None" = None  # the thread, of a reply
    # For merging, moving, hiding and deleting only: nobody votes here.
    spare: bool = False
    file: str = ""  # the SHA-256 of the file sent along
    edits: list[tuple[str, Act]] = field(default_factory=list)
    blocked: bool = False  # an edit of it may still be on its way
    gone: bool = False  # filed elsewhere or hidden: pages aren't expected to show it

    @property
    def is_there(self) -> bool:
        return self.act.outcome == "acknowledged"

    @property
    def is_private(self) -> bool:
        thread = self.parent or self
        return thread.visibility == "staff" or self.kind in ("note", "conversation")

    def path(self, *, of_thread: bool = False) -> str:
        thread = self.parent or self
        if self.parent is None or of_thread:
            return f"/c/{self.course}/{thread.number}/"
        return f"/c/{self.course}/{thread.number}/posts/{self.post}/"


@dataclass
class Setting:
    """Something that is on or off, by one person's doing: a vote, a lock, a deletion."""

    on: bool
    # After an act whose end nobody saw, either is right.
    either: bool = False
    # A try whose end nobody saw may still be on its way: nobody touches it until everything has settled.
    blocked: bool = False
    acts: list[Act] = field(default_factory=list)


Key = tuple[str, str, str, str]  # what, whose (name), institution's side ("home" or "away"), which text (token)


class Browser:
    """One person's cookies, and requests one after the other."""

    def __init__(self, port: int, person: Person) -> None:
        self.port, self.person = port, person
        self.cookies: dict[str, str] = {}
        self.lock = threading.Lock()

    def request(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/x-www-form-urlencoded"
    ) -> tuple[int, str, bytes]:
        """Return status, location and body. Raises `OSError` or `HTTPException`."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS_TO_WAIT)
        try:
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
            if method == "POST":
                headers["Content-Type"] = content_type
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            said = response.read()
            for name, value in response.getheaders():
                if name.lower() == "set-cookie":
                    for morsel in SimpleCookie(value).values():
                        self.cookies[morsel.key] = morsel.value
            return response.status, response.getheader("Location", ""), said
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, str]:
        status, _, said = self.request("GET", path)
        return status, said.decode(errors="replace")

    def post(self, path: str, fields: Mapping[str, str], file: tuple[str, bytes] | None = None) -> tuple[int, str]:
        data = {**fields, "csrfmiddlewaretoken": self.cookies.get("csrftoken", "")}
        if file is None:
            status, location, said = self.request("POST", path, urlencode(data).encode())
            return status, SIGN_IN if status == 403 and ASKS_TO_SIGN_IN in said else location
        edge = uuid.uuid4().hex
        body = io.BytesIO()
        for name, value in data.items():
            body.write(f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
        body.write(f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{file[0]}"\r\n'.encode())
        body.write(b"Content-Type: text/plain\r\n\r\n" + file[1] + f"\r\n--{edge}--\r\n".encode())
        kind = f"multipart/form-data; boundary={edge}"
        status, location, said = self.request("POST", path, body.getvalue(), kind)
        return status, SIGN_IN if status == 403 and ASKS_TO_SIGN_IN in said else location

    def similar(self, path: str, title: str) -> tuple[int, str]:
        """Type a title, and return what is shown beside it as asked before."""
        data = {"title": title, "csrfmiddlewaretoken": self.cookies.get("csrftoken", "")}
        status, _, said = self.request("POST", path, urlencode(data).encode())
        return status, said.decode(errors="replace")

    def sign_in(self) -> None:
        for _ in range(20):
            try:
                self.get("/sign-in/")
                status, location = self.post("/sign-in/", {"email": self.person.email, "password": PASSWORD})
            except (OSError, HTTPException):
                time.sleep(0.5)
                continue
            if status == 302:
                return
        raise AssertionError(f"{self.person.name} can't sign in: {status} {location}")


class Workload:
    """People, what they wrote and set, and what they were told of it."""

    def __init__(self, port: int, seed: int) -> None:
        self.began = time.monotonic()
        self.seed = seed
        self.browsers = {person.name: Browser(port, person) for person in (*PEOPLE, NOOR)}
        self.dice = {person.name: Random(f"{seed}:{person.name}") for person in PEOPLE}
        self.ledger: list[Act] = []
        self.texts: list[Text] = []
        self.settings: dict[Key, Setting] = {}
        self.signed_out: list[Act] = []
        self.going = threading.Event()
        self.stopping = threading.Event()
        self.busy = 0
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []

    # Running

    def sign_in(self) -> None:
        for browser in self.browsers.values():
            browser.sign_in()

    def start(self, threads: int = 6) -> None:
        for number in range(threads):
            people = PEOPLE[number::threads]
            thread = threading.Thread(target=self._run, args=[people, Random(f"{self.seed}:{number}")], daemon=True)
            thread.start()
            self._threads.append(thread)

    def pause(self) -> None:
        """Return once everybody has put their hands down."""
        self.going.clear()
        with self._idle:
            assert self._idle.wait_for(lambda: self.busy == 0, timeout=180), "somebody's act never ends"

    def end(self) -> None:
        self.stopping.set()
        self.going.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, people: tuple[Person, ...], order: Random) -> None:
        while True:
            self.going.wait()
            if self.stopping.is_set():
                return
            with self._lock:
                if not self.going.is_set():
                    continue
                self.busy += 1
            try:
                person = order.choice(people)
                self._act(person, self.dice[person.name])
            finally:
                with self._idle:
                    self.busy -= 1
                    self._idle.notify_all()
            time.sleep(order.uniform(0, 0.05))

    def _act(self, person: Person, dice: Random) -> None:
        acts: list[tuple[int, Callable[[Person, Random], None]]] = [
            (14, self.ask), (14, self.reply), (6, self.comment), (8, self.edit), (6, self.delete), (12, self.vote),
            (4, self.same), (4, self.follow), (4, self.accept), (3, self.flag), (5, self.converse), (9, self.look),
            (4, self.forbidden),
        ]  # fmt: skip
        if person.role == "staff":
            acts += [
                (6, self.endorse), (3, self.lock), (3, self.hide), (3, self.merge), (2, self.move), (3, self.announce),
                (4, self.note), (2, self.pin),
            ]  # fmt: skip
        dice.choices([act for _, act in acts], [weight for weight, _ in acts])[0](person, dice)

    # Sending

    def _line(self, what: str, person: Person, target: str) -> Act:
        with self._lock:
            act = Act(len(self.ledger) + 1, what, person.name, target, at=time.monotonic() - self.began)
            self.ledger.append(act)
        return act

    def _send(
        self, act: Act, person: Person, dice: Random, path: str, fields: Mapping[str, str],
        file: tuple[str, bytes] | None = None,
    ) -> str:  # fmt: skip
        """Send a form; after an end that nobody saw, mostly send it again. Return where it led."""
        again = dice.choice((0, 1, 3, 3))
        started = time.monotonic()
        act.outcome = "unknown"
        location = ""
        for number in range(again + 1):
            if number:
                time.sleep(0.4 * number)
            try:
                status, location = self.browsers[person.name].post(path, fields, file)
            except (OSError, HTTPException) as error:
                act.tries.append(type(error).__name__)
                continue
            act.tries.append(str(status))
            if location.startswith(SIGN_IN) or (status in (302, 303) and not location.startswith("/c/")):
                act.tries.append(location)
                with self._lock:
                    self.signed_out.append(act)
                break
            if status in (302, 303):
                act.outcome = "acknowledged"
                break
            if status < 500:
                # Refused only if no try before may have been done.
                act.outcome = "refused" if number == 0 else "unknown"
                break
        act.took = time.monotonic() - started
        return location if act.outcome == "acknowledged" else ""

    def _token(self, dice: Random) -> str:
        return f"zq{dice.getrandbits(40):010x}"

    def _some(self, person: Person, dice: Random, wanted: Callable[[Text], bool]) -> Text | None:
        """Choose among what the person may reach."""
        with self._lock:
            found = [
                text
                for text in self.texts
                if text.is_there
                and not text.gone
                and text.course in person.courses
                and text.who.home == person.home
                and self._may_read(person, text)
                and not self._is_deleted(text)
                and wanted(text)
            ]
        # The newest more often: that is where people meet.
        return dice.choice(found[-25:]) if found else None

    @staticmethod
    def _may_read(person: Person, text: Text) -> bool:
        thread = text.parent or text
        return not text.is_private or (
            text.kind != "conversation" and (person.role == "staff" or (text.kind != "note" and thread.who == person))
        )

    def _is_deleted(self, text: Text) -> bool:
        for one in (text, text.parent):
            if one is not None:
                setting = self.settings.get(self._key("deleted", one.who, one))
                if setting is not None and (setting.on or setting.either):
                    return True
        return False

    @staticmethod
    def _key(what: str, person: Person, text: Text) -> Key:
        return (what, person.name, "home" if person.home else "away", text.token)

    def _set(
        self, what: str, person: Person, dice: Random, text: Text, *, on: bool, path: str, fields: Mapping[str, str]
    ) -> Act | None:  # fmt: skip
        key = self._key(what, person, text)
        with self._lock:
            setting = self.settings.setdefault(key, Setting(on=False))
            if setting.either or setting.blocked:
                return None
        act = self._line(f"{what} {'on' if on else 'off'}", person, text.token)
        with self._lock:
            setting.acts.append(act)
            setting.either = True
        self._send(act, person, dice, path, fields)
        with self._lock:
            setting.blocked = len(act.tries) > 1 or act.outcome == "unknown"
            if act.outcome == "acknowledged":
                setting.on, setting.either = on, False
            elif act.outcome == "refused":
                setting.either = False
        return act

    # Writing

    def _write(self, text: Text, dice: Random, path: str, fields: dict[str, str]) -> None:
        file = None
        if text.who.hides == "named" and text.kind in ("thread", "reply") and dice.random() < 0.25:
            data = f"{text.token} in a file.\n".encode() * dice.randint(1, 400)
            file = (f"{text.token}.txt", data)
            text.file = hashlib.sha256(data).hexdigest()
        with self._lock:
            self.texts.append(text)
        location = self._send(text.act, text.who, dice, path, fields, file)
        if text.kind == "thread" and (found := re.match(r"/c/[^/]+/(\d+)/", location)):
            text.number = int(found[1])
        elif found := re.search(r"#post-([0-9a-f-]{36})", location):
            text.post = found[1]

    def ask(self, person: Person, dice: Random, *, kind: str = "") -> None:
        token = self._token(dice)
        spare = person.hides == "named" and not kind and dice.random() < 0.25
        visibility = "staff" if not kind and dice.random() < 0.25 else "course"
        kind = kind or dice.choice(("question", "question", "question", "discussion"))
        text = Text(
            token, "thread", person, person.courses[0], self._line(f"ask {kind} {visibility}", person, token),
            visibility, kind, spare=spare,
        )  # fmt: skip
        title = f"{QUESTION} {token}" if visibility == "course" else f"Privately: {QUESTION} {token}"
        self._write(text, dice, f"/c/{text.course}/ask/", {
            "form_key": str(uuid.UUID(int=dice.getrandbits(128), version=4)), "title": title, "body": f"It puzzles me. {token}",
            "kind": kind, "visibility": visibility, "anonymity": person.hides, "confirmed": "1",
        })  # fmt: skip

    def announce(self, person: Person, dice: Random) -> None:
        self.ask(person, dice, kind="announcement")

    def reply(self, person: Person, dice: Random, *, under: Text | None = None) -> None:
        thread = under.parent if under else self._some(person, dice, lambda t: t.kind == "thread")
        if thread is None or self._is_locked(thread, person):
            return
        token = self._token(dice)
        kind = "comment" if under else "reply"
        text = Text(
            token, kind, person, thread.course, self._line(f"{kind} to {thread.token}", person, token), parent=thread,
            spare=thread.spare or dice.random() < 0.3,
        )  # fmt: skip
        path = f"{under.path()}comment/" if under else f"{thread.path()}reply/"
        self._write(text, dice, path, {
            "form_key": str(uuid.UUID(int=dice.getrandbits(128), version=4)), "body": f"I think so. {token}",
            "anonymity": person.hides,
        })  # fmt: skip

    def comment(self, person: Person, dice: Random) -> None:
        under = self._some(person, dice, lambda t: t.kind == "reply" and not t.spare)
        if under is not None:
            self.reply(person, dice, under=under)

    def note(self, person: Person, dice: Random) -> None:
        thread = self._some(person, dice, lambda t: t.kind == "thread" and not t.spare)
        if thread is None:
            return
        token = self._token(dice)
        text = Text(token, "note", person, thread.course, self._line("note", person, token), parent=thread)
        key = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        self._write(text, dice, f"{thread.path()}notes/", {"form_key": key, "body": f"Between us: {token}"})

    def converse(self, person: Person, dice: Random) -> None:
        if person.role == "staff":
            return
        token = self._token(dice)
        text = Text(token, "conversation", person, person.courses[0], self._line("ask the machine", person, token))
        key = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        self._write(text, dice, f"/c/{text.course}/ai/", {"form_key": key, "text": f"{QUESTION} {token}"})

    def edit(self, person: Person, dice: Random) -> None:
        text = self._some(
            person, dice,
            lambda t: t.who == person and t.kind in ("thread", "reply") and not t.spare and not t.blocked,
        )  # fmt: skip
        if text is None:
            return
        token = self._token(dice)
        act = self._line(f"edit {text.token} with", person, token)
        text.edits.append((token, act))
        fields = {"body": f"I think so, or not. {text.token} {token}"}
        if text.kind == "thread":
            lead = "Privately: " if text.visibility == "staff" else ""
            fields["title"] = f"{lead}{QUESTION} {text.token}"
        self._send(act, person, dice, f"{text.path()}edit/", fields)
        text.blocked = len(act.tries) > 1 or act.outcome == "unknown"

    # Setting

    def delete(self, person: Person, dice: Random) -> None:
        def own(text: Text) -> bool:
            return text.who == person and text.kind in ("thread", "reply") and text.spare

        text = self._some(person, dice, own)
        with self._lock:
            deleted = [
                t for t in self.texts
                if own(t) and t.is_there and not t.gone and self._reads(("deleted", person, t)) and not (t.parent and self._is_deleted(t.parent))
            ]  # fmt: skip
        if deleted and dice.random() < 0.5:
            text = dice.choice(deleted)
            self._set("deleted", person, dice, text, on=False, path=f"{text.path()}restore/", fields={})
        elif text is not None:
            self._set("deleted", person, dice, text, on=True, path=f"{text.path()}delete/", fields={})

    def _reads(self, what: tuple[str, Person, Text]) -> bool:
        setting = self.settings.get(self._key(*what))
        return setting is not None and setting.on and not setting.either

    def _toggle(self, what: str, person: Person, dice: Random, text: Text | None, verb: str) -> None:
        if text is None:
            return
        setting = self.settings.get(self._key(what, person, text))
        on = not setting.on if setting else True
        # Twice the same now and then: a double click.
        on = on if dice.random() < 0.8 else not on
        self._set(what, person, dice, text, on=on, path=f"{text.path()}{verb}/", fields={"on": "1" if on else "0"})

    def vote(self, person: Person, dice: Random) -> None:
        kinds = ("thread", "reply", "comment")
        text = self._some(person, dice, lambda t: t.kind in kinds and t.who != person and not t.spare)
        self._toggle("vote", person, dice, text, "vote")

    def same(self, person: Person, dice: Random) -> None:
        if person.role == "student":
            text = self._some(
                person, dice,
                lambda t: t.kind == "thread" and t.thread_kind == "question" and t.who != person and not t.spare,
            )  # fmt: skip
            self._toggle("same", person, dice, text, "same")

    def follow(self, person: Person, dice: Random) -> None:
        text = self._some(person, dice, lambda t: t.kind == "thread" and t.who != person and not t.spare)
        if text is not None:
            self._set(
                "mute", person, dice, text, on=True, path=f"{text.path()}follow/", fields={"state": "muted"}
            )  # fmt: skip

    def accept(self, person: Person, dice: Random) -> None:
        text = self._some(
            person, dice,
            lambda t: t.kind == "reply" and not t.spare and t.parent is not None and t.parent.who == person
            and t.parent.thread_kind != "announcement" and not t.parent.spare,
        )  # fmt: skip
        if text is not None and text.parent is not None:
            # The thread has one; of two whose end nobody saw, either may be it.
            act = self._set("accepted", person, dice, text, on=True, path=f"{text.path()}accept/", fields={"on": "1"})
            if act is not None and act.outcome != "refused":
                with self._lock:
                    for key, setting in self.settings.items():
                        other = next((t for t in self.texts if t.token == key[3]), None)
                        if key[0] == "accepted" and other and other.parent is text.parent and other is not text:
                            setting.on = False
                            setting.either = setting.either or act.outcome == "unknown"

    def endorse(self, person: Person, dice: Random) -> None:
        text = self._some(person, dice, lambda t: t.kind == "reply" and not t.spare and t.who != person)
        self._toggle("endorsed", person, dice, text, "endorse")

    def _one_of_staff(self, person: Person, text: Text) -> bool:
        """Tell whether the thread is this person's to run, so that two don't undo each other's."""
        return int(text.token[-1], 16) % 2 == (person.name == "ada") or not person.home

    def _is_locked(self, thread: Text, person: Person) -> bool:
        if person.role == "staff":
            return False
        return any(
            setting.on or setting.either
            for key, setting in list(self.settings.items())
            if key[0] == "locked" and key[3] == thread.token
        )

    def lock(self, person: Person, dice: Random) -> None:
        text = self._some(person, dice, lambda t: t.kind == "thread" and not t.spare and self._one_of_staff(person, t))
        self._toggle("locked", person, dice, text, "lock")

    def pin(self, person: Person, dice: Random) -> None:
        text = self._some(person, dice, lambda t: t.kind == "thread" and not t.spare and self._one_of_staff(person, t))
        self._toggle("pinned", person, dice, text, "pin")

    def flag(self, person: Person, dice: Random) -> None:
        text = self._some(person, dice, lambda t: t.kind == "reply" and not t.spare and t.who != person)
        if text is not None:
            self._set(
                "flagged", person, dice, text, on=True, path=f"{text.path()}flag/", fields={"reason": "other", "details": "Look."}
            )  # fmt: skip

    # Running a course: with spare texts only

    def hide(self, person: Person, dice: Random) -> None:
        text = self._some(person, dice, lambda t: t.kind == "reply" and t.spare and t.who != person)
        if text is not None:
            text.gone = True
            act = self._set(
                "hidden", person, dice, text, on=True, path=f"{text.path()}hide/", fields={"reason": "Not like this."}
            )
            del act

    def merge(self, person: Person, dice: Random) -> None:
        one = self._some(person, dice, lambda t: t.kind == "thread" and t.spare and t.visibility == "course")
        two = self._some(person, dice, lambda t: t.kind == "thread" and t.spare and t.visibility == "course")
        if one is None or two is None or one is two or one.course != two.course:
            return
        self._file_away(one)
        self._file_away(two)
        act = self._line(f"merge {one.token} into", person, two.token)
        self._send(act, person, dice, f"{one.path()}merge/", {"number": str(two.number)})

    def move(self, person: Person, dice: Random) -> None:
        text = self._some(person, dice, lambda t: t.kind == "thread" and t.spare and t.course == CS)
        if text is None or not person.home:
            return
        self._file_away(text)
        act = self._line("move", person, text.token)
        self._send(act, person, dice, f"{text.path()}move/", {"course": self.course_keys[MATH]})

    course_keys: Mapping[str, str] = {}

    def _file_away(self, thread: Text) -> None:
        with self._lock:
            for text in self.texts:
                if text is thread or text.parent is thread:
                    text.gone = True

    # Looking, and trying what one may not

    def look(self, person: Person, dice: Random) -> None:
        text = self._some(person, dice, lambda t: t.kind == "thread")
        pages = [f"/c/{person.courses[0]}/", f"/c/{person.courses[0]}/search/?q=evaluated", "/inbox/", "/courses/"]
        page = dice.choice([*pages, *([text.path()] * 3 if text else [])])
        try:
            _status, location, _ = self.browsers[person.name].request("GET", page)
        except (OSError, HTTPException):
            return
        if location.startswith(SIGN_IN):
            act = self._line("look", person, page)
            with self._lock:
                self.signed_out.append(act)

    def forbidden(self, person: Person, dice: Random) -> None:
        """Try what will be refused: its word must be nowhere."""
        token = self._token(dice)
        act = self._line("forbidden", person, token)
        text = Text(token, "refused", person, person.courses[0], act)
        with self._lock:
            self.texts.append(text)
        fields = {
            "form_key": str(uuid.uuid4()), "title": "x", "body": token, "kind": "question", "visibility": "course",
            "anonymity": person.hides,
        }  # fmt: skip
        path = f"/c/{person.courses[0]}/ask/"
        if person.role == "student" and dice.random() < 0.5:
            fields |= {"title": f"An announcement {token}", "kind": "announcement"}
        elif dice.random() < 0.5:
            path = f"/c/{'math-221' if not person.home or MATH not in person.courses else 'no-such'}/1/reply/"
        self._send(act, person, dice, path, fields)
