"""Reading within a time limit, where no answer is better than a late one."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def hurried(milliseconds: int) -> Iterator[None]:
    """Let no statement inside take longer, else it raises `OperationalError`. Nothing may be written inside."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
        yield
        # Nothing was written, so a rollback loses nothing; it takes the limit back where a longer transaction goes on.
        transaction.set_rollback(True)
