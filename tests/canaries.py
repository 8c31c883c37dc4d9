"""Texts that nothing else holds, planted wherever people's data comes in, and a drive that takes them everywhere.

`drive` sends them through every route, form, error, statement, task, model call and mail. `listening` keeps what is logged
meanwhile twice: as it would be printed, and as it would be printed without the filter, which is the control.
"""

import asyncio
import json
import logging
import random
import re
import smtplib
import string
import time
import urllib.parse
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.http import Http404, HttpRequest
from django.test import Client, override_settings
from procrastinate import App
from procrastinate.testing import InMemoryConnector

from accounts.models import User
from ai_answers.engines import Request, Source, Task
from ai_answers.engines.anthropic_messages import AnthropicEngine
from ai_answers.engines.openai_chat import OpenAIEngine
from ai_answers.engines.remote import Connection
from ai_answers.search import Question
from quokkaq.lib import jobs
from quokkaq.lib.logs import ContextFilter, JsonLines, PIIFilter, logging_config
from tests import factories
from tests.factories import World
from tests.quokkaq.test_hostile_input import FIELDS
from tests.quokkaq.test_route_policies import ROUTES, Places, address
from tests.services.mail_servers import MailServer
from tests.services.model_servers import Script, lines, serve
from tests.tasks import run_tasks

log = logging.getLogger("forum.canaries")
_MARK = "zqv"
_CORE = re.compile(_MARK + r"[a-z]{10}")
# How a telephone number ends; not the decimals of a duration.
_NUMBER = re.compile(r"(?<![\d.])\d{7}(?!\d)")
SHAPES: dict[str, str] = {
    "name": "{Core} Whitlock", "one name": "{Core}", "mail": "{core}@mail.example.edu", "title": "Why does {core} fail?",
    "body": "I tried {core}\nand it didn't work.", "token": "{core}", "hex token": "0f{core}9e", "session": "{core}0a1b2c3d4e5f6g7h8",
    "key": "sk-{core}0123456789", "bearer": "Bearer {core}.abc", "file name": "{core}.pdf", "path": "/home/{core}/notes",
    "url": "https://x.example/p/{core}?a={core}", "login": "{core}", "upper": "{CORE}",
}  # fmt: skip


class Canaries:
    """Makes texts, and finds them again, whatever was made of them in between."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)
        # Each, with where it was planted, and whether something there gives it to a log call.
        self.planted: dict[str, tuple[str, bool]] = {}

    def plant(self, shape: str, where: str, *, offered: bool = True) -> str:
        if shape == "phone":
            text = core = f"+49 170 {self.random.randrange(10**6, 10**7)}"
        else:
            core = _MARK + "".join(self.random.choices(string.ascii_lowercase, k=10))
            text = SHAPES[shape].format(core=core, Core=core.title(), CORE=core.upper())
        self.planted[core] = (f"{shape} in {where}", offered)
        return text

    def any(self, where: str, *, offered: bool = True) -> str:
        return self.plant(self.random.choice([*SHAPES, "phone"]), where, offered=offered)

    def found_in(self, text: str) -> set[str]:
        text = text.lower()
        phones = {f"+49 170 {number}" for number in _NUMBER.findall(text)}
        return (set(_CORE.findall(text)) | phones) & self.planted.keys()

    def offered(self) -> set[str]:
        return {core for core, (_, offered) in self.planted.items() if offered}

    def where(self, cores: set[str]) -> list[str]:
        return sorted(f"{core}: {self.planted[core][0]}" for core in cores)


# Listening


class Keeping(logging.Handler):
    """Keeps lines. What a formatter or filter can't take is a failure of the test."""

    def __init__(self, formatter: logging.Formatter, filters: tuple[logging.Filter, ...] = ()) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []
        self.failures: list[str] = []
        for each in filters:
            self.addFilter(each)

    def handle(self, record: logging.LogRecord) -> bool:
        try:
            return bool(super().handle(record))
        except Exception as error:
            self.failures.append(f"{record.name}: {error!r}")
            return False

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Bare(logging.Formatter):
    """What any formatter would print of a record nobody has looked through."""

    def format(self, record: logging.LogRecord) -> str:
        extras = {name: value for name, value in vars(record).items() if name not in ("msg", "args", "exc_info")}
        try:
            message = record.getMessage()
        except Exception:
            message = f"{record.msg} {record.args}"
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        return f"{message} {extras!r} {trace}"


@dataclass
class Heard:
    """What was logged: without the filter, as JSON and as for a terminal."""

    bare: Keeping
    json: Keeping
    pretty: Keeping


@contextmanager
def listening(level: str = "DEBUG") -> Iterator[Heard]:
    """Keep what is logged. At DEBUG every logger there is speaks; at another level they do as shipped."""
    shipped = logging_config(level=level, pretty=True)
    pretty = logging.Formatter(shipped["formatters"]["pretty"]["format"], shipped["formatters"]["pretty"]["datefmt"])
    filters = (PIIFilter(), ContextFilter())
    heard = Heard(Keeping(Bare()), Keeping(JsonLines(), filters), Keeping(pretty, filters))
    root = logging.getLogger()
    named = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    named += [logging.getLogger(name) for name in shipped["loggers"]]
    before = [(each, each.level, each.propagate, each.disabled, each.handlers) for each in [root, *named]]
    for each in named:
        configured = shipped["loggers"].get(each.name, {})
        each.setLevel("DEBUG" if level == "DEBUG" else configured.get("level", "NOTSET"))
        each.propagate = True if level == "DEBUG" else configured.get("propagate", True)
        each.disabled, each.handlers = False, []
    root.setLevel(level)
    # The one without filter first: the filter changes the record.
    root.handlers = [heard.bare, heard.json, heard.pretty]
    connection.force_debug_cursor = level == "DEBUG"
    try:
        yield heard
    finally:
        connection.force_debug_cursor = False
        for each, was, propagate, disabled, handlers in reversed(before):
            each.setLevel(was)
            each.propagate, each.disabled, each.handlers = propagate, disabled, handlers


# Ways to fail with somebody's data in hand


def _in_savepoint(act: Callable[[], Any]) -> None:
    with transaction.atomic():
        act()


def _execute(sql: str, *values: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)


def _twice(text: str) -> None:
    def act() -> None:
        for _ in range(2):
            User.objects.create(
                institution_id=uuid.UUID(int=0), email=f"{text[:100]}@twice.example", display_name=text[:40]
            )

    _in_savepoint(act)


def _too_late(text: str) -> None:
    try:
        _execute("SET LOCAL statement_timeout = 5; SELECT pg_sleep(1), %s::text", text)
    except Exception as error:
        raise RuntimeError(text) from error


def _in_handling(text: str) -> None:
    try:
        raise KeyError(text)
    except KeyError:
        raise ValueError(f"not a number: {text}")  # noqa: B904 (its context is the point)


def _raise(make: Callable[[str], BaseException]) -> Callable[[str], None]:
    def fail(text: str) -> None:
        raise make(text)

    return fail


def _noted(text: str) -> BaseException:
    error = RuntimeError("something happened")
    error.add_note(text)
    return error


class Rude(Exception):
    """Says what it was given, however it is asked."""

    def __str__(self) -> str:
        return f"rude about {self.args}"

    __repr__ = __str__


FAILURES: dict[str, Callable[[str], Any]] = {
    "value": _raise(ValueError),
    "key": lambda text: dict[str, str]()[text],
    "attribute": lambda text: getattr(object(), text),
    "int": int,
    "uuid": uuid.UUID,
    "json": lambda text: json.loads("{" + text),
    "unicode": lambda text: (text.encode() + b"\xff").decode(),
    "ascii": lambda text: f"{text}\u2026".encode("ascii"),
    "file": lambda text: open(f"/no/such/{text}"),  # noqa: SIM115 (it isn't there)
    "validation": _raise(lambda text: ValidationError({"email": [text]})),
    "refused": _raise(PermissionDenied),
    "missing": _raise(Http404),
    "suspicious": _raise(SuspiciousOperation),
    "no row": _raise(User.DoesNotExist),
    "choices": lambda text: User.objects.filter(**{text: 1}),
    "chained": _in_handling,
    "group": _raise(lambda text: ExceptionGroup(text, [ValueError(text), ExceptionGroup("x", [KeyError(text)])])),
    "noted": _raise(_noted),
    "rude": _raise(Rude),
    "smtp": _raise(lambda text: smtplib.SMTPRecipientsRefused({text: (550, text.encode())})),
    "http": _raise(lambda text: requests.HTTPError(f"404 for https://x.example/?q={text}")),
    "unique": _twice,
    "invalid input": lambda text: _execute("SELECT %s::uuid", text),
    "out of range": lambda text: _execute("SELECT (%s || '9')::text, 99999999999::int", text),
    "literal": lambda text: _execute("SELECT 1 WHERE '" + text.replace("'", "").replace("%", "") + "' = nothing"),
    "late": _too_late,
}


# What code may say


def say(canaries: Canaries, where: str) -> None:
    """Give a canary to each of the ways to log."""

    def text() -> str:
        return canaries.any(where)

    loggers = (
        "accounts.tasks",
        "quokkaq.x",
        "urllib3",
        "gunicorn.error",
        "procrastinate.worker",
        "django.request",
        "asyncio",
    )
    for name in loggers:
        logger = logging.getLogger(name)
        logger.warning("said " + text())
        logger.warning("said %s" % text())  # noqa: UP031 (what careless code does)
        logger.warning(f"said {text()}")
        logger.warning("said %s and %r", text(), text())
        logger.warning("said %(what)s", {"what": text(), "more": text()})
        logger.warning("said %s", {text(): [text(), {"deep": (text(),)}], "b": {text()}})
        logger.warning("said %d", text())
        logger.warning(text())
        logger.warning(text(), text())
        logger.warning("extra", extra={"detail": text(), "nested": {"list": [text(), {text(): {text(): text()}}]}})
        logger.warning("extra", extra={f"e_{text()}": 1, "display_name": text(), "body": text(), "Set-Cookie": text()})
        logger.warning("object %s", User(email=text(), display_name=text()).display_name)
        logger.warning("error %s", ValueError(text()))
        logger.warning(ValueError(text()))
        logger.warning("bytes %s", text().encode())
        logger.warning("stack", stack_info=True, extra={"words": text().split()})
        record = logging.LogRecord(name, logging.ERROR, "f.py", 1, "x", (), None)
        record.exc_text, record.stack_info = (
            f"ValueError: {text()}\n{text()}",
            f'  File "x.py", line 1, in f\n    {text()}',
        )
        logger.handle(record)
    warnings_log = logging.getLogger("py.warnings")
    warnings_log.warning("%s", warnings.formatwarning(text(), UserWarning, "/app/x.py", 3, line=f"x = '{text()}'"))
    for fail in FAILURES.values():
        try:
            fail(text())
        except Exception:
            log.exception("failed with %s", text())


class TalkativeMiddleware:
    """Tells the log all it knows of a request, then fails: what the worst view would do."""

    failures: list[Callable[[str], Any]] = []

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: dict[str, Any]) -> None:
        log.info("request %s with %s", request.get_full_path(), dict(request.headers))
        log.info(f"request {urllib.parse.unquote(request.META['QUERY_STRING'])}")
        log.info("request", extra={"request_itself": request, "form": dict(request.POST), "cookies": request.COOKIES})
        log.info("files", extra={"nested": {"files": [{"name": str(file)} for file in request.FILES.values()]}})
        log.info("path %s", [{"kwargs": kwargs}])
        if self.failures:
            fail = self.failures.pop(0)
            self.failures.append(fail)
            fail(request.GET.get("q", "nothing"))


# The drive


@dataclass
class Drive:
    """Takes canaries everywhere. `talkative`: each request is told to the log, and fails."""

    world: World
    places: Places
    canaries: Canaries = field(default_factory=Canaries)

    def send(self, client: Client, name: str, who: str, *, talkative: bool) -> None:
        """Send a GET and a POST to a route, with something of somebody's in every part of it."""
        where = f"{name} as {who}"

        def text(shape: str) -> str:
            return self.canaries.plant(shape, where, offered=talkative)

        strange = {key: text("token") for key, value in self.places.items() if isinstance(value, str) and key != "slug"}
        # Half of the routes are asked for what is there.
        path = address(name, self.places | strange if self.canaries.random.random() < 0.5 else self.places)
        for core in {text.lower() for text in strange.values()} - self.canaries.found_in(path):
            self.canaries.planted.pop(core, None)
        query = urllib.parse.urlencode(
            {"q": text("body"), "next": text("path"), "show": text("name"), "code": text("token")}
        )
        client.cookies["theme"] = text("session")
        headers = {
            "Authorization": text("bearer"), "User-Agent": text("name"), "Referer": f"http://testserver/{text('token')}",
            "X-Request-ID": text("mail"), "X-Forwarded-For": text("login"),
        }  # fmt: skip
        client.get(f"{path}?{query}", headers=headers)
        shapes = ("title", "body", "mail", "phone", "name", "one name", "key", "url", "upper", "hex token")
        values = {shape: text(shape) for shape in shapes}
        form: dict[str, Any] = {
            each: values[shapes[number % len(shapes)]] for number, each in enumerate(FIELDS) if each != "discard"
        }
        form |= {"kind": "question", "visibility": "course", "anonymity": "named"}
        form["files"] = SimpleUploadedFile(text("file name"), values["body"].encode())
        client.post(f"{path}?{query}", form, headers=headers)

    def through_routes(self, *, talkative: bool, people: tuple[str, ...], names: list[str] | None = None) -> int:
        """Send to every route as each of `people`; return to how many."""
        from django.conf import settings

        extra = [f"{__name__}.TalkativeMiddleware"] if talkative else []
        TalkativeMiddleware.failures = list(FAILURES.values()) if talkative else []
        names = [name for name in names or ROUTES if name not in ("accounts:sign-out", "account_logout")]
        with override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, *extra]):
            for who in people:
                client = Client() if who == "nobody" else factories.browser(self.world.user(who))
                client.raise_request_exception = False
                signed_in = client.cookies.output(attrs=[], header="", sep=";").strip()
                for name in names:
                    client.cookies.clear()
                    client.cookies.load(signed_in)
                    with transaction.atomic():
                        self.send(client, name, who, talkative=talkative)
                        transaction.set_rollback(True)
            # What answers above the views: no file, no method, no size, no such host.
            client = Client(raise_request_exception=False)
            text = self.canaries.plant("token", "a path that leads nowhere", offered=False)
            client.get(f"/static/{text}.css?{text}")
            client.get(f"/{text}/{text}/?{text}")
            client.generic(text.upper(), f"/{text}/")
            client.post("/sign-in/", {}, headers={"Content-Length": "99999999999"}, CONTENT_LENGTH="99999999999")
            client.get("/", headers={"Host": f"{text}.example"})
        return len(names)

    def through_tasks(self) -> None:
        """Have tasks fail in a worker, with arguments nobody should have given them."""
        app = App(connector=InMemoryConnector())
        for number, fail in enumerate([FAILURES["value"], FAILURES["chained"], FAILURES["group"], FAILURES["smtp"]]):

            @app.task(name=f"accounts.fail_{number}", queue="q")
            @jobs.of_institution
            def task(text: str, fail: Callable[[str], Any] = fail) -> None:
                log.info("working on %s", text)
                fail(text)

            app.configure_task(f"accounts.fail_{number}").defer(
                text=self.canaries.any("a task"),
                institution_id=str(self.world.institution.pk),
                request_id=uuid.uuid4().hex,
            )
        with suppress(Exception):
            asyncio.run(_work(app))

    def through_our_tasks(self) -> None:
        """Run what the world's threads, files and invitations have enqueued."""
        with suppress(Exception), transaction.atomic():
            run_tasks()

    def through_models(self) -> None:
        """Ask models that answer with words of people, break off, and refuse with our key in their message."""
        for protocol, kind in (("openai", OpenAIEngine), ("anthropic", AnthropicEngine)):
            text = [self.canaries.any(f"a call of {protocol}") for _ in range(4)]
            said = lines({"text": text[0], "quotes": [{"source": 1, "quote": text[1]}]})
            key = self.canaries.plant("key", f"a call of {protocol}")
            for script in (
                Script(said), Script(text[0], end="refused"), Script(said, breaks_after=2), Script(status=400),
                Script(status=401), Script(status=500), Script(said, error={"message": text[2], "type": text[2]}),
                Script(raw=[b"data: {" + text[3].encode() + b"\n\n"]),
            ):  # fmt: skip
                asked = Request(Task.ANSWER, Question(text[2]), [Source(text[0], text[1])])
                with serve(protocol, script) as server:
                    engine = kind(Connection("m-1", server.base_url, key, 500))
                    try:
                        answer = list(engine.write(asked, deadline=time.monotonic() + 5))
                        log.info("answered", extra={"answer": [str(part) for part in answer]})
                    except Exception:
                        log.exception("no answer to %s by %s", text, key)

    def through_mail(self) -> None:
        """Send mails to servers that refuse them and repeat whom they were for."""
        with MailServer() as server, override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_HOST="127.0.0.1", EMAIL_PORT=server.port
        ):  # fmt: skip
            for command in ("RCPT", "MAIL", "DATA"):
                to = self.canaries.plant("mail", f"a mail refused at {command}")
                server.answers = {command: f"550 5.1.1 <{to}>: no such user".encode()}
                try:
                    EmailMessage(f"About {to}", f"Dear {to}", f"{to}", [to]).send()
                except smtplib.SMTPException:
                    log.warning("mail to %s wasn't sent", to, exc_info=True)


async def _work(app: App) -> None:
    async with app.open_async():
        await app.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)


def drive(
    world: World, places: Places, *, people: tuple[str, ...] = ("tim",), names: list[str] | None = None
) -> Canaries:
    """Take canaries through everything there is; return them."""
    trip = Drive(world, places)
    trip.through_routes(talkative=False, people=people, names=names)
    trip.through_routes(talkative=True, people=people, names=names)
    for number in range(3):
        say(trip.canaries, f"a log call, round {number}")
    trip.through_tasks()
    trip.through_our_tasks()
    trip.through_models()
    trip.through_mail()
    return trip.canaries
