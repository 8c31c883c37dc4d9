"""Reading within a time limit, where no answer is better than a late one."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections, transaction

from quokkaq.lib import replica


@contextmanager
def hurried(milliseconds: int) -> Iterator[None]:
    """Let no statement inside take longer, else it raises `OperationalError`. Nothing may be written inside."""
    alias = replica.reading()
    with transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
        yield
        # Nothing was written, so a rollback loses nothing; it takes the limit back where a longer transaction goes on.
        transaction.set_rollback(True, using=alias)
