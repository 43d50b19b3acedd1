"""The names of all agents, and the removal of what agents without memories left behind.

Each shard has the set of its own agents, written with their memories. Deleting an agent's last
memory removes its index, name and counters in the same step (lua/remove_emptied.lua). A job handles
the other cases: a first store that Redis refused, memories that Redis evicted, an agent that a
former release emptied.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from app import keys
from app.errors import (
    IndexRebuilding,
    MemoryServiceError,
    Overloaded,
    StorageError,
    StorageUnavailable,
)
from app.nodes.client import Client
from app.nodes.commands import Script, Words, ask_each, slices
from app.nodes.groups.placement import all_agents
from app.nodes.job_lock import JobLock
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard, Shards
from app.storage.index_info import own_index_names

logger = logging.getLogger(__name__)

EMPTIED_JOB = "emptied_agents"
EMPTIED_INTERVAL_S = 600.0
ASKED_AT_A_TIME = 500
REMOVED_AT_A_TIME = 20
"""Agents per call of the script: about 3 ms of Redis's time."""


@dataclass(frozen=True, slots=True)
class FoundAgents:
    """Agents by name. Those of the groups in `silent`, which did not answer, are missing."""

    names: list[str]
    silent: tuple[str, ...] = ()


def is_away(error: MemoryServiceError) -> bool:
    """Return whether a shard with this error is away for a while."""
    return isinstance(error, StorageError | Overloaded) and error.retryable


def may_be_left_out(error: MemoryServiceError) -> bool:
    """Return whether a shard with this error is away, so that others may answer without it."""
    return is_away(error) and not isinstance(error, IndexRebuilding)


@contextmanager
def leaving_out(shards: Shards, shard: Shard, silent: list[str] | None) -> Iterator[None]:
    """Surround a read of one shard whose part may be missing: if it is away and partial answers are
    allowed, add its name to `silent` instead of raising. None: raise in any case.
    """
    try:
        yield
    except MemoryServiceError as error:
        if silent is None or not (shards.allows_partial and may_be_left_out(error)):
            raise
        if shard.name not in silent:
            silent.append(shard.name)


class AgentNames:
    """Reads the agents' names from the masters, or else from replicas."""

    def __init__(self, reads: ReadRouter) -> None:
        self._reads = reads

    async def all(self) -> list[str]:
        """Return all agents that ever stored a memory, sorted. Raise StorageError."""
        found = await self.found()
        if found.silent:
            raise unanswered(found.silent)
        return found.names

    async def found(self) -> FoundAgents:
        """Return the agents of the groups that answer. Raise StorageError if none does, or if
        partial answers are not allowed."""
        shards = list(self._reads.shards)
        answers = await asyncio.gather(*map(self._of, shards))
        names: set[str] = set()
        silent: list[str] = []
        for shard, answer in zip(shards, answers, strict=True):
            if isinstance(answer, MemoryServiceError):
                is_alone = len(shards) == 1 or not may_be_left_out(answer)
                if is_alone or not self._reads.shards.allows_partial:
                    raise answer
                silent.append(shard.name)
            else:
                self._reads.shards.learn(shard, answer)
                names.update(answer)
        if len(silent) == len(shards):
            raise unanswered(silent)
        return FoundAgents(sorted(names), tuple(silent))

    async def _of(self, shard: Shard) -> list[str] | MemoryServiceError:
        try:
            return await self._reads.read_on(shard, all_agents)
        except MemoryServiceError as error:
            return error


def page_of(names: Iterable[str], after: str | None, limit: int) -> tuple[list[str], str | None]:
    """Return up to `limit` names behind `after`, and the last of them if more follow, else None."""
    behind = (name for name in names if after is None or name > after)
    chosen = list(islice(behind, limit + 1))
    return chosen[:limit], chosen[limit - 1] if len(chosen) > limit else None


def unanswered(groups: Sequence[str]) -> StorageUnavailable:
    """Return the error for a question about all agents while these groups are away."""
    return StorageUnavailable(
        f"These groups do not answer: {', '.join(groups)}. Try again, or ask about one agent.",
        retry_after_s=1,
    )


class EmptiedAgents:
    """Finds emptied agents on every master and removes them."""

    def __init__(self, shards: Shards, job_lock: JobLock) -> None:
        self._shards = shards
        self._job_lock = job_lock
        self._forget = Script("forget_agents")
        self._evicted: dict[str, int] = {}

    async def remove_in_turn(self) -> None:
        """Remove what they left, unless another process holds the job lock."""
        if await self._job_lock.take(EMPTIED_JOB, EMPTIED_INTERVAL_S):
            await self.remove()

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
