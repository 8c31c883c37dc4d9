"""Keyset (seek) pagination: the page after a row is found by that row's key, never by counting rows.

A cursor holds the ordering key and the id of the last row shown, so ties lose nothing, and is signed, so that a reader
can't aim it elsewhere. See https://use-the-index-luke.com/no-offset for why OFFSET is not used.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.core import signing
from django.db.models import Model, QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan

M = TypeVar("M", bound=Model)
_SALT = "quokkaq.keyset"


class BadCursor(ValueError):
    """The cursor was altered, cut short, or made for another listing."""


@dataclass(frozen=True)
class Page(Generic[M]):
    """Rows of one page, and the cursor of the next one (empty on the last)."""

    items: Sequence[M]
    next_cursor: str


def page(rows: QuerySet[M], *, order: str, cursor: str, size: int, scope: str, ascending: bool = False) -> Page[M]:
    """Return one page of `rows`, newest or largest first by (`order`, id).

    Args:
        order: name of the ordering column, or of an annotation that holds text; it must be NOT NULL, and indexed
            together with `id` where there are many rows.
        cursor: `""` for the first page, else the `next_cursor` of the page before.
        size: rows on a page.
        scope: what is listed and how (course and sort): a cursor only fits the listing it came from.
        ascending: smallest first instead.

    Raises `BadCursor`.
    """
    place = read_place(cursor, rows, order=order, scope=scope) if cursor else None
    found = list(seek(rows, order=order, place=place, size=size, ascending=ascending))
    return cut(found, order=order, size=size, scope=scope)


def read_place(cursor: str, rows: QuerySet[M], *, order: str, scope: str) -> tuple[Any, uuid.UUID]:
    """Return key and id of the row that the page before ended with. Raises `BadCursor`."""
    value, row_id = read_cursor(cursor, scope, 2)
    if order in rows.query.annotations:
        return value, uuid.UUID(row_id)
    field: Any = rows.model._meta.get_field(order)
    return field.to_python(value), uuid.UUID(row_id)


def seek(
    rows: QuerySet[M], *, order: str, place: tuple[Any, uuid.UUID] | None, size: int, ascending: bool = False
) -> QuerySet[M]:
    """Return the rows of a page after `place` and one more, in order."""
    if place is not None:
        # Compared as a row, the index is entered at that very place, however many rows have the same key.
        beyond = TupleGreaterThan if ascending else TupleLessThan
        rows = rows.filter(beyond(Tuple(order, "id"), place))
    sign = "" if ascending else "-"
    return rows.order_by(f"{sign}{order}", f"{sign}id")[: size + 1]


def cut(found: Sequence[M], *, order: str, size: int, scope: str) -> Page[M]:
    """Make a page of what `seek` found."""
    items = found[:size]
    more = len(found) > size
    return Page(items, _encode(getattr(items[-1], order), items[-1].pk, scope) if more else "")


def make_cursor(place: Sequence[str | int], scope: str) -> str:
    """Return a cursor for a listing that isn't of one model: `place` is the key of the last row shown."""
    return signing.dumps([*place, scope], salt=_SALT, compress=True)


def read_cursor(cursor: str, scope: str, parts: int) -> list[Any]:
    """Return the `parts` of the key that `make_cursor` was given. Raises `BadCursor`."""
    try:
        place: list[Any]
        *place, made_for = signing.loads(cursor, salt=_SALT)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise BadCursor("altered") from error
    if made_for != scope or len(place) != parts:
        raise BadCursor("made for another listing")
    return place


def _encode(key: Any, row_id: uuid.UUID, scope: str) -> str:
    return make_cursor([key.isoformat() if hasattr(key, "isoformat") else key, row_id.hex], scope)
