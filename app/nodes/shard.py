"""The nodes of a part of the memory, and which of them is the master now.

Code that needs a node asks for it at the moment of use: `shard.master`, `shard.replicas`. Roles
move, nodes come and go, and nobody keeps a node for longer than a call.

A failover report says how much of the old master's history the new one lacks. A promoted replica
keeps the old history's id and the offset up to which it followed. Of the old master this process
knows how far it was when last seen as master, and this process's own confirmed writes. So the
reported numbers are lower bounds: other clients' writes in the last moments are unknown here.

The lease on the master role, and the write fence after a promotion: services learn of a promotion
one after the other. So a service trusts a master only while a quorum has confirmed it recently, and
holds back its writes to a new master until every lease on the old one has expired.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import redis.exceptions as foreign
from redis.asyncio import Redis

from app import keys
from app.errors import StorageUnavailable
from app.metrics import FAILOVER_LOST_WRITES, FAILOVERS
from app.nodes.node import MASTER, RedisNode


class RefreshRequest:
    """A request to check the nodes again."""

    def __init__(self) -> None:
        self._is_there = asyncio.Event()

    def ask(self) -> None:
        """Request that the nodes be checked now."""
        self._is_there.set()

    async def wait(self, at_most_s: float) -> None:
        """Wait for a request, at most this long, and clear it."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._is_there.wait()
        except TimeoutError:
            return
        finally:
            self._is_there.clear()


class Shard:
    """A replication group: a master and the replicas that follow it. Empty until roles are set.

    `name` is empty if there is only one shard. `is_replicated`: it should have replicas, whether or
    not any exist now.
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
        self.forgotten_replicas: Sequence[RedisNode] = ()
        """The replicas when the roles were last forgotten."""
        self._absence = "No Redis master is known yet: try again."

    @property
    def master(self) -> RedisNode:
        """Return the node that takes writes. Raise StorageUnavailable if none is known."""
        if self._master is None:
            raise StorageUnavailable(self._absence, retry_after_s=1)
        return self._master

    def forget_roles(self) -> None:
        """Take all nodes out of use until roles are set again."""
        if self._master is not None:
            self.forgotten_replicas = self._replicas
        self._master, self._replicas = None, ()

    def note_absence(self, sentence: str) -> None:
        """Set what to say while no master is known."""
        self._absence = sentence

    @property
    def has_master(self) -> bool:
        """Return whether roles were ever set."""
        return self._master is not None

    @property
    def is_master_well(self) -> bool:
        """Return whether there is a master that passed its last health check."""
        return self._master is not None and self._master.status.problem is None

    @property
    def is_away(self) -> bool:
        """Return whether no node is known to answer."""
        return not any(node.status.is_up for node in self.nodes)

    @property
    def replicas(self) -> Sequence[RedisNode]:
        """Return all other nodes, up or down; a new tuple whenever they change."""
        return self._replicas

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """Return all nodes, the master first; none while no master is known."""
        return () if self._master is None else (self._master, *self._replicas)

    @property
    def has_lease(self) -> bool:
        """Return whether no other node can have become the master unnoticed."""
        return self._clock() < self._lease_until_s

    def extend_lease(self, moment_s: float) -> None:
        """Set the end of the lease on the master role (monotonic clock)."""
        self._lease_until_s = moment_s

    def set_roles(self, master: RedisNode, replicas: Iterable[RedisNode] = ()) -> None:
        """Set the nodes and their roles."""
        has_moved = self._master not in {None, master}
        self._master, self._replicas = master, tuple(replicas)
        if has_moved:
            for tell in self._on_change:
                tell()

    @property
    def standby(self) -> RedisNode | None:
        """Return a replica in rotation that has all of the master's known data, while the master
        may hang.

        None if the master passed its last health check, or if there is no such replica.
        """
        master = self.master.status
        if master.problem is None:
            return None
        return next((node for node in self._replicas if node.status.covers(master)), None)

    def candidates(self) -> int:
        """Return how many replicas may be promoted by themselves with the master's data.

        Counts all replicas while one of them may have been promoted unnoticed.
        """
        if self.master.has_fixed_role:
            return 0
        if not self.has_lease:
            return len(self._replicas)
        history = self.master.status.replication_id
        return sum(node.promotability.is_of(history) for node in self._replicas)

    def on_master_change(self, tell: Callable[[], None]) -> None:
        """Call this function, at once and synchronously, when another node becomes master."""
        self._on_change.append(tell)

    async def report_failover(self, old: RedisNode) -> None:
        """Find out what the replacement of this node as master lost.

        Takes seconds while the new master does not answer; a later failover may be reported first.
        """
        told = await assess(old, self.master)
        if self.last_failover is None or self.last_failover.at < told.at:
            self.last_failover = told

    def suspect_master(self) -> None:
        """Request a refresh of the roles, because the master did not behave as one."""
        self._suspicion.ask()

    async def wait_for_suspicion(self, at_most_s: float) -> None:
        """Wait until the master is suspected, or until the time is over."""
        await self._suspicion.wait(at_most_s)


class Shards:
    """All shards, and which of them holds a key.

    Here one shard holds every key. GroupShards (app/nodes/groups/placement.py) overrides `shard_of`
    and what may have to ask for an agent's place.
    """

    allows_partial = False
    """Whether a question about many agents is answered while a shard is away."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    @property
    def is_spread(self) -> bool:
        """Return whether there is more than one shard."""
        return len(self._shards) > 1

    @property
    def is_replicated(self) -> bool:
        """Return whether every shard should have replicas."""
        return all(shard.is_replicated for shard in self._shards)

    @property
    def home(self) -> Shard:
        """Return the shard of all that belongs to no agent."""
        return self._shards[0]

    def shard_of(self, key: str) -> Shard:
        """Return the shard that, by what this process knows, holds this key."""
        del key  # one shard holds them all
        return self._shards[0]

    async def locate(self, key: str) -> Shard:
        """Return the shard that holds this key, and ask for it if it is not known here.

        Raise StorageError.
        """
        return self.shard_of(key)

    async def look_again(self, key: str) -> None:
        """Ask for the place of the agent with this key, which may have moved.

        Raise StorageError.
        """

    async def require_here(self, key: str) -> None:
        """Check that what was not found under this key has not moved to another shard.

        Raise StorageUnavailable if it has.
        """

    async def place(self, agents: Sequence[str]) -> None:
        """Make sure that each of these agents has a shard before its first memory is stored.

        Raise StorageError.
        """

    def learn(self, shard: Shard, agents: Sequence[str]) -> None:
        """Note that this shard holds these agents' memories, unless their place is known."""

    def counts(self) -> Mapping[str, int]:
        """Return how many agents each group holds, by its name; nothing for a lone shard."""
        return {}

    def group_of(self, owner: str) -> Shard:
        """Return the shard that holds an agent's memories, or the concepts for the empty name."""
        return self.shard_of(keys.partition(owner))

    def known_group_of(self, owner: str) -> Shard | None:
        """Return the same as `group_of`. None if that has to be asked for."""
        return self.group_of(owner)

    async def locate_group(self, owner: str) -> Shard:
        """Return the same as `group_of`, and ask as `locate` does."""
        return await self.locate(keys.partition(owner))

    async def locate_latest(self, owner: str) -> Shard:
        """Return the same as `locate_group`, and make sure that the agent has not moved on.

        Raise StorageError.
        """
        return await self.locate_group(owner)

    def holds(self, shard: Shard, key: str) -> bool:
        """Return whether this shard holds the key."""
        return self.shard_of(key) is shard

    def knows(self, token: str) -> bool:
        """Return whether a node of any shard has the history that this token belongs to."""
        return any(node.status.has_reached(token) is not None for node in self.nodes)

    def holders(self, owner: str | None) -> Sequence[Shard]:
        """Return the shards that have, or may have, the memory of this owner: of an agent, of the
        concepts (the empty name), or of all agents (None)."""
        del owner  # one shard has them all
        return self._shards

    @property
    def masters(self) -> Sequence[RedisNode]:
        """Return the known masters of the shards."""
        return [shard.master for shard in self._shards if shard.has_master]

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """Return the nodes of all shards."""
        return [node for shard in self._shards for node in shard.nodes]

    def indices(self, keys: Sequence[str]) -> list[tuple[Shard, list[int]]]:
        """Return each shard that holds any of these keys, with their positions."""
        if len(self._shards) == 1:
            return [(self._shards[0], list(range(len(keys))))]
        found: dict[Shard, list[int]] = {}
        for i, key in enumerate(keys):
            found.setdefault(self.shard_of(key), []).append(i)
        return list(found.items())


def lone_shard(redis: Redis, name: str = MASTER) -> Shards:
    """Return one master without replicas, for commands that have only a client."""
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

    `lost_bytes`: lower bound on the replication bytes lost; None if the two histories cannot be
    compared. `lost_writes`: keys of this process's confirmed writes that the new master lacks.
    """

    at: float
    old_master: str
    new_master: str
    lost_bytes: int | None
    lost_writes: int

    def as_json(self) -> dict[str, object]:
        """Return the form that readiness shows."""
        return {
            "at": self.at,
            "from": self.old_master,
            "to": self.new_master,
            "lost_bytes": self.lost_bytes,
            "lost_writes": self.lost_writes,
        }


async def assess(old: RedisNode, new: RedisNode) -> Failover:
    """Compare the two histories. Log and count what was lost."""
    at = time.time()
    FAILOVERS.inc()
    kept = await _kept_of_old(new)
    discarded = None if kept is None else old.journal.beyond(*kept)
    if discarded is None:
        logger.warning(
            "the master changed: what only the old one had is not known",
            extra={"old_master": old.name, "new_master": new.name},
        )
        return Failover(at, old.name, new.name, None, 0)
    FAILOVER_LOST_WRITES.inc(len(discarded.keys))
    logger.log(
        logging.ERROR if discarded.keys else logging.WARNING,
        "the master changed: the new one lacks %d confirmed writes of this process",
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
    """Return the old history's id, and the offset up to which the new master has it."""
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
"""How long a majority of Sentinels vouches for the master. A network partition, or a pause of this
process, may hide a promotion. A promotion takes longer than this: the time of silence
(down-after-milliseconds, a second or more) and a vote."""
FENCE_S = LEASE_S + 0.1
"""How long a new master gets no writes from here after a majority named it.

A service that asks the Sentinels after that finds no majority for the old master. One that asked
before has a lease for at most LEASE_S, and checks it after its question arrived. So no question
asked after a confirmed write on the new master is answered by the old one. (A call in progress was
asked before.) The extra tenth allows for clocks that run at different speeds.
"""
MAX_FENCE_S = 5.0
"""How long the fence lasts without a majority. Sentinels tell each other every 2 s."""


class WriteFence:
    """Holds back writes to a shard's new master."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until_s = -math.inf

    def look(self, master: RedisNode, *, is_new: bool, has_quorum: bool) -> None:
        """Record whether the master has just changed, and whether a majority names it now."""
        now_s = self._clock()
        if is_new:
            self._until_s = now_s + MAX_FENCE_S
            master.fence_writes(self._until_s)
        if has_quorum and now_s < self._until_s:
            self._until_s = -math.inf
            master.fence_writes(now_s + FENCE_S)
