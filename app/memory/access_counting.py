"""Counts the hits of searches without making a search wait.

Hits are gathered in this process and sent to Redis every MEMORY_ACCESS_FLUSH_INTERVAL_S. A process
that is killed loses at most one interval of hits; one that stops loses none. From Redis they are
folded into the concepts every MEMORY_ACCESS_FOLD_INTERVAL_S, or every ten times the duration of a
fold if that is longer. Filters and sorts on `access_count` and `last_accessed` lag by that much.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from app.errors import MemoryServiceError
from app.model import Accesses
from app.nodes.job_lock import JobLock
from app.nodes.jobs import periodically
from app.storage.access_counters import AccessBatch, AccessStore, Hits, day_of

logger = logging.getLogger(__name__)

JOB = "fold_accesses"
BATCH_CONCEPTS = 200
"""Different concepts in one batch: about 3 ms of Redis's time."""

MAX_KNOWN = 50_000
"""Concepts whose counters this process remembers: at most about 20 MB."""

MAX_WAITING = 64
"""Batches that may wait for an unresponsive Redis; beyond that the newest one grows."""

REST_FACTOR = 10
"""A fold leaves Redis half of the time to others, so it takes a twentieth of Redis's time."""

CLOSE_FOLD_S = 5.0
"""How long the last fold may take. What is left is safe in Redis and folded later."""


class AccessCounting:
    """The hits that this process counts. `now` returns unix seconds."""

    def __init__(
        self,
        store: AccessStore,
        job_lock: JobLock,
        *,
        fold_interval_s: float,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._job_lock = job_lock
        self._fold_interval_s = fold_interval_s
        self._now = now
        # Oldest first; hits are added to the last one. A batch that was sent once stays as it is
        # until Redis has confirmed it.
        self._batches = deque([AccessBatch(1, day_of(now()))])
        self._sending = asyncio.Lock()
        # What Redis had of a concept when its last hit was sent from here, oldest first.
        self._known: OrderedDict[tuple[int, str], Accesses] = OrderedDict()

    def count(self, found: Iterable[Accesses]) -> None:
        """Count one hit for each of these concepts, each of which is named once."""
        # The engine returns 12 digits of a sortable number, so more would be lost in a query.
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

    def live(self, found: Sequence[Accesses]) -> list[Accesses]:
        """Return the counters of these concepts, in order, to this process's knowledge.

        Redis is not asked. The counters are those that the search found folded, or those that Redis
        had when this process last sent a hit of the concept if they are higher, plus this process's
        hits since. So its own hits are included at once, and those of others within
        MEMORY_ACCESS_FOLD_INTERVAL_S. Hits whose sending was not confirmed may count twice until it
        is.
        """
        return [_with_hits(self._newest(folded), self._batches) for folded in found]

    async def read(self, ids: Sequence[str]) -> Mapping[str, Accesses]:
        """Read the counters of the existing concepts from Redis, by id. Raise StorageError.

        They include what Redis has, folded or not, and what this process has not sent yet. Other
        processes' hits of the last MEMORY_ACCESS_FLUSH_INTERVAL_S may be missing.
        """
        # Read before Redis is asked: the number identifies a batch that goes out meanwhile.
        batches = tuple(self._batches)
        stored, sent = await self._store.read(ids)
        unsent = [batch for batch in batches if batch.number > sent]
        return {memory_id: _with_hits(known, unsent) for memory_id, known in stored.items()}

    async def flush(self) -> None:
        """Send everything counted so far to Redis. Raise StorageError; try again later."""
        async with self._sending:
            if self._batches[-1].hits:
                self._append_batch(day_of(self._now()))
            while len(self._batches) > 1:
                known = []
                if self._batches[0].hits:
                    known = await self._store.add(self._batches[0])
                # Without an await in between, so that no hit is missing or counted twice.
                self._batches.popleft()
                self._remember(known)

    async def fold(self) -> int:
        """Move the counters into the concepts. Return how many changed. Raise StorageError."""
        await self.flush()
        return await self._store.fold()

    async def fold_in_turn(self) -> None:
        """Fold, unless another process does it in this interval.

        After a long fold comes a long pause, so that Redis always has most of its time for others.
        """
        if await self._job_lock.take(JOB, self._fold_interval_s):
            began_s = time.monotonic()
            async with self._job_lock.returned_on_failure(JOB):
                await self.fold()
            rest_s = REST_FACTOR * (time.monotonic() - began_s)
            if rest_s > self._fold_interval_s:
                await self._job_lock.hold(JOB, rest_s)

    async def close(self) -> None:
        """Send everything to Redis, and fold for as long as a stop may take."""
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

    def _newest(self, folded: Accesses) -> Accesses:
        concept = (folded.seq, folded.id)
        known = self._known.get(concept)
        if known is None or known.count <= folded.count:
            self._known.pop(concept, None)
            return folded
        return known

    def _remember(self, known: Iterable[Accesses]) -> None:
        for accesses in known:
            concept = (accesses.seq, accesses.id)
            self._known[concept] = accesses
            self._known.move_to_end(concept)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _open_batch(self, day: int) -> AccessBatch:
        batch = self._batches[-1]
        is_full = len(batch.hits) >= BATCH_CONCEPTS and len(self._batches) < MAX_WAITING
        return self._append_batch(day) if batch.day != day or is_full else batch

    def _append_batch(self, day: int) -> AccessBatch:
        batch = AccessBatch(self._batches[-1].number + 1, day)
        self._batches.append(batch)
        return batch


def _with_hits(stored: Accesses, batches: Iterable[AccessBatch]) -> Accesses:
    """Return the counters with the hits of these batches added."""
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
    job_lock: JobLock,
    *,
    flush_interval_s: float,
    fold_interval_s: float,
    now: Callable[[], float],
) -> AsyncIterator[AccessCounting]:
    """Run the counting and its background jobs. At the end all counts are in Redis."""
    accesses = AccessCounting(store, job_lock, fold_interval_s=fold_interval_s, now=now)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(accesses.close)
        await stack.enter_async_context(
            periodically(accesses.flush, flush_interval_s, "sending counters")
        )
        await stack.enter_async_context(
            periodically(accesses.fold_in_turn, fold_interval_s, "folding counters")
        )
        yield accesses
