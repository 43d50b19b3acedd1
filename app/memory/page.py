"""One page of memories."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryPage:
    """Records (JSON bytes) in order, the number of all that match, and the next page's cursor."""

    records: list[bytes]
    total: int
    next_cursor: str | None
