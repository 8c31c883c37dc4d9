"""Sessions in the database, read from the cache."""

from typing import Any

from django.contrib.sessions.backends import cached_db

from quokkaq.lib.sessions import Walled

# For so long the cache is believed; then the database is asked. It bounds how long a session that ended while Redis was away
# could go on, should the process that ended it be gone before it could tell Redis (`quokkaq.lib.cache`).
BELIEVED_SECONDS = 30


class SessionStore(cached_db.SessionStore, Walled):
    """Written through; what the cache has lost is found in the database."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._cache: Any = _Briefly(self._cache)


class _Briefly:
    """A cache that keeps what it is given for `BELIEVED_SECONDS` at most."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def __contains__(self, key: str) -> bool:
        return key in self._cache

    def set(self, key: str, value: Any, timeout: float | None = None) -> None:
        self._cache.set(key, value, BELIEVED_SECONDS if timeout is None else min(timeout, BELIEVED_SECONDS))
