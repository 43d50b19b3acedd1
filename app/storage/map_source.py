"""Reads an agent's memories with their states, all or evenly spaced ones, for one picture of them.

It reads in windows of `seq`, one round trip each, so that other requests get their turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.model import EpisodicFilter
from app.nodes.client import Client, execute
from app.nodes.commands import Words, ask_all
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import translated
from app.storage.index import Indexes, Partition, partition_of
from app.storage.query_syntax import episodic_conditions

WINDOW = 1000
"""Memories found in one round trip."""


@dataclass(frozen=True, slots=True)
class MappedMemories:
    """Some of an agent's memories, in the order in which they were stored.

    `records` are JSON bytes; `states` has a float32 row for each. `total` counts all matches.
    """

    records: Sequence[bytes]
    states: NDArray[np.float32]
    total: int


class MapSource:
    """Reads from the master, or from a replica while the master is unavailable."""

    def __init__(self, reads: ReadRouter, indexes: Indexes, *, timeout_ms: int) -> None:
        self._reads = reads
        self._indexes = indexes
        self._timeout_ms = timeout_ms

    async def read(self, agent_id: str, wanted: EpisodicFilter, limit: int) -> MappedMemories:
        """Return at most `limit` matching memories: every n-th in the order of storing. Raise
        StorageError.

        Memories stored or deleted while this reads may or may not be included.
        """
        partition = partition_of(self._indexes, agent_id)
        conditions = episodic_conditions(wanted)
        total = await self._count(partition, partition.query(*conditions))
        step = max(1, -(-total // limit))
        records: list[bytes] = []
        states = np.empty((min(total, limit), self._indexes.stored_as.dimension), np.float32)
        passed, low, width = 0, 1, WINDOW
        last = await self._last_seq(partition)
        while low <= last and len(records) < len(states):
            # With an upper end: without it the engine sorts all that is left for each window.
            window = f"@seq:[{low} {low + width - 1}]"
            count, found = await self._find(partition, partition.query(*conditions, window))
            if count > len(found):
                width = max(1, width // 2)
                continue
            low += width
            if count < WINDOW // 2:
                width *= 2
            chosen = [key for i, key in enumerate(found, passed) if i % step == 0]
            passed += len(found)
            for record, state in await self._contents(partition, chosen):
                if len(records) < len(states):
                    states[len(records)] = np.frombuffer(state, "<f4")
                    records.append(record)
        return MappedMemories(records, states[: len(records)], total)

    async def _count(self, partition: Partition, query: str) -> int:
        reply = await self._search(partition, (query, "LIMIT", 0, 0))
        return int(reply[0])

    async def _last_seq(self, partition: Partition) -> int:
        async def ask(node: Client) -> int:
            with translated():
                return int(await execute(node, "HGET", partition.counter, "seq") or 0)

        return await self._reads.read(partition.counter, ask)

    async def _find(self, partition: Partition, query: str) -> tuple[int, list[bytes]]:
        """Return how many match, and the keys of the first of them by `seq`."""
        words = (query, "NOCONTENT", "SORTBY", "seq", "LIMIT", 0, WINDOW)
        count, *found = await self._search(partition, words)
        return int(count), found

    async def _search(self, partition: Partition, words: Words) -> list[Any]:
        command = ("FT.SEARCH", partition.schema.alias, *words, "DIALECT", 2)
        command += ("TIMEOUT", self._timeout_ms)

        async def ask(node: RedisNode) -> list[Any]:
            replies = await self._indexes.ask(node, partition.schema, [command])
            return replies[0] if replies else [0]

        return await self._reads.read_indexes(partition.counter, ask)

    async def _contents(
        self, partition: Partition, found: Sequence[bytes]
    ) -> list[tuple[bytes, bytes]]:
        """Return records and states, without those deleted meanwhile."""

        async def ask(node: Client) -> list[list[bytes | None]]:
            return await ask_all(node, [("HMGET", key, "record", "state_vector") for key in found])

        replies = await self._reads.read(partition.counter, ask) if found else []
        decode = self._indexes.stored_as.decode
        return [
            (record, decode(state))
            for record, state in replies
            if record is not None and state is not None
        ]
