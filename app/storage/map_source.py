"""Reads an agent's memories with their states, all or evenly spaced ones, for one picture of them.

It reads in windows of `seq`, so that other requests get their turn. The contents come by a script:
100,000 memories of 256 numbers take 1.3 s, half of what a pipeline of HMGET takes, whose replies
are parsed one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.model import EpisodicFilter
from app.nodes.client import Client, execute
from app.nodes.commands import Script, Words, slices
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import translated
from app.storage.index import Indexes, Partition, partition_of, retired_of
from app.storage.query_syntax import episodic_conditions, still_there
from app.storage.retired.moments import has_retired_since, whole_since

WINDOW = 1000
"""Memories found in one round trip."""
READ_AT_ONCE = 250
"""Memories per call of the script, which blocks Redis for 2 to 3 ms."""
FIELDS = ("id", "reward", "regime", "product_id", "action", "timestamp")
"""What the map shows of each memory."""


@dataclass(frozen=True, slots=True)
class MappedMemories:
    """Some of an agent's memories, in the order in which they were stored.

    `columns` has a list for each of FIELDS; `states` has a float32 row for each memory. `total`
    counts all matches. `whole_since` (unix seconds): some of what there was before then was purged.
    """

    columns: dict[str, list[Any]]
    states: NDArray[np.float32]
    total: int
    whole_since: float | None


class MapSource:
    """Reads from the master, or from a replica while the master is unavailable."""

    def __init__(self, reads: ReadRouter, indexes: Indexes, *, timeout_ms: int) -> None:
        self._reads = reads
        self._indexes = indexes
        self._timeout_ms = timeout_ms
        self._script = Script("read_mapped")

    async def read(self, agent_id: str, wanted: EpisodicFilter, limit: int) -> MappedMemories:
        """Return at most `limit` matching memories: every n-th in the order of storing. Raise
        StorageError.

        Memories stored or deleted while this reads may or may not be included.
        """
        present = partition_of(self._indexes, agent_id)
        parts = [(present, episodic_conditions(wanted))]
        as_of = wanted.as_of
        if as_of is not None and await has_retired_since(self._reads, agent_id, as_of):
            retired = retired_of(self._indexes, agent_id)
            parts.append((retired, (*episodic_conditions(wanted), still_there(as_of))))
        total = sum([await self._count(part, part.query(*known)) for part, known in parts])
        step = max(1, -(-total // limit))
        columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
        states = np.empty((min(total, limit), self._indexes.stored_as.dimension), np.float32)
        filled, passed, low, width = 0, 0, 1, WINDOW
        last = await self._last_seq(present)
        while low <= last and filled < len(states):
            # With an upper end: without it the engine sorts all that is left for each window.
            window = f"@seq:[{low} {low + width - 1}]"
            count, by_seq = 0, dict[int, bytes]()
            for part, known in parts:
                matches, keys_found = await self._find(part, part.query(*known, window))
                count += matches
                by_seq |= keys_found
            if count > WINDOW:
                width = max(1, width // 2)
                continue
            low += width
            if count < WINDOW // 2:
                width *= 2
            found = [by_seq[seq] for seq in sorted(by_seq)]
            chosen = [key for i, key in enumerate(found, passed) if i % step == 0]
            passed += len(found)
            for some in slices(chosen, READ_AT_ONCE):
                records, rows = await self._contents(present, some)
                room = min(len(records), len(states) - filled)
                states[filled : filled + room] = rows[:room]
                filled += room
                for record in map(orjson.loads, records[:room]):
                    for name, values in columns.items():
                        values.append(record[name])
        gone = await whole_since(self._reads, agent_id, as_of)
        return MappedMemories(columns, states[:filled], total, gone)

    async def _count(self, partition: Partition, query: str) -> int:
        reply = await self._search(partition, (query, "LIMIT", 0, 0))
        return int(reply[0])

    async def _last_seq(self, partition: Partition) -> int:
        async def ask(node: Client) -> int:
            with translated():
                return int(await execute(node, "HGET", partition.counter, "seq") or 0)

        return await self._reads.read(partition.counter, ask)

    async def _find(self, partition: Partition, query: str) -> tuple[int, dict[int, bytes]]:
        """Return how many match, and the keys of the first of them by their `seq`."""
        words = (query, "RETURN", 1, "seq", "SORTBY", "seq", "LIMIT", 0, WINDOW)
        count, *found = await self._search(partition, words)
        pairs = zip(found[::2], found[1::2], strict=True)
        return int(count), {int(fields[1]): key for key, fields in pairs if fields}

    async def _search(self, partition: Partition, words: Words) -> list[Any]:
        command = ("FT.SEARCH", partition.schema.alias, *words, "DIALECT", 2)
        command += ("TIMEOUT", self._timeout_ms)

        async def ask(node: RedisNode) -> list[Any]:
            replies = await self._indexes.ask(node, partition.schema, [command])
            return replies[0] if replies else [0]

        return await self._reads.read_indexes(partition.counter, ask)

    async def _contents(
        self, partition: Partition, found: Sequence[bytes]
    ) -> tuple[Sequence[bytes], NDArray[np.float32]]:
        """Return records and states, without those deleted meanwhile."""
        reply = await self._reads.read(
            partition.counter, lambda node: self._script.run(node, found, ())
        )
        records = [record for record in reply[::2] if record is not None]
        stored_as = self._indexes.stored_as
        raw = stored_as.decode(b"".join(state for state in reply[1::2] if state is not None))
        return records, np.frombuffer(raw, "<f4").reshape(len(records), stored_as.dimension)
