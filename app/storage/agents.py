"""Which agents there are: one set, on the shard of its key."""

import time
from collections.abc import Sequence

from redis.asyncio import Redis

from app import keys
from app.errors import StorageError
from app.nodes.client import execute
from app.nodes.commands import Words, ask_all
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard, Shards

ENTERED_FOR_S = 5.0
"""Then an agent that writes is entered again, should somebody have emptied the set meanwhile."""

MAX_ENTERED = 200_000
"""Names that a process remembers as entered: some 20 MB at the most."""


async def all_agents(node: Redis) -> list[str]:
    """All agents that ever stored a memory, sorted. Raises StorageError."""
    with translated():
        names = await execute(node, "SMEMBERS", keys.AGENTS)
    return sorted(name.decode() for name in names)


class AgentNames:
    """The agents' names, as the master that holds their set knows them."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def all(self) -> list[str]:
        """Return all agents that ever stored a memory, sorted. Raises StorageError."""
        return await all_agents(self._shards.shard_of(keys.AGENTS).master.client)


class AgentDirectory:
    """Sees to it that an agent is in the set before its first memory is stored.

    On one shard a store enters its agents in its own round trip, always. Of several shards one
    holds the set: each process enters the agents that write beforehand, once in a while. A master
    that fell may have taken the latest names with it, so all that have an index are entered again
    when another one holds the set.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._entered: set[str] = set()
        self._holder: object = None
        self._forget_at_s = 0.0

    async def before_store(self, agents: Sequence[str]) -> list[tuple[str, ...]]:
        """Commands to send ahead of a store of these agents' memories. Raises StorageError."""
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
    """The agents that have an index on this shard's master; none while it is away."""
    try:
        with translated():
            names = await execute(shard.master.client, "FT._LIST")
    except StorageError:
        return []
    aliases = {name.decode().rpartition(":")[0] for name in names}
    return [keys.index_owner(a) for a in aliases if a.startswith(f"{keys.EPISODIC_INDEX}:{{")]
