"""Reads what sampling and consolidation draw from.

Populations: everything that decides a draw, without content. They are read in windows of `seq`, one
round trip each, so that other requests get their turn. A window grows where few numbers are left: 3
memories left of 12 million take 13 windows instead of 3,000.

Episodes: closed experiences with their state vectors, for what learns from many at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.model import EpisodicFilter
from app.nodes.client import Client, execute
from app.nodes.commands import ask_all, slices
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import translated
from app.storage.agents import AgentNames
from app.storage.index import Indexes, Partition, partition_of, retired_of
from app.storage.listing import MemoryQuery, Page, PagePosition, PageQuery
from app.storage.query_syntax import episodic_conditions, still_there
from app.storage.retired.memories import states_of
from app.storage.retired.moments import has_retired_since, whole_since
from app.storage.retired.pages import page_as_of

WINDOW = 4000
"""Memories per round trip, and the width of the first window."""
SPARSE = 4
"""The window after one that holds less than this fraction of WINDOW is twice as wide."""
SHRINKS_BY = 4

FETCHED_AT_A_TIME = 256
VECTOR_FIELDS = ("state_vector", "next_state_vector")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A memory that may be drawn. `stratum` is empty if nothing is stratified."""

    agent_id: str
    key: bytes
    seq: int
    priority: float
    stratum: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a drawn memory: its record (JSON bytes) and its vectors by field name.

    Vectors are float32 bytes.
    """

    record: bytes
    vectors: dict[str, bytes]


class Populations:
    """Reads the populations of one data set."""

    def __init__(self, reads: ReadRouter, *, indexes: Indexes, timeout_ms: int) -> None:
        self._reads = reads
        self._indexes = indexes
        self._timeout_ms = timeout_ms

    async def read(
        self, agent_id: str | None, wanted: EpisodicFilter, *, stratify_by: str | None
    ) -> list[Candidate]:
        """Return all matching closed memories of an agent (None: of all). Raise StorageError."""
        agents = [agent_id] if agent_id is not None else await self._agents()
        found: list[Candidate] = []
        for name in agents:
            found += await self._of_agent(name, wanted, stratify_by)
        return found

    async def whole_since(self, agent_id: str | None, as_of: float | None) -> float | None:
        """Return since when populations are complete; None if they are at this moment.

        Raise StorageError.
        """
        return await whole_since(self._reads, agent_id, as_of)

    async def fetch(
        self, drawn: Sequence[Candidate], *, with_vectors: bool
    ) -> list[Content | None]:
        """Return their content, in order. None for one that was deleted meanwhile."""
        fields = ("record", *(VECTOR_FIELDS if with_vectors else ()))
        by_agent: dict[str, list[int]] = {}
        for i, candidate in enumerate(drawn):
            by_agent.setdefault(candidate.agent_id, []).append(i)
        contents: list[Content | None] = [None] * len(drawn)
        decode = self._indexes.stored_as.decode
        for agent_id, places in by_agent.items():
            counter = partition_of(self._indexes, agent_id).counter
            for part in slices(places, FETCHED_AT_A_TIME):
                commands = [("HMGET", drawn[i].key, *fields) for i in part]

                async def ask(node: Client, commands: Any = commands) -> list[Any]:
                    return await ask_all(node, commands)

                replies = await self._reads.read(counter, ask)
                for i, (record, *raw) in zip(part, replies, strict=True):
                    named = zip(VECTOR_FIELDS, raw, strict=False)
                    vectors = {name: decode(value) for name, value in named if value is not None}
                    contents[i] = None if record is None else Content(record, vectors)
        return contents

    async def _agents(self) -> list[str]:
        return await AgentNames(self._reads).all()

    async def _of_agent(
        self, agent_id: str, wanted: EpisodicFilter, stratify_by: str | None
    ) -> list[Candidate]:
        partition = partition_of(self._indexes, agent_id)
        conditions = episodic_conditions(wanted)
        former = retired_of(self._indexes, agent_id)
        left = await has_retired_since(self._reads, agent_id, wanted.as_of)

        async def last_seq(node: Client) -> int:
            with translated():
                return int(await execute(node, "HGET", partition.counter, "seq") or 0)

        found: list[Candidate] = []
        last = await self._reads.read(partition.counter, last_seq)
        low, width = 1, WINDOW
        while low <= last:
            asked = (*conditions, f"@seq:[{low} {low + width - 1}]")
            rows = await self._window(partition, partition.query(*asked), stratify_by)
            if left and wanted.as_of is not None:
                query = former.query(*asked, still_there(wanted.as_of))
                rows = _once(rows, await self._window(former, query, stratify_by))
            if len(rows) > WINDOW:
                width = max(WINDOW, width // SHRINKS_BY)
                continue
            # The engine's order changes when a memory does, and with it the last digit of a sum.
            rows.sort(key=lambda row: int(row[b"seq"]))
            found += [_candidate(agent_id, row, wanted.as_of, stratify_by) for row in rows]
            low += width
            # Numbers of deleted or no longer matching memories cost hardly any round trips.
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

        async def ask(node: RedisNode) -> list[Any]:
            replies = await self._indexes.ask(node, partition.schema, [command])
            return replies[0][1:] if replies else []

        rows = await self._reads.read_indexes(partition.counter, ask)
        return [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]


def _once(
    present: list[dict[bytes, bytes]], retired: list[dict[bytes, bytes]]
) -> list[dict[bytes, bytes]]:
    """Return both, one that retired between the two readings once."""
    return list({row[b"seq"]: row for row in (*present, *retired)}.values())


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
    product_id: str = ""
    outcome_at: float = 0.0


class EpisodeSource:
    """Reads one agent's experiences, latest first."""

    def __init__(self, query: MemoryQuery, reads: ReadRouter, indexes: Indexes) -> None:
        self._query = query
        self._reads = reads
        self._indexes = indexes

    async def latest(self, agent_id: str, wanted: EpisodicFilter, limit: int) -> list[Episode]:
        """Return at most `limit` of the agent's matching experiences. Raise StorageError.

        The filter must ask for closed ones. Those deleted while this reads are left out.
        """
        is_shared = self._indexes.layout == "shared"
        conditions = episodic_conditions(wanted, only_agent=agent_id if is_shared else None)
        schema = partition_of(self._indexes, agent_id).schema
        found: list[Episode] = []
        after: PagePosition | None = None
        while len(found) < limit:
            asked = PageQuery(
                schema=schema,
                conditions=conditions,
                sort_by="timestamp",
                order="desc",
                limit=min(PAGE_ROWS, limit - len(found)),
                after=after,
            )
            if wanted.as_of is None:
                page = await self._query.page(asked)
            else:
                page = await page_as_of(self._query, self._indexes, asked, agent_id, wanted.as_of)
            found += await self._with_vectors(agent_id, page)
            after = page.end
            if after is None:
                break
        return found

    async def _with_vectors(self, agent_id: str, page: Page) -> list[Episode]:
        records = [orjson.loads(record) for record in page.records]
        pairs = zip(records, page.positions, strict=True)
        names = [(record["id"], position.seq) for record, position in pairs]
        vectors = await states_of(self._reads, agent_id, names)
        return [
            Episode(
                agent_id=agent_id,
                id=record["id"],
                regime=record["regime"],
                action=record["action"],
                reward=record["reward"],
                timestamp=record["timestamp"],
                state_vector=self._indexes.stored_as.decode(vector),
                product_id=record["product_id"],
                outcome_at=record["outcome_at"],
            )
            for record, vector in zip(records, vectors, strict=True)
            if vector is not None and record["reward"] is not None
        ]
