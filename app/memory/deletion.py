"""Deletes by filter, in steps, for a bounded time, what existed when the deletion began."""

import logging
from collections.abc import Mapping, Sequence

from app.auth.audit import Audit
from app.storage.listing import Deletion, MemoryQuery, in_steps
from app.storage.memories import MemoryStore
from app.storage.query_syntax import written_until
from app.storage.schema import IndexSchema

logger = logging.getLogger(__name__)

STEPS = {"FLAT": 500, "HNSW": 50}
"""Memories deleted per round trip, about 8 ms of Redis's time (measured: 200 in 3.4 ms from a FLAT
index, in 32 ms from HNSW), so that other requests get their turn."""


async def delete_matching(
    query: MemoryQuery,
    store: MemoryStore,
    schema: IndexSchema,
    partition: str,
    conditions: Sequence[str],
    *,
    dry_run: bool,
    audit: Audit,
    asked: Mapping[str, object],
    retired_at: float | None = None,
) -> Deletion:
    """Delete the matches that were written before this call, in steps that let other requests
    through.

    With `retired_at` (unix seconds) they retire: questions as of an earlier moment still find them.
    `asked` is the caller's request, for the audit log. Raise StorageError; what was deleted by then
    is gone, and repeating the call continues.
    """
    bounded = (*conditions, written_until(await query.last_seq(partition)))
    matched = await query.count(schema, bounded)
    if dry_run:
        return Deletion(matched, 0)
    deleted = 0

    async def step() -> int | None:
        keys = await query.keys(schema, bounded, STEPS[schema.algorithm])
        return await store.delete(keys, partition, retired_at=retired_at) if keys else None

    async with audit.action("delete_by_filter", index=schema.alias, asked=asked) as outcome:
        async for more in in_steps(step):
            outcome["deleted"] = deleted = deleted + more
            logger.info(
                "deleting", extra={"index": schema.alias, "deleted": deleted, "of": matched}
            )
        outcome["deleted"] = deleted
    return Deletion(max(matched, deleted), deleted)
