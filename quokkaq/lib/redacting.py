"""What of a log record may be printed. Names of people and what they wrote can't be found by a pattern, so nothing is looked
for: what a line shows is made of the program's own words, of ids and of numbers, and of nothing else.

- A message is printed when it is a literal of the code that is running (a template that was put together at run time isn't).
- Arguments and extra fields are printed when they are numbers, times, UUIDs, literals or codes; anything else leaves `[text]`
  or the name of its type. Objects aren't asked for their text.
- Of an exception there are its class, codes (SQLSTATE, constraint, errno, HTTP and SMTP status), the message when it is a
  literal of the code it came through, and the file, line and function of each step; no source, no values.
"""

import datetime
import errno
import itertools
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from types import CodeType, TracebackType
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase

from quokkaq.lib.pii import scrub

TEXT = "[text]"
_NUMBERS = (bool, int, float, type(None))
_PRINTED = (UUID, Decimal, datetime.date, datetime.time, datetime.timedelta)
_DEPTH, _ITEMS, _STEPS, _CHAIN = 6, 50, 60, 20
# An id, a small number, a time: in text.
_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{1,6}|\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?|-?|"
)
_CODE = re.compile(r"[A-Za-z0-9_.:,<>/-]{0,200}")
_NAME = re.compile(r"[A-Za-z_][\w$]{0,62}", re.ASCII)
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
# Fields in which code of ours, and procrastinate, put codes and ids made of safe letters.
CODES = frozenset(
    {
        "action", "alias", "attempts", "by", "code", "course_id", "data_export", "duration_ms", "engine", "erasure", "event",
        "fields", "id", "institution", "institution_id", "job", "kind", "limit", "method", "outcome", "path", "purpose", "queue",
        "reason", "request_id", "role", "route", "rule", "signature", "status", "stream", "sync_id", "target_id",
        "target_type", "task_name", "thread_id", "type", "upload_id", "user_id", "verb", "worker",
    }
)  # fmt: skip
_OURS = frozenset({"quokkaq", "accounts", "forum", "ai_answers"})
# What of a job is printed; its arguments aren't.
_OF_A_JOB = ("id", "task_name", "queue", "status", "attempts")
# What gunicorn says of itself, with arguments that come from the operator's settings.
_OF_THE_SERVER = frozenset(
    {
        "Starting gunicorn %s", "Listening at: %s (%s)", "Using worker: %s", "Handling signal: %s",
        "Worker exiting (pid: %s)", "Worker (pid:%s) was sent %s!", "Worker (pid:%s) exited with code %s",
    }
)  # fmt: skip
_WARNING = re.compile(r"(?P<path>[\w./+-]+):(?P<line>\d+): (?P<category>[A-Za-z]+Warning): ")
_STEP = re.compile(r'\s*File "(?P<path>[\w./<> +-]+)", line (?P<line>\d+), in (?P<name>[\w.<>]+)')
_CLASS = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Warning|Interrupt|Exit|Group)(?=:|$)", re.ASCII)


class Safe(str):
    """Text that its maker vouches for: it holds words of the program only."""

    __slots__ = ()


# Literals of the code that runs

_literals: dict[int, tuple[CodeType, frozenset[str]]] = {}


def _literals_of(code: CodeType) -> frozenset[str]:
    """Return every text that stands in a function as it was written. (A code object's own hash is slow to make.)"""
    known = _literals.get(id(code))
    if known is not None:
        return known[1]
    if len(_literals) > 20_000:
        _literals.clear()
    found = frozenset(_texts(code.co_consts))
    _literals[id(code)] = (code, found)
    return found


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple | frozenset):
            yield from _texts(value)


def _running() -> Iterator[CodeType]:
    """Yield the code of every function under way in this thread."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop


def is_literal(text: str, code: Iterable[CodeType] | None = None) -> bool:
    """Tell whether a text stands as a literal in the functions under way, or in `code`."""
    return any(text in _literals_of(each) for each in (_running() if code is None else code))


# Values


def safe_text(text: str) -> str:
    """Return a text that is an id, a small number, a time, a literal or marked `Safe`; else that there was one."""
    if isinstance(text, Safe):
        return str(text)
    if len(text) <= 200 and (_ID.fullmatch(text) or is_literal(text)):
        return scrub(text)
    return TEXT


def safe_code(text: str) -> str:
    """Return a text that is made of the letters of codes and ids; for fields that code of ours fills with them."""
    return scrub(text) if _CODE.fullmatch(text) else safe_text(text)


def safe_value(value: Any, text: Callable[[str], str] = safe_text, *, depth: int = _DEPTH) -> Any:
    """Return what of a value may be printed; mappings and sequences are followed `depth` levels deep.

    Args:
        text: what is made of texts, wherever they stand.
    """
    if isinstance(value, Enum):
        return safe_value(value.value, safe_code, depth=depth)
    if isinstance(value, _NUMBERS):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, _PRINTED):
        return str(value)
    if isinstance(value, BaseException):
        return describe(value)
    if isinstance(value, type):
        return value.__qualname__
    if depth > 0 and isinstance(value, Mapping):
        pairs = itertools.islice(value.items(), _ITEMS)
        return {
            _key(key, number): safe_value(inner, text, depth=depth - 1) for number, (key, inner) in enumerate(pairs)
        }
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        return [safe_value(inner, text, depth=depth - 1) for inner in itertools.islice(value, _ITEMS)]
    return _thing(value)


def _key(key: Any, number: int) -> str:
    shown = str(key) if isinstance(key, int) else safe_text(key) if isinstance(key, str) else TEXT
    return f"{TEXT} {number}" if shown == TEXT else shown


def _thing(value: Any) -> str:
    """Return of an object what kind it is; of a row its key, of a request its route, of a response its status."""
    if isinstance(value, HttpRequest):
        return f"[{method_of(value)} {route_of(value)}]"
    if isinstance(value, HttpResponseBase):
        return f"[response {value.status_code}]"
    label = getattr(getattr(type(value), "_meta", None), "label_lower", None)
    key = value.__dict__.get("id") if label else None
    return f"[{label} {key}]" if isinstance(key, int | UUID) else f"[{label or type(value).__qualname__}]"


METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


def method_of(request: HttpRequest) -> str:
    return request.method if request.method and request.method in METHODS else "OTHER"


def route_of(request: HttpRequest) -> str:
    """Return the name of the view a request was led to."""
    match = request.resolver_match
    return (match.view_name or "unnamed") if match else "unmatched"


# Exceptions


def describe(error: BaseException) -> str:
    """Return an exception's class and what it says in codes: `IntegrityError (sqlstate 23505, constraint one_per_course)`."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    codes = ", ".join(_codes(error))
    said = _said(error)
    return name + (f" ({codes})" if codes else "") + (f": {said}" if said else "")


def _codes(error: BaseException) -> Iterator[str]:
    # Django's errors of the database have the driver's as their cause.
    driver = next((each for each in (error, error.__cause__) if getattr(each, "sqlstate", None)), None)
    if driver is not None and _SQLSTATE.fullmatch(str(getattr(driver, "sqlstate", ""))):
        yield f"sqlstate {driver.sqlstate}"  # type: ignore[attr-defined]  # looked for above
        for kind in ("table", "column", "constraint"):
            named = getattr(getattr(driver, "diag", None), f"{kind}_name", None)
            if isinstance(named, str) and _NAME.fullmatch(named):
                yield f"{kind} {named}"
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number in errno.errorcode:
        yield errno.errorcode[number]
    for attribute in ("smtp_code", "status_code", "returncode"):
        number = getattr(error, attribute, None)
        if isinstance(number, int):
            yield f"{attribute} {int(number)}"
    code = getattr(error, "code", None)
    if isinstance(code, str) and type(error).__module__.partition(".")[0] in _OURS and _CODE.fullmatch(code):
        yield f"code {code}"


def _said(error: BaseException) -> str:
    """Return an exception's message if it is a literal of the functions it came through, or Python's own on a name there."""
    code = [frame.f_code for frame, _ in _steps(error.__traceback__)]
    if isinstance(error, AttributeError | NameError) and any(error.name in each.co_names for each in code):
        return str(error.name)
    text = error.args[0] if len(error.args) == 1 else None
    return scrub(text) if type(text) is str and len(text) <= 300 and is_literal(text, code) else ""


def _steps(trace: TracebackType | None) -> list[tuple[Any, int]]:
    steps = []
    while trace is not None:
        steps.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return steps


def traceback_of(error: BaseException) -> str:
    """Return an exception with its causes and its group as Python prints them, less source and values."""
    return "\n".join(_printed(error, set(), ""))


def _printed(error: BaseException, seen: set[int], indent: str) -> Iterator[str]:
    if id(error) in seen or len(seen) > _CHAIN:
        return
    seen.add(id(error))
    if error.__cause__ is not None:
        yield from _printed(error.__cause__, seen, indent)
        yield f"{indent}The above exception was the direct cause of the following:"
    elif error.__context__ is not None and not error.__suppress_context__:
        yield from _printed(error.__context__, seen, indent)
        yield f"{indent}During handling of the above exception, another occurred:"
    steps = _steps(error.__traceback__)
    yield f"{indent}Traceback (most recent call last):"
    for number, (frame, line) in enumerate(steps):
        if len(steps) > _STEPS and 10 <= number < len(steps) - _STEPS + 10:
            if number == 10:
                yield f"{indent}  … {len(steps) - _STEPS} more"
            continue
        yield f'{indent}  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}'
    yield indent + describe(error)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions[:10]:
            yield from _printed(inner, seen, indent + "  | ")


def safe_stack(text: str) -> str:
    """Return of a traceback or stack that is text already its steps, and the classes of exceptions."""
    lines = []
    for line in text.splitlines()[:1000]:
        step, kind = _STEP.match(line), _CLASS.match(line)
        if step:
            lines.append(f'  File "{step["path"]}", line {step["line"]}, in {step["name"]}')
        elif kind:
            lines.append(kind[0])
    return "\n".join(lines)


# Records

STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
_REDACTED = object()


def redact(record: logging.LogRecord) -> None:
    """Leave of a record what may be printed. A second handler finds it done."""
    if record.__dict__.get("_redacted") is _REDACTED:
        return
    message = safe_message(record)
    _redact_extras(record)
    record.msg, record.args = message, None
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        record.exc_text = traceback_of(error)
    elif record.exc_text:
        record.exc_text = safe_stack(record.exc_text)
    record.exc_info = None
    if record.stack_info:
        record.stack_info = safe_stack(record.stack_info)
    record.__dict__["_redacted"] = _REDACTED


def safe_message(record: logging.LogRecord) -> str:
    """Return a record's message with its arguments, as far as they may be printed."""
    request, action = record.__dict__.get("request"), record.__dict__.get("action")
    if isinstance(request, HttpRequest):
        return f"{method_of(request)} {route_of(request)} {safe_value(record.__dict__.get('status_code'))}"
    if isinstance(record.msg, BaseException):
        return describe(record.msg)
    if record.name == "py.warnings":
        warning = _WARNING.match(record.getMessage()[:1000])
        return f"{warning['path']}:{warning['line']}: {warning['category']}" if warning else TEXT
    template = record.msg
    if not (isinstance(template, Safe) or (isinstance(template, str) and is_literal(template))):
        # procrastinate writes a job and its arguments into its message, and names what happened beside it.
        return action if isinstance(action, str) and is_literal(action) else TEXT
    if not record.args:
        return scrub(template)
    text = scrub if record.name.startswith("gunicorn") and template in _OF_THE_SERVER else safe_text
    try:
        if isinstance(record.args, Mapping):
            named = {key: safe_value(value, text) for key, value in record.args.items() if f"%({key})" in template}
            return scrub(template % (named or safe_value(record.args, text)))
        return scrub(template % tuple(safe_value(value, text) for value in record.args))
    except Exception:  # a wrong format string must not lose the line, nor show its arguments
        return f"{scrub(template)} (arguments could not be formatted)"


def _redact_extras(record: logging.LogRecord) -> None:
    ours = record.name.partition(".")[0] in _OURS
    for number, (name, value) in enumerate(list(vars(record).items())):
        if name in STANDARD:
            continue
        job = name == "job" and record.name.startswith("procrastinate") and isinstance(value, Mapping)
        if name not in CODES and not is_literal(name):
            delattr(record, name)
            name = f"field_{number}"  # noqa: PLW2901 (the field's name was somebody's text)
        if job:
            value = {key: safe_value(value.get(key), safe_code) for key in _OF_A_JOB}  # noqa: PLW2901
        else:
            value = safe_value(value, safe_code if ours and name in CODES else safe_text)  # noqa: PLW2901
        setattr(record, name, value)
