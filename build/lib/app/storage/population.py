"""Everything that a sample may be drawn from: what decides the draw, and no content.

Read in windows of `seq`, one round trip each, so that others get their turn. A window grows where
few numbers are left: 3 memories that are left of 12 million take 13 windows instead of 3,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from app.filters import EpisodicFilter
from app.storage.client import execute
from app.storage.filter_syntax import episodic_conditions
from app.storage.index import Indexes
from app.storage.partition import Partition, partition_of
from app.storage.pipelines import ask_all, ask_each
from app.storage.readable import ReadableNodes
from app.storage.redis_errors import IndexMissing, translated

WINDOW = 4000
"""Memories read in one round trip, and the numbers that the first window spans."""
SPARSE = 4
"""A window that holds less than this part of WINDOW is followed by one of twice its width."""
SHRINKS_BY = 4

FETCHED_AT_A_TIME = 256
VECTOR_FIELDS = ("state_vector", "next_state_vector")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A memory that may be drawn. `stratum` is empty where nothing is stratified."""

    agent_id: str
    key: bytes
    seq: int
    priority: float
    stratum: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """What is returned of a drawn memory: its record (JSON bytes) and vectors by field name.

    Vectors are float32 bytes.
    """

    record: bytes
    vectors: dict[str, bytes]


class Populations:
    """Reads populations of one data set."""

    def __init__(self, readable: ReadableNodes, *, indexes: Indexes, timeout_ms: int) -> None:
        self._readable = readable
        self._indexes = indexes
        self._timeout_ms = timeout_ms

    async def read(
        self, agent_id: str | None, wanted: EpisodicFilter, *, stratify_by: str | None
    ) -> list[Candidate]:
        """All memories that match and have a reward; None: of all agents. Raises StorageError."""
        agents = [agent_id] if agent_id is not None else await self._agents()
        found: list[Candidate] = []
        for name in agents:
            found += await self._of_agent(name, wanted, stratify_by)
        return found

    async def fetch(
        self, drawn: Sequence[Candidate], *, with_vectors: bool
    ) -> list[Content | None]:
        """Their content, in order; None for one that was deleted since."""
        fields = ("record", *(VECTOR_FIELDS if with_vectors else ()))
        by_agent: dict[str, list[int]] = {}
        for i, candidate in enumerate(drawn):
            by_agent.setdefault(candidate.agent_id, []).append(i)
        contents: list[Content | None] = [None] * len(drawn)
        decode = self._indexes.stored_as.decode
        for agent_id, places in by_agent.items():
            counter = partition_of(self._indexes, agent_id).counter
            for start in range(0, len(places), FETCHED_AT_A_TIME):
                part = places[start : start + FETCHED_AT_A_TIME]
                commands = [("HMGET", drawn[i].key, *fields) for i in part]

                async def ask(node: Redis, commands: Any = commands) -> list[Any]:
                    return await ask_all(node, commands)

                replies = await self._readable.read(counter, ask)
                for i, (record, *raw) in zip(part, replies, strict=True):
                    named = zip(VECTOR_FIELDS, raw, strict=False)
                    vectors = {name: decode(value) for name, value in named if value is not None}
                    contents[i] = None if record is None else Content(record, vectors)
        return contents

    async def _agents(self) -> list[str]:
        return await self._readable.agents()

    async def _of_agent(
        self, agent_id: str, wanted: EpisodicFilter, stratify_by: str | None
    ) -> list[Candidate]:
        partition = partition_of(self._indexes, agent_id)
        conditions = episodic_conditions(wanted)

        async def last_seq(node: Redis) -> int:
            with translated():
                return int(await execute(node, "HGET", partition.counter, "seq") or 0)

        found: list[Candidate] = []
        last = await self._readable.read(partition.counter, last_seq)
        low, width = 1, WINDOW
        while low <= last:
            query = partition.query(*conditions, f"@seq:[{low} {low + width - 1}]")
            rows = await self._window(partition, query, stratify_by)
            if len(rows) > WINDOW:
                width = max(WINDOW, width // SHRINKS_BY)
                continue
            found += [_candidate(agent_id, row, wanted.as_of, stratify_by) for row in rows]
            low += width
            # Numbers of memories that match no more, or are gone, cost next to no round trips.
            if len(rows) * SPARSE <= WINDOW:
                width *= 2
        return found

    async def _window(
        self, partition: Partition, query: str, stratify_by: str | None
    ) -> list[dict[bytes, bytes]]:
        fields: list[str] = ["@__key", "@seq", "@reward", "@priority", "@priority_at"]
        fields += [f"@{stratify_by}"] if stratify_by else []
        command: list[str | int] = ["FT.AGGREGATE", partition.schema.alias, query]
        command += ["LOAD", len(fields), *fields, "LIMIT", 0, WINDOW + 1]
        command += ["DIALECT", 2, "TIMEOUT", self._timeout_ms]

        async def ask(node: Redis) -> list[Any]:
            (reply,) = await ask_each(node, [command])
            if isinstance(reply, IndexMissing) and await self._indexes.recover(
                node, partition.schema
            ):
                (reply,) = await ask_each(node, [command])
            if isinstance(reply, IndexMissing):
                return [0]
            if isinstance(reply, Exception):
                raise reply
            return list(reply)

        reply = await self._readable.read(partition.counter, ask)
        return [dict(zip(row[::2], row[1::2], strict=True)) for row in reply[1:]]


def _candidate(
    agent_id: str, row: dict[bytes, bytes], as_of: float | None, stratify_by: str | None
) -> Candidate:
    priority = row.get(b"priority")
    given_at = float(row.get(b"priority_at", b"-inf"))
    if priority is None or (as_of is not None and given_at > as_of):
        priority = row[b"reward"]
    return Candidate(
        agent_id=agent_id,
        key=row[b"__key"],
        seq=int(row[b"seq"]),
        priority=abs(float(priority)),
        stratum=row[stratify_by.encode()] if stratify_by else b"",
    )
