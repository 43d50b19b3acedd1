"""Counts how many searches find a concept, beside the indexed hashes, and folds the counts into
them.

Any write to an indexed hash makes the engine insert its vector into the graph again. So hits are
added to hashes of their own (count_accesses.lua) and moved into the concepts at intervals
(fold_accesses.lua). Each step is one repeatable script, so no hit is lost or counted twice, however
many processes add and fold at once. A concept is named `SEQ:ID` here, with the number that it got
when it was stored, so a new concept with an old id starts at zero.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app import keys
from app.model import Accesses
from app.nodes.client import Client
from app.nodes.commands import Script, Word, slices
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import translated
from app.nodes.shard import Shards
from app.storage.memories import MemoryStore

SECONDS_PER_DAY = 86_400
DAYS_KEPT = 32
"""A day's hits are needed until the thirtieth day after it ends."""

SENT_KEPT_S = SECONDS_PER_DAY
FOLD_STEP = 4
"""Concepts folded by one script: about 5 ms of Redis's time among 2,000 of 256 dimensions."""

SCAN_COUNT = 1000


@dataclass(slots=True)
class Hits:
    """How many searches found one concept, and when the last one did (unix seconds)."""

    count: int
    last: float


@dataclass(slots=True)
class AccessBatch:
    """Hits of one day (whole days since 1970, UTC) by the concept's seq and id."""

    number: int
    day: int
    hits: dict[tuple[int, str], Hits] = field(default_factory=dict)


def day_of(unix_time: float) -> int:
    """Return the day of a moment, as whole days since 1970 (UTC)."""
    return int(unix_time // SECONDS_PER_DAY)


class AccessStore:
    """The counters of one data set.

    `process` names the process that counts; no earlier process had the name. `store` writes folded
    counts, because those change what searches find.
    """

    def __init__(
        self, shards: Shards, reads: ReadRouter, store: MemoryStore, *, process: str
    ) -> None:
        self._shards = shards
        self._reads = reads
        self._store = store
        self._sent_key = keys.access_sent(process)
        self._count_script = Script("count_accesses")
        self._fold_script = Script("fold_accesses")
        self._read_script = Script("read_accesses")

    @property
    def _master(self) -> Client:
        return self._shards.shard_of(keys.ACCESS_UNFOLDED).master.client

    async def add(self, batch: AccessBatch) -> list[Accesses]:
        """Add a batch. Return all hits of its concepts, without those that were deleted.

        After an error, send the same batch again before any other.
        """
        words: list[Word] = [batch.number, DAYS_KEPT * SECONDS_PER_DAY, SENT_KEPT_S]
        for (seq, memory_id), hits in batch.hits.items():
            words += [seq, f"{seq}:{memory_id}", hits.count, repr(hits.last)]
        flat = await self._count_script.run(
            self._master,
            [
                *(keys.ACCESS_UNFOLDED, keys.ACCESS_LAST, keys.access_day(batch.day)),
                self._sent_key,
                *(keys.semantic_memory(memory_id) for _, memory_id in batch.hits),
            ],
            words,
        )
        return [
            Accesses(memory_id, seq, int(count), float(last) or None)
            for (seq, memory_id), count, last in zip(batch.hits, flat[::2], flat[1::2], strict=True)
            if int(count) >= 0
        ]

    async def read(self, ids: Sequence[str]) -> tuple[Mapping[str, Accesses], int]:
        """Return the counters of these concepts, and the number of this process's last batch in
        them.

        Deleted concepts are left out.
        """
        counters = (keys.ACCESS_UNFOLDED, keys.ACCESS_LAST, self._sent_key)
        concepts = [keys.semantic_memory(memory_id) for memory_id in ids]
        last_batch, *flat = await self._reads.read(
            keys.ACCESS_UNFOLDED,
            lambda node: self._read_script.run(node, [*counters, *concepts], ids),
        )
        found = {
            memory_id: Accesses(memory_id, int(seq), int(count), float(last) or None)
            for memory_id, seq, count, last in zip(
                ids, flat[::3], flat[1::3], flat[2::3], strict=True
            )
            if seq != b"0"
        }
        return found, int(last_batch)

    async def fold(self, *, max_s: float = math.inf) -> int:
        """Move the current counts into the concepts. Return how many concepts changed.

        After each step Redis gets as much time for others. After `max_s` seconds the rest is left
        for the next fold.
        """
        changed = 0
        give_up_at = time.monotonic() + max_s
        names = await self._unfolded()
        for some in slices(names, FOLD_STEP):
            began = time.monotonic()
            if began >= give_up_at:
                break
            changed += await self._fold_step(some)
            await asyncio.sleep(time.monotonic() - began)
        return changed

    async def _unfolded(self) -> list[str]:
        names: set[str] = set()
        with translated():
            async for name, _ in self._master.hscan_iter(keys.ACCESS_UNFOLDED, count=SCAN_COUNT):
                names.add(name.decode())
        return sorted(names)

    async def _fold_step(self, names: Sequence[str]) -> int:
        concepts = [keys.semantic_memory(name.partition(":")[2]) for name in names]
        changed, _ = await self._store.run(
            self._fold_script,
            [keys.ACCESS_UNFOLDED, keys.ACCESS_LAST, *concepts],
            names,
            keys.SEMANTIC_PARTITION,
        )
        return int(changed)
