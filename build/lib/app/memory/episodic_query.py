"""Episodic memory without vectors: pages in an order, and deletion by filter."""

from collections.abc import Callable

from app.audit import Audit
from app.memory import cursor
from app.memory.as_of import as_known
from app.memory.conditions import episodic_window_filter
from app.memory.deletion import Deletion, delete_matching
from app.memory.page import MemoryPage
from app.query_metrics import measuring
from app.rate_limit import AgentAdmission
from app.schemas import EpisodicDelete, EpisodicQuery, EpisodicWindow
from app.settings import Layout
from app.storage import keys
from app.storage.filter_syntax import episodic_conditions
from app.storage.index import Indexes
from app.storage.memory_query import MemoryQuery, PageQuery
from app.storage.memory_store import MemoryStore

SECONDS_PER_HOUR = 3600.0


class EpisodicQueryOperations:
    """Lists and deletes experiences. `now` gives unix seconds."""

    def __init__(
        self,
        *,
        query: MemoryQuery,
        store: MemoryStore,
        indexes: Indexes,
        now: Callable[[], float],
        audit: Audit,
        admit: AgentAdmission,
    ) -> None:
        self._admit = admit
        self._audit = audit
        self._query = query
        self._store = store
        self._indexes = indexes
        self._now = now

    async def page(self, request: EpisodicQuery) -> MemoryPage:
        """One page. Raises InvalidInput for a cursor of another query, StorageError.

        Neither skips nor repeats a memory that was there when the first page was read, unless its
        own sort value changes meanwhile: an open memory that is closed moves to its reward's place.
        `hours` ends at the moment of the first page, on every page.
        """
        await self._admit(request.agent_id)
        with measuring("range", request.agent_id):
            continued = cursor.decode(request.cursor, request, now=self._now())
            found = await self._query.page(
                PageQuery(
                    schema=self._indexes.episodic(request.agent_id),
                    conditions=self._conditions(request, continued.now),
                    sort_by=request.sort_by,
                    order=request.order,
                    limit=request.limit,
                    after=continued.after,
                )
            )
        next_cursor = cursor.encode(found.end, request, now=continued.now)
        records = found.records
        if request.as_of is not None:
            records = [as_known(record, request.as_of) for record in records]
        return MemoryPage(records, found.accesses, found.total, next_cursor)

    async def delete(self, request: EpisodicDelete) -> Deletion:
        """Delete what matches, or only count it. Raises StorageError."""
        await self._admit(request.agent_id)
        return await delete_matching(
            self._query,
            self._store,
            self._indexes.episodic(request.agent_id),
            keys.episodic_partition(request.agent_id),
            self._conditions(request, self._now()),
            dry_run=request.dry_run,
            audit=self._audit,
            asked=request.model_dump(exclude_none=True),
        )

    def _conditions(self, request: EpisodicWindow, now: float) -> tuple[str, ...]:
        hours = request.hours
        until = now if request.as_of is None else request.as_of
        since = None if hours is None else until - hours * SECONDS_PER_HOUR
        layout: Layout = self._indexes.layout
        return episodic_conditions(
            episodic_window_filter(request, since),
            only_agent=request.agent_id if layout == "shared" else None,
        )
