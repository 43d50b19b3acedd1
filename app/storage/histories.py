"""Reads what is new in one agent's memory since it was last read.

Three numbers in the partition's hash show whether anything changed: `seq` grows with each new
memory, `rev` with each change of one, and `seq - memories - retired` with each deletion. New
memories are found by their `seq`, changed ones by the `rev` that the change left on them. One that
retired has changed: its record has the moment, as `retired_at`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from app import keys
from app.nodes.commands import Words, ask_all
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.storage.agents import AgentNames
from app.storage.index import Indexes, Partition, partition_of, retired_of
from app.storage.retired.memories import states_of
from app.storage.retired.moments import whole_since
from app.vectors import VectorFormat

WINDOW = 1000
"""Memories read in one round trip: about 2 ms of Redis."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HistoryPosition:
    """How far an agent's memory is known. `deleted` counts deletions; `born` distinguishes the
    partition from a former one of the same name."""

    seq: int = 0
    rev: int = 0
    deleted: int = 0
    born: bytes | None = None


@dataclass(frozen=True, slots=True)
class HistoryChanges:
    """Memories that are new or changed, in order of `seq`, with their decoded records.

    `is_all`: something was deleted, so these are all remaining memories.
    """

    position: HistoryPosition
    rows: list[tuple[int, Record]]
    is_all: bool


class HistoryReader:
    """Reads the memories of one data set."""

    def __init__(self, reads: ReadRouter, *, indexes: Indexes, timeout_ms: int) -> None:
        self._reads = reads
        self._indexes = indexes
        self._timeout_ms = timeout_ms

    async def agents(self) -> list[str]:
        """Return the agents that have a memory, of the groups that answer. Raise StorageError.

        The search beneath an estimate says which groups did not.
        """
        return (await AgentNames(self._reads).found()).names

    async def all_agents(self) -> list[str]:
        """Return the agents of all groups. Raise StorageError if one does not answer."""
        return await AgentNames(self._reads).all()

    async def vectors(
        self, agent_id: str, memories: Sequence[tuple[str, int]]
    ) -> list[bytes | None]:
        """Return the states (float32 bytes) of an agent's memories by id and `seq`, in order.

        None for a deleted one. Raise StorageError.
        """
        decode = self._indexes.stored_as.decode
        found = await states_of(self._reads, agent_id, memories)
        return [None if raw is None else decode(raw) for raw in found]

    @property
    def stored_as(self) -> VectorFormat:
        """Return how vectors are stored."""
        return self._indexes.stored_as

    def group_of(self, agent_id: str) -> str:
        """Return the name of the group that holds an agent; empty if there is only one."""
        return self._reads.shards.shard_of(keys.episodic_partition(agent_id)).name

    def decoded(self, raw: bytes) -> bytes:
        """Return a stored vector as float32 bytes."""
        return self._indexes.stored_as.decode(raw)

    async def fields(
        self, agent_id: str, memories: Sequence[tuple[str, int]], names: Sequence[str]
    ) -> list[Sequence[bytes | None]]:
        """Return these fields of an agent's memories by id and `seq`, in order.

        Of present and of retired ones; all None for a deleted one. Raise StorageError.
        """
        commands: list[Words] = []
        for memory_id, seq in memories:
            present, left = keys.episodic_memory(agent_id, memory_id), seq
            commands.append(("HMGET", present, "seq", *names))
            commands.append(("HMGET", keys.retired_memory(agent_id, left), "seq", *names))

        async def ask(node: Any) -> list[Any]:
            return await ask_all(node, commands)

        replies = await self._reads.read(keys.episodic_partition(agent_id), ask)
        found: list[Sequence[bytes | None]] = []
        for (_, seq), present, retired in zip(memories, replies[::2], replies[1::2], strict=True):
            is_present = present[0] is not None and int(present[0]) == seq
            found.append((present if is_present else retired)[1:])
        return found

    async def whole_since(self, agent_id: str | None, as_of: float | None) -> float | None:
        """Return since when answers about an agent (None: about all) are complete; None if they are
        at this moment. Raise StorageError."""
        return await whole_since(self._reads, agent_id, as_of)

    async def size(self, agent_id: str) -> int:
        """Return how many memories an agent has, present and retired. Raise StorageError."""
        partition = partition_of(self._indexes, agent_id)

        async def ask(node: Any) -> int:
            (counts,) = await ask_all(node, [("HMGET", partition.counter, "memories", "retired")])
            return sum(int(count or 0) for count in counts)

        return await self._reads.read(partition.counter, ask)

    async def changes(self, agent_id: str, since: HistoryPosition) -> HistoryChanges:
        """Return what changed since a position; since the first one, everything.

        Raise StorageError.
        """
        partition = partition_of(self._indexes, agent_id)
        query = f"((@seq:[({since.seq} inf])|(@rev:[({since.rev} inf]))"

        async def ask(node: RedisNode) -> HistoryChanges:
            counters = ("HMGET", partition.counter, "seq", "rev", "memories", "retired", "born")
            replies = await self._indexes.ask(
                node, partition.schema, [counters, self._search(partition, query)]
            )
            if replies is None:
                return HistoryChanges(HistoryPosition(), [], is_all=True)
            (*numbers, born), reply = replies
            last, rev, memories, retired = (int(value or 0) for value in numbers)
            deleted = last - memories - retired
            is_same = (deleted, born) == (since.deleted, since.born)
            # After the present ones: what retires meanwhile is among both.
            left = await self._retired(node, agent_id, query) if retired else NO_ROWS
            # As they were before: what is stored or changes during this read is read once more. Of
            # that, the two searches may miss what is earlier than something they find.
            position = HistoryPosition(max(since.seq, last), max(since.rev, rev), deleted, born)
            if since.seq and is_same and max(int(reply[0]), int(left[0])) <= WINDOW:
                rows = _up_to(last, _rows(reply, left))
                return HistoryChanges(position, rows, is_all=False)
            rows = await self._everything(node, partition, last, has_retired=retired > 0)
            if not retired and await self._has_retired(node, partition):
                rows = await self._everything(node, partition, last, has_retired=True)
            position = replace(position, seq=last, rev=rev)
            return HistoryChanges(position, _up_to(last, rows), is_all=True)

        return await self._reads.read_indexes(partition.counter, ask)

    async def _everything(
        self, node: RedisNode, partition: Partition, last: int, *, has_retired: bool
    ) -> list[tuple[int, Record]]:
        """Return all memories that there are or were, in order of `seq`."""
        agent_id = partition.agent_id
        assert agent_id is not None
        rows: list[tuple[int, Record]] = []
        low, width = 1, WINDOW
        while low <= last:
            query = f"@seq:[{low} {low + width - 1}]"
            replies = await self._indexes.ask(
                node, partition.schema, [self._search(partition, query)]
            )
            reply = replies[0] if replies else NO_ROWS
            left = await self._retired(node, agent_id, query) if has_retired else NO_ROWS
            if max(int(reply[0]), int(left[0])) > WINDOW:
                width = max(WINDOW, width // 4)
                continue
            found = _rows(reply, left)
            rows += found
            low += width
            # Numbers of deleted memories cost hardly any round trips.
            width = width * 2 if 4 * len(found) <= WINDOW else width
        return rows

    async def _has_retired(self, node: RedisNode, partition: Partition) -> bool:
        """Return whether a memory has retired: it may have since the counters were read."""
        command = ("HGET", partition.counter, "retired")
        replies = await self._indexes.ask(node, partition.schema, [command])
        return replies is not None and bool(int(replies[0] or 0))

    async def _retired(self, node: RedisNode, agent_id: str, query: str) -> Any:
        """Return the reply of a search among what retired from an agent's memory."""
        partition = retired_of(self._indexes, agent_id)
        replies = await self._indexes.ask(node, partition.schema, [self._search(partition, query)])
        return replies[0] if replies else NO_ROWS

    def _search(self, partition: Partition, query: str) -> Words:
        fields = ("seq", "record", "retired_at")
        return (
            *("FT.SEARCH", partition.schema.alias, partition.query(query)),
            *("RETURN", len(fields), *fields, "SORTBY", "seq", "ASC", "LIMIT", 0, WINDOW),
            *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )


NO_ROWS: Sequence[Any] = (0,)


def _up_to(last: int, rows: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    return [row for row in rows if row[0] <= last] if rows and rows[-1][0] > last else rows


def _rows(reply: Any, retired: Any) -> list[tuple[int, Record]]:
    """Return the memories of two replies in order of `seq`."""
    rows: dict[int, Record] = {}
    pairs: Sequence[Any] = (*reply[2::2], *retired[2::2])
    for flat in pairs:
        fields = dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
        if b"record" in fields:  # else it was deleted between being found and being read
            record = orjson.loads(fields[b"record"])
            if b"retired_at" in fields:
                record["retired_at"] = float(fields[b"retired_at"])
            rows[int(fields[b"seq"])] = record
    return sorted(rows.items()) if len(retired) > 1 else list(rows.items())
