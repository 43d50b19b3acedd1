"""Finds, reads, erases and purges experiences that retired from an agent's memory."""

from collections.abc import Sequence
from typing import Any

from app import keys
from app.nodes.client import Client
from app.nodes.commands import Script, ask_all
from app.nodes.reads import ReadRouter
from app.storage.index import Indexes, retired_of
from app.storage.listing import Deletion, MemoryQuery, PageQuery, in_steps
from app.storage.memories import MemoryStore, StoredHash
from app.storage.query_syntax import below, exactly, still_there
from app.storage.retired.moments import Moments, moments_of

STEP = 200
"""Deleted by one script: about 3 ms of Redis's time."""

STATE = "state_vector"


class RetiredExperiences:
    """The experiences that retired from the memories of all agents."""

    def __init__(
        self, *, query: MemoryQuery, store: MemoryStore, reads: ReadRouter, indexes: Indexes
    ) -> None:
        self._query = query
        self._store = store
        self._reads = reads
        self._indexes = indexes
        self._remove = Script("remove_retired")

    async def moments(self, agent_id: str) -> Moments:
        """Return when memories of an agent retired and were purged. Raise StorageError."""
        partition = keys.episodic_partition(agent_id)
        return await self._reads.read(partition, lambda node: moments_of(node, agent_id))

    async def count(self, agent_id: str) -> int:
        """Return how many an agent has. Raise StorageError."""

        async def ask(node: Client) -> list[Any]:
            return await ask_all(node, [("HGET", keys.episodic_partition(agent_id), "retired")])

        (count,) = await self._reads.read(keys.episodic_partition(agent_id), ask)
        return int(count or 0)

    async def find(
        self, agent_id: str, memory_id: str, as_of: float, fields: Sequence[str]
    ) -> StoredHash | None:
        """Return the experience that had this id at a moment and retired later, if any."""
        conditions = (exactly("id", memory_id), still_there(as_of))
        for key in await self._keys(agent_id, conditions, STEP):
            found = await self._store.fetch(key.decode(), fields)
            if found is not None:
                return found
        return None

    async def erase(self, agent_id: str, *conditions: str) -> int:
        """Delete some that match, permanently. Return how many; 0: none are left."""
        found = await self._keys(agent_id, conditions, STEP)
        return await self._removed(agent_id, found, is_purge=False)

    async def erase_id(self, agent_id: str, memory_id: str) -> int:
        """Delete all that had this id, permanently. Return how many there were."""
        if not await self.count(agent_id):
            return 0
        return await self.erase(agent_id, exactly("id", memory_id))

    async def delete(self, agent_id: str, conditions: Sequence[str], *, dry_run: bool) -> Deletion:
        """Delete all that match permanently, for a bounded time, or only count them."""
        if not await self.count(agent_id):
            return Deletion(0, 0)
        partition = retired_of(self._indexes, agent_id)
        matched = await self._query.count(partition.schema, (*partition.conditions, *conditions))

        async def step() -> int | None:
            return await self.erase(agent_id, *conditions) or None

        deleted = sum([n async for n in in_steps(step)]) if matched and not dry_run else 0
        return Deletion(max(matched, deleted), deleted)

    async def purge(self, agent_id: str, *, before: float, keep: int) -> int:
        """Delete some that retired before a moment, or earliest of more than `keep`.

        From then on, answers as of an earlier moment say that they may be incomplete. Return how
        many were deleted; 0: none are left.
        """
        count = await self.count(agent_id)
        if not count:
            return 0
        found = await self._keys(agent_id, (below("retired_at", before),), STEP)
        if not found and count > keep:
            found = await self._earliest(agent_id, min(STEP, count - keep))
        return await self._removed(agent_id, found, is_purge=True)

    async def _removed(self, agent_id: str, found: Sequence[bytes], *, is_purge: bool) -> int:
        if not found:
            return 0
        partition = keys.episodic_partition(agent_id)
        arguments = [int(is_purge)]
        deleted, _ = await self._store.run(self._remove, [partition, *found], arguments, partition)
        return int(deleted)

    async def _keys(self, agent_id: str, conditions: Sequence[str], limit: int) -> list[bytes]:
        partition = retired_of(self._indexes, agent_id)
        return await self._query.keys(partition.schema, (*partition.conditions, *conditions), limit)

    async def _earliest(self, agent_id: str, limit: int) -> list[bytes]:
        partition = retired_of(self._indexes, agent_id)
        page = await self._query.page(
            PageQuery(
                schema=partition.schema,
                conditions=partition.conditions,
                sort_by="retired_at",
                order="asc",
                limit=limit,
                after=None,
            )
        )
        places = [position.seq for position in page.positions]
        return [keys.retired_memory(agent_id, seq).encode() for seq in places]


async def states_of(
    reads: ReadRouter, agent_id: str, memories: Sequence[tuple[str, int]]
) -> list[bytes | None]:
    """Return the state vectors, as stored, of an agent's memories by id and `seq`, in order.

    Present ones and retired ones; None for a deleted one. Raise StorageError.
    """
    if not memories:
        return []

    async def ask(node: Client) -> list[bytes | None]:
        present = [
            ("HMGET", keys.episodic_memory(agent_id, memory_id), STATE, "seq")
            for memory_id, _ in memories
        ]
        replies = await ask_all(node, present)
        found = [
            state if number is not None and int(number) == seq else None
            for (state, number), (_, seq) in zip(replies, memories, strict=True)
        ]
        gone = [i for i, state in enumerate(found) if state is None]
        former = [("HGET", keys.retired_memory(agent_id, memories[i][1]), STATE) for i in gone]
        for i, state in zip(gone, await ask_all(node, former) if former else (), strict=True):
            found[i] = state
        return found

    return await reads.read(keys.episodic_partition(agent_id), ask)
