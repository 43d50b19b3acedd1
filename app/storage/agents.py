"""The names of all agents. Each shard has the set of its own, written with their memories."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import (
    IndexRebuilding,
    MemoryServiceError,
    Overloaded,
    StorageError,
    StorageUnavailable,
)
from app.nodes.groups.placement import all_agents
from app.nodes.reads import ReadRouter
from app.nodes.shard import Shard


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


def unanswered(groups: Sequence[str]) -> StorageUnavailable:
    """Return the error for a question about all agents while these groups are away."""
    return StorageUnavailable(
        f"These groups do not answer: {', '.join(groups)}. Try again, or ask about one agent.",
        retry_after_s=1,
    )
