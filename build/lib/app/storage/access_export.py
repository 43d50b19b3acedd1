"""A concept's counters as an export keeps them: whole, whether folded yet or not.

What searches counted lies beside the concepts' hashes under their `seq` (access_store.py), which an
import assigns anew. So the hits of the last days, by which retention judges, travel with the row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from redis.asyncio import Redis

from app.storage import keys
from app.storage.access_store import DAYS_KEPT, SECONDS_PER_DAY
from app.storage.pipelines import ask_all
from app.storage.scripts import Script
from app.storage.whole_hash import WholeHash

_NO_PROCESS = keys.access_sent("export")
"""The script also reads what the asking process sent; an export sends nothing."""


async def with_accesses(
    node: Redis, script: Script, concepts: Sequence[WholeHash], *, today: int
) -> list[WholeHash]:
    """These concepts with all of their hits. `script` is read_accesses; `today` as by day_of.

    Hits that come while this reads may be missing. Raises StorageError.
    """
    if not concepts:
        return []
    ids = [concept.memory_id for concept in concepts]
    counters = (keys.ACCESS_UNFOLDED, keys.ACCESS_LAST, _NO_PROCESS)
    _, *flat = await script.run(node, [*counters, *map(keys.semantic_memory, ids)], ids)
    by_day = await _hits_by_day(node, [concept.seq for concept in concepts], today)
    counted = zip(concepts, flat[::3], flat[1::3], flat[2::3], by_day, strict=True)
    return [
        replace(
            concept,
            fields=concept.fields | {"access_count": count, "last_accessed": last},
            hits_by_day=hits,
        )
        if int(seq) == concept.seq
        else concept
        for concept, seq, count, last, hits in counted
    ]


async def _hits_by_day(node: Redis, seqs: Sequence[int], today: int) -> Sequence[Mapping[int, int]]:
    days = range(today - DAYS_KEPT, today + 1)
    replies = await ask_all(node, [("HMGET", keys.access_day(day), *seqs) for day in days])
    return [
        {day: int(reply[i]) for day, reply in zip(days, replies, strict=True) if reply[i]}
        for i in range(len(seqs))
    ]


def day_expires_at(day: int) -> int:
    """Unix seconds at which nothing asks for the day's hits any more."""
    return (day + 1 + DAYS_KEPT) * SECONDS_PER_DAY
