"""Change what only takes new rows: for tests that turn back time, or put somebody in another's place."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

TABLES = ("accounts_auditevent", "accounts_consent")
# Emptying the database after a test that commits is one TRUNCATE of all tables.
_TRUNCATE = {"accounts_auditevent": "accounts_audit_no_truncate", "accounts_consent": "accounts_consent_no_truncate"}


def let_be_emptied() -> None:
    """Let tests empty the tables; that nobody else may is tested with the rule on."""
    with connection.cursor() as cursor:
        for table, trigger in _TRUNCATE.items():
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")


@contextmanager
def changeable() -> Iterator[None]:
    """Let rows be changed and deleted inside the block."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        let_be_emptied()
