"""Work as who owns the tables."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connections

from quokkaq.lib import tenancy


@contextmanager
def as_owner(alias: str = "default") -> Iterator[None]:
    """Work as the owner of the tables inside the block, on a connection of its own, and for every institution."""
    connection = connections[alias]
    before = connection.settings_dict
    connection.close()
    options = {**before["OPTIONS"], "pool": False}
    connection.settings_dict = {**before, **settings.DATABASE_OWNER, "OPTIONS": options}
    try:
        with tenancy.scope(tenancy.EVERY):
            yield
    finally:
        connection.close()
        connection.settings_dict = before
