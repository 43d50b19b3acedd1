"""Counting what searches find, without making a search wait for it.

Hits are gathered in this process and sent to Redis every MEMORY_ACCESS_FLUSH_INTERVAL_S: so many
seconds of hits, at the most, are lost when the process dies; none when it stops. From there they
are folded into the concepts every MEMORY_ACCESS_FOLD_INTERVAL_S, which is how far filters and sorts
on `access_count` and `last_accessed` lag behind.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from app.errors import MemoryServiceError
from app.memory.periodic import periodically
from app.records import Accesses
from app.storage.access_store import AccessBatch, AccessStore, Hits, day_of
from app.storage.turns import Turns

logger = logging.getLogger(__name__)

JOB = "fold_accesses"
BATCH_CONCEPTS = 1000
"""Different concepts in one batch: some 5 ms of Redis's time."""

MAX_WAITING = 64
"""Batches that wait for a Redis that does not answer; the newest one then grows instead."""

CLOSE_FOLD_S = 5.0
"""The last fold may take so long; what is left then is safe in Redis and folded later."""


class AccessCounting:
    """The hits that this process counts. `now` gives unix seconds."""

    def __init__(
        self,
        store: AccessStore,
        turns: Turns,
        *,
        fold_interval_s: float,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._turns = turns
        self._fold_interval_s = fold_interval_s
        self._now = now
        # Oldest first; hits are added to the last one. A batch that was sent once stays as it is
        # until Redis has confirmed it.
        self._batches = deque([AccessBatch(1, day_of(now()))])
        self._sending = asyncio.Lock()

    def count(self, found: Iterable[Accesses]) -> None:
        """Count one hit for each of these concepts, each named once."""
        # The engine gives 12 digits of a sortable number: more would not come back from a query.
        now = math.floor(self._now() * 100) / 100
        batch = self._open_batch(day_of(now))
        for accesses in found:
            concept = (accesses.seq, accesses.id)
            hits = batch.hits.get(concept)
            if hits is None:
                batch.hits[concept] = Hits(1, now)
            else:
                hits.count += 1
                hits.last = now

    async def live(self, found: Sequence[Accesses]) -> list[Accesses]:
        """The counters of these found concepts as they are now, in order.

        As `read`; while the master cannot be asked, the counters as they were found, with this
        process's own hits.
        """
        if not found:
            return []
        unsent = tuple(self._batches)
        try:
            stored = await self.read([known.id for known in found])
        except MemoryServiceError as error:
            logger.warning("counters could not be read: %s", error.detail)
            return [_with_hits(known, unsent) for known in found]
        return [stored.get(known.id, known) for known in found]

    async def read(self, ids: Sequence[str]) -> Mapping[str, Accesses]:
        """The counters of the concepts that are there, by id. Raises StorageError.

        That is what Redis has, folded or not, and what this process has not sent yet; of other
        processes' hits the last MEMORY_ACCESS_FLUSH_INTERVAL_S may be missing.
        """
        # Taken before Redis is asked: a batch that goes out meanwhile is told by its number.
        batches = tuple(self._batches)
        stored, sent = await self._store.read(ids)
        unsent = [batch for batch in batches if batch.number > sent]
        return {memory_id: _with_hits(known, unsent) for memory_id, known in stored.items()}

    async def flush(self) -> None:
        """Send what was counted until now to Redis. Raises StorageError: try again later."""
        async with self._sending:
            if self._batches[-1].hits:
                self._append_batch(day_of(self._now()))
            while len(self._batches) > 1:
                if self._batches[0].hits:
                    await self._store.add(self._batches[0])
                self._batches.popleft()

    async def fold(self) -> int:
        """Move the counters into the concepts; how many changed. Raises StorageError."""
        await self.flush()
        return await self._store.fold()

    async def fold_in_turn(self) -> None:
        """As `fold`, unless another process does it in this interval."""
        if await self._turns.take(JOB, self._fold_interval_s):
            await self.fold()

    async def close(self) -> None:
        """Leave nothing behind in this process, and fold for as long as a stop may take."""
        try:
            await self.flush()
        except MemoryServiceError as error:
            hits = sum(h.count for batch in self._batches for h in batch.hits.values())
            logger.error("%d hits were not counted: %s", hits, error.detail)  # noqa: TRY400
            return
        try:
            await self._store.fold(max_s=CLOSE_FOLD_S)
        except MemoryServiceError as error:
            logger.warning("counters were not folded: %s", error.detail)

    def _open_batch(self, day: int) -> AccessBatch:
        batch = self._batches[-1]
        is_full = len(batch.hits) >= BATCH_CONCEPTS and len(self._batches) < MAX_WAITING
        return self._append_batch(day) if batch.day != day or is_full else batch

    def _append_batch(self, day: int) -> AccessBatch:
        batch = AccessBatch(self._batches[-1].number + 1, day)
        self._batches.append(batch)
        return batch


def _with_hits(stored: Accesses, batches: Iterable[AccessBatch]) -> Accesses:
    """The counters with the hits of these batches added."""
    count, last = stored.count, stored.last_accessed
    for batch in batches:
        hits = batch.hits.get((stored.seq, stored.id))
        if hits is not None:
            count += hits.count
            last = hits.last if last is None else max(last, hits.last)
    return stored if count == stored.count else replace(stored, count=count, last_accessed=last)


@asynccontextmanager
async def counting(
    store: AccessStore,
    turns: Turns,
    *,
    flush_interval_s: float,
    fold_interval_s: float,
    now: Callable[[], float],
) -> AsyncIterator[AccessCounting]:
    """Counting with its background jobs; at the end everything that was counted is in Redis."""
    accesses = AccessCounting(store, turns, fold_interval_s=fold_interval_s, now=now)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(accesses.close)
        await stack.enter_async_context(
            periodically(accesses.flush, flush_interval_s, "sending counters")
        )
        await stack.enter_async_context(
            periodically(accesses.fold_in_turn, fold_interval_s, "folding counters")
        )
        yield accesses
