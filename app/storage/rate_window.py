"""The window of requests in Redis, by the library `limits`, on the service's own connections."""

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis

from app.storage.redis_errors import translated

PREFIX = "rate_limit"


class RateWindow:
    """Counts requests of the last second, whoever served them."""

    def __init__(self, master: Redis) -> None:
        storage = RedisStorage(
            "redis://by.pool:6379",  # not used: the pool has the address
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=master.connection_pool,  # type: ignore[arg-type]  # passed on as it is
        )
        self._window = SlidingWindowCounterRateLimiter(storage)

    async def lease(self, subject: str, per_s: int, requests: int) -> bool:
        """Whether so many more are within the limit; then they are counted. Raises StorageError."""
        with translated():
            return await self._window.hit(RateLimitItemPerSecond(per_s), subject, cost=requests)
