"""How much is read or written at once."""

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
