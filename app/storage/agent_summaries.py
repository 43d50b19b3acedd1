"""Summaries of agents' memories: counts, latest times, rewards by regime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from app.errors import IndexRebuilding
from app.nodes.client import execute
from app.nodes.commands import Words, slices
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import IndexMissing, translated
from app.storage.index import Indexes, Partition, partition_of
from app.storage.index_info import ask_indexes

AGENTS_AT_A_TIME = 16
"""Agents summarised in one round trip: a few milliseconds of Redis each."""

LATEST = 5000
"""How many memories' rewards are summarised by regime: 11 ms of Redis for one agent."""

MAX_REGIMES = 100


@dataclass(frozen=True, slots=True)
class AgentTotals:
    """One agent's counts; None while its index is missing or being built. Times are unix seconds.

    `latest` is the latest moment in its memory, `stored_at` when it last stored one (None if a
    former release stored it), `stored_since` how many it has stored since the requested time.
    """

    agent_id: str
    memories: int | None
    latest: float | None
    stored_at: float | None
    stored_since: int | None


@dataclass(frozen=True, slots=True)
class RegimeTotals:
    """The rewards of an agent's closed memories in one regime."""

    regime: str
    memories: int
    mean_reward: float
    win_rate: float


@dataclass(frozen=True, slots=True)
class Growth:
    """How many of the memories that are there now there were at some moments (unix seconds).

    `undated` have no such time; they count from the beginning.
    """

    times: list[float]
    memories: list[int]
    undated: int


GrowthBy = Literal["recorded_at", "timestamp"]


class AgentSummaries:
    """Asks the master, or a replica while the master is unavailable."""

    def __init__(self, reads: ReadRouter, indexes: Indexes, *, timeout_ms: int) -> None:
        self._reads = reads
        self._indexes = indexes
        self._timeout_ms = timeout_ms

    async def of(self, agents: Sequence[str], *, since: float) -> list[AgentTotals]:
        """Return the counts of these agents, in order. Raise StorageError."""
        found: list[AgentTotals] = []
        for some in slices(agents, AGENTS_AT_A_TIME):
            counters = [partition_of(self._indexes, agent_id).counter for agent_id in some]
            told: dict[int, AgentTotals] = {}
            for shard, places in self._reads.shards.indices(counters):
                part = [some[i] for i in places]

                async def ask(node: RedisNode, part: Sequence[str] = part) -> list[AgentTotals]:
                    asked = [count for agent_id in part for count in self._counts(agent_id, since)]
                    replies = await ask_indexes(node, asked)
                    per_agent = zip(*[iter(replies)] * 3, strict=True)
                    return [_summary(*pair) for pair in zip(part, per_agent, strict=True)]

                answered = await self._reads.read_indexes_on(shard, ask)
                told.update(zip(places, answered, strict=True))
            found += [told[i] for i in range(len(some))]
        return found

    async def regimes(self, agent_id: str) -> list[RegimeTotals]:
        """Return the rewards by regime of the LATEST memories, the most frequent regime first."""
        partition = partition_of(self._indexes, agent_id)

        async def ask(node: RedisNode) -> list[Any]:
            with translated():
                last = int(await execute(node.client, "HGET", partition.counter, "seq") or 0)
            by_regime = self._by_regime(partition, last - LATEST)
            replies = await self._indexes.ask(node, partition.schema, [by_regime])
            return replies[0][1:] if replies else []

        found = await self._reads.read_indexes(partition.counter, ask)
        rows = [dict(zip(row[::2], row[1::2], strict=True)) for row in found]
        return sorted(map(_regime, rows), key=lambda found: -found.memories)

    async def growth(self, agent_id: str, by: GrowthBy, points: int) -> Growth:
        """Return an agent's growth at evenly spaced moments, by this field. Raise StorageError.

        Ranges are counted by the numeric index: one pass over it in all, in several round trips.
        """
        partition = partition_of(self._indexes, agent_id)
        every = partition.query()
        ends = [
            self._search(partition, every, "SORTBY", by, order, first=by)
            for order in ("ASC", "DESC")
        ]
        first, last = await self._ask(partition, ends)
        begun, ended = _field(first), _field(last)
        total = int(last[0])
        if begun is None or ended is None:
            return Growth([], [], total)
        times = np.linspace(begun, ended, points if ended > begun else 1).tolist()
        # The engine's numbers have twelve digits where it sorts: the last moment has a margin.
        bounds = ["-inf", *(f"({at!r}" for at in times[:-1])]
        highs = [*(repr(at) for at in times[:-1]), "+inf"]
        counted: list[int] = []
        for some in slices(range(len(times)), AGENTS_AT_A_TIME):
            asked = [
                self._search(
                    partition, partition.query(f"@{by}:[{bounds[i]} {highs[i]}]"), first=None
                )
                for i in some
            ]
            counted += [int(reply[0]) for reply in await self._ask(partition, asked)]
        undated = max(0, total - sum(counted))
        return Growth(times, (np.cumsum(counted) + undated).tolist(), undated)

    async def _ask(self, partition: Partition, commands: Sequence[Words]) -> list[Any]:
        async def ask(node: RedisNode) -> list[Any]:
            found = await self._indexes.ask(node, partition.schema, commands)
            return [[0] for _ in commands] if found is None else found

        return await self._reads.read_indexes(partition.counter, ask)

    def _counts(self, agent_id: str, since: float) -> list[tuple[str, Words]]:
        partition = partition_of(self._indexes, agent_id)
        every = partition.query()
        recent = partition.query(f"@recorded_at:[{since!r} +inf]")
        counts = (
            self._search(partition, every, "SORTBY", "timestamp", "DESC", first="timestamp"),
            self._search(partition, every, "SORTBY", "seq", "DESC", first="recorded_at"),
            self._search(partition, recent, first=None),
        )
        return [(partition.schema.alias, count) for count in counts]

    def _search(
        self, partition: Partition, query: str, *order: str, first: str | None
    ) -> tuple[str | int, ...]:
        wanted = ("LIMIT", 0, 0) if first is None else ("RETURN", 1, first, "LIMIT", 0, 1)
        return (
            *("FT.SEARCH", partition.schema.alias, query, *order, *wanted),
            *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )

    def _by_regime(self, partition: Partition, after: int) -> tuple[str | int, ...]:
        query = partition.query("@reward:[-inf +inf]", f"@seq:[({after} +inf]")
        return (
            *("FT.AGGREGATE", partition.schema.alias, query),
            *("LOAD", 2, "@reward", "@regime", "APPLY", "@reward > 0", "AS", "win"),
            *("GROUPBY", 1, "@regime", "REDUCE", "COUNT", 0, "AS", "memories"),
            *("REDUCE", "AVG", 1, "@reward", "AS", "mean"),
            *("REDUCE", "AVG", 1, "@win", "AS", "wins"),
            *("SORTBY", 2, "@memories", "DESC", "LIMIT", 0, MAX_REGIMES),
            *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )


def _summary(agent_id: str, replies: tuple[Any, ...]) -> AgentTotals:
    if any(isinstance(reply, IndexMissing | IndexRebuilding) for reply in replies):
        return AgentTotals(agent_id, None, None, None, None)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    latest, stored, recent = replies
    return AgentTotals(
        agent_id=agent_id,
        memories=int(latest[0]),
        latest=_field(latest),
        stored_at=_field(stored),
        stored_since=int(recent[0]),
    )


def _field(reply: Sequence[Any]) -> float | None:
    """Return the one field of the first hit."""
    fields = reply[2] if len(reply) > 2 else []
    return float(fields[1]) if len(fields) > 1 else None


def _regime(row: dict[bytes, bytes]) -> RegimeTotals:
    return RegimeTotals(
        regime=row[b"regime"].decode(),
        memories=int(row[b"memories"]),
        mean_reward=float(row[b"mean"]),
        win_rate=float(row[b"wins"]),
    )
