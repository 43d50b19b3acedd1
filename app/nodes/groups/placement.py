"""Which group holds which agent.

An agent's place is decided once, before its first memory is stored, and kept in the home group;
each process holds all places in its memory. The choice is weighted rendezvous hashing, skipping
groups whose Redis is nearly full, and those with more than their share and MORE_THAN_SHARE of it.
Plain rendezvous hashing spread 1,000 agents over 3 groups within 10 % of even for 87 of 100 sets of
names only (docs/decisions/0032-groups.md). "Weighted distributed hash tables", Schindelhauer and
Schomaker, 2005; "Consistent hashing with bounded loads", Mirrokni, Thorup and Zadimoghaddam, 2018.

Each group also has the set of its own agents' names (app/storage/agents.py), written in the same
step as their memories. Places that the home lost in a failover are restored by the processes that
know them, and from these sets.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from app import keys
from app.context import required
from app.errors import DurabilityNotReached, StorageError, StorageUnavailable
from app.nodes.changes import CHANNEL, moved_message
from app.nodes.client import Client, execute
from app.nodes.commands import Script, Words, ask_all
from app.nodes.groups.membership import is_group, lost_mark
from app.nodes.groups.room import roomiest, used_shares
from app.nodes.node import RedisNode
from app.nodes.redis_errors import AgentMoving, translated
from app.nodes.shard import Shard, Shards

logger = logging.getLogger(__name__)

MORE_THAN_SHARE = 0.02
PLACED_AT_A_TIME = 500
EMPTIED_FEED_S = 10
"""As app/storage/lua/remove_emptied.lua."""
USED_KNOWN_FOR_S = 1.0
"""For how long a group's used memory, looked up for a new agent, counts for the next ones."""
WAIT_MS = 500
"""How long to wait until a replica of the home has a new place, too."""


def preference(agent_id: str, weights: Mapping[str, float]) -> list[str]:
    """Return the groups in the order in which this agent prefers them."""

    def score(group: str) -> float:
        digest = blake2b(f"{group}\0{agent_id}".encode(), digest_size=8).digest()
        drawn = (int.from_bytes(digest) + 0.5) / 2**64
        return -math.log(drawn) / weights[group]

    return sorted((group for group, weight in weights.items() if weight > 0), key=score)


class GroupShards(Shards):
    """The groups of a memory. `weights` are by the groups' names."""

    def __init__(
        self,
        groups: Mapping[str, Shard],
        home: str,
        weights: Mapping[str, float],
        *,
        allows_partial: bool = True,
    ) -> None:
        super().__init__([groups[home], *(g for name, g in groups.items() if name != home)])
        self.allows_partial = allows_partial
        self._groups = dict(groups)
        self._weights = dict(weights)
        self._placed: dict[str, Shard] = {}
        self._counts: Counter[str] = Counter()
        self._used: Mapping[str, float] = {}
        self._used_known_until_s = -math.inf
        self._open = Script("open_agent")
        self._keep = Script("keep_places")

    def shard_of(self, key: str) -> Shard:
        """Return the shard that holds this key, to this process's knowledge."""
        agent_id = keys.agent_of(key)
        return self.home if agent_id is None else self.group_of(agent_id)

    def group_of(self, owner: str) -> Shard:
        """Return the shard that holds an agent's memories, or the concepts for the empty name.

        An agent without a place has no memory: the shard that it prefers answers, or the home if
        no group takes new agents.
        """
        if not owner:
            return self.home
        placed = self._placed.get(owner)
        if placed is not None:
            return placed
        preferred = preference(owner, self._weights)
        return self._groups[preferred[0]] if preferred else self.home

    def known_group_of(self, owner: str) -> Shard | None:
        """Return the same as `group_of`. None for an agent without a place in this process."""
        return self._placed.get(owner) if owner else self.home

    async def locate(self, key: str) -> Shard:
        """Return the shard that holds this key, and ask the home for an unknown agent's.

        Raise StorageError.
        """
        agent_id = keys.agent_of(key)
        return self.home if agent_id is None else await self.locate_group(agent_id)

    async def locate_group(self, owner: str) -> Shard:
        """Return the same as `group_of`, and ask the home for an unknown agent's."""
        placed = self.known_group_of(owner)
        if placed is not None:
            return placed
        group = await self._place_at_home(owner)
        if group is not None:
            self._enter(owner, group)
        return self.group_of(owner)

    async def look_again(self, key: str) -> None:
        """Ask the home for the place of the agent with this key. Raise StorageError."""
        agent_id = keys.agent_of(key)
        if agent_id is not None:
            group = await self._place_at_home(agent_id)
            if group is not None:
                self.moved(agent_id, group)
                await self._follow(agent_id)

    @property
    def _home_master(self) -> RedisNode:
        """Return the home's master. Raise StorageUnavailable at once if it is known to be down."""
        master = self.home.master
        master.require_up()
        return master

    async def _place_at_home(self, agent_id: str) -> str | None:
        with translated():
            group = await execute(self._home_master.client, "HGET", keys.PLACEMENTS, agent_id)
        return None if group is None else str(group.decode())

    async def _places_at_home(self) -> dict[str, str]:
        with translated():
            found = await execute(self._home_master.client, "HGETALL", keys.PLACEMENTS)
        return {agent_id.decode(): group.decode() for agent_id, group in found.items()}

    async def _follow(self, agent_id: str) -> None:
        """Enter the place that the agent's group says it moved to, which the home may lack.

        The home lost it in a failover, or a mover was killed just before it entered it. A group
        says so only once the next one has everything.
        """
        here = self._placed[agent_id]
        group = await self._moved_from(here, agent_id)
        if group is None or group not in self._groups:
            return
        await self.until_replicated(here, agent_id, here.master.waiting)
        told: Words = ("PUBLISH", CHANNEL, moved_message(agent_id, group))
        placed: Words = ("HSET", keys.PLACEMENTS, agent_id, group)
        await ask_all(self._home_master.client, [placed, ("INCR", keys.MOVES_MADE), told])
        await ask_all(here.master.client, [told])
        await self.open(self._groups[group], agent_id)
        await ask_all(here.master.client, [("SREM", keys.AGENTS, agent_id)])
        self.moved(agent_id, group)

    async def until_replicated(self, shard: Shard, agent_id: str, waiting: Client) -> None:
        """Wait until no new master of the shard can lack what was written there so far.

        `waiting` leads to the master, and is blocked meanwhile. Raise DurabilityNotReached or
        StorageError.
        """
        if not shard.is_replicated:
            return
        wanted = max(1, shard.candidates())
        # WAIT waits for its own connection's writes: replicas receive a PUBLISH like a write.
        written: Words = ("PUBLISH", CHANNEL, keys.episodic_partition(agent_id))
        replies = await ask_all(waiting, [written, ("WAIT", wanted, WAIT_MS)])
        if replies[1] < wanted:
            raise DurabilityNotReached(
                f"Not every replica of group {shard.name} has the agent's move yet.",
                retry_after_s=1,
            )

    async def open(self, shard: Shard, agent_id: str) -> bool:
        """Let an agent that has arrived there be written to, and enter its name.

        Return False, and do nothing, for an agent that is not arriving. Raise StorageError.
        """
        agent_keys = (keys.episodic_partition(agent_id), keys.episodic_changes(agent_id))
        words = (agent_id, EMPTIED_FEED_S)
        node = shard.master.probe
        return bool(await self._open.run(node, [keys.MOVING, keys.AGENTS, *agent_keys], words))

    async def _held_at(self, shard: Shard, agent_id: str) -> str:
        """Return what holds the agent's writes back there (app/storage/lua/require_here.lua)."""
        with translated():
            held = await execute(shard.master.client, "HGET", keys.MOVING, agent_id)
        return "" if held is None else str(held.decode())

    async def _moved_from(self, shard: Shard, agent_id: str) -> str | None:
        """Return the group that the agent has moved to from there. None if it has not."""
        held = await self._held_at(shard, agent_id)
        return held.removeprefix("moved ") if held.startswith("moved ") else None

    async def locate_latest(self, owner: str) -> Shard:
        """Return the same as `locate_group`, and make sure that the agent has not moved on."""
        shard = await self.locate_group(owner)
        for _ in self._shards:
            if owner not in self._placed:
                break
            shard.master.require_up()
            group = await self._moved_from(shard, owner)
            if group is None:
                break
            self.moved(owner, group)
            shard = self._placed[owner]
        return shard

    async def require_here(self, key: str) -> None:
        """Check that what was not found under this key has not moved to another group, and that
        the group has not lost everything.

        Only a process that has not heard of a move for seconds meets the first. Raise AgentMoving
        or StorageUnavailable.
        """
        agent_id = keys.agent_of(key)
        if agent_id is None or agent_id not in self._placed:
            return
        here = self._placed[agent_id]
        if not await is_group(here.name, here.master.client):
            raise StorageUnavailable(lost_mark(here.name), retry_after_s=1)
        if await self._moved_from(here, agent_id) is not None:
            await self.look_again(key)
            raise AgentMoving(
                f"Agent {agent_id} has moved to another group: try again.", retry_after_s=1
            )

    def moved(self, agent_id: str, group: str) -> None:
        """Note an agent's place, where it may have had another one."""
        placed = self._placed.get(agent_id)
        if placed is None or placed.name != group:
            self._enter(agent_id, group)

    def place_of(self, agent_id: str) -> str | None:
        """Return the name of the group that, by what this process knows, holds this agent."""
        placed = self._placed.get(agent_id)
        return None if placed is None else placed.name

    def agents_in(self, group: str) -> list[str]:
        """Return the agents that have their place in this group, sorted."""
        return sorted(a for a, shard in self._placed.items() if shard.name == group)

    @property
    def names(self) -> list[str]:
        """Return the names of the groups, the home first."""
        return [shard.name for shard in self]

    @property
    def weights(self) -> Mapping[str, float]:
        """Return the weights by the groups' names."""
        return self._weights

    @property
    def open_weights(self) -> Mapping[str, float]:
        """Return the weights of the groups that take agents."""
        return {name: weight for name, weight in self._weights.items() if weight > 0}

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Replace the weights, by which new agents are placed, of the groups in MEMORY_GROUPS."""
        found = {name: weights[name] for name in self.names if name in weights}
        # A list without a group is one that the home has lost.
        self._weights = found or self._weights

    def group(self, name: str) -> Shard:
        """Return the group of this name."""
        return self._groups[name]

    async def version(self) -> int:
        """Return how often agents were moved or the list changed. Raise StorageError."""
        with translated():
            return int(await execute(self.home.master.probe, "GET", keys.MOVES_MADE) or 0)

    async def load_places(self) -> list[str]:
        """Read all places again. Return the agents whose place changed. Raise StorageError."""
        changed = []
        for agent_id, group in (await self._places_at_home()).items():
            if self.place_of(agent_id) not in {None, group}:
                changed.append(agent_id)
            self.moved(agent_id, group)
        return changed

    async def place(self, agents: Sequence[str]) -> None:
        """Decide the place of each of these agents that has none yet. Raise StorageError."""
        missing = [agent_id for agent_id in agents if agent_id not in self._placed]
        if missing and time.monotonic() >= self._used_known_until_s:
            self._used = await used_shares(self._shards)
            self._used_known_until_s = time.monotonic() + USED_KNOWN_FOR_S
        for start in range(0, len(missing), PLACED_AT_A_TIME):
            some = missing[start : start + PLACED_AT_A_TIME]
            await self._store(self._proposals(some), is_required=required() != "memory")

    async def load(self) -> None:
        """Read all places from the home, and add what only the groups know.

        Groups that are away are skipped. Raise StorageError.
        """
        for agent_id, group in (await self._places_at_home()).items():
            self._enter(agent_id, group)
        for shard in self:
            await self.load_names(shard)

    async def load_names(self, shard: Shard) -> None:
        """Add the agents of one group that have no place yet; do nothing while it is away."""
        try:
            shard.master.require_up()
            names = await all_agents(shard.master.client)
        except StorageError as error:
            logger.info("a group's agents are not read", extra={"cause": repr(error)})
            return
        unknown = {name: shard.name for name in names if name not in self._placed}
        await self._store_all(unknown)
        elsewhere = [n for n in names if self._placed.get(n) not in {None, shard}]
        if elsewhere:
            logger.error(
                "agents with memories in a group that is not their place",
                extra={"group": shard.name, "agents": elsewhere[:10], "count": len(elsewhere)},
            )

    async def enter_again(self) -> None:
        """Write every known place to the home again, whose new master may lack the latest.

        Raise StorageError.
        """
        await self._store_all({agent_id: shard.name for agent_id, shard in self._placed.items()})

    async def _store_all(self, places: Mapping[str, str]) -> None:
        items = list(places.items())
        for start in range(0, len(items), PLACED_AT_A_TIME):
            await self._store(dict(items[start : start + PLACED_AT_A_TIME]), is_required=False)

    def learn(self, shard: Shard, agents: Sequence[str]) -> None:
        """Record that this shard holds these agents' memories, unless their place is known."""
        for agent_id in agents:
            if agent_id not in self._placed:
                self._enter(agent_id, shard.name)

    def holders(self, owner: str | None) -> Sequence[Shard]:
        """Return the shards that have, or may have, the memory of this owner."""
        if owner is None:
            return self._shards
        placed = self.known_group_of(owner)
        return self._shards if placed is None else (placed,)

    def counts(self) -> Mapping[str, int]:
        """Return how many agents have their place in each group."""
        return {name: self._counts[name] for name in self._groups}

    async def _store(self, proposed: Mapping[str, str], *, is_required: bool) -> None:
        """Store places that are not there yet, and take over all that are."""
        pairs = [word for item in proposed.items() for word in item]
        commands: list[Words] = [("EVAL", self._keep.text, 1, keys.PLACEMENTS, *pairs)]
        wanted = max(1, self.home.candidates()) if is_required else 1
        if self.home.is_replicated:
            commands.append(("WAIT", wanted, WAIT_MS))
        replies = await ask_all(self._home_master.waiting, commands)
        for agent_id, name in zip(proposed, replies[0], strict=True):
            self._enter(agent_id, name.decode())
        if is_required and self.home.is_replicated and replies[-1] < wanted:
            raise DurabilityNotReached(
                "The place of a new agent is not replicated in the home group: repeat the request "
                "with the same id.",
                retry_after_s=1,
            )

    def _enter(self, agent_id: str, name: str) -> None:
        shard = self._groups.get(name)
        if shard is None:
            shard = self._groups[name] = Shard(name)
            shard.note_absence(
                f"Group {name} is not in this process's MEMORY_GROUPS: add it and restart."
            )
        before = self._placed.get(agent_id)
        if before is not None:
            self._counts[before.name] -= 1
        self._counts[name] += 1
        self._placed[agent_id] = shard

    def _proposals(self, agents: Sequence[str]) -> dict[str, str]:
        """Choose a group for each of these agents, skipping those that have their share, no room,
        or are away."""
        takers = self.open_weights or dict.fromkeys(self._weights, 1.0)
        up = {name: w for name, w in takers.items() if self._is_up(name)} or takers
        weights = roomiest(up, self._used)
        whole, total = sum(weights.values()), sum(self._counts[name] for name in weights)
        added: Counter[str] = Counter()
        proposed: dict[str, str] = {}
        for number, agent_id in enumerate(agents, total + 1):
            wanted = preference(agent_id, weights)
            chosen = next(
                (
                    name
                    for name in wanted
                    if self._counts[name] + added[name]
                    < math.ceil((1 + MORE_THAN_SHARE) * number * weights[name] / whole)
                ),
                wanted[0],
            )
            added[chosen] += 1
            proposed[agent_id] = chosen
        return proposed

    def _is_up(self, name: str) -> bool:
        """Return whether the group passed its last health check."""
        return self._groups[name].is_master_well


async def all_agents(node: Client) -> list[str]:
    """Return all agents that ever stored a memory on this node, sorted. Raise StorageError."""
    with translated():
        names = await execute(node, "SMEMBERS", keys.AGENTS)
    return sorted(name.decode() for name in names)
