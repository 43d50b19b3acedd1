"""Copies of agents' closed experiences, from which samples are drawn.

A change is applied when it is announced, if the copy was drawn from since the previous one. So few
draws wait for Redis, and a copy that nobody draws from costs nothing.
"""

import asyncio
from contextlib import suppress

from app.errors import MemoryServiceError, Overloaded, PositionLost
from app.feed.kept import NO_VERSION, FeedSources, KeptTable, KeptTables
from app.feed.waiting import ChangeSignal
from app.memory.replay import ReplayTable

ASKS = 2
"""An agent that is drawn from twice is drawn from again and again."""
ECHO_TURNS = 4
"""Turns of the event loop in which Redis announces a write that this process has just confirmed.
Announced after a reading began, it would cause another one, of nothing."""


class KeptReplays:
    """Tables to draw from, by agent. `signal` announces changes."""

    def __init__(
        self, source: FeedSources, signal: ChangeSignal, *, dimension: int, max_bytes: int
    ) -> None:
        self._source = source
        self._signal = signal
        self._tables = KeptTables(source, _ReplayKind(dimension), asks=ASKS, max_bytes=max_bytes)
        self._drawn_from: set[str] = set()
        """Agents whose next change is applied when it is announced."""

    async def current(self, agent_id: str) -> ReplayTable | None:
        """Return the agent's table with all that was confirmed before this call.

        Return None without a table, or if other processes' writes may be missed. Raise
        StorageError.
        """
        if not self._source.freshness.reads_latest(agent_id):
            return None
        kept = self._tables.get(agent_id)
        if kept is None:
            self._tables.want(agent_id)
            return None
        self._drawn_from.add(agent_id)
        kept.follow(lambda: self._follow(agent_id, kept))
        try:
            is_current = await self._catch_up(agent_id, kept)
        except PositionLost:
            self._tables.drop(agent_id)
            return None
        if not is_current or self._tables.get(agent_id) is not kept:
            return None
        self._tables.bound()
        return self._tables.use(agent_id, kept)

    async def aclose(self) -> None:
        """Stop filling and following tables."""
        await self._tables.aclose()

    async def _follow(self, agent_id: str, kept: KeptTable[ReplayTable]) -> None:
        """Apply the first change after each draw when it is announced. The next draw reports
        failures."""
        with suppress(Overloaded), self._signal.watching(agent_id) as changed:
            while True:
                await changed.wait()
                changed.clear()
                if agent_id in self._drawn_from:
                    self._drawn_from.discard(agent_id)
                    with suppress(MemoryServiceError):
                        await self._catch_up(agent_id, kept)

    async def _catch_up(self, agent_id: str, kept: KeptTable[ReplayTable]) -> bool:
        """Return whether the table has all that was confirmed before this call."""
        versions = self._source.versions
        async with kept.turn:
            if versions.version_of(agent_id) != kept.version:
                for _ in range(ECHO_TURNS):
                    await asyncio.sleep(0)
                await kept.catch_up(agent_id, self._source)
            return kept.version != NO_VERSION


class _ReplayKind:
    def __init__(self, dimension: int) -> None:
        self._dimension = dimension

    async def prepare(self) -> None:
        """Do nothing."""

    def empty(self) -> ReplayTable:
        return ReplayTable(self._dimension)
