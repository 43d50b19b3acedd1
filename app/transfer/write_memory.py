"""Restores exported memories, never over existing ones."""

from collections.abc import Sequence
from typing import Literal

from app import keys
from app.errors import StorageFailed
from app.nodes.changes import CHANNEL
from app.nodes.client import Client
from app.nodes.commands import Script, Words, ask_all
from app.nodes.redis_errors import ScriptMissing, translated
from app.nodes.shard import Shards
from app.nodes.writes import NO_WAITING
from app.storage.episodic import TRIES_WITH_INDEX
from app.storage.index import Indexes, partition_of
from app.storage.memories import (
    CONFLICT,
    CREATED,
    FEED_ENTRIES,
    NO_INDEX,
    UNCHANGED,
    IndexGone,
    index_gone,
    names_entered,
)
from app.transfer.file_format import VECTOR_FIELDS, ExportRow, with_vectors
from app.transfer.read_memory import day_expires_at

RestoreStatus = Literal["created", "unchanged", "conflict", "left_out"]

CONTENT_FIELDS = {"digest", "record", *VECTOR_FIELDS}
"""Two memories are the same if these are equal. The service's counters may differ."""

_STATUS: dict[int, RestoreStatus] = {
    CREATED: "created",
    UNCHANGED: "unchanged",
    CONFLICT: "conflict",
}


class MemoryRestorer:
    """Writes whole hashes to the masters."""

    def __init__(self, shards: Shards, indexes: Indexes, feed_entries: int = FEED_ENTRIES) -> None:
        self._shards = shards
        self._feed_entries = feed_entries
        self._indexes = indexes
        self._script = Script("restore_memory")
        self._former_script = Script("restore_former")

    async def begin(self) -> None:
        """Prepare the masters, and check that their indexes fit. Raise IndexMismatch."""
        await self._indexes.verify()
        for shard in self._shards:
            await self._load(shard.master.client)

    async def restore(self, memories: Sequence[ExportRow]) -> list[RestoreStatus]:
        """Store each memory that does not exist, with the next `seq` of its partition.

        An earlier revision is stored beside its concept, if it comes after it. Running services
        learn which partitions changed, so that no cache returns a stale answer.

        "unchanged": the same memory exists. "conflict": a different memory has this id, and stays.
        "left_out": a revision that has expired, or whose concept here is not the exported one.
        Raise StorageError if some results are unknown; repeating the call is safe.
        """
        agents = sorted({m.agent_id for m in memories if m.agent_id is not None})
        await self._shards.place(agents)
        await self._indexes.ensure_all(map(self._indexes.episodic, agents))
        if any(memory.agent_id is None for memory in memories):
            await self._indexes.ensure(self._indexes.semantic())
        if any(memory.former is not None for memory in memories):
            await self._indexes.ensure(self._indexes.semantic_history())
        found: dict[int, RestoreStatus] = {}
        for shard, positions in self._shards.indices([self._counter(m) for m in memories]):
            part = [memories[i] for i in positions]
            master = shard.master
            await master.wait_for_fence(NO_WAITING.remaining_s)
            statuses = await self._restore_with_indexes(master.client, part)
            found.update(zip(positions, statuses, strict=True))
        return [found[i] for i in range(len(memories))]

    def _required_index(self, memory: ExportRow) -> str:
        owner = memory.agent_id
        return "" if owner is None else self._indexes.alias_to_require(owner)

    async def _restore_with_indexes(
        self, master: Client, memories: Sequence[ExportRow]
    ) -> list[RestoreStatus]:
        """Restore. Retry if an index was removed meanwhile with its agent's last memory."""
        for _ in range(TRIES_WITH_INDEX):
            try:
                return await self._restore_on(master, memories)
            except IndexGone as error:
                gone = error
                agents = sorted({m.agent_id for m in memories if m.agent_id is not None})
                await self._indexes.heal_each(map(self._indexes.episodic, agents))
        raise gone

    async def _restore_on(
        self, master: Client, memories: Sequence[ExportRow]
    ) -> list[RestoreStatus]:
        counters = sorted({self._counter(memory) for memory in memories})
        after: list[Words] = [("PUBLISH", CHANNEL, counter) for counter in counters]
        before: list[Words] = [*names_entered(counters)]
        commands = [*before, *map(self._command, memories), *after]
        try:
            replies = await ask_all(master, commands)
        except ScriptMissing:
            await self._load(master)
            replies = await ask_all(master, commands)
        own = replies[len(before) : len(before) + len(memories)]
        return [_status(memory, reply) for memory, reply in zip(memories, own, strict=True)]

    async def _load(self, master: Client) -> None:
        with translated():
            await self._script.load(master)
            await self._former_script.load(master)

    async def count_present(self, memories: Sequence[ExportRow]) -> int:
        """Return how many of these ids are in Redis now."""
        present = 0
        for shard, positions in self._shards.indices([self._counter(m) for m in memories]):
            commands: list[Words] = [("EXISTS", self._key(memories[i])) for i in positions]
            present += sum(await ask_all(shard.master.client, commands))
        return present

    def _counter(self, memory: ExportRow) -> str:
        return partition_of(self._indexes, memory.agent_id).counter

    def _key(self, memory: ExportRow) -> str:
        return f"{partition_of(self._indexes, memory.agent_id).prefix}{memory.memory_id}"

    def _command(self, memory: ExportRow) -> Words:
        former = memory.former
        fields = with_vectors(memory.fields, self._indexes.stored_as.encode)
        if former is not None:
            return (
                *("EVALSHA", self._former_script.sha, 2),
                *(self._key(memory), keys.SEMANTIC_HISTORY_KEPT, keys.SEMANTIC_HISTORY),
                *(former.number, former.of_changes, former.changed_at, former.expires_at),
                *(word for item in fields.items() for word in item),
            )
        partition = partition_of(self._indexes, memory.agent_id)
        content = [item for item in fields.items() if item[0] in CONTENT_FIELDS]
        others = [item for item in fields.items() if item[0] not in CONTENT_FIELDS]
        days = memory.hits_by_day
        return (
            *("EVALSHA", self._script.sha, 2 + len(days)),
            *(f"{partition.prefix}{memory.memory_id}", partition.counter),
            *(keys.access_day(day) for day in days),
            *(len(content), 2 * len(fields), self._required_index(memory), self._feed_entries),
            *(word for item in (*content, *others) for word in item),
            *(word for day, hits in days.items() for word in (hits, day_expires_at(day))),
        )


def _status(memory: ExportRow, reply: object) -> RestoreStatus:
    if isinstance(reply, int) and reply in _STATUS:
        is_left_out = memory.former is not None and reply == CONFLICT
        return "left_out" if is_left_out else _STATUS[reply]
    if reply == NO_INDEX:
        raise index_gone(memory.agent_id or "")
    raise StorageFailed("The restore script answered in an unknown form: use a supported Redis.")
