"""A batch goes to the store slice by slice, in order, and every item gets its own outcome."""

import asyncio
from collections.abc import Sequence

import pytest

from app.errors import InvalidInput, MemoryServiceError, StorageUnavailable
from app.memory.storing import SLICE, Outcome, store_batch
from app.model import Stored

ITEMS = 2 * SLICE + 5


class SliceStore:
    """Stores numbers; from its call number `fails_from` on it cannot be reached."""

    def __init__(self, fails_from: int = 1000) -> None:
        self.calls: list[list[int]] = []
        self.fails_from = fails_from
        self.under_way = 0

    async def store_many(self, numbers: Sequence[int]) -> tuple[list[Outcome], str]:
        self.under_way += 1
        assert self.under_way == 1, "two slices at once"
        self.calls.append(list(numbers))
        try:
            await asyncio.sleep(0.001)
            if len(self.calls) > self.fails_from:
                raise StorageUnavailable("Redis cannot be reached: try again shortly.")
        finally:
            self.under_way -= 1
        return [Stored(str(n), "created", "t") for n in numbers], f"token-{len(self.calls)}"


def prepare(index: int, item: object) -> int:
    assert item == index
    if index % 50 == 7:
        raise InvalidInput(f"{index} is bad")
    return index


def told(outcomes: Sequence[Outcome]) -> list[str]:
    return [o.detail if isinstance(o, MemoryServiceError) else o.id for o in outcomes]


def expected(stored: int) -> list[str]:
    """The outcomes when the items from number `stored` on met a dead Redis."""
    dead = "Redis cannot be reached: try again shortly."
    return [f"{n} is bad" if n % 50 == 7 else str(n) if n < stored else dead for n in range(ITEMS)]


async def test_every_item_gets_its_own_outcome_in_order() -> None:
    store = SliceStore()
    outcome = await store_batch(range(ITEMS), prepare, store.store_many)
    assert told(outcome.outcomes) == expected(ITEMS)
    assert outcome.token == "token-3"
    assert [n for call in store.calls for n in call] == [n for n in range(ITEMS) if n % 50 != 7]


async def test_nothing_good_reaches_no_store() -> None:
    store = SliceStore()
    outcome = await store_batch([7], lambda _, item: prepare(7, item), store.store_many)
    assert (told(outcome.outcomes), outcome.token, store.calls) == (["7 is bad"], None, [])


async def test_failure_of_the_first_slice_is_that_of_the_batch() -> None:
    with pytest.raises(StorageUnavailable):
        await store_batch(range(ITEMS), prepare, SliceStore(fails_from=0).store_many)


async def test_failure_later_is_that_of_the_items_not_stored() -> None:
    store = SliceStore(fails_from=1)
    outcome = await store_batch(range(ITEMS), prepare, store.store_many)
    assert told(outcome.outcomes) == expected(SLICE)
    assert outcome.token == "token-1"
    assert len(store.calls) == 2, "a store that failed was asked again"


async def test_a_caller_that_leaves_ends_the_batch() -> None:
    store = SliceStore()
    task = asyncio.create_task(store_batch(range(ITEMS), prepare, store.store_many))
    while not store.under_way:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert (store.under_way, len(store.calls)) == (0, 1)


async def test_others_have_their_turns_between_slices() -> None:
    turns = 0
    seen: list[int] = []

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def prepare_and_look(index: int, item: object) -> int:
        if index % SLICE == 0:
            seen.append(turns)
        return prepare(index, item) if index % 50 != 7 else index

    task = asyncio.create_task(other())
    await store_batch(range(ITEMS), prepare_and_look, SliceStore().store_many)
    task.cancel()
    assert len(seen) == 3
    assert seen[0] < seen[1] < seen[2]
