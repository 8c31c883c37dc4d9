"""Rows of several models as one list of what happened, in the order of time.

What may be seen is said by the querysets; their `UNION` is wrapped in SQL, which pages and totals it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Case, CharField, F, QuerySet, Value
from django.db.models.expressions import Combinable

from quokkaq.lib.keyset import make_cursor, read_cursor

# The columns of every list.
COLUMNS = ("at", "kind", "id", "number", "title", "pseudonym", "moderation", "who")
_NOTHING = Value("", output_field=CharField())


def happened(
    rows: QuerySet[Any],
    *,
    kind: str | Combinable,
    at: str | Combinable,
    thread: str,
    text: str | None = "",
    who: str = "",
) -> QuerySet[Any, dict[str, Any]]:
    """Return rows in the columns of a list.

    Args:
        kind: what happened, a constant or an expression.
        at: when, a field or an expression.
        thread: the path to the thread, ending in `__`; empty when the rows are threads.
        text: the path to one's own text it is about, when that isn't the row; None when it is about none.
        who: the field with the name of whoever did it, where everybody may know.
    """
    listed: QuerySet[Any, dict[str, Any]] = (
        rows.order_by()
        .annotate(
            c_at=F(at) if isinstance(at, str) else at,
            c_kind=Case(default=Value(kind) if isinstance(kind, str) else kind, output_field=CharField()),
            c_id=F("pk"),
            c_number=F(f"{thread}number"),
            c_title=F(f"{thread}title"),
            c_pseudonym=_NOTHING if text is None else F(f"{text}pseudonym__name"),
            c_moderation=_NOTHING if text is None else F(f"{text}moderation"),
            c_who=F(who) if who else _NOTHING,
        )
        .values(*(f"c_{name}" for name in COLUMNS))
    )
    return listed


def in_sql(rows: QuerySet[Any, dict[str, Any]]) -> tuple[str, list[Any]]:
    """Return SQL with the columns under their own names, and its parameters."""
    sql, params = rows.query.sql_with_params()
    return f"SELECT * FROM ({sql}) AS row ({', '.join(COLUMNS)})", list(params)  # noqa: S608


def fetch(sql: str, params: Sequence[Any]) -> list[dict[str, Any]]:
    """Return rows by column name. One query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)  # rule: raw-sql (compiled by Django from querysets, with parameters)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def page_of(sql: str, params: Sequence[Any], *, cursor: str, size: int, scope: str) -> tuple[list[dict[str, Any]], str]:
    """Return one page, newest first, and the cursor of the next one (empty on the last). One query.

    Raises `quokkaq.lib.keyset.BadCursor`.
    """
    after, values = "", list(params)
    if cursor:
        at, kind, key = read_cursor(cursor, scope, 3)
        after = "WHERE (at, kind, id) < (%s, %s, %s::uuid)"
        values += [datetime.fromisoformat(at), kind, key]
    order = "ORDER BY at DESC, kind DESC, id DESC LIMIT %s"
    found = fetch(f"SELECT * FROM ({sql}) AS listed {after} {order}", [*values, size + 1])  # noqa: S608
    shown = found[:size]
    if len(found) <= size:
        return shown, ""
    last = shown[-1]
    return shown, make_cursor([last["at"].isoformat(), last["kind"], str(last["id"])], scope)
