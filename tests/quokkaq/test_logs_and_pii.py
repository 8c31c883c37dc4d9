"""Log lines are JSON, carry a request id, and hold nothing that identifies a person."""

import datetime
import io
import json
import logging
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from accounts.models import User
from quokkaq.lib import request_id
from quokkaq.lib.logs import ContextFilter, JsonLines, PIIFilter, logging_config
from quokkaq.lib.pii import scrub
from quokkaq.lib.redacting import TEXT, Safe, safe_value, traceback_of
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]

CANARIES = [
    "sam@example.edu", "first.last+tag@sub.example.org", "sam%40example.edu", "+49 170 1234567", "(555) 123-4567", "+14155550123",
    "Bearer abcdefghijklmnop", "Basic dXNlcjpwYXNz", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "sk-abcdefghijklmnopqrst",
    "AKIAABCDEFGHIJKLMNOP", "ghp_abcdefghijklmnopqrst", "password=hunter2secret", 'api_key: "abc123def"', "sessionid=s3ss10nvalue",
    "csrf_token='tok3nvalue'", "postgres://user:pa55word@db/x", "https://x.example/path?name=Sam+Whitlock", "/c/cs-101/?q=my+private+thing",
    "Key (email)=(sam@x.example) already exists", "Failing row contains (1, Sam, my secret)", "invalid input syntax for type uuid: my-text",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nMIIEcutoff",
]  # fmt: skip
SECRETS = [
    "sam@", "first.last", "sam%40", "1234567", "123-4567", "14155550123", "abcdefghijkl", "dXNlcjpwYXNz", "eyJ", "ABCDEFGHIJ", "hunter2",
    "abc123def", "s3ss10n", "tok3n", "pa55word", "Sam", "private+thing", "my secret", "my-text", "MIIE",
]  # fmt: skip


class Capture(logging.Handler):
    """What a handler with our filters and formatter would print."""

    def __init__(self, *, filtered: bool = True) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(JsonLines())
        if filtered:
            self.addFilter(PIIFilter())
        self.addFilter(ContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def last(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.lines[-1])
        return parsed


@pytest.fixture
def capture() -> Iterator[Capture]:
    handler = Capture()
    logger = logging.getLogger("test.pii")
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)


def speak(logger: logging.Logger) -> None:
    """Say every canary in every way code can."""
    for canary in CANARIES:
        logger.info("got " + canary)
        logger.info("got %s", canary)
        logger.info("got %(what)s", {"what": canary})
        logger.info("extra", extra={"detail": canary, "nested": {"list": [canary, {"deep": (canary,)}]}})
        try:
            raise ValueError(canary)
        except ValueError:
            logger.exception("failed")
        logger.info("stack", stack_info=False, extra={"email": canary, "Set-Cookie": canary, "display_name": canary})
    logger.info("%d wrong", "not a number sam@example.edu")


def test_no_canary_survives_in_message_arguments_extras_or_exceptions(capture: Capture) -> None:
    speak(logging.getLogger("test.pii"))
    text = "\n".join(capture.lines)
    assert [secret for secret in SECRETS if secret in text] == []
    assert len(capture.lines) == 6 * len(CANARIES) + 1


def test_without_the_filter_the_same_test_finds_them() -> None:
    handler = Capture(filtered=False)
    logger = logging.getLogger("test.unfiltered")
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    logger.propagate = False
    for canary in CANARIES:
        logger.info("got %s", canary)
    logger.removeHandler(handler)
    text = "\n".join(handler.lines)
    assert [secret for secret in SECRETS if secret not in text] == []


@pytest.mark.parametrize(
    "harmless",
    [
        "GET /c/cs-101/12/ 200", "took 12.5 ms", "2026-11-23T22:58:00", "version 18.4", "0197a1b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b",
        "1234567890", "2026-11-23 22:58:00", "from 192.168.100.100", "thread 123 of course cs-101", "127.0.0.1:8000", "pid 12345",
    ],
)  # fmt: skip
def test_what_operators_need_stays(harmless: str) -> None:
    assert scrub(harmless) == harmless


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a_",
        "a-",
        "password",
        "eyJ-",
        "/",
        "1 2",
        "a.",
        "+1 ",
        "%40",
        "://",
        "a:",
        "?x",
        "secret=",
        "Key (",
        "Key (a)=(",
        "Failing row contains (",
        "invalid input syntax for ",
        "-----BEGIN PRIVATE KEY",
        "Bearer ",
        "/join/",
    ],
)
@pytest.mark.clocked
def test_no_text_makes_it_slow(unit: str) -> None:
    started = time.monotonic()
    scrub(unit * 20_000)
    assert time.monotonic() - started < 5  # it took hours where a pattern went back and forth


def test_values_are_printed_by_what_they_are() -> None:
    key = uuid.UUID("0197a1b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b")
    typed = "".join(["Whit", "lock"])
    assert safe_value([1, 2.5, None, True, key, datetime.date(2026, 1, 2), Decimal("1.5")]) == [
        1, 2.5, None, True, str(key), "2026-01-02", "1.5",
    ]  # fmt: skip
    assert safe_value({"a literal": typed, typed: "a literal"}) == {"a literal": TEXT, f"{TEXT} 1": "a literal"}
    assert safe_value([str(key), "12", typed, typed.encode(), Safe(typed), ValueError, ValueError(typed)]) == [
        str(key), "12", TEXT, "[bytes]", typed, "ValueError", "ValueError",
    ]  # fmt: skip
    assert safe_value([User(id=key, email=typed), object()]) == [f"[accounts.user {key}]", "[object]"]
    deep: dict[str, Any] = {"a": typed}
    for _ in range(20):
        deep = {"a": deep}
    assert "[dict]" in str(safe_value(deep))


def test_an_exception_keeps_what_an_operator_needs(world: World) -> None:
    typed = "".join(["Whit", "lock"])
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        User.objects.create(institution=world.institution, email="sam@example.edu", display_name=typed)
    text = traceback_of(caught.value)
    assert "psycopg.errors.UniqueViolation (sqlstate 23505, table accounts_user, constraint " in text
    assert "django.db.utils.IntegrityError (sqlstate 23505" in text
    assert "in test_an_exception_keeps_what_an_operator_needs" in text
    assert "The above exception was the direct cause" in text
    assert "sam@" not in text
    assert typed not in text
    with pytest.raises(AttributeError) as missing:
        world.display_name  # type: ignore[attr-defined]  # noqa: B018 (it has none)
    assert traceback_of(missing.value).endswith("AttributeError: display_name")
    with pytest.raises(RuntimeError) as said:
        raise RuntimeError("the sentence of a programmer")
    assert traceback_of(said.value).endswith("RuntimeError: the sentence of a programmer")
    with pytest.raises(FileNotFoundError) as absent:
        Path(f"/no/such/{typed}").read_text()
    assert traceback_of(absent.value).endswith("FileNotFoundError (ENOENT)")


def test_an_endless_recursion_and_a_crowd_of_exceptions_stay_short() -> None:
    def fall(depth: int) -> None:
        fall(depth + 1)

    with pytest.raises(RecursionError) as caught:
        fall(0)
    assert len(traceback_of(caught.value).splitlines()) < 80
    crowd: BaseException = ValueError("x")
    for _ in range(200):
        crowd = ExceptionGroup("x", [crowd, *(ValueError("x") for _ in range(50))])  # type: ignore[type-var]  # groups within groups
    assert len(traceback_of(crowd).splitlines()) < 200


def test_a_warning_of_python_keeps_its_place_and_kind(capture: Capture) -> None:
    text = warnings.formatwarning("about " + str(time.time()), DeprecationWarning, "/app/forum/x.py", 3, line="x = 1")
    record = logging.LogRecord("py.warnings", logging.WARNING, "w.py", 1, "%s", (text,), None)
    capture.handle(record)
    assert capture.last()["message"] == "/app/forum/x.py:3: DeprecationWarning"


def test_a_line_is_json_with_request_id_level_and_logger(capture: Capture) -> None:
    with request_id.working_on("abcdef123456"):
        logging.getLogger("test.pii").warning("hello", extra={"route": "forum:list"})
    line = capture.last()
    assert line["request_id"] == "abcdef123456"
    assert (line["level"], line["logger"], line["message"], line["route"]) == (
        "WARNING",
        "test.pii",
        "hello",
        "forum:list",
    )
    assert line["time"][:3] == "202"


def test_a_preformatted_traceback_and_a_stack_are_scrubbed_too(capture: Capture) -> None:
    record = logging.LogRecord("test.pii", logging.ERROR, "f.py", 1, "x", (), None)
    record.exc_text, record.stack_info = (
        "ValueError: sam@example.edu",
        '  File "x.py", line 3, in f\n  password=hunter2',
    )
    capture.handle(record)
    assert capture.last()["exc_info"] == "ValueError"
    assert capture.last()["stack_info"] == '  File "x.py", line 3, in f'
    assert "sam@" not in capture.lines[-1]
    assert "hunter2" not in capture.lines[-1]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abcdef12-3456.ok_", True),
        ("short", False),
        ("x" * 65, False),
        ("new\nline-injected", False),
        ("sam@example.edu", False),
        ("../../etc/passwd", False),
    ],
)
def test_an_incoming_request_id_is_kept_only_if_sane(db: None, sent: str, kept: bool) -> None:
    returned = Client().get("/health", headers={"X-Request-ID": sent})["X-Request-ID"]
    assert (returned == sent) is kept
    assert len(returned) >= 8


def test_ids_don_t_leak_from_one_request_to_the_next(db: None) -> None:
    first, second = (Client().get("/health")["X-Request-ID"] for _ in range(2))
    assert first != second
    assert request_id.current() == "-"


def test_the_access_line_names_route_user_and_time_but_no_query(
    world: World, signed_in: SignIn, caplog: pytest.LogCaptureFixture
) -> None:
    factories.make_thread(world.member("sam"))
    caplog.set_level("INFO", "quokkaq.access")
    signed_in(world.user("noor")).get("/c/cs-101/?tag=secret-words")
    record = next(r for r in caplog.records if r.name == "quokkaq.access" and hasattr(r, "route"))
    assert (record.route, record.status) == ("forum:list", 400)  # type: ignore[attr-defined]
    assert record.user_id == str(world.user("noor").pk)  # type: ignore[attr-defined]
    assert record.duration_ms > 0  # type: ignore[attr-defined]
    assert "secret-words" not in str(vars(record))
    Client().get("/no/such/page/")
    assert "unmatched" in [getattr(r, "route", "") for r in caplog.records]


def test_the_shared_configuration_filters_every_handler() -> None:
    for pretty in (True, False):
        config = logging_config(level="INFO", pretty=pretty)
        assert all("pii" in handler["filters"] for handler in config["handlers"].values())
        assert not any(logger["handlers"] for logger in config["loggers"].values())
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(PIIFilter())
    handler.handle(logging.LogRecord("x", logging.INFO, "f", 1, "mail to %s", ("sam@example.edu",), None))
    assert stream.getvalue() == "mail to [email]\n"


def test_a_failing_form_and_a_database_error_log_no_content(world: World, signed_in: SignIn) -> None:
    handler = Capture()
    logging.getLogger().addHandler(handler)
    try:
        client = signed_in(world.user("sam"))
        client.raise_request_exception = False
        client.post("/c/cs-101/ask/", {"title": "CANARY-title", "body": "CANARY-body" * 2000})
        Client().post("/sign-in/", {"email": "canary@example.edu", "password": "CANARY-password"})
        client.get("/c/cs-101/", {"tag": "CANARY-tag"})
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.lines
    assert "CANARY" not in "\n".join(handler.lines)
    assert "canary@" not in "\n".join(handler.lines)
