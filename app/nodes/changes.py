"""Learns from Redis which partitions other processes write to.

Every write is followed, in the same round trip, by a PUBLISH of the partition's key. Silence may
mean that nothing was written or that the channel is dead, so the process pings through the channel
itself and trusts it only while the replies arrive.
https://redis.io/docs/latest/develop/interact/pubsub/
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import redis.exceptions as foreign
from redis.asyncio.client import PubSub

from app import keys
from app.errors import StorageUnavailable
from app.nodes.jobs import Job, running
from app.nodes.node import RedisNode
from app.nodes.shard import Shard, Shards

logger = logging.getLogger(__name__)

CHANNEL = "memory_changes"
PING_INTERVAL_S = 0.25
TRUSTED_FOR_S = 1.0
"""Silence after which the cache answers nothing."""
RECONNECT_PAUSE_S = 0.1


class ChangeChannel:
    """Listens on a shard's master. Calls `invalidate` with partitions' keys, `lost` after gaps."""

    def __init__(
        self, shard: Shard, *, invalidate: Callable[[str], None], lost: Callable[[], None]
    ) -> None:
        self._shard = shard
        self._invalidate = invalidate
        self._lost = lost
        self.trusted_until_s = -math.inf
        """Until when the latest sign of life counts, on the monotonic clock. Above 0 while it is
        subscribed."""

    @property
    def is_alive(self) -> bool:
        """Return whether a change would have been received, up to TRUSTED_FOR_S ago."""
        return time.monotonic() < self.trusted_until_s

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the context is open, and reconnect whenever the connection is lost."""
        async with running(self._listen_for_ever, "listening for changes"):
            yield

    async def _listen_for_ever(self, job: Job) -> None:
        while True:
            try:
                master = self._shard.master
                async with master.probe.pubsub() as subscription:
                    await self._listen(subscription, master, job)
            except (foreign.RedisError, OSError, StorageUnavailable) as error:
                job.failed(error)
                if job.failures_in_a_row.bit_count() == 1:  # not ten times a second
                    logger.warning(
                        "change channel lost",
                        extra={"group": self._shard.name, "cause": repr(error)},
                    )
            if self.trusted_until_s > 0:
                self.trusted_until_s = -math.inf
                self._lost()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _listen(self, subscription: PubSub, master: RedisNode, job: Job) -> None:
        """Listen until another node is the master, or the connection is lost."""
        await subscription.subscribe(CHANNEL)
        pinged_at_s = answered_at_s = time.monotonic()
        while self._shard.master is master:
            message = await subscription.get_message(timeout=PING_INTERVAL_S)
            now_s = time.monotonic()
            if message is not None:
                if message["type"] == "pong" or message["type"] == "subscribe":
                    answered_at_s = now_s
                    job.succeeded()
                self._heard(message)
            if now_s - answered_at_s > TRUSTED_FOR_S:
                raise foreign.TimeoutError("no answer through the change channel")
            if now_s - pinged_at_s >= PING_INTERVAL_S:
                pinged_at_s = now_s
                await subscription.ping()

    def _heard(self, message: dict[str, object]) -> None:
        if message["type"] == "message" and isinstance(message["data"], bytes):
            self._invalidate(message["data"].decode())
        elif message["type"] == "subscribe":
            # Writes before this moment were missed.
            self._lost()
            self.trusted_until_s = time.monotonic() + TRUSTED_FOR_S
        elif message["type"] == "pong" and self.trusted_until_s > 0:
            self.trusted_until_s = time.monotonic() + TRUSTED_FOR_S


class ChangeChannels:
    """One channel on each shard."""

    def __init__(
        self, shards: Shards, *, invalidate: Callable[[str], None], lost: Callable[[], None]
    ) -> None:
        self._channels = {
            shard: ChangeChannel(shard, invalidate=invalidate, lost=lost) for shard in shards
        }

    def hears(self, shard: Shard) -> bool:
        """Return whether a change on this shard would have been received."""
        channel = self._channels.get(shard)
        return channel is not None and channel.is_alive

    @property
    def silent(self) -> list[str]:
        """Return the names of the shards whose changes may be missed."""
        return [shard.name for shard, channel in self._channels.items() if not channel.is_alive]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the context is open."""
        async with AsyncExitStack() as stack:
            for channel in self._channels.values():
                await stack.enter_async_context(channel.listening())
            yield


class Freshness(Protocol):
    """Whether this process may keep what it has read of an owner's memory: of an agent, of the
    concepts (the empty name), or of all agents (None)."""

    def hears_writes(self, owner: str | None) -> bool:
        """Return whether another process's write would be heard."""

    def reads_latest(self, owner: str | None) -> bool:
        """Return whether, besides, what is read now contains every confirmed write."""


class WriteNews:
    """What the change channels and the masters' states say about freshness."""

    def __init__(self, channels: ChangeChannels, shards: Shards) -> None:
        self._channels = channels
        self._shards = shards

    def hears_writes(self, owner: str | None) -> bool:
        """Return whether another process's write, or an agent's move, would be heard."""
        return all(map(self._channels.hears, self._shards.holders(owner)))

    def reads_latest(self, owner: str | None) -> bool:
        """Return whether, besides, each master is there. A replica may lack the latest writes."""
        holders = self._shards.holders(owner)
        return all(shard.is_master_well and self._channels.hears(shard) for shard in holders)


def moved_message(agent_id: str, group: str) -> str:
    """Return what the channel says of a move: the place, then the agent's partition."""
    return f"{keys.PLACEMENTS}:{group}:{keys.episodic_partition(agent_id)}"


def moved_in(message: str) -> tuple[str, str] | None:
    """Return the agent and its new group. None for any other message."""
    if not message.startswith(f"{keys.PLACEMENTS}:"):
        return None
    _, group, partition = message.split(":", 2)
    return keys.partition_owner(partition), group
