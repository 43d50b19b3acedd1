"""Keeps a shard's roles as the Sentinels have them.

They are asked again and again, at once when one of them announces another master, and often while
the master does not behave as one. Another service may trust the old master for a moment still:
so long writes to the new one are held (app/storage/trust.py).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import redis.exceptions as foreign

from app.background import Job, running
from app.errors import StorageUnavailable
from app.storage.redis_node import RedisNode
from app.storage.sentinel import Address, Sentinels, View, first_view
from app.storage.shard import Shard
from app.storage.trust import SURE_FOR_S, WriteHold

logger = logging.getLogger(__name__)

INTERVAL_S = 0.25
INTERVAL_IN_DOUBT_S = 0.1
START_WAIT_S = 30.0


class SentinelRoles:
    """`make` gives the node at an address; whether it is the master at that moment is told."""

    def __init__(
        self,
        shard: Shard,
        sentinels: Sentinels,
        make: Callable[[Address, bool], RedisNode],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shard = shard
        self._sentinels = sentinels
        self._make = make
        self._nodes: dict[Address, RedisNode] = {}
        self._epoch = -1
        self._clock = clock
        self._hold = WriteHold(clock)

    async def begin(self) -> None:
        """Fill the shard. Raises StartError when no Sentinel names a master."""
        self._shard.sure_until(0.0)
        asked_at_s = self._clock()
        await self._take_over(await first_view(self._sentinels, START_WAIT_S), asked_at_s)

    @asynccontextmanager
    async def following(self, look: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Follow changes while the context is open; `look` is called after each one."""
        switched = asyncio.Event()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._sentinels.hearing_of_changes(switched))
            await stack.enter_async_context(
                running(partial(self._wake_on, switched), "waking on a failover")
            )
            reports = await stack.enter_async_context(AsyncExitStack())
            await stack.enter_async_context(
                running(partial(self._follow, look, reports), "following the Sentinels")
            )
            yield

    async def aclose(self) -> None:
        """Close all nodes and the Sentinels' connections."""
        for node in self._nodes.values():
            await node.aclose()
        await self._sentinels.aclose()

    async def _wake_on(self, switched: asyncio.Event, _: Job) -> None:
        while True:
            await switched.wait()
            switched.clear()
            self._shard.doubt_master()

    async def _follow(
        self, look: Callable[[], Awaitable[None]], reports: AsyncExitStack, job: Job
    ) -> None:
        while True:
            status = self._shard.master.status
            if status.is_master and status.is_up:
                await self._shard.wait_for_doubt(INTERVAL_S)
            else:
                await asyncio.sleep(INTERVAL_IN_DOUBT_S)
            old = self._shard.master
            asked_at_s = self._clock()
            with contextlib.suppress(StorageUnavailable):
                agreed = partial(self._stand_by, asked_at_s)
                await self._take_over(await self._sentinels.view(agreed), asked_at_s)
            if self._shard.master is not old:
                await look()
                # Beside this: the new master may be gone already, and be replaced itself.
                await reports.enter_async_context(
                    running(partial(_tell, self._shard, old), "counting what a failover cost")
                )
            job.succeeded()

    def _stand_by(self, asked_at_s: float, view: View) -> None:
        """Most named this master when they were asked: before a silent one is given up."""
        if view.epoch >= self._epoch and self._nodes.get(view.master) is self._shard.master:
            self._shard.sure_until(asked_at_s + SURE_FOR_S)

    async def _take_over(self, view: View, asked_at_s: float) -> None:
        if view.epoch < self._epoch:
            return  # of a Sentinel that was cut off: the others do not answer
        self._epoch = view.epoch
        addresses = (view.master, *view.replicas)
        gone = [address for address in self._nodes if address not in addresses]
        for address in addresses:
            if address not in self._nodes:
                self._nodes[address] = self._make(address, address == view.master)
        master = self._nodes[view.master]
        before = [self._shard.master] if self._shard.has_master else []
        is_new = before not in ([], [master])
        if view.has_majority:
            self._shard.sure_until(asked_at_s + SURE_FOR_S)
        elif is_new:
            self._shard.sure_until(0.0)  # the word of most was for the old one
        self._hold.look(master, is_new=is_new, has_majority=view.has_majority)
        self._shard.set_roles(master, [self._nodes[address] for address in view.replicas])
        for old in before:
            if old is not master:
                old.give_up_writes()
        for address in gone:
            with contextlib.suppress(foreign.RedisError, OSError):
                await self._nodes.pop(address).aclose()


async def _tell(shard: Shard, old: RedisNode, _: Job) -> None:
    await shard.tell_failover(old)
