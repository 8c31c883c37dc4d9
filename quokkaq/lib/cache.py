"""Redis as a cache that may go away: an error is a miss, never a failed page. What is found and what isn't is counted."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache

from quokkaq.lib.metrics.definitions import CACHE_OPERATIONS

log = logging.getLogger(__name__)


# Told from everything that may be kept.
_NOTHING = object()
_FAILED = object()


def _count(found: bool) -> None:
    CACHE_OPERATIONS.inc("hit" if found else "miss")


class LocalCache(LocMemCache):
    """Django's cache in the memory of one process."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        value = super().get(key, _NOTHING, version)
        _count(value is not _NOTHING)
        return default if value is _NOTHING else value


# Keys of which this process couldn't write or delete the value, so that Redis may hold an old one.
_owed: dict[tuple[str, int | None], None] = {}
MOST_OWED = 10_000


def _owe(keys: Iterable[Any], version: int | None) -> None:
    for key in keys:
        _owed[str(key), version] = None
    while len(_owed) > MOST_OWED:
        with suppress(StopIteration, KeyError):
            del _owed[next(iter(_owed))]


class ForgivingRedisCache(RedisCache):
    """Django's Redis cache with every error turned into a miss (time-outs are set in `OPTIONS`).

    What couldn't be written or deleted while Redis was away is deleted before this process asks it for anything again.
    """

    def _or(self, fallback: Any, call: Callable[[], Any]) -> Any:
        try:
            self._pay()
            return call()
        except (redis.RedisError, OSError) as error:
            log.warning("cache unavailable: %s", error)
            CACHE_OPERATIONS.inc("error")
            return fallback

    def _pay(self) -> None:
        for key, version in list(_owed):
            super().delete(key, version)
            _owed.pop((key, version), None)

    def add(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).add(*args, **kwargs)))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        value = self._or(_FAILED, lambda: super(ForgivingRedisCache, self).get(key, _NOTHING, version))
        if value is not _FAILED:
            _count(value is not _NOTHING)
        return default if value is _NOTHING or value is _FAILED else value

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        if self._or(_FAILED, lambda: super(ForgivingRedisCache, self).set(key, value, timeout, version)) is _FAILED:
            _owe([key], version)

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).touch(*args, **kwargs)))

    def delete(self, key: Any, version: int | None = None) -> bool:
        deleted = self._or(_FAILED, lambda: super(ForgivingRedisCache, self).delete(key, version))
        if deleted is _FAILED:
            _owe([key], version)
            return False
        return bool(deleted)

    def get_many(self, keys: Any, version: int | None = None) -> dict[Any, Any]:
        keys = list(keys)
        found = self._or(None, lambda: super(ForgivingRedisCache, self).get_many(keys, version))
        if found is None:
            return {}
        for key in keys:
            _count(key in found)
        return dict(found)

    def set_many(self, data: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> list[Any]:
        left = self._or(_FAILED, lambda: super(ForgivingRedisCache, self).set_many(data, timeout, version))
        if left is _FAILED:
            _owe(data, version)
            return list(data)
        return list(left)

    def has_key(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).has_key(*args, **kwargs)))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return int(self._or(0, lambda: super(ForgivingRedisCache, self).incr(key, delta, version)))
