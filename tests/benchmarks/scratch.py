"""A database of its own for a benchmark, beside the others, dropped at the end."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def scratch_database() -> Iterator[None]:
    """Set Django up on a new, migrated database."""
    os.environ.setdefault("QUOKKAQ_MODE", "test")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    from django.db import connection

    was = connection.settings_dict["NAME"]
    # Not the name that tests use, which may run beside.
    connection.settings_dict["TEST"]["NAME"] = f"benchmark_{os.getpid()}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(was, verbosity=0)


def percentile(times: list[float], share: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
