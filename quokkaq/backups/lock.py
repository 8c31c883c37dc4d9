"""One backup of a kind at a time, whoever makes it, on whichever machine."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from quokkaq.backups.places import Kind

# Keys of advisory locks in PostgreSQL; the first number is ours.
_SPACE = 0x71756F6B
_KEYS: dict[Kind, int] = {"database": 1, "media": 2}


class Busy(Exception):
    """Another process is making a backup of this kind."""


@contextmanager
def only_one(kind: Kind) -> Iterator[None]:
    """Hold the lock inside the block, on a connection of its own; raise `Busy` when another has it.

    The database lets go of it when this process dies.
    """
    holder = connection.copy("default")
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_SPACE, _KEYS[kind]])
            if not cursor.fetchone()[0]:
                raise Busy(f"Another process is making a backup of kind {kind}. It goes on; wait for it.")
        yield
    finally:
        holder.close()
