"""What is new in one agent's memory since it was last looked at.

The partition's hash tells by three numbers whether anything changed at all: `seq` grows with each
new memory, `rev` with each change of one, and `seq - memories` with each deletion. New memories
are found by their `seq`, changed ones by the `rev` that the change left on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app import keys
from app.nodes.commands import Words, ask_all
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.storage.agents import AgentNames
from app.storage.index import Indexes, Partition, partition_of

WINDOW = 1000
"""Memories read in one round trip: some 2 ms of Redis."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HistoryPosition:
    """Up to where an agent's memory is known. `deleted` counts what is gone; `born` tells the
    partition from a former one of the same name."""

    seq: int = 0
    rev: int = 0
    deleted: int = 0
    born: bytes | None = None


@dataclass(frozen=True, slots=True)
class HistoryChanges:
    """Memories that are new or changed, in order of `seq`, with their decoded records.

    `is_all`: something was deleted, so these are all that are left.
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

    async def vectors(self, memories: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """Return the state vectors (float32 bytes) of memories by agent and id, in order.

        None for one that is gone. Raise StorageError.
        """
        found: list[bytes | None] = [None] * len(memories)
        by_agent: dict[str, list[int]] = {}
        for i, (agent_id, _) in enumerate(memories):
            by_agent.setdefault(agent_id, []).append(i)
        for agent_id, places in by_agent.items():
            commands = [
                ("HGET", keys.episodic_memory(agent_id, memories[i][1]), "state_vector")
                for i in places
            ]

            async def ask(node: Any, commands: Sequence[Words] = commands) -> list[Any]:
                return await ask_all(node, commands)

            replies = await self._reads.read(keys.episodic_partition(agent_id), ask)
            for i, raw in zip(places, replies, strict=True):
                found[i] = None if raw is None else self._indexes.stored_as.decode(raw)
        return found

    async def size(self, agent_id: str) -> int:
        """Return how many memories an agent has. Raise StorageError."""
        partition = partition_of(self._indexes, agent_id)

        async def ask(node: Any) -> int:
            (found,) = await ask_all(node, [("HGET", partition.counter, "memories")])
            return int(found or 0)

        return await self._reads.read(partition.counter, ask)

    async def changes(self, agent_id: str, since: HistoryPosition) -> HistoryChanges:
        """Return what changed since a position; from the first one, everything.

        Raise StorageError.
        """
        partition = partition_of(self._indexes, agent_id)
        query = f"((@seq:[({since.seq} inf])|(@rev:[({since.rev} inf]))"

        async def ask(node: RedisNode) -> HistoryChanges:
            counters = ("HMGET", partition.counter, "seq", "rev", "memories", "born")
            replies = await self._indexes.ask(
                node, partition.schema, [counters, self._search(partition, query)]
            )
            if replies is None:
                return HistoryChanges(HistoryPosition(), [], is_all=True)
            (*numbers, born), reply = replies
            last, rev, memories = (int(value or 0) for value in numbers)
            deleted = last - memories
            is_same = (deleted, born) == (since.deleted, since.born)
            if since.seq and is_same and int(reply[0]) <= WINDOW:
                rows, seen = _rows(reply)
                reached = max([since.seq, *(seq for seq, _ in rows)])
                position = HistoryPosition(reached, max(since.rev, seen), deleted, born)
                return HistoryChanges(position, rows, is_all=False)
            rows = await self._everything(node, partition, last)
            # `rev` as it was before this: what changed while this read is read once more.
            reached = max([last, *(seq for seq, _ in rows)])
            return HistoryChanges(HistoryPosition(reached, rev, deleted, born), rows, is_all=True)

        return await self._reads.read_indexes(partition.counter, ask)

    async def _everything(
        self, node: RedisNode, partition: Partition, last: int
    ) -> list[tuple[int, Record]]:
        """All memories that there are, in order of `seq`."""
        rows: list[tuple[int, Record]] = []
        low, width = 1, WINDOW
        while low <= last:
            query = f"@seq:[{low} {low + width - 1}]"
            replies = await self._indexes.ask(
                node, partition.schema, [self._search(partition, query)]
            )
            reply = replies[0] if replies else [0]
            if int(reply[0]) > WINDOW:
                width = max(WINDOW, width // 4)
                continue
            found, _ = _rows(reply)
            rows += found
            low += width
            # Numbers of memories that are gone cost next to no round trips.
            width = width * 2 if 4 * len(found) <= WINDOW else width
        return rows

    def _search(self, partition: Partition, query: str) -> Words:
        return (
            *("FT.SEARCH", partition.schema.alias, partition.query(query)),
            *("RETURN", 3, "seq", "rev", "record", "SORTBY", "seq", "ASC", "LIMIT", 0, WINDOW),
            *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )


def _rows(reply: Any) -> tuple[list[tuple[int, Record]], int]:
    """Return the memories of a reply, and the highest `rev` among them."""
    rows: list[tuple[int, Record]] = []
    highest = 0
    pairs: Sequence[Any] = reply[2::2]
    for flat in pairs:
        fields = dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
        if b"record" in fields:  # else it went between being found and being read
            rows.append((int(fields[b"seq"]), orjson.loads(fields[b"record"])))
            highest = max(highest, int(fields.get(b"rev", 0)))
    return rows, highest
