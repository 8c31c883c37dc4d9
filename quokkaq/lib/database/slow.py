"""Statements that take too long are told of, without their values."""

import logging
import re

from django.conf import settings

from quokkaq.lib.database.watching import Statement
from quokkaq.lib.redacting import Safe

log = logging.getLogger(__name__)
LONGEST = 2000
# What stays: quoted names and bare words. What goes: comments, texts in their four forms, numbers. Each part takes what it
# took for good, so the time is linear; a text that doesn't end goes to the end.
_PARTS = re.compile(
    r"""(?P<kept>"(?:[^"]|"")*+"|[^\W\d][\w$]*+(?!'))"""
    r"""|--[^\n]*+|/\*.*?(?:\*/|\Z)"""
    r"""|[eE]'(?:[^'\\]|\\.|'')*+(?:'|\Z)|[bBxXnN]?'(?:[^']|'')*+(?:'|\Z)"""
    r"""|(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=tag)|\Z)"""
    r"""|\$?\d[\w.]*+""",
    re.S,
)


def without_values(sql: str) -> str:
    """Return a statement with `?` for each value that is written into it, without comments, cut when it is long."""

    def shown(part: re.Match[str]) -> str:
        if part["kept"]:
            return part["kept"]
        return " " if part[0].startswith(("--", "/*")) else "?"

    return " ".join(_PARTS.sub(shown, sql[: 4 * LONGEST]).split())[:LONGEST]


def tell_of_slow(statement: Statement) -> None:
    """Warn of a statement that took longer than `SLOW_QUERY_MS`."""
    milliseconds = statement.seconds * 1000
    if milliseconds <= settings.SLOW_QUERY_MS:
        return
    log.warning(
        "slow query",
        extra={
            "duration_ms": round(milliseconds, 1), "statement": Safe(without_values(statement.sql)),
            "database": statement.alias, "error": statement.error,
        },
    )  # fmt: skip
