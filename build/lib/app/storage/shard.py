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
from app.storage import keys
from app.storage.failover import Failover, assess
from app.storage.redis_node import MASTER, RedisNode


class Doubt:
    """Somebody's doubt that what is known of the nodes is still so."""

    def __init__(self) -> None:
        self._is_there = asyncio.Event()

    def rise(self) -> None:
        """Whoever knows the nodes should look again now."""
        self._is_there.set()

    async def wait(self, at_most_s: float) -> None:
        """Until there is a doubt, or that time is over; it is settled then."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._is_there.wait()
        except TimeoutError:
            return
        finally:
            self._is_there.clear()


class Shard:
    """A replication group: a master and the replicas that follow it. Empty until roles are set.

    `name` is empty where there is one shard. `is_replicated`: it is meant to have replicas, whether
    one is there now or not.
    """

    def __init__(
        self,
        name: str = "",
        *,
        is_replicated: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.is_replicated = is_replicated
        self._master: RedisNode | None = None
        self._replicas: tuple[RedisNode, ...] = ()
        self._on_change: list[Callable[[], None]] = []
        self._doubt = Doubt()
        self._sure_until_s = math.inf
        self._clock = clock
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
        return self._clock() < self._sure_until_s

    def sure_until(self, moment_s: float) -> None:
        """Whoever knows the roles stands by the master until this moment (monotonic clock)."""
        self._sure_until_s = moment_s

    def set_roles(self, master: RedisNode, replicas: Iterable[RedisNode] = ()) -> None:
        """From now on these are the nodes."""
        has_moved = self._master not in {None, master}
        self._master, self._replicas = master, tuple(replicas)
        for node in self.nodes:
            node.doubt = self.doubt_master
            node.candidates = self.candidates
        if has_moved:
            for tell in self._on_change:
                tell()

    @property
    def spare(self) -> RedisNode | None:
        """While the master missed its last look, and may hang: a replica in rotation that has
        everything that the master is known to have had."""
        master = self.master.status
        if master.problem is None:
            return None
        return next((node for node in self._replicas if node.status.may_spare(master)), None)

    def candidates(self) -> int:
        """How many replicas may be promoted by themselves with what the master has. All there are,
        while one of them may have been promoted unseen."""
        if self.master.has_fixed_role:
            return 0
        if not self.is_master_sure:
            return len(self._replicas)
        history = self.master.status.replication_id
        return sum(node.candidacy.is_of(history) for node in self._replicas)

    def when_master_changes(self, tell: Callable[[], None]) -> None:
        """Call this, at once and synchronously, whenever another node has become the master."""
        self._on_change.append(tell)

    async def tell_failover(self, old: RedisNode) -> None:
        """Find out what it cost that another node has taken this one's place. Takes seconds while
        the new one does not answer; a later failover may be told before."""
        told = await assess(old, self.master)
        if self.last_failover is None or self.last_failover.at < told.at:
            self.last_failover = told

    def doubt_master(self) -> None:
        """The master did not behave as one: whoever knows the roles should look again now."""
        self._doubt.rise()

    async def wait_for_doubt(self, at_most_s: float) -> None:
        """Until the master is in doubt, or that time is over."""
        await self._doubt.wait(at_most_s)


class Shards:
    """All shards, and which of them holds a key.

    Here one shard holds every key. A memory that is spread over several overrides `shard_of`; all
    else follows from that.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    @property
    def is_spread(self) -> bool:
        """Whether there is more than one shard."""
        return len(self._shards) > 1

    def shard_of(self, key: str) -> Shard:
        """Return the shard that holds this key."""
        del key  # one shard holds them all
        return self._shards[0]

    def group_of(self, owner: str) -> Shard:
        """Return the shard that holds an agent's memories; of the empty name, the concepts."""
        return self.shard_of(keys.partition(owner))

    def holds(self, shard: Shard, key: str) -> bool:
        """Whether this shard is the one that holds the key."""
        return self.shard_of(key) is shard

    def knows(self, token: str) -> bool:
        """Whether a node of any shard has the history that this token is of."""
        return any(node.status.has_reached(token) is not None for node in self.nodes)

    @property
    def masters(self) -> Sequence[RedisNode]:
        """Those of all shards."""
        return [shard.master for shard in self._shards]

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """The nodes of all shards."""
        return [node for shard in self._shards for node in shard.nodes]

    def indices(self, keys: Sequence[str]) -> list[tuple[Shard, list[int]]]:
        """Each shard that holds some of these keys, and the positions of those."""
        if len(self._shards) == 1:
            return [(self._shards[0], list(range(len(keys))))]
        found: dict[Shard, list[int]] = {}
        for i, key in enumerate(keys):
            found.setdefault(self.shard_of(key), []).append(i)
        return list(found.items())


def lone_shard(redis: Redis, name: str = MASTER) -> Shards:
    """One master without replicas, for commands that are given nothing but a client of it."""
    shard = Shard()
    shard.set_roles(RedisNode(name, client=redis, waiting=redis, probe=redis, is_master=True))
    return Shards([shard])
