"""The set of all agents' names, on the shard of its key."""

import time
from collections.abc import Sequence

from app import keys
from app.errors import StorageError
from app.nodes.client import Client, execute
from app.nodes.commands import Words, ask_all
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard, Shards
from app.storage.index_info import own_index_names

ENTERED_FOR_S = 5.0
"""After this long a writing agent is added again, in case the set was emptied meanwhile."""

MAX_ENTERED = 200_000
"""How many names a process remembers as added: at most about 20 MB."""


async def all_agents(node: Client) -> list[str]:
    """Return all agents that ever stored a memory, sorted. Raise StorageError."""
    with translated():
        names = await execute(node, "SMEMBERS", keys.AGENTS)
    return sorted(name.decode() for name in names)


class AgentNames:
    """Reads the agents' names from the master that holds their set, or else from a replica."""

    def __init__(self, reads: ReadRouter) -> None:
        self._reads = reads

    async def all(self) -> list[str]:
        """Return all agents that ever stored a memory, sorted. Raise StorageError."""
        return await self._reads.read(keys.AGENTS, all_agents)


class AgentDirectory:
    """Adds an agent to the set before its first memory is stored.

    On one shard every store adds its agents in its own round trip. Of several shards one holds the
    set; each process adds the agents that write beforehand, at intervals. A master that died may
    have lost the latest names, so all agents with an index are added again when another master
    holds the set.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._entered: set[str] = set()
        self._holder: object = None
        self._forget_at_s = 0.0

    async def before_store(self, agents: Sequence[str]) -> list[tuple[str, ...]]:
        """Return commands to send ahead of a store of these agents' memories. Raise
        StorageError."""
        if not agents:
            return []
        if not self._shards.is_spread:
            return [("SADD", keys.AGENTS, *agents)]
        await self._follow_holder()
        if time.monotonic() >= self._forget_at_s:
            self._entered.clear()
            self._forget_at_s = time.monotonic() + ENTERED_FOR_S
        missing = [agent_id for agent_id in agents if agent_id not in self._entered]
        if missing:
            await self._enter(missing)
        return []

    async def _follow_holder(self) -> None:
        holder = self._shards.shard_of(keys.AGENTS).master
        if holder is not self._holder:
            self._entered.clear()
            names = [name for shard in self._shards for name in await _indexed_agents(shard)]
            if names:
                await self._enter(names)
            self._holder = holder

    async def _enter(self, agents: Sequence[str]) -> None:
        master = self._shards.shard_of(keys.AGENTS).master.client
        commands: list[Words] = [("SADD", keys.AGENTS, *agents)]
        await ask_all(master, commands)
        if len(self._entered) + len(agents) > MAX_ENTERED:
            self._entered.clear()
        self._entered.update(agents)


async def _indexed_agents(shard: Shard) -> list[str]:
    """Return the agents with an index on this shard's master; none while it is unavailable."""
    try:
        names = await own_index_names(shard.master.client)
    except StorageError:
        return []
    aliases = {name.rpartition(":")[0] for name in names}
    return [keys.index_owner(a) for a in aliases if a.startswith(f"{keys.EPISODIC_INDEX}:{{")]
