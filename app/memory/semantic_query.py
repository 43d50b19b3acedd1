"""Semantic memory without vectors: pages in an order, and deletion by filter."""

from app import access
from app.audit import Audit
from app.memory import cursor
from app.memory.conditions import semantic_filter
from app.memory.deletion import Deletion, delete_matching
from app.memory.page import MemoryPage
from app.query_metrics import measuring
from app.schemas import SemanticDelete, SemanticQuery
from app.storage import keys
from app.storage.filter_syntax import semantic_conditions
from app.storage.index import Indexes
from app.storage.memory_query import MemoryQuery, PageQuery
from app.storage.memory_store import MemoryStore


class SemanticQueryOperations:
    """Lists and deletes concepts."""

    def __init__(
        self, *, query: MemoryQuery, store: MemoryStore, indexes: Indexes, audit: Audit
    ) -> None:
        self._audit = audit
        self._query = query
        self._store = store
        self._indexes = indexes

    async def page(self, request: SemanticQuery) -> MemoryPage:
        """One page. Raises InvalidInput for a cursor of another query, StorageError.

        Neither skips nor repeats a concept that was there when the first page was read, unless its
        own sort value changes meanwhile. The counters are those folded last, by which it filters
        and sorts.
        """
        with measuring("semantic_range"):
            found = await self._query.page(
                PageQuery(
                    schema=self._indexes.semantic(),
                    conditions=semantic_conditions(semantic_filter(request)),
                    sort_by=request.sort_by,
                    order=request.order,
                    limit=request.limit,
                    after=cursor.decode(request.cursor, request),
                    counters=True,
                )
            )
        next_cursor = cursor.encode(found.end, request)
        return MemoryPage(found.records, found.accesses, found.total, next_cursor)

    async def delete(self, request: SemanticDelete) -> Deletion:
        """Delete what matches, or only count it. Raises StorageError."""
        access.require_semantic_write()
        return await delete_matching(
            self._query,
            self._store,
            self._indexes.semantic(),
            keys.semantic_partition(),
            semantic_conditions(semantic_filter(request)),
            dry_run=request.dry_run,
            audit=self._audit,
            asked=request.model_dump(exclude_none=True),
        )
