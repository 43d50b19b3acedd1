"""Summaries of agents' memories: counts, latest times, rewards by regime."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from app.errors import IndexRebuilding
from app.nodes.client import Client, execute
from app.nodes.commands import Words, ask_all, slices
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import IndexMissing, translated
from app.storage.agents import leaving_out
from app.storage.index import Indexes, Partition, partition_of
from app.storage.index_info import ask_indexes

AGENTS_AT_A_TIME = 16
"""Agents summarised in one round trip: a few milliseconds of Redis each."""

LATEST = 5000
"""How many memories' rewards are summarised by regime: 11 ms of Redis for one agent."""

MAX_REGIMES = 100

SMALL = 2.0**-13
"""Rewards times this have a finite sum: 2^13 is more than LATEST."""


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

    async def of(
        self, agents: Sequence[str], *, since: float, silent: list[str] | None = None
    ) -> list[AgentTotals]:
        """Return the counts of these agents, in order. Raise StorageError.

        With `silent`, agents of a group that is away are left out, and its name is added there.
        """
        found: list[AgentTotals] = []
        for some in slices(agents, AGENTS_AT_A_TIME):
            counters = [partition_of(self._indexes, agent_id).counter for agent_id in some]
            told: dict[int, AgentTotals] = {}
            for shard, places in self._reads.shards.indices(counters):
                part = [some[i] for i in places]

                async def ask(node: RedisNode, part: Sequence[str] = part) -> list[AgentTotals]:
                    asked = [count for agent_id in part for count in self._counts(agent_id, since)]
                    replies = await ask_indexes(node, asked)
                    per_agent = list(zip(*[iter(replies)] * 3, strict=True))
                    wanted = [
                        (_key(reply), name)
                        for latest, stored, _ in per_agent
                        for reply, name in ((latest, "timestamp"), (stored, "recorded_at"))
                    ]
                    moments = zip(*[iter(await _moments(node.client, wanted))] * 2, strict=True)
                    rows = zip(part, per_agent, moments, strict=True)
                    return [_summary(*row) for row in rows]

                with leaving_out(self._reads.shards, shard, silent):
                    answered = await self._reads.read_indexes_on(shard, ask)
                    told.update(zip(places, answered, strict=True))
            found += [told[i] for i in sorted(told)]
        return found

    async def counts(
        self, agents: Sequence[str], *, silent: list[str] | None = None
    ) -> list[AgentTotals]:
        """Return how many memories these agents have, in order, and no times: without a search.

        `silent` as for `of`. Raise StorageError.
        """
        counters = [partition_of(self._indexes, agent_id).counter for agent_id in agents]
        found: dict[int, AgentTotals] = {}
        for shard, places in self._reads.shards.indices(counters):
            asked = [("HGET", counters[i], "memories") for i in places]
            with leaving_out(self._reads.shards, shard, silent):
                told = await self._reads.read_on(shard, partial(ask_all, commands=asked))
                for i, count in zip(places, told, strict=True):
                    found[i] = AgentTotals(agents[i], int(count or 0), None, None, None)
        return [found[i] for i in sorted(found)]

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
        ends = [self._search(partition, every, "SORTBY", by, order) for order in ("ASC", "DESC")]
        replies = await self._ask(partition, ends)
        wanted = [(_key(reply), by) for reply in replies]
        begun, ended = await self._reads.read(
            partition.counter, lambda node: _moments(node, wanted)
        )
        total = int(replies[-1][0])
        if begun is None or ended is None:
            return Growth([], [], total)
        times = np.linspace(begun, ended, points if ended > begun else 1).tolist()
        bounds = ["-inf", *(f"({at!r}" for at in times[:-1])]
        highs = [*(repr(at) for at in times[:-1]), "+inf"]
        counted: list[int] = []
        for some in slices(range(len(times)), AGENTS_AT_A_TIME):
            asked = [
                self._search(partition, partition.query(f"@{by}:[{bounds[i]} {highs[i]}]"))
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
            self._search(partition, every, "SORTBY", "timestamp", "DESC"),
            self._search(partition, every, "SORTBY", "seq", "DESC"),
            self._search(partition, recent),
        )
        return [(partition.schema.alias, count) for count in counts]

    def _search(self, partition: Partition, query: str, *order: str) -> tuple[str | int, ...]:
        """Return the command that counts matches and, in an order, names the first one."""
        return (
            *("FT.SEARCH", partition.schema.alias, query, *order, "NOCONTENT"),
            *("LIMIT", 0, 1 if order else 0, "DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )

    def _by_regime(self, partition: Partition, after: int) -> tuple[str | int, ...]:
        query = partition.query("@reward:[-inf +inf]", f"@seq:[({after} +inf]")
        return (
            *("FT.AGGREGATE", partition.schema.alias, query),
            *("LOAD", 2, "@reward", "@regime", "APPLY", "@reward > 0", "AS", "win"),
            *("APPLY", f"@reward * {SMALL!r}", "AS", "small"),
            *("GROUPBY", 1, "@regime", "REDUCE", "COUNT", 0, "AS", "memories"),
            *("REDUCE", "AVG", 1, "@reward", "AS", "mean"),
            *("REDUCE", "AVG", 1, "@win", "AS", "wins"),
            *("REDUCE", "AVG", 1, "@small", "AS", "small_mean"),
            *("SORTBY", 2, "@memories", "DESC", "LIMIT", 0, MAX_REGIMES),
            *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )


def _summary(
    agent_id: str, replies: tuple[Any, ...], moments: tuple[float | None, float | None]
) -> AgentTotals:
    if any(isinstance(reply, IndexMissing | IndexRebuilding) for reply in replies):
        return AgentTotals(agent_id, None, None, None, None)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    every, _, recent = replies
    latest, stored_at = moments
    return AgentTotals(
        agent_id=agent_id,
        memories=int(every[0]),
        latest=latest,
        stored_at=stored_at,
        stored_since=int(recent[0]),
    )


def _key(reply: object) -> bytes | None:
    """Return the key of the first hit; None without one, or where the search failed."""
    return reply[1] if isinstance(reply, list) and len(reply) > 1 else None


async def _moments(node: Client, wanted: Sequence[tuple[bytes | None, str]]) -> list[float | None]:
    """Return a field of each of these memories, None if it has none.

    The index would give its numbers in twelve digits.
    """
    found = [(i, key, name) for i, (key, name) in enumerate(wanted) if key is not None]
    moments: list[float | None] = [None] * len(wanted)
    told = await ask_all(node, [("HGET", key, name) for _, key, name in found])
    for (i, _, _), value in zip(found, told, strict=True):
        moments[i] = None if value is None else float(value)
    return moments


def _regime(row: dict[bytes, bytes]) -> RegimeTotals:
    return RegimeTotals(
        regime=row[b"regime"].decode(),
        memories=int(row[b"memories"]),
        mean_reward=_mean(float(row[b"mean"]), float(row[b"small_mean"])),
        win_rate=float(row[b"wins"]),
    )


def _mean(mean: float, small: float) -> float:
    """Return the mean, also if the engine's sum of the rewards is beyond floats."""
    largest = sys.float_info.max
    return mean if math.isfinite(mean) else min(max(small / SMALL, -largest), largest)
