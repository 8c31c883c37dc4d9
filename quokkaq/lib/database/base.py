"""PostgreSQL whose row-level security follows `quokkaq.lib.tenancy`.

The scope in force is written to the connection before the first statement under it, in one round trip, and again only
when it changes. A connection that comes from the pool is told nobody, whatever it was told before, and then anew.
Behind PgBouncer in transaction mode, where the next statement may find another server, each statement outside a transaction
is sent in one with its scope.
"""

from datetime import UTC
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base
from psycopg import adapters
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format, TransactionStatus
from psycopg.sql import Literal
from psycopg_pool import ConnectionPool

from quokkaq.lib import tenancy
from quokkaq.lib.database.pool import SET, forget
from quokkaq.lib.database.watching import watch
from quokkaq.lib.metrics.database import count_error

# What a connection was told last: nothing anybody knows of.
_UNKNOWN = object()


# Their stubs leave out what is overridden and used here.
_Django: Any = base.DatabaseWrapper
_ServerSideCursor: Any = base.ServerSideCursor


class DatabaseWrapper(_Django):  # type: ignore[misc]
    _told: Any = _UNKNOWN

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute_wrappers.append(watch)

    @property
    def pool(self) -> Any:
        """Return the pool of this alias, as Django makes it but for what it does with a connection it gives out."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if options and self.alias not in self._connection_pools:
            made = ConnectionPool(
                kwargs={**self.get_connection_params(), "autocommit": True},
                open=False, configure=self._configure_connection, check=forget, **options,
            )  # fmt: skip
            self._connection_pools.setdefault(self.alias, made)
        return super().pool

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        if self.timezone == UTC:
            params["context"] = _reading_times_fast(params["context"])
        if settings.DATABASE_BEHIND_PGBOUNCER:
            params["cursor_factory"] = _in_transactions(params["cursor_factory"])
        return params

    def get_new_connection(self, params: dict[str, Any]) -> Any:
        self._told = _UNKNOWN
        try:
            return super().get_new_connection(params)
        except Exception as error:
            count_error(error)
            raise

    def create_cursor(self, name: str | None = None) -> Any:
        if self.timezone != UTC:
            return super().create_cursor(name)
        # As Django makes it, but for looking whether times are read in the wanted zone (`_reading_times_fast`).
        if name:
            return _ServerSideCursor(self.connection, name, scrollable=False, withhold=self.connection.autocommit)
        return self.connection.cursor()

    def _cursor(self, name: str | None = None) -> Any:
        if self.connection is None:
            self.ensure_connection()
        self._tell()
        return super()._cursor(name)

    def _tell(self) -> None:
        """Write the scope in force to the connection, unless it knows."""
        wanted = tenancy.current()
        if wanted == self._told or self.needs_rollback:
            return
        if settings.DATABASE_BEHIND_PGBOUNCER and self.connection.autocommit:
            return  # each statement brings its own
        if self.connection.info.transaction_status == TransactionStatus.INERROR:
            return  # nothing but a rollback is taken now
        with self.wrap_database_errors, self.connection.cursor() as cursor:
            # rule: raw-sql (a constant, or what others send passes through)
            cursor.execute(*statement(wanted, local=settings.DATABASE_BEHIND_PGBOUNCER))
        self._told = wanted

    def telling(self) -> str:
        """Return the SQL that `_tell` would send now, to be sent before another statement; empty when there is none.

        It counts as sent: who doesn't send it, or fails to, calls `forget_told()`.
        """
        wanted = tenancy.current()
        if wanted == self._told or self.needs_rollback or settings.DATABASE_BEHIND_PGBOUNCER:
            return ""
        if self.connection.info.transaction_status == TransactionStatus.INERROR:
            return ""
        sql, values = statement(wanted, local=False)
        self._told = wanted
        return sql % tuple(Literal(value).as_string(self.connection) for value in values)

    def forget_told(self) -> None:
        self._told = _UNKNOWN

    # A rollback takes back what was told since the transaction, or the savepoint, began.

    def _rollback(self) -> Any:
        self._told = _UNKNOWN
        return super()._rollback()

    def _savepoint_rollback(self, sid: str) -> None:
        super()._savepoint_rollback(sid)
        self._told = _UNKNOWN

    def _commit(self) -> Any:
        if settings.DATABASE_BEHIND_PGBOUNCER:
            self._told = _UNKNOWN
        return super()._commit()

    def _set_autocommit(self, autocommit: bool) -> None:
        if settings.DATABASE_BEHIND_PGBOUNCER:
            self._told = _UNKNOWN
        super()._set_autocommit(autocommit)


@lru_cache
def _reading_times_fast(of: AdaptersMap) -> AdaptersMap:
    """Return Django's adapters with the driver's own way to read times, which is in C, in the place of Django's.

    Django's is Python; it only puts the time zone of its settings in the place of the connection's, and both are UTC here.
    """
    made, drivers = AdaptersMap(of), adapters.get_loader(adapters.types["timestamptz"].oid, Format.TEXT)
    if drivers is not None:
        made.register_loader("timestamptz", drivers)
    return made


def statement(scope: tenancy.Scope | None, *, local: bool) -> tuple[str, list[str]]:
    """Return the SQL that tells a connection for whom it works, with its parameters.

    Args:
        local: for the transaction only.
    """
    entered = scope or tenancy.NOBODY
    sql = f"SELECT {SET.format(local=str(local).lower())}"
    values = [str(entered.institution or ""), str(entered.person or ""), entered.session]
    if settings.DATABASE_ASSUME_ROLE:
        # Tests prepare and look as the owner; what runs in a scope runs as the web server does.
        sql += f", set_config('role', %s, {str(local).lower()})"
        values.append(settings.DATABASE_ASSUME_ROLE if scope and scope.institution != tenancy.EVERY else "none")
    return sql, values


def _in_transactions(cursor_class: type[Any]) -> type[Any]:
    """Return a cursor that sends a statement outside a transaction in one of its own, with the scope before it."""

    class Cursor(cursor_class):  # type: ignore[misc]  # made at run time
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            if not self.connection.autocommit or self.connection.info.transaction_status:
                # rule: raw-sql (a constant, or what others send passes through)
                return super().execute(*args, **kwargs)
            with self.connection.transaction():
                # rule: raw-sql (a constant, or what others send passes through)
                super().execute(*statement(tenancy.current(), local=True))
                # rule: raw-sql (a constant, or what others send passes through)
                return super().execute(*args, **kwargs)

        def executemany(self, *args: Any, **kwargs: Any) -> Any:
            if not self.connection.autocommit or self.connection.info.transaction_status:
                # rule: raw-sql (a constant, or what others send passes through)
                return super().executemany(*args, **kwargs)
            with self.connection.transaction():
                # rule: raw-sql (a constant, or what others send passes through)
                super().execute(*statement(tenancy.current(), local=True))
                # rule: raw-sql (a constant, or what others send passes through)
                return super().executemany(*args, **kwargs)

    return Cursor
