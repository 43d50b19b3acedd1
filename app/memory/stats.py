"""Statistics of the memory: per agent, per index, and in total."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from app.auth import caller
from app.contract.stats import (
    AgentStats,
    IndexStats,
    SemanticStats,
    Stats,
    StatsTotals,
)
from app.model import IndexKind
from app.nodes.commands import slices
from app.read_path.recall_guard import EffortControl
from app.storage.agents import page_of
from app.storage.index_info import INFO_SLICE
from app.storage.schema import IndexInfo
from app.storage.statistics import MoveState, PartitionTotals, Statistics

CHEAP_TOTALS_S = 0.1
TOTALS_SHARE = 20
"""Totals that took longer than CHEAP_TOTALS_S are kept for this many times as long as they took, so
that counting takes at most a twentieth of Redis's time."""


class StatsOperations:
    """Counts what is stored. `effort` adjusts approximate searches. `now` returns unix
    seconds, `clock` monotonic seconds."""

    def __init__(
        self,
        statistics: Statistics,
        *,
        effort: Mapping[IndexKind, EffortControl],
        now: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._statistics = statistics
        self._effort = effort
        self._now = now
        self._clock = clock
        self._totals: StatsTotals | None = None
        self._silent: Sequence[str] = ()
        self._good_until = 0.0
        self._counting = asyncio.Lock()

    async def page(self, *, agent_id: str | None, after: str | None, limit: int) -> Stats:
        """Return one agent's counts, or those of up to `limit` agents by name after `after`. Raise
        StorageError.

        An agent that never stored a memory is left out. A caller that is bound to agents sees no
        others, not in the totals either, and no index that others share.
        """
        if agent_id is not None:
            caller.require_agent(agent_id)
        asking = caller.caller.get()
        there = await self._statistics.agents()
        silent = list(there.silent)
        names = list(filter(asking.may_touch, there.names))
        wanted = (name for name in names if agent_id in (None, name))
        chosen, next_agent = page_of(wanted, after, limit)
        *agents, semantic = await self._statistics.partitions([*chosen, None], silent)
        indexes = await self._statistics.indexes(self._aliases((*agents, semantic)), silent)
        moves = await self._statistics.moves(indexes, silent)
        totals = (
            await self._current_totals(names, silent)
            if asking.agents is None
            else await self._count(names, silent)
        )
        return Stats(
            layout=self._statistics.layout,
            dimension=self._statistics.stored_as.dimension,
            vector_type=self._statistics.stored_as.type,
            totals=totals,
            agents=[AgentStats.model_validate(found, from_attributes=True) for found in agents],
            semantic=SemanticStats.model_validate(semantic, from_attributes=True),
            indexes=[_index(alias, info, moves.get(alias)) for alias, info in indexes.items()],
            recall=[control.figures for control in self._effort.values()],
            next_cursor=next_agent,
            partial=bool(silent),
            unanswered_groups=silent,
        )

    def _aliases(self, figures: Iterable[PartitionTotals]) -> set[str]:
        """Return the indexes whose sizes the caller may see."""
        hides_shared = (
            self._statistics.layout == "shared" and caller.caller.get().agents is not None
        )
        return {f.index for f in figures if f.agent_id is None or not hides_shared}

    async def _current_totals(self, names: Sequence[str], silent: list[str]) -> StatsTotals:
        """Return the totals, of now or, if counting takes long, slightly earlier."""
        async with self._counting:
            is_same = self._totals is not None and silent == self._silent
            if self._totals is None or not is_same or self._clock() >= self._good_until:
                started = self._clock()
                self._totals = await self._count(names, silent)
                self._silent = list(silent)
                took_s = self._clock() - started
                kept_s = TOTALS_SHARE * took_s if took_s > CHEAP_TOTALS_S else 0.0
                self._good_until = started + took_s + kept_s
            return self._totals

    async def _count(self, names: Sequence[str], silent: list[str]) -> StatsTotals:
        """Count in slices: ten thousand results at once cost the garbage collector 50 ms."""
        nothing = dict.fromkeys(StatsTotals.model_fields, 0)
        counted = {"agents": len(names), "measured_at": self._now()}
        totals = StatsTotals.model_validate(nothing | counted)
        seen: set[str] = set()
        for owners in slices([*names, None], INFO_SLICE):
            figures = await self._statistics.partitions(owners, silent)
            new = self._aliases(figures) - seen
            seen |= new
            for found in figures:
                is_unknown = found.agent_id is not None and found.memories is None
                totals.uncounted_agents += int(is_unknown)
                totals.memories += (found.memories or 0) if found.agent_id is not None else 0
                totals.concepts += (found.memories or 0) if found.agent_id is None else 0
                totals.open_memories += found.open_memories or 0
                totals.hash_bytes += found.hash_bytes or 0
            for info in (await self._statistics.indexes(new, silent)).values():
                if info is not None:
                    totals.indexes += 1
                    totals.index_bytes += info.size_bytes
                    totals.index_failures += info.failures
        return totals


def _index(alias: str, info: IndexInfo | None, move: MoveState | None) -> IndexStats:
    if info is None:
        return IndexStats(name=alias, status="missing")
    return IndexStats(
        name=alias,
        status="ready" if info.is_complete else "building",
        algorithm=info.algorithm,
        moving_to=None if move is None else move.to,
        moving_progress=None if move is None else move.progress,
        dimension=info.dimension,
        documents=info.documents,
        progress=info.progress,
        failures=info.failures,
        vector_bytes=info.vector_bytes,
        total_bytes=info.size_bytes,
    )
