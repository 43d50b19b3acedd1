"""Semantic memory without vectors: pages in an order, and deletion by filter."""

from dataclasses import replace

from app import access
from app.audit import Audit
from app.memory import as_of as as_of_moment
from app.memory import cursor
from app.memory.as_of import uncounted
from app.memory.conditions import known_concepts, semantic_filter
from app.memory.deletion import Deletion, delete_matching
from app.memory.page import MemoryPage
from app.query_metrics import measuring
from app.schemas import SemanticDelete, SemanticQuery
from app.storage import keys
from app.storage.filter_syntax import semantic_conditions
from app.storage.index import Indexes
from app.storage.memory_query import MemoryQuery, Page, PageQuery, Position
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
        wanted = known_concepts(request)
        page = PageQuery(
            schema=self._indexes.semantic(),
            conditions=semantic_conditions(wanted),
            sort_by=request.sort_by,
            order=request.order,
            limit=request.limit,
            after=cursor.decode(request.cursor, request).after,
            counters=wanted.as_of is None,
        )
        with measuring("semantic_range"):
            found = await self._query.page(page)
            if wanted.as_of is not None:
                former = replace(
                    page,
                    schema=self._indexes.semantic_history(),
                    conditions=semantic_conditions(wanted, former=True),
                )
                found = _merged(page, found, await self._query.page(former))
        next_cursor = cursor.encode(found.end, request)
        return MemoryPage(found.records, found.accesses, found.total, next_cursor)

    async def delete(self, request: SemanticDelete) -> Deletion:
        """Delete what matches, or only count it. Raises StorageError."""
        access.require_semantic_write()
        as_of_moment.refuse_present("deleting concepts by filter")
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


def _merged(query: PageQuery, current: Page, former: Page) -> Page:
    """One page of both: concepts that are still what they were, and what others were before.

    Asked one after the other, so that what is changed in between is there twice, never not at all.
    """
    found = dict(zip(current.positions, current.records, strict=True))
    found |= dict(zip(former.positions, former.records, strict=True))
    sign = -1.0 if query.order == "desc" else 1.0

    def place(position: Position) -> tuple[bool, float, int]:
        return position.value is None, sign * (position.value or 0.0), position.seq

    one_each = {position.seq: position for position in sorted(found, key=place)}
    positions = sorted(one_each.values(), key=place)
    shown = positions[: query.limit]
    is_last = len(positions) == len(shown) and current.end is None and former.end is None
    return Page(
        records=[uncounted(found[position]) for position in shown],
        accesses=[],
        total=current.total + former.total,
        end=None if is_last else shown[-1],
        positions=shown,
    )
