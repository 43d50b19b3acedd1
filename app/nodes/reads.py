"""Reads other than searches: from the master, or from a replica while the master is unavailable."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from redis.asyncio import Redis

from app.errors import (
    MemoryServiceError,
    Overloaded,
    StorageLoading,
    StorageTimeout,
    StorageUnavailable,
)
from app.nodes.node import RedisNode
from app.nodes.shard import Shard, Shards

ResultT = TypeVar("ResultT")


class Guards(Protocol):
    """What surrounds each call to a node."""

    def guard(self, name: str) -> AbstractContextManager[None]:
        """Return it for the node of this name. Entering raises Overloaded while it fails."""
        ...


_MASTER_IS_AWAY = (StorageUnavailable, StorageTimeout, StorageLoading, Overloaded)


class ReadRouter:
    """Chooses the nodes to read from, and their order."""

    def __init__(self, shards: Shards, guards: Guards) -> None:
        self.shards = self._shards = shards
        self._guards = guards

    async def read(self, key: str, call: Callable[[Redis], Awaitable[ResultT]]) -> ResultT:
        """Return what `call` returns on the first node that answers, of the shard that has this
        key.

        Raise the master's error if no node answers.
        """
        return await self.read_on(await self._shards.locate(key), call)

    async def read_on(self, shard: Shard, call: Callable[[Redis], Awaitable[ResultT]]) -> ResultT:
        """Read as `read` does, on this shard."""
        return await self.read_indexes_on(shard, lambda node: call(node.client))

    async def read_indexes(
        self, key: str, call: Callable[[RedisNode], Awaitable[ResultT]]
    ) -> ResultT:
        """Read as `read` does. The call asks indexes, which the node may still be building."""
        return await self.read_indexes_on(await self._shards.locate(key), call)

    async def read_indexes_on(
        self, shard: Shard, call: Callable[[RedisNode], Awaitable[ResultT]]
    ) -> ResultT:
        """Read as `read_indexes` does, on this shard."""
        master = shard.master
        failed: dict[RedisNode, MemoryServiceError] = {}
        for node in _in_order(shard, master):
            try:
                return await self._on(node, call)
            except _MASTER_IS_AWAY as error:
                failed[node] = error
        raise failed[master]

    async def _on(
        self, node: RedisNode, call: Callable[[RedisNode], Awaitable[ResultT]]
    ) -> ResultT:
        node.require_up()
        with self._guards.guard(node.name):
            async with node.reading():
                return await call(node)


def _in_order(shard: Shard, master: RedisNode) -> Iterator[RedisNode]:
    """Yield the nodes to ask, one after the other.

    If the master may hang, a standby that has all its known data comes first. Replicas are looked
    at when the master has failed, which may be seconds after the read began.
    """
    standby = shard.standby
    if standby is not None:
        yield standby
    yield master
    for replica in shard.replicas:
        if replica is not standby and replica.status.is_up and replica.indexes_ready:
            yield replica
