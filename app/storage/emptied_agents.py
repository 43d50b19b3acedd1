"""Removes what agents without memories left behind.

Deleting an agent's last memory removes its index, name and counters in the same step
(lua/remove_emptied.lua). This job handles the other cases: a first store that Redis refused,
memories that Redis evicted, an agent that a former release emptied.
"""

import logging
from collections.abc import Sequence

from app import keys
from app.errors import StorageError
from app.nodes.client import Client
from app.nodes.commands import Script, Words, ask_each, slices
from app.nodes.groups.placement import all_agents
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard, Shards
from app.storage.index_info import own_index_names

logger = logging.getLogger(__name__)

ASKED_AT_A_TIME = 500
REMOVED_AT_A_TIME = 20
"""Agents per call of the script: about 3 ms of Redis's time."""


class EmptiedAgents:
    """Finds emptied agents on every master and removes them."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._forget = Script("forget_agents")
        self._evicted: dict[str, int] = {}

    async def remove(self) -> int:
        """Remove what they left. Return how many agents there were. Raise StorageError."""
        removed = 0
        for shard in self._shards:
            try:
                removed += await self._remove_on(shard)
            except StorageError as error:
                if not shard.name:
                    raise
                logger.info("a group is away", extra={"group": shard.name, "cause": error.detail})
        return removed

    async def _remove_on(self, shard: Shard) -> int:
        master = shard.master.client
        agents = await _known_agents(master)
        if not await self._has_evicted(shard):
            agents = await _without_memories(master, agents)
        removed = 0
        for some in slices(list(map(keys.episodic_partition, agents)), REMOVED_AT_A_TIME):
            removed += int(await self._forget.run(master, some, ()))
        return removed

    async def _has_evicted(self, shard: Shard) -> bool:
        """Return whether Redis evicted anything since the last check: counters are too high."""
        with translated():
            stats = await shard.master.client.info("stats")
        count = int(stats["evicted_keys"])
        before = self._evicted.get(shard.master.name, 0)
        self._evicted[shard.master.name] = count
        return count != before


async def _known_agents(master: Client) -> list[str]:
    """Return every agent that has a name in the set, or an index."""
    aliases = {name.rpartition(":")[0] for name in await own_index_names(master)}
    indexed = {keys.index_owner(a) for a in aliases if a.startswith(f"{keys.EPISODIC_INDEX}:{{")}
    return sorted(indexed.union(await all_agents(master)))


async def _without_memories(master: Client, agents: Sequence[str]) -> list[str]:
    """Return the agents whose partition counts no memory."""
    found: list[str] = []
    for some in slices(agents, ASKED_AT_A_TIME):
        asked: list[Words] = [("HGET", keys.episodic_partition(a), "memories") for a in some]
        counts = await ask_each(master, asked)
        found += [a for a, count in zip(some, counts, strict=True) if _counts_none(count)]
    return found


def _counts_none(count: object) -> bool:
    """Return whether the counter is zero or missing. An error: a foreign key stands there."""
    return not isinstance(count, Exception) and (not isinstance(count, bytes) or int(count) <= 0)
