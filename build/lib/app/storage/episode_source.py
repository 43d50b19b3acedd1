"""Closed experiences with their state vectors, for what learns from many of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from app.filters import EpisodicFilter
from app.storage import keys
from app.storage.filter_syntax import episodic_conditions
from app.storage.index import Indexes
from app.storage.memory_query import MemoryQuery, PageQuery, Position
from app.storage.partition import partition_of
from app.storage.pipelines import ask_all
from app.storage.readable import ReadableNodes

PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Episode:
    """One closed experience. `state_vector` is little-endian float32; times are unix seconds."""

    agent_id: str
    id: str
    regime: str
    action: str | None
    reward: float
    timestamp: float
    state_vector: bytes


class EpisodeSource:
    """Reads one agent's experiences, the latest first."""

    def __init__(self, query: MemoryQuery, readable: ReadableNodes, indexes: Indexes) -> None:
        self._query = query
        self._readable = readable
        self._indexes = indexes

    async def latest(self, agent_id: str, wanted: EpisodicFilter, limit: int) -> list[Episode]:
        """At most `limit` of the agent's experiences that match. Raises StorageError.

        The filter must ask for closed ones. Those deleted while this reads are left out.
        """
        is_shared = self._indexes.layout == "shared"
        conditions = episodic_conditions(wanted, only_agent=agent_id if is_shared else None)
        schema = partition_of(self._indexes, agent_id).schema
        found: list[Episode] = []
        after: Position | None = None
        while len(found) < limit:
            page = await self._query.page(
                PageQuery(
                    schema=schema,
                    conditions=conditions,
                    sort_by="timestamp",
                    order="desc",
                    limit=min(PAGE_ROWS, limit - len(found)),
                    after=after,
                )
            )
            found += await self._with_vectors(agent_id, [orjson.loads(r) for r in page.records])
            after = page.end
            if after is None:
                break
        return found

    async def _with_vectors(
        self, agent_id: str, records: Sequence[dict[str, Any]]
    ) -> list[Episode]:
        async def read(node: Redis) -> list[bytes | None]:
            return await ask_all(
                node,
                [
                    ("HGET", keys.episodic_memory(agent_id, record["id"]), "state_vector")
                    for record in records
                ],
            )

        vectors = await self._readable.read(keys.episodic_partition(agent_id), read)
        return [
            Episode(
                agent_id=agent_id,
                id=record["id"],
                regime=record["regime"],
                action=record["action"],
                reward=record["reward"],
                timestamp=record["timestamp"],
                state_vector=self._indexes.stored_as.decode(vector),
            )
            for record, vector in zip(records, vectors, strict=True)
            if vector is not None and record["reward"] is not None
        ]
