"""Statistics of the memory: per agent, per index, and in total.

Also measures crowding: how much the swarm relies on the same few memories.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from app.auth import caller
from app.metrics import CROWDING
from app.model import Answer, IndexKind
from app.read_path.recall_guard import EffortControl, EffortState
from app.settings import Layout
from app.storage.index_info import INFO_SLICE
from app.storage.statistics import IndexState, MoveState, PartitionTotals, Statistics
from app.vectors import VectorFormat

CHEAP_TOTALS_S = 0.1
TOTALS_SHARE = 20
"""Totals that took longer than CHEAP_TOTALS_S are kept for this many times as long as they took, so
that counting takes at most a twentieth of Redis's time."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all partitions and indexes. `measured_at` is unix seconds."""

    agents: int
    memories: int
    open_memories: int
    concepts: int
    hash_bytes: int
    indexes: int
    index_bytes: int
    index_failures: int
    measured_at: float


@dataclass(frozen=True, slots=True)
class StatsPage:
    """A page of agents with their indexes. `next_agent` is None on the last page.

    The agents of `silent_groups`, which did not answer, are missing.
    """

    layout: Layout
    stored_as: VectorFormat
    totals: Totals
    agents: Sequence[PartitionTotals]
    semantic: PartitionTotals
    indexes: Sequence[IndexState]
    moves: Mapping[str, MoveState]
    next_agent: str | None
    effort: Mapping[IndexKind, EffortState]
    silent_groups: Sequence[str] = ()


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
        self._totals: Totals | None = None
        self._silent: Sequence[str] = ()
        self._good_until = 0.0
        self._counting = asyncio.Lock()

    async def page(self, *, agent_id: str | None, after: str | None, limit: int) -> StatsPage:
        """Return one agent's counts, or those of up to `limit` agents by name after `after`. Raise
        StorageError.

        An agent that never stored a memory is left out. A caller that is bound to agents sees no
        others, not in the totals either, and no index that others share.
        """
        if agent_id is not None:
            caller.require_agent(agent_id)
        asking = caller.caller.get()
        there = await self._statistics.agents()
        names = list(filter(asking.may_touch, there.names))
        wanted = (name for name in names if agent_id in (None, name))
        behind = (name for name in wanted if after is None or name > after)
        chosen = list(islice(behind, limit + 1))
        next_agent = chosen[limit - 1] if len(chosen) > limit else None
        *agents, semantic = await self._statistics.partitions([*chosen[:limit], None])
        indexes = await self._statistics.indexes(self._aliases((*agents, semantic)))
        return StatsPage(
            layout=self._statistics.layout,
            stored_as=self._statistics.stored_as,
            totals=(
                await self._current_totals(names, there.silent)
                if asking.agents is None
                else await self._count(names)
            ),
            agents=agents,
            semantic=semantic,
            indexes=indexes,
            moves=await self._statistics.moves(indexes),
            next_agent=next_agent,
            effort={kind: control.figures for kind, control in self._effort.items()},
            silent_groups=there.silent,
        )

    def _aliases(self, figures: Iterable[PartitionTotals]) -> set[str]:
        """Return the indexes whose sizes the caller may see."""
        hides_shared = (
            self._statistics.layout == "shared" and caller.caller.get().agents is not None
        )
        return {f.alias for f in figures if f.agent_id is None or not hides_shared}

    async def _current_totals(self, names: Sequence[str], silent: Sequence[str]) -> Totals:
        """Return the totals, counted now or, if counting takes long, slightly earlier. One caller
        counts."""
        async with self._counting:
            is_same = self._totals is not None and silent == self._silent
            if self._totals is None or not is_same or self._clock() >= self._good_until:
                self._silent = silent
                started = self._clock()
                self._totals = await self._count(names)
                took_s = self._clock() - started
                kept_s = TOTALS_SHARE * took_s if took_s > CHEAP_TOTALS_S else 0.0
                self._good_until = started + took_s + kept_s
            return self._totals

    async def _count(self, names: Sequence[str]) -> Totals:
        """Count slice by slice: keeping ten thousand results at once cost the garbage collector 50
        ms."""
        measured_at = self._now()
        sums: Counter[str] = Counter()
        seen: set[str] = set()
        owners = [*names, None]
        for start in range(0, len(owners), INFO_SLICE):
            figures = await self._statistics.partitions(owners[start : start + INFO_SLICE])
            new = self._aliases(figures) - seen
            seen |= new
            for found in figures:
                sums.update(_partition_sums(found))
            for index in await self._statistics.indexes(new):
                sums.update(_index_sums(index))
        return Totals(
            agents=len(names),
            memories=sums["memories"],
            open_memories=sums["open_memories"],
            concepts=sums["concepts"],
            hash_bytes=sums["hash_bytes"],
            indexes=sums["indexes"],
            index_bytes=sums["index_bytes"],
            index_failures=sums["index_failures"],
            measured_at=measured_at,
        )


def _partition_sums(found: PartitionTotals) -> dict[str, int]:
    kind = "concepts" if found.agent_id is None else "memories"
    return {
        kind: found.memories or 0,
        "open_memories": found.open_memories or 0,
        "hash_bytes": found.hash_bytes or 0,
    }


def _index_sums(index: IndexState) -> dict[str, int]:
    info = index.info
    if info is None:
        return {}
    return {"indexes": 1, "index_bytes": info.size_bytes, "index_failures": info.failures}


ANSWERS = 1024
NEAREST = 10
FEW = 10
"""Crowding is the share of the latest ANSWERS that have one of the FEW most used memories among
their NEAREST hits."""


class Crowding:
    """The latest answers across agents, in this process."""

    def __init__(self) -> None:
        self._answers: deque[tuple[bytes, ...]] = deque(maxlen=ANSWERS)

    def note(self, answer: Answer) -> None:
        """Add one answer."""
        if answer.hits:
            self._answers.append(tuple(hit.record for hit in answer.hits[:NEAREST]))

    async def measure(self) -> None:
        """Update the gauge."""
        CROWDING.set(self.share())

    def share(self) -> float:
        """Return the share, 0 to 1; 0 without answers."""
        if not self._answers:
            return 0.0
        used = Counter(record for answer in self._answers for record in answer)
        few = {record for record, _ in used.most_common(FEW)}
        return sum(not few.isdisjoint(answer) for answer in self._answers) / len(self._answers)
