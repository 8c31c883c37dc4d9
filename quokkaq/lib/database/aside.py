"""A connection beside the pool, for looks that must not wait for it, nor for a server that says nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections

# A server that can't be reached any more is given up after these, and a statement after the last.
LIMITS = {
    "connect_timeout": 1, "tcp_user_timeout": 5000, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
}  # fmt: skip
STATEMENT_TIMEOUT_MS = 1000


@contextmanager
def connect_aside(alias: str = "default") -> Iterator[psycopg.Connection[Any]]:
    """Connect as the web server does, for one transaction, in the scope of no institution."""
    parameters = connections[alias].get_connection_params()
    for name in ("pool", "cursor_factory", "context", "prepare_threshold", "options"):
        parameters.pop(name, None)
    with psycopg.connect(**{**parameters, **LIMITS}, prepare_threshold=None) as connection:
        connection.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)])
        if settings.DATABASE_ASSUME_ROLE:
            connection.execute("SELECT set_config('role', %s, true)", [settings.DATABASE_ASSUME_ROLE])
        yield connection
