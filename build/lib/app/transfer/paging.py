"""How much is read or written at once, and where between two pages a transfer ends."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

PAGE_ROWS = 500
PAGE_BYTES = 8 * 1024 * 1024
BYTES_PER_COMPONENT = 4
VECTORS_PER_ROW = 2

ItemT = TypeVar("ItemT")


def page_rows(dimension: int) -> int:
    """Rows of one page: 500, fewer where vectors are so long that a page would pass 8 MB."""
    row_bytes = dimension * BYTES_PER_COMPONENT * VECTORS_PER_ROW
    return max(1, min(PAGE_ROWS, PAGE_BYTES // row_bytes))


def pages_of(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """The items in lists of this length; the last may be shorter."""
    remaining = iter(items)
    while page := list(islice(remaining, size)):
        yield page


def end_if_cancelled() -> None:
    """Raise CancelledError when this task was cancelled (Ctrl-C) but went on nevertheless.

    redis-py writes under asyncio.wait_for, which before Python 3.12 swallows a cancellation that
    comes while the write succeeds: https://github.com/python/cpython/issues/86296
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
