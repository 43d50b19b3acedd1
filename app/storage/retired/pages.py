"""Queries without a vector as of a moment, with what retired later in its place."""

import math
from dataclasses import replace

from app.storage.index import Indexes, retired_of
from app.storage.listing import MemoryQuery, Page, PagePosition, PageQuery
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
    return _merged(present, retired, wanted) if retired.total else present


def _merged(present: Page, retired: Page, wanted: PageQuery) -> Page:
    rows = {
        position.seq: (record, position)
        for page in (retired, present)
        for record, position in zip(page.records, page.positions, strict=True)
    }
    in_order = sorted(rows.values(), key=lambda row: _place(row[1], wanted))
    shown = in_order[: wanted.limit]
    is_more = len(in_order) > len(shown) or present.end is not None or retired.end is not None
    positions = [position for _, position in shown]
    return Page(
        records=[record for record, _ in shown],
        accesses=[],
        total=present.total + retired.total,
        end=positions[-1] if is_more else None,
        positions=positions,
    )


def _place(position: PagePosition, wanted: PageQuery) -> tuple[bool, float, int]:
    """Return the key by which the engine sorts: missing values last, ties by `seq`."""
    value = position.value
    if value is None:
        return True, math.inf, position.seq
    return False, -value if wanted.order == "desc" else value, position.seq
