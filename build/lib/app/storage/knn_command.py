"""FT.SEARCH for nearest neighbours: as words, and as the bytes that go to Redis.

What stands around the vector is nearly always what it was in some question before. Packing it anew
took a tenth of the service's part of a search (docs/benchmarks/hotpath.md), so it is kept packed.
"""

from functools import lru_cache
from typing import NamedTuple

from app.storage.pipelines import Words, pack

SHAPES_KEPT = 4096
"""Some 600 bytes each. Filters that differ from question to question push each other out."""


class KnnShape(NamedTuple):
    """A search but for its vector. `knn` is the clause that follows the filter `query`; `fields`
    are those to return. A tuple, since it is made and hashed for every question."""

    alias: str
    query: str
    knn: str
    fields: tuple[str, ...]
    top_k: int
    timeout_ms: int

    def words(self, vector: bytes) -> Words:
        """The command for redis-py."""
        return (*self._before(), vector, *self._after())

    def _before(self) -> Words:
        words: list[str | int] = ["FT.SEARCH", self.alias, f"{self.query}=>{self.knn}"]
        words += ["RETURN", len(self.fields), *self.fields]
        words += ["SORTBY", "distance", "LIMIT", 0, self.top_k, "PARAMS", 2, "vector"]
        return words

    def _after(self) -> Words:
        return ("DIALECT", 2, "TIMEOUT", self.timeout_ms)

    def around_vector(self) -> tuple[bytes, bytes]:
        """What goes before and after the vector's own length and bytes."""
        before, after = self._before(), self._after()
        count = len(before) + 1 + len(after)
        return b"*%d\r\n%b" % (count, _packed_words(before)), _packed_words(after)


def packed(shape: KnnShape, vector: bytes) -> bytes:
    """The command in Redis's protocol."""
    before, after = _around_vector(shape)
    return b"%b$%d\r\n%b\r\n%b" % (before, len(vector), vector, after)


_around_vector = lru_cache(SHAPES_KEPT)(KnnShape.around_vector)


def _packed_words(words: Words) -> bytes:
    """Words as they stand within a command: without the count before them."""
    return pack(words).partition(b"\r\n")[2]
