"""Queries without a vector as of a moment, with what retired later in its place."""

from dataclasses import replace

from app.storage.index import Indexes, retired_of
from app.storage.listing import MemoryQuery, Page, PageQuery, merged_pages
from app.storage.query_syntax import still_there


async def page_as_of(
    query: MemoryQuery, indexes: Indexes, wanted: PageQuery, agent_id: str, as_of: float
) -> Page:
    """Return one page of an agent's experiences as they were at a moment. Raise StorageError.

    `wanted` asks the agent's index with the question's own conditions.
    """
    present = await query.page(wanted)
    partition = retired_of(indexes, agent_id)
    # After the present ones, so that what retires meanwhile is found twice and shown once.
    retired = await query.page(
        replace(
            wanted,
            schema=partition.schema,
            conditions=(*wanted.conditions, *partition.conditions, still_there(as_of)),
        )
    )
    return merged_pages(wanted, retired, present) if retired.total else present
