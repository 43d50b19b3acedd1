"""Copies of agents' memories that searches are answered from (app/read_path/resident.py).

A copy answers while it is known to be current. After a write it is stale: the next question goes to
Redis, and the second one also has the copy catch up. So an agent that stores before every question
costs nothing beside its searches.
"""

import asyncio
import logging
import time

from app.errors import MemoryServiceError, PositionLost
from app.feed.kept import FeedSources, KeptTable, KeptTables
from app.resident.loading import load_compiled
from app.resident.table import CompiledSearch, SearchTable

logger = logging.getLogger(__name__)

ASKS = 32
"""To copy a memory costs some thirty times as much as to search it."""
STALE_ASKS = 2
TRUSTED_S = 5.0
"""How long a table answers after it was compared with Redis."""
COMPARED_AGAIN_S = 4.0
"""When a table in use is compared again, in the background, so that it never stops answering."""


class SearchTables:
    """Tables to search in, by agent.

    A table in use is compared with Redis again and again, in case somebody deleted memories, or
    everything, by hand.
    """

    def __init__(
        self,
        source: FeedSources,
        *,
        dimension: int,
        max_rows: float,
        max_bytes: int,
    ) -> None:
        self._source = source
        self._tables = KeptTables(
            source,
            _SearchKind(dimension),
            asks=ASKS,
            max_bytes=max_bytes,
            max_rows=max_rows,
        )
        self._reading: dict[str, asyncio.Task[None]] = {}

    def ready(self, agent_id: str) -> SearchTable | None:
        """Return the agent's table with all that was confirmed before this call.

        Return None without a table, or if it may lack a write.
        """
        kept = self._tables.get(agent_id)
        if kept is None:
            self._tables.want(agent_id)
            return None
        is_stale = kept.version != self._source.versions.version_of(agent_id)
        compared_s = time.monotonic() - kept.compared_at_s
        if is_stale or compared_s >= TRUSTED_S:
            self._note_stale(agent_id, kept)
            return None
        if compared_s >= COMPARED_AGAIN_S:
            self._bring_up_to_date(agent_id, kept)
        if not len(kept.table) or not self._source.freshness.hears_writes(agent_id):
            return None
        return self._tables.use(agent_id, kept)

    async def aclose(self) -> None:
        """Stop reading."""
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)
        await self._tables.aclose()

    def _note_stale(self, agent_id: str, kept: KeptTable[SearchTable]) -> None:
        """Have a table brought up to date at the second question that it could not answer."""
        if kept.count_stale() >= STALE_ASKS:
            self._bring_up_to_date(agent_id, kept)

    def _bring_up_to_date(self, agent_id: str, kept: KeptTable[SearchTable]) -> None:
        if agent_id not in self._reading:
            task = asyncio.create_task(self._updated(agent_id, kept))
            self._reading[agent_id] = task
            task.add_done_callback(lambda _: self._reading.pop(agent_id))

    async def _updated(self, agent_id: str, kept: KeptTable[SearchTable]) -> None:
        is_due = time.monotonic() >= kept.compared_at_s + COMPARED_AGAIN_S
        try:
            await kept.catch_up(agent_id, self._source)
            if is_due and not await kept.is_whole(agent_id, self._source):
                self._tables.drop(agent_id)
        except PositionLost:
            self._tables.drop(agent_id)
        except MemoryServiceError as error:
            logger.warning("a copy of a memory was not brought up to date: %s", error.detail)
        self._tables.bound()


class _SearchKind:
    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._kernel: CompiledSearch | None = None

    async def prepare(self) -> None:
        """Load the compiled search."""
        if self._kernel is None:
            self._kernel = await asyncio.to_thread(load_compiled, "app.resident.kernel")

    def empty(self) -> SearchTable:
        assert self._kernel is not None
        return SearchTable(self._dimension, self._kernel)
