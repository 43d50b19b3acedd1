"""Which nodes hold a part of the memory, and who of them is the master now.

Whoever needs a node asks for it at the moment of use: `shard.master`, `shard.replicas`. Roles move,
nodes come and go, and nobody holds one of them for longer than a call.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from redis.asyncio import Redis

from app.errors import StorageUnavailable
from app.storage.failover import Failover
from app.storage.redis_node import MASTER, RedisNode


class Shard:
    """A replication group: a master and the replicas that follow it. Empty until roles are set.

    `is_replicated`: it is meant to have replicas, whether one is there now or not.
    """

    def __init__(self, *, is_replicated: bool = False) -> None:
        self.is_replicated = is_replicated
        self._master: RedisNode | None = None
        self._replicas: tuple[RedisNode, ...] = ()
        self._on_change: list[Callable[[], None]] = []
        self._doubt = asyncio.Event()
        self._sure_until_s = math.inf
        self.last_failover: Failover | None = None

    @property
    def master(self) -> RedisNode:
        """The node that takes writes, as far as is known. Raises StorageUnavailable for none."""
        if self._master is None:
            raise StorageUnavailable("No Redis master is known yet: try again.", retry_after_s=1)
        return self._master

    @property
    def has_master(self) -> bool:
        """Whether roles were ever set."""
        return self._master is not None

    @property
    def replicas(self) -> Sequence[RedisNode]:
        """All other nodes, answering or not; another tuple whenever that changes."""
        return self._replicas

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """All nodes, the master first."""
        return (self.master, *self._replicas)

    @property
    def is_master_sure(self) -> bool:
        """Whether no other node can have become the master unseen."""
        return time.monotonic() < self._sure_until_s

    def sure_until(self, moment_s: float) -> None:
        """Whoever knows the roles stands by the master until this moment (monotonic clock)."""
        self._sure_until_s = moment_s

    def set_roles(self, master: RedisNode, replicas: Iterable[RedisNode] = ()) -> None:
        """From now on these are the nodes."""
        has_moved = self._master not in {None, master}
        self._master, self._replicas = master, tuple(replicas)
        for node in self.nodes:
            node.doubt = self.doubt_master
        if has_moved:
            for tell in self._on_change:
                tell()

    def when_master_changes(self, tell: Callable[[], None]) -> None:
        """Call this, at once and synchronously, whenever another node has become the master."""
        self._on_change.append(tell)

    def doubt_master(self) -> None:
        """The master did not behave as one: whoever knows the roles should look again now."""
        self._doubt.set()

    async def wait_for_doubt(self, at_most_s: float) -> None:
        """Until the master is in doubt, or that time is over."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._doubt.wait()
        except TimeoutError:
            return
        finally:
            self._doubt.clear()


class Shards:
    """All shards, and which of them holds a key."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def shard_of(self, key: str) -> Shard:
        """The shard that holds this key."""
        del key  # one shard holds them all
        return self._shards[0]

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """The nodes of all shards."""
        return [node for shard in self._shards for node in shard.nodes]


def lone_shard(redis: Redis, name: str = MASTER) -> Shards:
    """One master without replicas, for commands that are given nothing but a client of it."""
    shard = Shard()
    shard.set_roles(RedisNode(name, client=redis, waiting=redis, probe=redis, is_master=True))
    return Shards([shard])
