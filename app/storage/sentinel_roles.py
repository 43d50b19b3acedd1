"""Keeps a shard's roles as the Sentinels have them.

They are asked again and again, at once when one of them announces another master, and often while
the master does not behave as one. Another service may trust the old master for a moment still:
so long writes to the new one are held.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import redis.exceptions as foreign

from app.errors import StorageUnavailable
from app.storage.background import running
from app.storage.failover import assess
from app.storage.redis_node import RedisNode
from app.storage.sentinel import Address, Sentinels, View, first_view
from app.storage.shard import Shard

logger = logging.getLogger(__name__)

INTERVAL_S = 0.25
SURE_FOR_S = 1.0
"""How long the word of most Sentinels counts. A cut network, or a pause of this process, may hide
that they have promoted a replica; that takes them longer: their time of silence
(down-after-milliseconds, a second or more) and an election."""
HELD_FOR_S = SURE_FOR_S + 0.1
"""How long a new master gets no write from here after most Sentinels were heard to name it. Whoever
asks them later finds no majority for the old one; whoever asked before is sure of that for
SURE_FOR_S at most, and looks at the clock after its question came. So no question asked after a
write on the new master was confirmed is answered from the old one. (A call that is under way then
was asked before.) The tenth is for clocks that do not run alike."""
HELD_AT_MOST_S = 5.0
"""How long while fewer than most name it. Sentinels tell each other every 2 s."""
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
        self._held_until_s = -math.inf

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
            await stack.enter_async_context(running(self._wake_on(switched)))
            await stack.enter_async_context(running(self._follow(look)))
            yield

    async def aclose(self) -> None:
        """Close all nodes and the Sentinels' connections."""
        for node in self._nodes.values():
            await node.aclose()
        await self._sentinels.aclose()

    async def _wake_on(self, switched: asyncio.Event) -> None:
        while True:
            await switched.wait()
            switched.clear()
            self._shard.doubt_master()

    async def _follow(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            status = self._shard.master.status
            if status.is_master and status.is_up:
                await self._shard.wait_for_doubt(INTERVAL_S)
            else:
                await asyncio.sleep(INTERVAL_IN_DOUBT_S)
            old = self._shard.master
            asked_at_s = self._clock()
            with contextlib.suppress(StorageUnavailable):
                await self._take_over(await self._sentinels.view(), asked_at_s)
            if self._shard.master is not old:
                await look()
                self._shard.last_failover = await assess(old, self._shard.master)

    async def _take_over(self, view: View, asked_at_s: float) -> None:
        if view.epoch < self._epoch:
            return  # of a Sentinel that was cut off: the others do not answer
        self._epoch = view.epoch
        if view.has_majority:
            self._shard.sure_until(asked_at_s + SURE_FOR_S)
        addresses = (view.master, *view.replicas)
        gone = [address for address in self._nodes if address not in addresses]
        for address in addresses:
            if address not in self._nodes:
                self._nodes[address] = self._make(address, address == view.master)
        master = self._nodes[view.master]
        before = [self._shard.master] if self._shard.has_master else []
        self._hold_writes(master, view, has_moved=before not in ([], [master]))
        self._shard.set_roles(master, [self._nodes[address] for address in view.replicas])
        for old in before:
            if old is not master:
                old.give_up_writes()
        for address in gone:
            with contextlib.suppress(foreign.RedisError, OSError):
                await self._nodes.pop(address).aclose()

    def _hold_writes(self, master: RedisNode, view: View, *, has_moved: bool) -> None:
        now_s = self._clock()
        if has_moved:
            self._held_until_s = now_s + HELD_AT_MOST_S
            master.hold_writes(self._held_until_s)
        if view.has_majority and now_s < self._held_until_s:
            self._held_until_s = -math.inf
            master.hold_writes(now_s + HELD_FOR_S)
