"""Querysets whose SQL is made once in each process, and planned once on each connection (ADR 37).

Making SQL out of a queryset costs Python more than PostgreSQL takes to answer it, and planning it often costs the server more
than running it. A page that everybody opens asks through a `Prepared`: what it may read is still said by a queryset, in the
same words as everywhere (`visible_to`), with stand-ins for the values that differ from one request to the next.

    _LINES = Prepared(lambda member, order: Thread.objects.visible_to(member).order_by(order))
    lines, unread = together(_LINES.for_(shape, build, **values), …)

Several are sent together: one round trip, one answer for each.
"""

import itertools
import re
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connections, router
from django.db.models import Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.query import FlatValuesListIterable, ModelIterable, ValuesListIterable
from psycopg.sql import Literal

T = TypeVar("T")
Value = UUID | str | int | datetime
_TYPES: Mapping[type, str] = {UUID: "uuid", str: "text", int: "bigint", datetime: "timestamptz"}
# The largest `bigint`.
_MOST = 2**63 - 1
_PLACEHOLDER = re.compile(r"%([s%])")
_numbers = itertools.count(1)


class Statement(str):
    """SQL with values written into it; `told` is what logs and traces may hold of it."""

    __slots__ = ("told",)
    told: str


@dataclass(frozen=True)
class Asked(Generic[T]):
    """A prepared queryset with its values, to be sent alone (`rows()`) or with others (`together`)."""

    shape: "_Shape"
    values: tuple[Value, ...]

    def rows(self) -> list[T]:
        """Send it; return what the queryset would."""
        found: list[T] = together(self)[0]
        return found

    def first(self) -> T | None:
        """Send it; return the first row, None for none. The queryset should ask for one only."""
        return next(iter(self.rows()), None)


class Prepared(Generic[T]):
    """A queryset to be: `build` is called once for each shape, with stand-ins in the places of values.

    Args:
        build: takes the shape's parts, then the values by name, and returns a queryset of model instances or of
            `values_list` rows. It must use each value as it is (compare with it, not compute with it).
    """

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build
        self._shapes: dict[Hashable, _Shape] = {}

    def __call__(self, *shape: Hashable, **values: Value) -> Asked[T]:
        key = (shape, *((name, type(value)) for name, value in values.items()))
        found = self._shapes.get(key)
        if found is None:
            stand_ins = {name: _stand_in(value) for name, value in values.items()}
            found = self._shapes[key] = _Shape(self._build(*shape, **stand_ins), list(stand_ins.values()))
        if any(isinstance(value, int) and abs(value) > _MOST for value in values.values()):
            # No column holds it, and no row is found by it.
            return Asked(_nothing(found.model), ())
        return Asked(found, tuple(values.values()))


def _nothing(model: type[Model]) -> "_Shape":
    return _Shape(model._base_manager.none(), [])


def together(*asked: Asked[Any]) -> list[list[Any]]:
    """Send several in one round trip; return the rows of each, in their order."""
    wanted = [one for one in asked if one.shape.parts]
    answers = iter(_send(wanted) if wanted else [])
    return [next(answers) if one.shape.parts else [] for one in asked]


def _send(asked: Sequence[Asked[Any]]) -> list[list[Any]]:
    alias = router.db_for_read(asked[0].shape.model)
    connection = connections[alias]
    connection.ensure_connection()
    try:
        return _send_once(asked, connection)
    except BaseException as error:
        # Whatever stopped it: the connection may not have been told for whom it works, and may know less than was noted.
        _forget(connection)
        # What was prepared is gone, or its table has changed under it: it is prepared again.
        if connection.in_atomic_block or not isinstance(error.__cause__, _OUTDATED):
            raise
        return _send_once(asked, connection)


_OUTDATED = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.FeatureNotSupported)


def _send_once(asked: Sequence[Asked[Any]], connection: Any) -> list[list[Any]]:
    raw = connection.connection
    if settings.DATABASE_BEHIND_PGBOUNCER:
        # The next statement may find another server, which was told nothing of this one's.
        pieces = [one.shape.inline(raw, one.values) for one in asked]
    else:
        pieces = [piece for one in asked for piece in _executing(raw, one)]
    # For whom the connection works now goes along, where it doesn't know yet.
    telling = connection.telling()
    sql = Statement("; ".join([telling, *pieces] if telling else pieces))
    sql.told = "; ".join(one.shape.told for one in asked)
    found: list[list[Any]] = []
    with connection.cursor() as cursor:
        cursor.execute(sql)  # rule: raw-sql (made by the ORM; values are written by `_literal`)
        if telling:
            cursor.nextset()
        for one in asked:
            while cursor.statusmessage == "PREPARE":
                cursor.nextset()
            found.append(one.shape.objects(cursor.fetchall(), connection.alias))
            cursor.nextset()
    return found


def _executing(raw: Any, asked: Asked[Any]) -> Iterator[str]:
    """Yield what prepares the statement, unless this connection knows it, and what runs it."""
    known: dict[int, str] = raw.__dict__.setdefault("quokkaq_prepared", {})
    shape = asked.shape
    name = known.get(shape.number)
    if name is None:
        # Never a name twice: whether a statement that failed was prepared isn't known.
        name = f"quokkaq_{shape.number}_{next(_numbers)}"
        types = ", ".join(_TYPES[type(value)] for value in asked.values)
        yield f"PREPARE {name}{f' ({types})' if types else ''} AS {shape.numbered(raw)}"
        known[shape.number] = name
    values = ", ".join(_literal(raw, value) for value in asked.values)
    yield f"EXECUTE {name}{f'({values})' if values else ''}"


def _forget(connection: Any) -> None:
    connection.forget_told()
    if connection.connection is not None:
        connection.connection.__dict__.pop("quokkaq_prepared", None)


class _Shape:
    """The SQL of a queryset in pieces, and how objects are made of its rows."""

    def __init__(self, queryset: "QuerySet[Any]", stand_ins: Sequence[Value]) -> None:
        private: Any = queryset
        _require(not private._prefetch_related_lookups, "what is prefetched is asked for later: ask together instead")
        self.model: type[Model] = queryset.model
        self.number = next(_numbers)
        compiler = queryset.query.get_compiler(queryset.db)
        # Between the pieces of SQL stand the numbers of values; a constant is a piece, as a value of its own.
        self.parts: list[tuple[str, Any, int | None]] = []
        self.told = ""
        try:
            sql, params = compiler.as_sql()
        except EmptyResultSet:
            return
        self.told = sql
        self._parts(sql, params, stand_ins)
        expressions = [column[0] for column in compiler.select[: compiler.col_count]]
        self._convert = None
        converters = compiler.get_converters(expressions)
        if converters:
            self._convert = lambda rows: compiler.apply_converters(rows, converters)
        self._make = _maker(queryset, compiler)

    def _parts(self, sql: str, params: Sequence[Any], stand_ins: Sequence[Value]) -> None:
        left, at, text = iter(params), 0, ""
        used = set()
        for found in _PLACEHOLDER.finditer(sql):
            text += sql[at : found.start()]
            at = found.end()
            if found[1] == "%":
                text += "%"
                continue
            value = next(left)
            place = next((n for n, stand_in in enumerate(stand_ins) if _same(value, stand_in)), None)
            used.add(place)
            self.parts.append((text, value, place))
            text = ""
        self.parts.append((text + sql[at:], None, None))
        # An id may have no part in a shape (staff see what they see whoever they are); of all else something was made.
        lost = [value for n, value in enumerate(stand_ins) if n not in used and not isinstance(value, UUID)]
        _require(not lost, f"{len(lost)} values aren't in the SQL of {self.model.__name__} as they are")

    def numbered(self, raw: Any) -> str:
        """Return the SQL with `$1` and so on in the places of values."""
        return "".join(
            text + (f"${place + 1}" if place is not None else _literal(raw, value))
            for text, value, place in self.parts[:-1]
        ) + str(self.parts[-1][0])

    def inline(self, raw: Any, values: Sequence[Value]) -> str:
        """Return the SQL with the values in it."""
        return "".join(
            text + _literal(raw, value if place is None else values[place]) for text, value, place in self.parts[:-1]
        ) + str(self.parts[-1][0])

    def objects(self, rows: Any, alias: str) -> list[Any]:
        """Return what the queryset would have yielded for these rows."""
        if self._convert is not None:
            rows = self._convert(rows)
        return [self._make(row, alias) for row in rows]


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise TypeError(otherwise)


def _stand_in(value: Value) -> Value:
    """Return a value of the same type that stands nowhere else."""
    chance = uuid.uuid4()
    match value:
        case UUID():
            return chance
        case str():
            return f"stand-in-{chance.hex}"
        case datetime():
            return datetime(1900, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.int % 10**12)
        case int():
            return 10**9 + chance.int % 10**9
    raise TypeError(type(value))


def _same(value: Any, stand_in: Value) -> bool:
    return isinstance(value, type(stand_in)) and bool(value == stand_in)


def _literal(raw: Any, value: Any) -> str:
    """Return a value as SQL. The driver quotes; of what can hold no quote this is said here, which is faster."""
    match value:
        case UUID():
            return f"'{value.hex}'::uuid"
        case bool() | None:
            pass
        case int():
            return str(int(value))
        case datetime():
            return f"'{value.isoformat()}'::timestamptz"
    return Literal(value).as_string(raw)


# Making objects. Django's own way (`Model.__init__`, signals) takes ten times as long; none of our models has its own.

_Make = Callable[[Any, str], Any]


def _maker(queryset: "QuerySet[Any]", compiler: Any) -> _Make:
    private: Any = queryset
    iterable = private._iterable_class
    if iterable is ValuesListIterable:
        return lambda row, alias: tuple(row)
    if iterable is FlatValuesListIterable:
        return lambda row, alias: row[0]
    _require(iterable is ModelIterable, f"{iterable.__name__} isn't known here")
    make = _instances(compiler.klass_info, compiler.select)
    annotations = list((compiler.annotation_col_map or {}).items())
    if not annotations:
        return make

    def annotated(row: Any, alias: str) -> Any:
        made = make(row, alias)
        for name, place in annotations:
            made.__dict__[name] = row[place]
        return made

    return annotated


def _instances(info: Any, select: Any) -> _Make:
    model: type[Model] = info["model"]
    own: Any = model
    _require(
        own.__init__ is Model.__init__ and own.from_db.__func__ is Model.from_db.__func__,  # type: ignore[attr-defined]
        f"{model.__name__} makes its objects in a way of its own",
    )
    columns = info["select_fields"]
    start, end = columns[0], columns[-1] + 1
    _require(list(columns) == list(range(start, end)), f"the columns of {model.__name__} don't stand together")
    names = [column[0].target.attname for column in select[start:end]]
    key = start + names.index(model._meta.pk.attname)
    joined = [(_instances(one, select), one["local_setter"]) for one in info.get("related_klass_infos", [])]

    def make(row: Any, alias: str) -> Any:
        if row[key] is None:
            return None
        made = model.__new__(model)
        made.__dict__.update(zip(names, row[start:end], strict=True))
        state = ModelState()
        state.adding, state.db = False, alias
        made._state = state
        for of, setter in joined:
            setter(made, of(row, alias))
        return made

    return make
