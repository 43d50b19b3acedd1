"""Limits the size of answers before they are built."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.errors import AnswerTooLarge
from app.model import Hit
from app.vectors import BYTES_PER_COMPONENT

JSON_BYTES_PER_NUMBER = 12
"""Typical size of a float32 as JSON, comma included: `-0.12345678,`."""
JSON_BYTES_PER_RAW = JSON_BYTES_PER_NUMBER // BYTES_PER_COMPONENT
FEW_HITS = 50
"""This many hits without vectors stay below the smallest limit that the settings allow."""


@dataclass(frozen=True, slots=True)
class AnswerLimit:
    """The largest answer to one request. `dimension` is that of the service's vectors."""

    max_bytes: int
    dimension: int

    def require(self, size_bytes: int, field: str) -> None:
        """Raise AnswerTooLarge if the size exceeds the limit, naming the field to reduce."""
        if size_bytes > self.max_bytes:
            raise AnswerTooLarge(
                f"{field}: the answer would hold about {size_bytes} bytes, and the limit is "
                f"{self.max_bytes} bytes (MEMORY_MAX_ANSWER_BYTES): ask for fewer memories, or "
                "without their vectors.",
                field=field,
            )

    def require_vectors(self, count: int, field: str) -> None:
        """Raise AnswerTooLarge if the vectors of this many memories would be too large.

        Called before anything is read.
        """
        self.require(count * self.dimension * JSON_BYTES_PER_NUMBER, field)

    def require_hits(self, hits: Sequence[Hit], field: str) -> None:
        """Raise AnswerTooLarge if a search's hits are too large."""
        if len(hits) > FEW_HITS or (hits and hits[0].vectors is not None):
            self.require(size_of_hits(hits), field)

    def require_memories(
        self, memories: Iterable[tuple[bytes, Mapping[str, bytes] | None]], field: str
    ) -> None:
        """Raise AnswerTooLarge if these records with their vectors are too large."""
        self.require(sum(_size(record, vectors) for record, vectors in memories), field)


def size_of_hits(hits: Sequence[Hit]) -> int:
    """Return the approximate size of these hits as JSON."""
    return sum(_size(hit.record, hit.vectors) for hit in hits)


def _size(record: bytes, vectors: Mapping[str, bytes] | None) -> int:
    raw = sum(map(len, vectors.values())) if vectors else 0
    return len(record) + raw * JSON_BYTES_PER_RAW
