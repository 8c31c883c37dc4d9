"""Redis as a cache that may go away: an error is a miss, never a failed page. What is found and what isn't is counted."""

import logging
from collections.abc import Callable
from typing import Any

import redis
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


class ForgivingRedisCache(RedisCache):
    """Django's Redis cache with every error turned into a miss (time-outs are set in `OPTIONS`)."""

    def _or(self, fallback: Any, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (redis.RedisError, OSError) as error:
            log.warning("cache unavailable: %s", error)
            CACHE_OPERATIONS.inc("error")
            return fallback

    def add(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).add(*args, **kwargs)))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        value = self._or(_FAILED, lambda: super(ForgivingRedisCache, self).get(key, _NOTHING, version))
        if value is not _FAILED:
            _count(value is not _NOTHING)
        return default if value is _NOTHING or value is _FAILED else value

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._or(None, lambda: super(ForgivingRedisCache, self).set(*args, **kwargs))

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).touch(*args, **kwargs)))

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).delete(*args, **kwargs)))

    def get_many(self, keys: Any, version: int | None = None) -> dict[Any, Any]:
        keys = list(keys)
        found = self._or(None, lambda: super(ForgivingRedisCache, self).get_many(keys, version))
        if found is None:
            return {}
        for key in keys:
            _count(key in found)
        return dict(found)

    def set_many(self, data: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self._or(list(data), lambda: super(ForgivingRedisCache, self).set_many(data, *args, **kwargs)))

    def has_key(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).has_key(*args, **kwargs)))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return int(self._or(0, lambda: super(ForgivingRedisCache, self).incr(key, delta, version)))
