"""Redis as a cache that may go away: an error is a miss, never a failed page."""

import logging
from collections.abc import Callable
from typing import Any

import redis
from django.core.cache.backends.redis import RedisCache

log = logging.getLogger(__name__)


class ForgivingRedisCache(RedisCache):
    """Django's Redis cache with every error turned into a miss (time-outs are set in `OPTIONS`)."""

    def _or(self, fallback: Any, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (redis.RedisError, OSError) as error:
            log.warning("cache unavailable: %s", type(error).__name__)
            return fallback

    def add(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).add(*args, **kwargs)))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._or(default, lambda: super(ForgivingRedisCache, self).get(key, default, version))

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._or(None, lambda: super(ForgivingRedisCache, self).set(*args, **kwargs))

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).touch(*args, **kwargs)))

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).delete(*args, **kwargs)))

    def get_many(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(self._or({}, lambda: super(ForgivingRedisCache, self).get_many(*args, **kwargs)))

    def set_many(self, data: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self._or(list(data), lambda: super(ForgivingRedisCache, self).set_many(data, *args, **kwargs)))

    def has_key(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(False, lambda: super(ForgivingRedisCache, self).has_key(*args, **kwargs)))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return int(self._or(0, lambda: super(ForgivingRedisCache, self).incr(key, delta, version)))
