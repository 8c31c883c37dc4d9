"""Sessions in the database, read from the cache."""

from django.contrib.sessions.backends import cached_db

from quokkaq.lib.sessions import Walled


class SessionStore(cached_db.SessionStore, Walled):
    """Written through; what the cache has lost is found in the database."""
