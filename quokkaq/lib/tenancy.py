"""For which institution, and for whom, this thread (or task) is at work.

What is set here reaches the database with the next statement (`quokkaq.lib.database`): its row-level security shows
the rows of that institution and no others, whatever a query asks for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from django.db import connection

EVERY: Literal["*"] = "*"


@dataclass(frozen=True)
class Scope:
    """What row-level security lets through: the rows of one institution, the person's own row and their own session.

    `None` and empty let nothing through. `EVERY` institution is honoured for the owner of the tables only: migrations,
    backups and commands, never a web process.
    """

    institution: UUID | Literal["*"] | None = None
    person: UUID | None = None
    session: str = ""


NOBODY = Scope()
_current: ContextVar[Scope | None] = ContextVar("scope", default=None)


def current() -> Scope | None:
    """Return the scope in force; None where none was entered, which lets nothing through either."""
    return _current.get()


def institution() -> UUID | None:
    """Return the one institution this works for; None for none, and for all of them."""
    entered = _current.get()
    return entered.institution if entered and isinstance(entered.institution, UUID) else None


@contextmanager
def scope(of: UUID | Literal["*"] | None, person: UUID | None = None, session: str = "") -> Iterator[None]:
    """Work for one institution inside the block."""
    with within(Scope(of, person, session)):
        yield


@contextmanager
def within(entered: Scope | None) -> Iterator[None]:
    """Work in a scope that was made before."""
    token = _current.set(entered)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def session(key: str) -> Iterator[None]:
    """Let the row of one session through inside the block, and all that was let through before."""
    with within(replace(_current.get() or NOBODY, session=key)):
        yield


def institutions() -> list[UUID]:
    """Return the keys of all institutions. Of what belongs to them this tells nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT quokkaq_institutions()")
        return [row[0] for row in cursor.fetchall()]


def reach(what: str, value: str) -> UUID | None:
    """Return the institution of the row that `value` leads to, before anybody is signed in; None when there is none.

    Args:
        what: the look-up, one that a migration made with `Reach`.
    """
    with connection.cursor() as cursor:
        # rule: raw-sql (the name of a look-up that a migration made, quoted)
        cursor.callproc(f"quokkaq_reach_{what}", [value])
        found: UUID | None = cursor.fetchone()[0]
    return found
