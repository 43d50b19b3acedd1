"""Reads that are no searches: from the master, or from a replica while the master is away."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from redis.asyncio import Redis

from app.errors import Overloaded, StorageLoading, StorageTimeout, StorageUnavailable
from app.storage.redis_node import RedisNode
from app.storage.shard import Shard, Shards, once_settled

ResultT = TypeVar("ResultT")
Guard = Callable[[], AbstractContextManager[None]]
"""Around each call to a node: refuses it at once while the node is known to fail."""

_MASTER_IS_AWAY = (StorageUnavailable, StorageTimeout, StorageLoading, Overloaded)


class ReadableNodes:
    """The nodes to read from, in the order in which they are asked."""

    def __init__(self, shards: Shards, guard_of: Callable[[str], Guard]) -> None:
        self.shards = self._shards = shards
        self._guard_of = guard_of

    async def read(
        self,
        key: str,
        call: Callable[[Redis], Awaitable[ResultT]],
        *,
        also: Sequence[str] = (),
    ) -> ResultT:
        """What `call` gives on the first node of the key's shard that answers.

        `also`: further keys there that it is about. Raises the master's error if none does.
        """

        async def read() -> ResultT:
            # On its way, half of it may be here: a replica does not know what it lacks.
            only_master = self._shards.is_moving(key)
            shard = self._shards.shard_of(key)
            return await self.read_on(shard, call, about=(key, *also), only_master=only_master)

        return await once_settled(self._shards, read)

    async def read_on(
        self,
        shard: Shard,
        call: Callable[[Redis], Awaitable[ResultT]],
        *,
        about: Sequence[str] = (),
        only_master: bool = False,
    ) -> ResultT:
        """As `read`, on this shard."""
        try:
            return await self._on(shard.master, call, about)
        except _MASTER_IS_AWAY as error:
            away = error
        for replica in () if only_master else shard.replicas:
            if not (replica.status.is_up and replica.is_whole):
                continue
            try:
                return await self._on(replica, call, about)
            except _MASTER_IS_AWAY:
                continue
        raise away

    async def _on(
        self, node: RedisNode, call: Callable[[Redis], Awaitable[ResultT]], about: Sequence[str]
    ) -> ResultT:
        node.require_up()
        with self._guard_of(node.name)():
            result = await call(node.client)
        await node.require_whole(about)
        return result
