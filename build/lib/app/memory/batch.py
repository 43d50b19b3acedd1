"""A batch stores its good items and names each bad one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.errors import MemoryServiceError
from app.records import Stored

ItemT = TypeVar("ItemT")
Outcome = Stored | MemoryServiceError

SLICE = 128
"""Items that are prepared at a stretch, some 2 ms; then other requests have their turns, and Redis
stores one slice while the next is prepared."""
TURNS = 4
"""Turns of the event loop between slices: what a slice needs to be on its way to Redis."""


@dataclass(slots=True)
class BatchOutcome:
    """What became of each item, in order. `token` is None when nothing reached Redis."""

    outcomes: list[Outcome] = field(default_factory=list)
    token: str | None = None


async def store_batch(
    items: Sequence[object],
    prepare: Callable[[int, object], ItemT],
    store_many: Callable[[Sequence[ItemT]], Awaitable[tuple[list[Outcome], str]]],
) -> BatchOutcome:
    """Prepare every item, store the good ones in order.

    `prepare` takes the item's index and the item, and raises MemoryServiceError for a bad one.
    Raises what `store_many` raises while nothing is known to be stored; later, that error stands
    for each item that was not stored.
    """
    storing = _Storing(store_many)
    try:
        for start in range(0, len(items), SLICE):
            prepared = _prepared(items[start : start + SLICE], start, prepare)
            await storing.add(prepared)
        return await storing.finish()
    finally:
        storing.cancel()


def _prepared(
    items: Sequence[object], first: int, prepare: Callable[[int, object], ItemT]
) -> list[ItemT | MemoryServiceError]:
    prepared: list[ItemT | MemoryServiceError] = []
    for index, item in enumerate(items, first):
        try:
            prepared.append(prepare(index, item))
        except MemoryServiceError as error:
            prepared.append(error)
    return prepared


class _Storing(Generic[ItemT]):
    """One slice after the other on its way to Redis, never two at once: their order counts."""

    def __init__(
        self, store_many: Callable[[Sequence[ItemT]], Awaitable[tuple[list[Outcome], str]]]
    ) -> None:
        self._store_many = store_many
        self._outcome = BatchOutcome()
        self._failed: MemoryServiceError | None = None
        self._slice: asyncio.Task[None] | None = None

    async def add(self, prepared: Sequence[ItemT | MemoryServiceError]) -> None:
        """Start to store these when those before are stored."""
        if self._slice is not None:
            await self._slice
        self._slice = asyncio.create_task(self._store(prepared))
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def finish(self) -> BatchOutcome:
        """The outcome of all that was added."""
        if self._slice is not None:
            await self._slice
        return self._outcome

    def cancel(self) -> None:
        """Leave off, if something is under way still."""
        if self._slice is not None:
            self._slice.cancel()

    async def _store(self, prepared: Sequence[ItemT | MemoryServiceError]) -> None:
        good = [item for item in prepared if not isinstance(item, MemoryServiceError)]
        stored: list[Outcome] = []
        if good and self._failed is None:
            try:
                stored, self._outcome.token = await self._store_many(good)
            except MemoryServiceError as error:
                if self._outcome.token is None:
                    raise
                self._failed = error
        remaining = iter(stored if self._failed is None else [self._failed] * len(good))
        self._outcome.outcomes += [
            item if isinstance(item, MemoryServiceError) else next(remaining) for item in prepared
        ]
