"""Which nodes hold a part of the memory, and who of them is the master now.

Whoever needs a node asks for it at the moment of use: `shard.master`, `shard.replicas`. Roles move,
nodes come and go, and nobody holds one of them for longer than a call.


What a failover cost: how much of the old master's history the new one does not have.

A promoted replica keeps the old history's id and how far it had followed it. Of the old master
this process knows how far it was when last seen as one, and its own confirmed writes. So the
figures are at least those: what other clients wrote in the last moments is not known here.

For how long a master is trusted, and a new one gets no write from here.

Services learn of a promotion one after the other. So a service trusts a master only while most of
those who know the roles stood by it lately, and holds its writes to a new one until nobody can
trust the old one any more.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import redis.exceptions as foreign
from redis.asyncio import Redis

from app import keys
from app.errors import StorageUnavailable
from app.metrics import FAILOVER_LOST_WRITES, FAILOVERS
from app.nodes.node import MASTER, RedisNode


class RefreshRequest:
    """Somebody's doubt that what is known of the nodes is still so."""

    def __init__(self) -> None:
        self._is_there = asyncio.Event()

    def ask(self) -> None:
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
        self._suspicion = RefreshRequest()
        self._lease_until_s = math.inf
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
    def has_lease(self) -> bool:
        """Whether no other node can have become the master unseen."""
        return self._clock() < self._lease_until_s

    def extend_lease(self, moment_s: float) -> None:
        """Whoever knows the roles stands by the master until this moment (monotonic clock)."""
        self._lease_until_s = moment_s

    def set_roles(self, master: RedisNode, replicas: Iterable[RedisNode] = ()) -> None:
        """From now on these are the nodes."""
        has_moved = self._master not in {None, master}
        self._master, self._replicas = master, tuple(replicas)
        for node in self.nodes:
            node.suspect = self.suspect_master
            node.candidates = self.candidates
        if has_moved:
            for tell in self._on_change:
                tell()

    @property
    def standby(self) -> RedisNode | None:
        """While the master missed its last look, and may hang: a replica in rotation that has
        everything that the master is known to have had."""
        master = self.master.status
        if master.problem is None:
            return None
        return next((node for node in self._replicas if node.status.covers(master)), None)

    def candidates(self) -> int:
        """How many replicas may be promoted by themselves with what the master has. All there are,
        while one of them may have been promoted unseen."""
        if self.master.has_fixed_role:
            return 0
        if not self.has_lease:
            return len(self._replicas)
        history = self.master.status.replication_id
        return sum(node.promotability.is_of(history) for node in self._replicas)

    def on_master_change(self, tell: Callable[[], None]) -> None:
        """Call this, at once and synchronously, whenever another node has become the master."""
        self._on_change.append(tell)

    async def report_failover(self, old: RedisNode) -> None:
        """Find out what it cost that another node has taken this one's place. Takes seconds while
        the new one does not answer; a later failover may be told before."""
        told = await assess(old, self.master)
        if self.last_failover is None or self.last_failover.at < told.at:
            self.last_failover = told

    def suspect_master(self) -> None:
        """The master did not behave as one: whoever knows the roles should look again now."""
        self._suspicion.ask()

    async def wait_for_suspicion(self, at_most_s: float) -> None:
        """Until the master is in doubt, or that time is over."""
        await self._suspicion.wait(at_most_s)


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


logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 10.0
PAUSE_S = 0.1
SHOWN_KEYS = 100


@dataclass(frozen=True, slots=True)
class Failover:
    """One change of the master. `at` is unix seconds.

    `lost_bytes`: of the replication stream, at least; None: the new master is of a history that
    the old one was not seen to have, or did not tell. `lost_writes`: keys of confirmed writes of
    this process that it does not have.
    """

    at: float
    old_master: str
    new_master: str
    lost_bytes: int | None
    lost_writes: int

    def as_json(self) -> dict[str, object]:
        """As readiness shows it."""
        return {
            "at": self.at,
            "from": self.old_master,
            "to": self.new_master,
            "lost_bytes": self.lost_bytes,
            "lost_writes": self.lost_writes,
        }


async def assess(old: RedisNode, new: RedisNode) -> Failover:
    """Compare the two histories, log what is lost and count it."""
    at = time.time()
    FAILOVERS.inc()
    kept = await _kept_of_old(new)
    discarded = None if kept is None else old.journal.beyond(*kept)
    if discarded is None:
        logger.warning(
            "another master: what the old one had alone is not known",
            extra={"old_master": old.name, "new_master": new.name},
        )
        return Failover(at, old.name, new.name, None, 0)
    FAILOVER_LOST_WRITES.inc(len(discarded.keys))
    logger.log(
        logging.ERROR if discarded.keys else logging.WARNING,
        "another master: %d confirmed writes of this process are not in it",
        len(discarded.keys),
        extra={
            "old_master": old.name,
            "new_master": new.name,
            "lost_bytes": discarded.offset_bytes,
            "lost_keys": discarded.keys[:SHOWN_KEYS],
            "all_are_known": discarded.is_whole,
        },
    )
    return Failover(at, old.name, new.name, discarded.offset_bytes, len(discarded.keys))


async def _kept_of_old(new: RedisNode) -> tuple[str, int] | None:
    """The history before the promotion, and the offset until which the new master has it."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            while True:
                try:
                    info = await new.probe.info("replication")
                    if info["role"] == "master":
                        return str(info["master_replid2"]), int(info["second_repl_offset"]) - 1
                except (foreign.RedisError, OSError) as error:
                    logger.debug("new master is asked again", extra={"cause": repr(error)})
                await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        return None


LEASE_S = 1.0
"""How long the word of most Sentinels counts. A cut network, or a pause of this process, may hide
that a replica was promoted; that takes longer: the time of silence (down-after-milliseconds, a
second or more) and a vote."""
FENCE_S = LEASE_S + 0.1
"""How long a new master gets no write from here after most were heard to name it. Whoever asks
them later finds no majority for the old one; whoever asked before is sure of that for LEASE_S
at most, and looks at the clock after its question came. So no question asked after a write on the
new master was confirmed is answered from the old one. (A call that is under way then was asked
before.) The tenth is for clocks that do not run alike."""
MAX_FENCE_S = 5.0
"""How long while fewer than most name it. Sentinels tell each other every 2 s."""


class WriteFence:
    """Holds writes to a shard's master while that is new."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until_s = -math.inf

    def look(self, master: RedisNode, *, is_new: bool, has_quorum: bool) -> None:
        """Whether it has just become the master, and whether most name it now."""
        now_s = self._clock()
        if is_new:
            self._until_s = now_s + MAX_FENCE_S
            master.fence_writes(self._until_s)
        if has_quorum and now_s < self._until_s:
            self._until_s = -math.inf
            master.fence_writes(now_s + FENCE_S)
