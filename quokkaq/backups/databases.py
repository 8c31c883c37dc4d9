"""Databases that backups are restored into: reached as the owner, made, filled, compared, dropped."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

import environ
import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from quokkaq.backups.manifest import Manifest, differences, tables

Say = Callable[[str], None]

# What row-level security, and the digests, are read under: every row, and times as a backup wrote them down.
OPTIONS = "-c quokkaq.institution=* -c TimeZone=UTC -c DateStyle=ISO -c statement_timeout=0 -c lock_timeout=0"
_STAMP = "%Y%m%d%H%M%S"
# The name of a database may have so many bytes.
_LONGEST = 63
_PASSED_ON = ("sslmode", "sslrootcert", "sslcert", "sslkey")
_SQLSTATE_ROLE_THERE = ("23505", "42710")


class RestoreError(Exception):
    """A backup couldn't be restored; the message says what stood in the way, without what people wrote."""


@dataclass(frozen=True)
class Database:
    """One database of a server, and how its owner signs in."""

    name: str
    user: str
    host: str
    port: str
    password: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def live(cls) -> "Database":
        """Return the database this process works on."""
        owner = settings.DATABASE_OWNER
        found = connection.settings_dict["OPTIONS"]
        return cls(
            str(connection.settings_dict["NAME"]), owner["USER"], owner["HOST"], str(owner["PORT"] or ""), owner["PASSWORD"],
            {name: str(found[name]) for name in _PASSED_ON if name in found},
        )  # fmt: skip

    @classmethod
    def at(cls, url: str) -> "Database":
        """Return the database an address names. Raises `RestoreError`."""
        try:
            read = environ.Env.db_url_config(url)
        except Exception as error:  # what it raises depends on what is wrong, and may show the password
            raise RestoreError("The address of the database can't be read.") from error
        if not read.get("NAME") or "postgres" not in str(read.get("ENGINE", "")):
            raise RestoreError("The address names no PostgreSQL database: postgres://USER:PASSWORD@HOST:5432/NAME")
        options = {name: str(value) for name, value in read.get("OPTIONS", {}).items() if name in _PASSED_ON}
        return cls(
            read["NAME"], read["USER"], unquote(read["HOST"]), str(read["PORT"] or ""), read["PASSWORD"], options
        )

    def named(self, name: str) -> "Database":
        return replace(self, name=name)

    def url(self, *, web: bool = False) -> str:
        """Return its address, for the owner or for the web role."""
        user, password = self.user, self.password
        if web and settings.DATABASE_WEB_ROLE and not settings.TESTING:
            user, password = settings.DATABASE_WEB_ROLE, settings.DATABASE_WEB_PASSWORD
        secret = f":{quote(password, safe='')}" if password else ""
        port = f":{self.port}" if self.port else ""
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"postgres://{quote(user, safe='')}{secret}@{quote(self.host, safe='')}{port}/{self.name}{query}"

    @contextmanager
    def connect(self, name: str = "") -> Iterator["psycopg.Connection[Any]"]:
        """Work as its owner over a connection of its own, each statement by itself. Raises `RestoreError` when it can't."""
        known = {"host": self.host, "port": self.port, "user": self.user, "password": self.password, **self.options}
        address = make_conninfo(
            dbname=name or self.name, options=OPTIONS, **{key: value for key, value in known.items() if value}
        )
        try:
            opened = psycopg.connect(address, autocommit=True, connect_timeout=10)
        except psycopg.Error as error:
            raise RestoreError(f"The database server can't be reached ({type(error).__name__}).") from error
        with opened:
            yield opened

    def environment(self) -> dict[str, str]:
        """Return the variables by which PostgreSQL's programs reach it: nothing of it stands in their arguments."""
        known = {
            "PGHOST": self.host, "PGPORT": self.port, "PGUSER": self.user, "PGPASSWORD": self.password,
            "PGDATABASE": self.name, "PGOPTIONS": OPTIONS, "PGCONNECT_TIMEOUT": "10",
            **{f"PG{name.upper()}": value for name, value in self.options.items()},
        }  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "LC_ALL": "C.UTF-8", **{name: value for name, value in known.items() if value}}


def _execute(database: Database, statement: str, *names: str, values: Sequence[Any] = ()) -> list[Any]:
    """Run a statement with names in its braces over the server's own database; return its rows."""
    with database.connect("postgres") as link:
        # rule: raw-sql (names of databases and roles, quoted)
        cursor = link.execute(sql.SQL(statement).format(*map(sql.Identifier, names)), values)
        return cursor.fetchall() if cursor.description else []


def exists(database: Database) -> bool:
    return bool(_execute(database, "SELECT 1 FROM pg_database WHERE datname = %s", values=[database.name]))


def create(database: Database) -> None:
    """Make it, empty, and the role that what is restored gives rights to. Raises `RestoreError`."""
    try:
        _execute(database, "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", database.name)
        role = settings.DATABASE_WEB_ROLE
        if role and role != database.user:
            _ensure_role(database, role)
    except psycopg.Error as error:
        raise RestoreError(
            f"The database {database.name} can't be made (SQLSTATE {error.sqlstate}): may its owner make databases?"
        ) from error


def _ensure_role(database: Database, role: str) -> None:
    if _execute(database, "SELECT 1 FROM pg_roles WHERE rolname = %s", values=[role]):
        return
    made = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE").format(sql.Identifier(role))
    if settings.DATABASE_WEB_PASSWORD:
        made += sql.SQL(" PASSWORD {}").format(sql.Literal(settings.DATABASE_WEB_PASSWORD))
    try:
        with database.connect("postgres") as link:
            # rule: raw-sql (the name of a role of ours, quoted)
            link.execute(made)
    except psycopg.Error as error:
        if error.sqlstate not in _SQLSTATE_ROLE_THERE:
            raise


def drop(database: Database) -> None:
    """Remove it, whoever is connected. Nothing happens when there is none."""
    _execute(database, "DROP DATABASE IF EXISTS {} WITH (FORCE)", database.name)


def rename(database: Database, name: str) -> None:
    _execute(database, "ALTER DATABASE {} RENAME TO {}", database.name, name)


def sessions(database: Database) -> list[str]:
    """Return the roles of who is connected to it."""
    query = (
        "SELECT usename FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' ORDER BY usename"
    )
    return [str(row[0]) for row in _execute(database, query, values=[database.name])]


def end_sessions(database: Database) -> None:
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    _execute(database, query, values=[database.name])


# Scratch databases, named after the one they are a copy of and when they were made


def scratch(live: Database, now: datetime | None = None) -> Database:
    """Return the scratch database of a drill that begins now, beside the live one or at RESTORE_DRILL_DATABASE_URL.

    Raises `RestoreError` when it would be a database that is in use.
    """
    server = Database.at(settings.RESTORE_DRILL_DATABASE_URL) if settings.RESTORE_DRILL_DATABASE_URL else live
    found = server.named(f"{_prefix(live)}{(now or datetime.now(UTC)):{_STAMP}}")
    configured = {str(one.get("NAME", "")) for one in settings.DATABASES.values()} | {live.name}
    if found.name in configured:
        raise RestoreError(f"{found.name} is a database that is in use.")
    return found


def sweep(live: Database, *, older_than: timedelta = timedelta(days=1)) -> list[str]:
    """Drop the scratch databases of drills that died; return their names."""
    server = Database.at(settings.RESTORE_DRILL_DATABASE_URL) if settings.RESTORE_DRILL_DATABASE_URL else live
    pattern = re.compile(re.escape(_prefix(live)) + r"(\d{14})")
    gone = []
    for (name,) in _execute(server, "SELECT datname FROM pg_database"):
        found = pattern.fullmatch(name)
        if not found:
            continue
        try:
            made = datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC)
        except ValueError:
            continue
        if datetime.now(UTC) - made > older_than:
            drop(server.named(name))
            gone.append(name)
    return gone


def _prefix(live: Database) -> str:
    return f"{live.name[: _LONGEST - 21]}_drill_"


# Filling and comparing


def restore(dump: Path, target: Database) -> None:
    """Read a dump (custom format) into an empty database, with as many jobs as there are processors, four at most.

    Raises `RestoreError`.
    """
    program = settings.DBBACKUP_CONNECTORS["default"]["RESTORE_CMD"]
    command = [
        program, "--no-owner", "--exit-on-error", f"--jobs={max(1, min(4, os.cpu_count() or 1))}",
        "--dbname", target.name, str(dump),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, env=target.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise RestoreError(f"{program} can't be run ({error.strerror}). Is PG_RESTORE right?") from error
    if done.returncode:
        raise RestoreError(f"pg_restore: {said(done.stderr)}")


def said(output: str) -> str:
    """Return what a program of PostgreSQL complained of first, without the row it was at."""
    lines = [line.partition("error: ")[2] for line in output.splitlines() if "error: " in line]
    return (lines or ["it ended without a word"])[0]


def compare(target: Database, manifest: Manifest) -> tuple[int, list[str]]:
    """Return how many rows there are, and a sentence for each table that isn't as the manifest says."""
    try:
        with target.connect() as link, link.cursor() as cursor:
            found = tables(cursor)
    except psycopg.Error as error:
        raise RestoreError(f"What was restored can't be read (SQLSTATE {error.sqlstate}).") from error
    return sum(table.rows for table in found.values()), differences(manifest.tables, found)
