"""The shards of a Redis Cluster, and who keeps them as the cluster itself says.

A key belongs to one of 16,384 slots, a slot to one master. Slots move between masters, masters fall
and replicas take their place; every node is asked again and again, and at once when one of them
said that something is elsewhere. Commands go to the node that holds their key, through the same
clients as without a cluster: that the clients of redis-py for clusters are not used, and why, is in
docs/decisions.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import redis.exceptions as foreign
from redis.asyncio import Redis
from redis.crc import key_slot

from app.errors import (
    ConfigurationError,
    StartError,
    StorageError,
    StorageMoving,
    StorageUnavailable,
)
from app.storage import keys
from app.storage.agents import all_agents
from app.storage.background import running
from app.storage.client import execute
from app.storage.cluster_map import SLOTS, ClusterMap, Group, Member, combine, read_nodes
from app.storage.cluster_trust import Words
from app.storage.cluster_whole import Whole
from app.storage.redis_errors import translate
from app.storage.redis_node import RedisNode
from app.storage.shard import Doubt, Shard, Shards, once_settled
from app.storage.trust import SURE_FOR_S, WriteHold

logger = logging.getLogger(__name__)

LOOK_TIMEOUT_S = 0.5
LEAST_PAUSE_S = 0.02
"""Between two looks, however many callers are in doubt."""
RETIRED_FOR_S = 5.0
"""A node that is another one's replica now, or gone, answers what it was asked before."""

MakeNode = Callable[[str, str, bool], RedisNode]
"""Name, address, and whether it is a master."""
Attend = Callable[[Shard], AbstractAsyncContextManager[None]]


class ClusterShards(Shards):
    """The masters of a cluster with their replicas, and which of them has which slots."""

    is_spread = True

    def __init__(self) -> None:
        super().__init__(())
        self._by_slot: list[Shard | None] = [None] * SLOTS
        self._moving: frozenset[int] = frozenset()
        self._taken: frozenset[int] = frozenset()
        self._unsettled: Mapping[Shard, str] = {}
        self._on_move: list[Callable[[], None]] = []
        self._looks = asyncio.Condition()
        self._look_count = 0
        self._is_looking = False
        self._doubt = Doubt()

    def shard_of(self, key: str) -> Shard:
        """The shard whose master has the key's slot.

        Raises StorageUnavailable for no master, StorageMoving for one that may lack a part.
        """
        slot = key_slot(key.encode())
        shard = self._by_slot[slot]
        if shard is None:
            raise StorageUnavailable(
                "No Redis node serves this part of the memory: see `python -m app check`.",
                retry_after_s=1,
            )
        if slot in self._taken:
            raise StorageMoving(
                "Another Redis node has a part of this memory, and its master does not know: end "
                "the move of its slot, as docs/cluster.md says, and try again.",
                retry_after_s=1,
            )
        if (problem := self.problem_of(shard)) is not None:
            raise StorageMoving(f"{problem}: try again shortly.", retry_after_s=1)
        return shard

    def problem_of(self, shard: Shard) -> str | None:
        """Why nothing of this shard is given out, in spite of its master."""
        silent = self._unsettled.get(shard)
        if silent is None:
            return None
        return (
            "It is not certain yet that all of this memory is where it belongs, for these Redis "
            f"nodes have not said what they have of it: {silent}"
        )

    @property
    def moving(self) -> frozenset[int]:
        """The slots that are under way to another master, as far as is known."""
        return self._moving

    @property
    def unserved(self) -> int:
        """How many slots have no master."""
        return self._by_slot.count(None)

    def holds(self, shard: Shard, key: str) -> bool:
        """Whether the key's slot is this shard's."""
        return self._by_slot[key_slot(key.encode())] is shard

    def is_moving(self, key: str) -> bool:
        """Whether the key's slot is under way to another master, as far as is known."""
        return bool(self._moving) and key_slot(key.encode()) in self._moving

    async def look_again(self) -> None:
        """Have the nodes asked who has what, and wait for that."""
        async with self._looks:
            # A look that has begun already may have asked too early.
            wanted = self._look_count + (2 if self._is_looking else 1)
            self.doubt()
            await self._looks.wait_for(lambda: self._look_count >= wanted)

    def group_of(self, owner: str) -> Shard:
        """The shard that holds an agent's memories; of the empty name: the swarm's concepts."""
        return self.shard_of(_partition_of(owner))

    def is_on_its_way(self, owner: str) -> bool:
        """As `is_moving`, of an agent's memories or the swarm's concepts."""
        return self.is_moving(_partition_of(owner))

    def knows(self, token: str) -> bool:
        """Whether a node of any shard has the history that this token is of."""
        return any(node.status.has_reached(token) is not None for node in self.nodes)

    async def agents(self) -> Sequence[str]:
        """All agents that ever stored a memory, as the master that holds the set knows them."""
        return await once_settled(
            self, lambda: all_agents(self.shard_of(keys.AGENTS).master.client)
        )

    def doubt(self) -> None:
        """A node did not behave as was expected: the nodes should be asked again now."""
        self._doubt.rise()

    def when_slots_move(self, tell: Callable[[], None]) -> None:
        """Call this, synchronously, whenever a slot has another master."""
        self._on_move.append(tell)

    def set_map(self, shards: Mapping[Shard, Group], moving: frozenset[int]) -> None:
        """From now on these are the shards, in this order, with these slots."""
        by_slot: list[Shard | None] = [None] * SLOTS
        for shard, group in shards.items():
            for low, high in group.slots:
                by_slot[low : high + 1] = [shard] * (high + 1 - low)
        has_moved = by_slot != self._by_slot
        self._shards, self._by_slot, self._moving = tuple(shards), by_slot, moving
        if has_moved:
            for tell in self._on_move:
                tell()

    def withhold(self, taken: frozenset[int], unsettled: Mapping[Shard, str]) -> None:
        """Of these slots and shards the master may lack a part; the shards with the names of those
        who would have to say that it does not."""
        self._taken, self._unsettled = taken, unsettled

    def is_looking(self) -> None:
        """All nodes are asked from now on."""
        self._is_looking = True

    async def has_looked(self) -> None:
        """All nodes were asked."""
        async with self._looks:
            self._is_looking = False
            self._look_count += 1
            self._looks.notify_all()

    async def wait_for_doubt(self, at_most_s: float) -> None:
        """Until somebody wants the nodes to be asked, or that time is over."""
        await self._doubt.wait(at_most_s)


class ClusterWatch:
    """Keeps `shards` as the nodes say. `attend` runs beside each shard for as long as it exists.

    `seeds` are addresses of some nodes; their user, password and scheme are used for all nodes.
    """

    def __init__(
        self,
        shards: ClusterShards,
        seeds: Sequence[str],
        *,
        make_node: MakeNode,
        connect: Callable[[str], Redis],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shards = shards
        self._seeds = seeds
        self._make_node = make_node
        self._connect = connect
        self._interval_s = interval_s
        self._attend: Attend | None = None
        self._views: list[Sequence[Member]] = []
        self._nodes: dict[tuple[str, str, bool], RedisNode] = {}
        self._retired: list[tuple[float, RedisNode]] = []
        self._groups: Mapping[Shard, Group] = {}
        self._words = Words()
        self._whole = Whole(self._words, self._ask_others, clock)
        self._holds: dict[Shard, WriteHold] = {}
        self._attended: dict[Shard, AsyncExitStack] = {}
        self._numbers = 0
        self._home = ""
        self._clock = clock

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Ask the seeds and every node they name. Raises StartError when none answers."""
        try:
            await self._open()
            yield
        finally:
            for stack in self._attended.values():
                await stack.aclose()
            for node in (*self._nodes.values(), *(node for _, node in self._retired)):
                await node.aclose()

    @asynccontextmanager
    async def watching(self, attend: Attend) -> AsyncIterator[None]:
        """Go on asking while the context is open."""
        self._attend = attend
        await self._attend_all()
        async with running(self._look_for_ever()):
            yield

    async def _open(self) -> None:
        said: Exception = ConfigurationError("MEMORY_CLUSTER_URLS is empty.")
        for seed in self._seeds:
            client = self._connect(seed)
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_S * 4):
                    members = read_nodes((await execute(client, b"CLUSTER", "NODES")).decode())
            except foreign.ResponseError as error:
                if "cluster support disabled" not in str(error):
                    said = translate(error)
                    continue
                raise ConfigurationError(
                    "MEMORY_CLUSTER_URLS names a Redis that is not in a cluster: set "
                    "MEMORY_REDIS_URL instead."
                ) from error
            except (foreign.RedisError, OSError, TimeoutError) as error:
                said = translate(error) if isinstance(error, foreign.RedisError) else error
                continue
            finally:
                await client.aclose()
            self._home = _host_of(seed)
            await self._take_over(combine([members]))
            # Each node's own word, instead of the seed's about it.
            await self.look()
            if not self._groups:
                raise StartError(
                    "No node of MEMORY_CLUSTER_URLS has any slots: make the cluster first, as "
                    "docs/cluster.md says."
                )
            return
        detail = said.detail if isinstance(said, StorageError) else str(said)
        raise StartError(f"No node of MEMORY_CLUSTER_URLS answers: {detail}")

    async def look(self) -> None:
        """Ask every node that is known, at the same time, and follow what they say."""
        self._shards.is_looking()
        nodes = list(self._nodes.values())
        said = await asyncio.gather(*(self._ask(node) for node in nodes))
        views = [view for view in said if view is not None]
        if views and views != self._views:
            self._views = views
            await self._take_over(combine(views))
        await self._close_retired()
        await self._shards.has_looked()

    async def _ask(self, node: RedisNode) -> Sequence[Member] | None:
        asked_at_s = self._clock()
        view = await _nodes_as_seen_by(node)
        if view is not None:
            # At once: another node may keep this look waiting for longer than a word counts.
            self._words.hear(view, asked_at_s)
            self._trust()
        return view

    async def _ask_others(self, group: Group) -> None:
        """Ask all masters but this group's."""
        others = [
            node
            for (node_id, _, is_master), node in self._nodes.items()
            if is_master and node_id not in group.node_ids
        ]
        await asyncio.gather(*(self._ask(node) for node in others))

    def _trust(self) -> None:
        """Trust each master for as long, and for as much, as the other shards' nodes stand by it.

        A master without slots has no voice in that.
        """
        taken, unsettled = self._whole.judge()
        named = {shard: self._names_of(ids) for shard, ids in unsettled.items()}
        self._shards.withhold(taken, named)
        for shard, group in self._groups.items():
            by_nodes_s, by_masters_s = self._words.stood_by_at_s(group, self._groups.values())
            shard.sure_until(max(by_nodes_s, by_masters_s) + SURE_FOR_S)
            has_majority = min(by_nodes_s, by_masters_s) > -math.inf
            self._holds[shard].look(shard.master, is_new=False, has_majority=has_majority)

    def _names_of(self, node_ids: Collection[str]) -> str:
        """Their addresses, where they are known."""
        names = {node_id: name for node_id, name, _ in self._nodes}
        return ", ".join(sorted(names.get(node_id, node_id) for node_id in node_ids))

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LEAST_PAUSE_S)
            await self._shards.wait_for_doubt(self._interval_s)
            await self.look()

    async def _take_over(self, found: ClusterMap) -> None:
        shards: dict[Shard, Group] = {}
        nodes: dict[tuple[str, str, bool], RedisNode] = {}
        replaced: list[tuple[Shard, RedisNode]] = []
        for serving in (group for group in found.groups if group.slots):
            shard = self._shard_for(serving, taken=shards)
            group = self._with_lost(serving, shard, found)
            roles = [self._node_for(m, nodes) for m in (group.master, *group.replicas)]
            if shard.has_master and shard.master is not roles[0]:
                replaced.append((shard, shard.master))
            shard.set_roles(roles[0], roles[1:])
            for node in roles:
                node.doubt = self._shards.doubt
                node.missing = partial(self._whole.missing, shard, node)
            shards[shard] = group
        self._groups = shards
        for idle in (group.master for group in found.groups if not group.slots):
            # It may be taking its first slot. One that has lost its slots is there already.
            is_known = any(idle.node_id in group.node_ids for group in shards.values())
            if not is_known and not idle.has_failed:
                self._node_for(idle, nodes)
        masters = {g.master.node_id for g in found.groups if g.slots or not g.master.has_failed}
        self._whole.follow(shards, masters)
        self._holds = {shard: self._holds.get(shard) or WriteHold(self._clock) for shard in shards}
        now_s = time.monotonic()
        gone = [node for key, node in self._nodes.items() if key not in nodes]
        self._retired += [(now_s + RETIRED_FOR_S, node) for node in gone]
        self._nodes = nodes
        self._words.forget_all_but({node_id for node_id, _, _ in nodes})
        for shard, old in replaced:
            self._holds[shard].look(shard.master, is_new=True, has_majority=False)
            old.give_up_writes()
            self._shards.doubt()  # nobody is answered from it until all others were asked
        self._trust()
        self._shards.set_map(shards, found.moving)
        for shard in [shard for shard in self._attended if shard not in shards]:
            await self._attended.pop(shard).aclose()
        await self._attend_all()
        for shard, old in replaced:
            if (stack := self._attended.get(shard)) is not None:
                await stack.enter_async_context(running(shard.tell_failover(old)))

    def _with_lost(self, group: Group, shard: Shard, found: ClusterMap) -> Group:
        """The group with the masters that lost its slots and are not back yet as replicas."""
        before = self._groups.get(shard)
        known = set[str]() if before is None else before.node_ids
        lost = (g.master for g in found.groups if not g.slots and g.master.node_id in known)
        return replace(group, replicas=(*group.replicas, *lost))

    def _shard_for(self, group: Group, taken: Mapping[Shard, Group]) -> Shard:
        """The shard that this group was before: its master's, else that of most of its nodes."""
        ids = {member.node_id for member in group.replicas}
        best, most = None, 0
        for shard, before in self._groups.items():
            members = before.node_ids
            common = len(ids & members) + (len(ids) + 1) * (group.master.node_id in members)
            if shard not in taken and common > most:
                best, most = shard, common
        if best is None:
            self._numbers += 1
            name = f"shard-{self._numbers}"
            best = Shard(name, is_replicated=bool(group.replicas), clock=self._clock)
        return best

    def _node_for(self, member: Member, nodes: dict[tuple[str, str, bool], RedisNode]) -> RedisNode:
        is_master = member.master_id is None
        host = member.host or self._home
        name = f"{host}:{member.port}"
        key = (member.node_id, name, is_master)
        node = self._nodes.get(key)
        if node is None:
            node = self._make_node(name, _with_host(self._seeds[0], name), is_master)
        nodes[key] = node
        return node

    async def _attend_all(self) -> None:
        if self._attend is None:
            return
        for shard in self._shards:
            if shard not in self._attended:
                stack = self._attended[shard] = AsyncExitStack()
                await stack.enter_async_context(self._attend(shard))

    async def _close_retired(self) -> None:
        now_s = time.monotonic()
        over = [node for until_s, node in self._retired if until_s <= now_s]
        self._retired = [pair for pair in self._retired if pair[0] > now_s]
        for node in over:
            await node.aclose()


def _partition_of(owner: str) -> str:
    return keys.episodic_partition(owner) if owner else keys.semantic_partition()


async def _nodes_as_seen_by(node: RedisNode) -> Sequence[Member] | None:
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            return read_nodes((await execute(node.probe, b"CLUSTER", "NODES")).decode())
    except (foreign.RedisError, OSError, TimeoutError) as error:
        logger.debug("no view of the cluster", extra={"node": node.name, "cause": repr(error)})
        return None


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or "127.0.0.1"


def _with_host(url: str, address: str) -> str:
    """This node's address, with the scheme and the credentials of another one's."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    scheme = "redis" if parts.scheme == "unix" else parts.scheme
    return urlunsplit((scheme, f"{credentials}{at}{address}", "", parts.query, ""))
