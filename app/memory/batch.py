"""A batch stores its good items and names each bad one."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.errors import MemoryServiceError
from app.records import Stored

ItemT = TypeVar("ItemT")
Outcome = Stored | MemoryServiceError


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of each item, in order. `token` is None when nothing reached Redis."""

    outcomes: list[Outcome]
    token: str | None


async def store_batch(
    items: Sequence[object],
    prepare: Callable[[int, object], ItemT],
    store_many: Callable[[Sequence[ItemT]], Awaitable[tuple[list[Outcome], str]]],
) -> BatchOutcome:
    """Prepare every item, store the good ones together.

    `prepare` takes the item's index and the item, and raises MemoryServiceError for a bad one.
    """
    prepared: list[ItemT | MemoryServiceError] = []
    for index, item in enumerate(items):
        try:
            prepared.append(prepare(index, item))
        except MemoryServiceError as error:
            prepared.append(error)
    good = [item for item in prepared if not isinstance(item, MemoryServiceError)]
    if not good:
        return BatchOutcome([e for e in prepared if isinstance(e, MemoryServiceError)], None)
    stored, token = await store_many(good)
    remaining = iter(stored)
    outcomes = [
        item if isinstance(item, MemoryServiceError) else next(remaining) for item in prepared
    ]
    return BatchOutcome(outcomes, token)
