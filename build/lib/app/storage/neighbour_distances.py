"""How far memories are from their nearest neighbours: drawn, not counted through.

One search for two neighbours a memory, the memory itself being one of them; a few at a time, so
that others get their turn. Of 2,000 memories of 256 numbers 64 take 10 ms in all.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis

from app.filters import EpisodicFilter, Scope
from app.storage.filter_syntax import episodic_conditions
from app.storage.index import Indexes
from app.storage.partition import Partition, partition_of
from app.storage.pipelines import Words, ask_each
from app.storage.readable import ReadableNodes
from app.storage.redis_errors import IndexMissing, OtherAlgorithm

AT_A_TIME = 8


class NeighbourDistances:
    """Draws from the partitions of one data set."""

    def __init__(self, readable: ReadableNodes, *, indexes: Indexes, timeout_ms: int) -> None:
        self._readable = readable
        self._indexes = indexes
        self._timeout_ms = timeout_ms

    async def draw(
        self, *, agent_id: str, scope: Scope, as_of: float | None, count: int, max_agents: int
    ) -> list[float]:
        """The distances of `count` memories, or of all where there are fewer. Raises StorageError.

        Each to its nearest neighbour in its own agent's memory, as it was known as of a moment
        (unix seconds). Across agents those of `max_agents` of them.
        """
        agents = [agent_id] if scope == "own" else await self._agents(agent_id, scope, max_agents)
        found: list[float] = []
        for name in agents:
            found += await self._draw(name, as_of, max(1, count // len(agents)))
        return found

    async def _agents(self, agent_id: str, scope: Scope, max_agents: int) -> list[str]:
        names = await self._readable.agents()
        others = [name for name in names if scope == "all" or name != agent_id]
        chance = random.Random(agent_id)  # noqa: S311 - draws memories, keeps no secret
        return chance.sample(others, min(max_agents, len(others)))

    async def _draw(self, agent_id: str, as_of: float | None, count: int) -> list[float]:
        partition = partition_of(self._indexes, agent_id)
        query = partition.query(*episodic_conditions(EpisodicFilter(as_of=as_of)))

        async def draw(node: Redis) -> list[float]:
            keys = await self._keys(node, partition, query, count)
            field = partition.schema.vector_field
            vectors = await self._ask(node, partition, [("HGET", key, field) for key in keys])
            searches = [self._nearest_two(partition, query, vector) for vector in vectors if vector]
            replies = await self._ask(node, partition, searches)
            drawn = [key for key, vector in zip(keys, vectors, strict=True) if vector]
            nearest = [_other_than(k, reply) for k, reply in zip(drawn, replies, strict=True)]
            return [distance for distance in nearest if distance is not None]

        return await self._readable.read(partition.counter, draw)

    async def _keys(
        self, node: Redis, partition: Partition, query: str, count: int
    ) -> Sequence[bytes]:
        """The keys of so many memories, each drawn with the same chance."""
        (found,) = await self._ask(node, partition, [self._listing(partition, query, 0, 0)])
        total = int(found[0])
        if total <= count:
            listing = self._listing(partition, query, 0, total)
            (found,) = await self._ask(node, partition, [listing])
            return list(found[1:])
        chance = random.Random(total)  # noqa: S311 - draws memories, keeps no secret
        places = sorted(chance.sample(range(total), count))
        listings = [self._listing(partition, query, place, 1) for place in places]
        replies = await self._ask(node, partition, listings)
        return list(dict.fromkeys(key for reply in replies for key in reply[1:]))

    def _listing(self, partition: Partition, query: str, start: int, count: int) -> Words:
        return (
            *("FT.SEARCH", partition.schema.alias, query, "NOCONTENT", "LIMIT", start, count),
            *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )

    def _nearest_two(self, partition: Partition, query: str, vector: bytes) -> Words:
        schema = self._indexes.current(partition.schema)
        return (
            *("FT.SEARCH", schema.alias),
            f"{query}=>[KNN 2 @{schema.vector_name} $vector AS distance]",
            *("RETURN", 1, "distance", "SORTBY", "distance", "LIMIT", 0, 2),
            *("PARAMS", 2, "vector", vector, "DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )

    async def _ask(self, node: Redis, partition: Partition, commands: Sequence[Words]) -> list[Any]:
        """The replies, a few commands at a time; a partition without an index is empty."""
        replies: list[Any] = []
        for start in range(0, len(commands), AT_A_TIME):
            replies += await ask_each(node, commands[start : start + AT_A_TIME])
        for i, reply in enumerate(replies):
            if isinstance(reply, OtherAlgorithm):  # it has moved: one fewer, and the next is right
                with suppress(IndexMissing):
                    await self._indexes.look_again(node, partition.schema)
                replies[i] = [0]
            elif isinstance(reply, IndexMissing):
                await self._indexes.recover(node, partition.schema)
                replies[i] = [0]
            elif isinstance(reply, Exception):
                raise reply
        return replies


def _other_than(key: bytes, reply: Sequence[Any]) -> float | None:
    """The distance of the nearest hit under another key; None: there is none."""
    for found, fields in zip(reply[1::2], reply[2::2], strict=True):
        if found != key and fields:
            return max(0.0, float(fields[1]))
    return None
