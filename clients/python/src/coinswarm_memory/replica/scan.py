"""Vectors that come, change and go, and the compiled scan of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from coinswarm_memory.encode.vectors import Float32Array
from coinswarm_memory.packages import require

IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

SPARE = 1.25
ARRAYS = ("units", "codes", "scales", "errors")
"""The attributes of a table that hold its rows."""
_ALL = np.empty(0, np.bool_)


def prepare() -> Any:
    """Load the compiled scan and return its module: 0.4 s, and 5 s for the first on a machine.

    Raises PackageMissing without numba.
    """
    require("numba", "replica")
    return require("coinswarm_memory.replica.kernel", "replica")


@dataclass(frozen=True, slots=True)
class Extent:
    """The rows that there are at one moment. It is scanned without a lock.

    If rows change meanwhile, what is found is of no use, but nothing breaks.
    """

    count: int
    _arrays: tuple[npt.NDArray[Any], ...]
    _scan: Any

    def nearest(
        self, question: Float32Array, k: int, among: BoolArray | None
    ) -> tuple[list[int], list[float]] | None:
        """Return the rows of the k nearest vectors and their cosine distances, nearest first.

        `among`: which rows count, shape (count,). None means all. Returns None for a question
        without direction.
        """
        rows, distances = np.empty(k, np.int64), np.empty(k)
        allowed = _ALL if among is None else among
        found = self._scan(*self._arrays, self.count, question, k, allowed, rows, distances)
        if found < 0:
            return None
        if found < k:
            rows, distances = rows[:found], distances[:found]
        return rows.tolist(), distances.tolist()


class Vectors:
    """A table of vectors that grows at its end. Rows are numbered from 0, without gaps.

    Not safe for several threads: the caller holds a lock. Raises PackageMissing without numba.
    """

    def __init__(self, dimension: int, capacity: int = 1024) -> None:
        self._kernel = prepare()
        self.count = 0
        self.units = np.zeros((capacity, dimension), np.float32)
        self.codes = np.zeros((capacity, dimension), np.int8)
        self.scales = np.zeros(capacity, np.float64)
        self.errors = np.zeros(capacity, np.float64)

    def reserve(self, count: int) -> None:
        """Make room for this many rows in all."""
        capacity = len(self.scales)
        if count <= capacity:
            return
        larger = max(count, int(capacity * SPARE) + 64)
        for name in ARRAYS:
            old = getattr(self, name)
            grown = np.zeros((larger, *old.shape[1:]), old.dtype)
            grown[: self.count] = old[: self.count]
            setattr(self, name, grown)

    def put(self, rows: IndexArray, vectors: Float32Array) -> None:
        """Write vectors, shape (n, dimension), into rows, the new ones among them at the end."""
        if not len(rows):
            return
        count = max(self.count, int(rows.max()) + 1)
        self.reserve(count)
        self.count = count
        for name, encoded in zip(ARRAYS, self._kernel.encode(vectors), strict=True):
            getattr(self, name)[rows] = encoded

    def adopt(self, arrays: Mapping[str, npt.NDArray[Any]], count: int) -> None:
        """Use these arrays, named like the attributes, in place of the current ones."""
        for name, array in arrays.items():
            setattr(self, name, np.asarray(array))
        self.count = count

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for table in (self.units, self.codes, self.scales, self.errors):
            table[target] = table[source]

    def extent(self) -> Extent:
        """Return the rows as they are now, until the next change."""
        arrays = (self.units, self.codes, self.scales, self.errors)
        return Extent(self.count, arrays, self._kernel.nearest)
