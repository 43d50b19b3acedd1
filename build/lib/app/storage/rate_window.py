"""The window of requests in Redis, by the library `limits`, on the service's own connections."""

from weakref import WeakKeyDictionary

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis

from app.storage.redis_errors import translated
from app.storage.shard import Shards

PREFIX = "rate_limit"


class RateWindow:
    """Counts requests of the last second, whoever served them, on the master of the hour."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._windows: WeakKeyDictionary[Redis, SlidingWindowCounterRateLimiter]
        self._windows = WeakKeyDictionary()

    async def lease(self, subject: str, per_s: int, requests: int) -> bool:
        """Whether so many more are within the limit; then they are counted. Raises StorageError."""
        item = RateLimitItemPerSecond(per_s)
        # The library's keys have this hash tag.
        shard = self._shards.shard_of(f"{{{item.key_for(subject)}}}")
        with translated():
            return await self._window_on(shard.master.client).hit(item, subject, cost=requests)

    def _window_on(self, master: Redis) -> SlidingWindowCounterRateLimiter:
        window = self._windows.get(master)
        if window is None:
            storage = RedisStorage(
                "redis://by.pool:6379",  # not used: the pool has the address
                implementation="redispy",
                key_prefix=PREFIX,
                connection_pool=master.connection_pool,  # type: ignore[arg-type]  # handed on
            )
            window = self._windows[master] = SlidingWindowCounterRateLimiter(storage)
        return window
