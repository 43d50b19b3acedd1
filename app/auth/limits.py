"""Limits requests per second over all processes, and concurrent requests per process.

The count is a sliding window in Redis that all processes share. Asking Redis costs a round trip and
60 us of processor time, two thirds of a search. So a process leases requests in chunks and counts
them itself. Leased requests that expire unused count as used: the service never lets through more
than the limit, and sometimes slightly less. Chunks grow while they are used up and shrink
otherwise. docs/decisions/0013-leased-rate-limits.md has the measurements.

The window in Redis is that of the library `limits`, on the service's own connections. Requests
beyond a caller's concurrency limit wait in line.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from app.auth.caller import require_agent
from app.errors import MemoryServiceError, Overloaded, RateLimited, StorageTimeout
from app.nodes.client import Client
from app.nodes.redis_errors import translated
from app.nodes.shard import Shards

LEASE_S = 0.25
"""How long leased requests are valid."""
CHUNKS_PER_S = 16
"""A chunk is at most this fraction of a second's requests, which bounds what one process holds
back."""
REFUSED_S = 0.02
"""How long Redis is not asked again after a refusal."""
MAX_SUBJECTS = 10_000


class Window(Protocol):
    """What all processes have let through within the last second."""

    async def lease(self, subject: str, per_s: int, requests: int) -> bool:
        """Take this many requests of a subject. Return whether there were that many."""
        ...


@dataclass(slots=True)
class _Allowance:
    left: int = 0
    chunk: int = 1
    good_until: float = 0.0
    refused_until: float = 0.0
    second: float = -1.0
    """Start of the second in which `taken` requests passed; `before` counts the second before
    it."""
    taken: int = 0
    before: int = 0

    def count(self, now: float) -> float:
        """Count one request. Return how many passed within the last second."""
        since = now - self.second
        if since >= 1.0:
            self.before = self.taken if since < 2.0 else 0
            self.second, self.taken = now // 1, 0
            since = now - self.second
        self.taken += 1
        return self.taken + self.before * (1.0 - since)


class RateLimiter:
    """Lets requests through up to their subject's limit. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._window: Window | None = None
        self._clock = clock
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()

    def lease_from(self, window: Window) -> None:
        """Lease requests from this window from now on."""
        self._window = window

    async def take(self, policy: str, name: str, per_s: int) -> int:
        """Take one request of this key or agent. Raise RateLimited.

        Return how many are left in this second, to this process's knowledge: requests that other
        processes let through meanwhile are not counted.
        """
        subject = f"{policy}/{name}"
        allowance = self._allowances.get(subject)
        if allowance is None:
            allowance = self._allowances[subject] = _Allowance()
            if len(self._allowances) > MAX_SUBJECTS:
                self._allowances.popitem(last=False)
        now = self._clock()
        if allowance.left > 0 and now < allowance.good_until:
            allowance.left -= 1
            return max(0, int(per_s - allowance.count(now)))
        if now < allowance.refused_until or not await self._renew(allowance, subject, per_s, now):
            raise RateLimited(policy, per_s)
        return max(0, int(per_s - allowance.count(now)))

    async def _renew(self, allowance: _Allowance, subject: str, per_s: int, now: float) -> bool:
        """Lease requests for this request and the next ones. Return whether any were granted."""
        largest = max(1, per_s // CHUNKS_PER_S)
        is_used_up = now < allowance.good_until
        chunk = min(largest, allowance.chunk * 2) if is_used_up else max(1, allowance.chunk // 2)
        granted = await self._leased(subject, per_s, chunk)
        if not granted and chunk > 1:
            chunk = 1
            granted = await self._leased(subject, per_s, chunk)
        if not granted:
            allowance.refused_until = now + REFUSED_S
            return False
        now_left = allowance.left if now < allowance.good_until else 0
        allowance.left = now_left + chunk - 1  # concurrent renewals each add their chunk
        allowance.chunk = chunk
        allowance.good_until = now + LEASE_S
        return True

    async def _leased(self, subject: str, per_s: int, requests: int) -> bool:
        assert self._window is not None, "requests are served only after the start"
        try:
            return await self._window.lease(subject, per_s, requests)
        except MemoryServiceError:
            return True  # Redis is unavailable: requests that need it fail on their own


class AgentAdmission:
    """Checks that the caller may touch an agent's memory and that the agent has a request left."""

    def __init__(self, limiter: RateLimiter, per_s: int | None) -> None:
        self._limiter = limiter
        self._per_s = per_s

    async def __call__(self, *agents: str) -> None:
        """Raise AgentForbidden or RateLimited. Each agent counts once."""
        for agent_id in dict.fromkeys(agents):
            require_agent(agent_id)
            if self._per_s is not None:
                await self._limiter.take("agent", agent_id, self._per_s)


PREFIX = "rate_limit"
ANSWER_S = 0.25
"""How long a request waits to be counted. A group that hangs holds no request to others longer."""


class RateWindow:
    """Counts the requests of the last second, from all processes, on the current master."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._windows: WeakKeyDictionary[Client, SlidingWindowCounterRateLimiter]
        self._windows = WeakKeyDictionary()

    async def lease(self, subject: str, per_s: int, requests: int) -> bool:
        """Count these requests if the limit allows it, and return whether. Raise StorageError."""
        item = RateLimitItemPerSecond(per_s)
        # The library's keys have this hash tag.
        master = self._shards.shard_of(f"{{{item.key_for(subject)}}}").master
        master.require_up()
        try:
            with translated():
                async with asyncio.timeout(ANSWER_S):
                    return await self._window_on(master.client).hit(item, subject, cost=requests)
        except TimeoutError as error:
            raise StorageTimeout("Redis did not count the request in time.") from error

    def _window_on(self, master: Client) -> SlidingWindowCounterRateLimiter:
        window = self._windows.get(master)
        if window is None:
            storage = RedisStorage(
                "redis://by.pool:6379",  # not used: the pool has the address
                implementation="redispy",
                key_prefix=PREFIX,
                connection_pool=master.connection_pool,  # type: ignore[arg-type]  # passed on
            )
            window = self._windows[master] = SlidingWindowCounterRateLimiter(storage)
        return window


MAX_WAITING = 1000
"""How many requests of one caller may wait in one process; further ones get 503."""


@dataclass(slots=True)
class _Slots:
    free: asyncio.Semaphore
    waiting: int = 0


@dataclass(slots=True)
class ConcurrencyLimit:
    """Makes requests beyond a caller's limit wait, in order, before their body is read."""

    _of: dict[str, _Slots] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self, key_id: str, cap: int) -> AsyncIterator[None]:
        """Hold one of the caller's slots while the block runs. Raise Overloaded."""
        slots = self._of.get(key_id)
        if slots is None:
            slots = self._of[key_id] = _Slots(asyncio.Semaphore(cap))
        if slots.waiting >= MAX_WAITING:
            raise Overloaded("This key has too many requests waiting.", retry_after_s=1)
        slots.waiting += 1
        try:
            await slots.free.acquire()
        finally:
            slots.waiting -= 1
        try:
            yield
        finally:
            slots.free.release()
