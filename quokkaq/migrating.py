"""What lets `manage.py migrate` run beside a site that is in use, and from several hosts at once.

One of them works at a time (a lock of the session, which goes with it however it ends). A lock on a table is waited for
shortly, since whatever comes after us has to wait behind us; then again after a pause. A migration and the note that it
was done are one transaction, so that a killed run is taken up where it stood.
"""

import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, OperationalError, transaction
from django.db.migrations import AddConstraint, AddIndex, RemoveConstraint, RemoveIndex
from django.db.migrations.executor import MigrationExecutor

# Seconds between tries.
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)
# How often it is said who is waited for, in seconds.
SAY_EVERY = 30.0
# lock_not_available, deadlock_detected
_LOCKED = ("55P03", "40P01")

# What changes a model's options, and none of its fields.
_OPTIONS = (AddIndex, RemoveIndex, AddConstraint, RemoveConstraint)

Say = Callable[[str], None]


class Executor(MigrationExecutor):
    """Notes that a migration was done, or taken back, in the same transaction; and makes no model anew for an index.

    Django notes it in one of its own afterwards wherever statements were put off to the end: killed in between, the next
    run would make everything a second time.
    """

    def apply_migration(self, state: Any, migration: Any, *args: Any, **kwargs: Any) -> Any:
        with self._whole(migration), _sparing(migration):
            return super().apply_migration(state, migration, *args, **kwargs)

    def unapply_migration(self, state: Any, migration: Any, *args: Any, **kwargs: Any) -> Any:
        with self._whole(migration):
            return super().unapply_migration(state, migration, *args, **kwargs)

    @contextmanager
    def _whole(self, migration: Any) -> Iterator[None]:
        if not migration.atomic:
            yield
            return
        with transaction.atomic(using=self.connection.alias):
            yield


@contextmanager
def _sparing(migration: Any) -> Iterator[None]:
    """Have indexes and constraints change what is known of a model in place, inside the block.

    Django makes the classes of the model, and of all that point to it, anew for each: half the time of a migration from
    nothing. They have the same fields and relations as before.
    """
    changed: list[Any] = [operation for operation in migration.operations if isinstance(operation, _OPTIONS)]
    for operation in changed:
        operation.state_forwards = partial(_in_place, operation)
    try:
        yield
    finally:
        for operation in changed:
            del operation.state_forwards


def _in_place(operation: Any, app_label: str, state: Any) -> None:
    models = state.__dict__.pop("apps", None)  # without them, nothing is made anew
    type(operation).state_forwards(operation, app_label, state)
    if models is None:
        return
    state.__dict__["apps"] = models
    options = state.models[app_label, operation.model_name_lower].options
    known = models.get_model(app_label, operation.model_name)._meta
    known.indexes, known.constraints = list(options.get("indexes", [])), list(options.get("constraints", []))


@contextmanager
def at_work(connection: Any, say: Say) -> Iterator[None]:
    """Work on the schema inside the block, alone, with time-outs fit for it. Raises `CommandError` behind a pooler."""
    _refuse_pooler(connection)
    limits = {
        "lock_timeout": settings.MIGRATE_LOCK_TIMEOUT_MS,
        # Indexes of large tables are built for hours, and Python may be busy between two statements.
        "statement_timeout": 0,
        "idle_in_transaction_session_timeout": 0,
        # A host that is gone is noticed within a minute, and its turn ends.
        "tcp_keepalives_idle": 30,
        "tcp_keepalives_interval": 10,
        "tcp_keepalives_count": 3,
    }
    with connection.cursor() as cursor:
        for name, value in limits.items():
            cursor.execute("SELECT set_config(%s, %s, false)", [name, str(value)])
        _wait_for_turn(cursor, say)
    try:
        yield
    finally:
        # A connection that broke has lost all of this anyway.
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('quokkaq.migrate'))")
            for name in limits:
                # rule: raw-sql (one of the names above)
                cursor.execute(f"RESET {name}")


def _refuse_pooler(connection: Any) -> None:
    """Refuse to work through PgBouncer: locks and time-outs of a session hold for one server process, which it swaps."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (process,) = cursor.fetchone()
    # A pooler makes up the number by which it is told to cancel a statement.
    if process != connection.connection.info.backend_pid:
        raise CommandError(
            "This connection goes through a pooler (PgBouncer). Migrations need the server itself: set OWNER_DATABASE_URL "
            "to its own address and port."
        )


def _wait_for_turn(cursor: Any, say: Say) -> None:
    """Wait until nobody else migrates this database.

    By asking again and again: a statement that waited for the lock would itself be waited for by whoever builds an
    index concurrently.
    """
    said = 0.0
    while True:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('quokkaq.migrate'))")
        if cursor.fetchone()[0]:
            if said:
                say("It is done: this one's turn.")
            return
        if not said or time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            cursor.execute(
                "SELECT l.pid, host(a.client_addr), extract(epoch FROM clock_timestamp() - a.backend_start)::int"
                " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted"
                " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND l.objsubid = 1 AND l.objid = (hashtext('quokkaq.migrate')::bigint & 4294967295)::oid"
            )
            found = cursor.fetchone()
            who = f": {_process(found[0], found[2])}, from {found[1] or platform.node()}" if found else ""
            say(f"Another migrate is at work on this database{who}. Waiting for it to end.")
        time.sleep(0.5)


def patiently(connection: Any, run: Callable[[], Any], *, say: Say, doing: Callable[[], str]) -> Any:
    """Return `run()`, tried again after a pause whenever a lock couldn't be had. Raises `CommandError` in the end.

    Args:
        run: goes on where it stood when it is called again.
        doing: says what is being done.
    """
    for attempt, pause in enumerate((*PAUSES, None), 1):
        with Watcher(connection, say) as watcher:
            try:
                return run()
            except OperationalError as error:
                if getattr(error.__cause__, "sqlstate", "") not in _LOCKED or connection.in_atomic_block:
                    raise
                sentence = (
                    f"{doing()}: a lock couldn't be had within {settings.MIGRATE_LOCK_TIMEOUT_MS} ms "
                    f"(try {attempt} of {len(PAUSES) + 1}). In the way: {watcher.blockers or 'nobody any more'}."
                )
                if pause is None:
                    raise CommandError(
                        f"{sentence} Given up. What was done before it stays; nothing is half done. Wait until that "
                        "process is done, or end it (SELECT pg_terminate_backend(NUMBER)), and run migrate again."
                    ) from error
        say(f"{sentence} Trying again in {pause:g} s.")
        time.sleep(pause)
    raise AssertionError  # the last try returns or raises


class Watcher(threading.Thread):
    """Looks, from a connection of its own, at who keeps a session waiting; never at what they ask."""

    def __init__(self, connection: Any, say: Say) -> None:
        super().__init__(daemon=True)
        connection.ensure_connection()
        parameters = connection.get_connection_params()
        self._parameters = {name: parameters[name] for name in parameters.keys() - {"cursor_factory", "context"}}
        self._waiting = connection.connection.info.backend_pid
        self._over = threading.Event()
        self._say = say
        self.blockers = ""

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        # Who can't be watched is waited for all the same.
        with suppress(psycopg.Error), psycopg.connect(**self._parameters, autocommit=True) as connection:
            since = said = time.monotonic()
            while not self._over.wait(0.25):
                rows = connection.execute(
                    "SELECT of.pid, extract(epoch FROM clock_timestamp() - a.xact_start)::int, a.state"
                    " FROM unnest(pg_blocking_pids(%s)) AS of (pid) LEFT JOIN pg_stat_activity a ON a.pid = of.pid",
                    [self._waiting],
                ).fetchall()
                if not rows:
                    since = said = time.monotonic()
                    continue
                self.blockers = "; ".join(_process(*row) for row in rows)
                # Only what disturbs nobody waits for so long: an index that is built concurrently.
                if time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    self._say(f"Waiting for {said - since:.0f} s, for {self.blockers}.")


def _process(pid: int, seconds: int | None = None, state: str | None = None) -> str:
    """Name a process of the server: `process 4711 (idle in transaction, for 42 s)`."""
    if not pid:
        return "a prepared transaction"
    known = [state] if state else []
    known += [f"for {seconds} s"] if seconds is not None else []
    return f"process {pid} ({', '.join(known) or 'whose times this account may not see'})"
