"""One page of memories."""

from dataclasses import dataclass

from app.records import Accesses


@dataclass(frozen=True, slots=True)
class MemoryPage:
    """Records (JSON bytes) in order, the number of all that match, and the next page's cursor.

    `accesses` are the records' counters, in their order; empty for experiences.
    """

    records: list[bytes]
    accesses: list[Accesses]
    total: int
    next_cursor: str | None
