"""Exact nearest neighbours by a scan of 8-bit codes.

Each vector is kept as float32 and, scaled to length one, as int8 with one scale. A question is
compared with all codes; each comparison has a bound on what rounding can have changed. So vectors
that provably cannot be among the nearest are left out, and the few that remain are compared
exactly. With unit vectors q = s c + e (c: the code, s: its scale, e: what rounding took away):

    |<q, x> - s_q s_x <c_q, c_x>| <= |e_x| + |e_q| (1 + |e_x|)

because <q, x> = <q, s_x c_x> + <q, e_x> and |s_x c_x| <= 1 + |e_x|. The lengths |e| are those of
the actual errors, kept per vector.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from coinswarm_memory.encode.vectors import Float32Array
from coinswarm_memory.packages import require

Float64Array = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

MAX_CODE = 127
SLACK = 1e-9
"""More than double precision can lose in the sums here, whose terms are at most 1."""

ALIKE = 0.02
"""If no vector lost more than this to rounding, one bound for all vectors leaves only a few rows
more than a bound for each, and takes a third of the time."""
BLOCKS_PER_HIT = 16
DIRECT_SHARE = 32
"""If a filter leaves at most one row in this many, they are compared exactly, without the codes."""
DIRECT_ROWS = 64
CHUNK_ROWS = 4096
"""Rows that are turned into double precision at a time: 8 MB at 256 numbers."""
SPARE = 1.25


class Vectors:
    """A table of vectors that grows at its end. Rows are numbered from 0, without gaps.

    Not safe for several threads: the caller holds a lock. Raises PackageMissing without SimSIMD.
    """

    def __init__(self, dimension: int, capacity: int = 1024) -> None:
        self.dimension = dimension
        self.count = 0
        self.max_error = 0.0
        self._cdist: Any = require("simsimd", "replica").cdist
        self.raw = np.zeros((capacity, dimension), np.float32)
        self.codes = np.zeros((capacity, dimension), np.int8)
        self.scales = np.zeros(capacity, np.float64)
        self.errors = np.zeros(capacity, np.float64)
        self.inverse_norms = np.zeros(capacity, np.float64)
        self._scratch = np.empty((3, capacity), np.float64)
        self._views: _Views | None = None

    def reserve(self, count: int) -> None:
        """Make room for this many rows in all."""
        capacity = len(self.scales)
        if count <= capacity:
            return
        larger = max(count, int(capacity * SPARE) + 64)
        for name in ("raw", "codes", "scales", "errors", "inverse_norms"):
            old = getattr(self, name)
            grown = np.zeros((larger, *old.shape[1:]), old.dtype)
            grown[: self.count] = old[: self.count]
            setattr(self, name, grown)
        self._scratch = np.empty((3, larger), np.float64)
        self._views = None

    def put(self, rows: IndexArray, vectors: Float32Array) -> None:
        """Write vectors, shape (n, dimension), into rows, the new ones among them at the end."""
        if not len(rows):
            return
        count = max(self.count, int(rows.max()) + 1)
        self.reserve(count)
        self.count = count
        unit = vectors.astype(np.float64)
        inverse = 1.0 / np.sqrt(np.einsum("ij,ij->i", unit, unit))
        unit *= inverse[:, None]
        codes, scales, errors = encoded(unit)
        self.max_error = max(self.max_error, float(errors.max()))
        self.raw[rows], self.inverse_norms[rows] = vectors, inverse
        self.codes[rows], self.scales[rows], self.errors[rows] = codes, scales, errors

    def adopt(self, arrays: Mapping[str, npt.NDArray[Any]], count: int) -> None:
        """Use these arrays, named like the attributes, in place of the current ones."""
        for name, array in arrays.items():
            setattr(self, name, array)
        self.count = count
        self.max_error = float(self.errors[:count].max(initial=0.0))
        self._scratch = np.empty((3, len(self.scales)), np.float64)
        self._views = None

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for table in (self.raw, self.codes, self.scales, self.errors, self.inverse_norms):
            table[target] = table[source]

    def nearest(
        self, question: Float32Array, k: int, among: BoolArray | None
    ) -> tuple[IndexArray, Float64Array]:
        """Return the rows of the k nearest vectors and their cosine distances, nearest first.

        Rounding may leave a distance of -1e-16 between equal vectors.
        `among`: which rows count, shape (count,). None means all.
        """
        exact = question.astype(np.float64)
        exact *= 1.0 / math.sqrt(exact.dot(exact))
        rows = self._candidates(exact, k, among)
        distances = 1.0 - self._similarities(exact, rows)
        best = distances.argsort()[:k]
        return rows[best], distances[best]

    def _candidates(self, question: Float64Array, k: int, among: BoolArray | None) -> IndexArray:
        """Return rows that provably include the k nearest."""
        if among is not None:
            wanted = int(np.count_nonzero(among))
            if wanted <= max(k, DIRECT_ROWS, self.count // DIRECT_SHARE):
                return np.flatnonzero(among)
        if self.count <= max(k, DIRECT_ROWS):
            return np.arange(self.count) if among is None else np.flatnonzero(among)
        lower, upper, spread = self._bounds(question)
        if among is not None:
            np.putmask(lower, ~among, -np.inf)
        rows = np.flatnonzero(upper >= at_least_kth(lower, k) - spread)
        return rows if among is None else rows[among[rows]]

    def _bounds(self, question: Float64Array) -> tuple[Float64Array, Float64Array, float]:
        """Return bounds of each row's similarity, in units of the question's scale, and how far the
        question's own rounding may widen them."""
        code, scale, error = _encoded_question(question)
        views = self._views
        if views is None or views.count != self.count:
            views = self._views = _Views(self, self._scratch)
        lower, upper, width = views.lower, views.upper, views.width
        # Not by `out`: SimSIMD 6.5 returns None then without counting the reference.
        dots = np.asarray(self._cdist(code[None], views.codes, "dot"))[0]
        np.multiply(dots, views.scales, out=upper)
        spread = 2.0 * (error + SLACK) / scale
        if self.max_error <= ALIKE:
            return upper, upper, spread + 2.0 * self.max_error * (1.0 + error) / scale
        np.multiply(views.errors, (1.0 + error) / scale, out=width)
        np.subtract(upper, width, out=lower)
        np.add(upper, width, out=upper)
        return lower, upper, spread

    def _similarities(self, question: Float64Array, rows: IndexArray) -> Float64Array:
        """Return the cosines of the question and these rows, in double precision."""
        if len(rows) <= CHUNK_ROWS:
            cosines: Float64Array = self.raw.take(rows, 0).astype(np.float64) @ question
        else:
            cosines = np.concatenate(
                [
                    self.raw.take(rows[start : start + CHUNK_ROWS], 0).astype(np.float64) @ question
                    for start in range(0, len(rows), CHUNK_ROWS)
                ]
            )
        cosines *= self.inverse_norms[rows]
        return cosines


class _Views:
    """The rows in use of a table's arrays: to slice them for each question takes 1 us."""

    def __init__(self, table: Vectors, scratch: Float64Array) -> None:
        self.count = count = table.count
        self.codes = table.codes[:count]
        self.scales = table.scales[:count]
        self.errors = table.errors[:count]
        self.lower, self.upper, self.width = scratch[:, :count]


def encoded(unit: Float64Array) -> tuple[npt.NDArray[np.int8], Float64Array, Float64Array]:
    """Return codes, their scales, and the lengths of what rounding took from unit vectors."""
    scales = np.abs(unit).max(axis=1) / MAX_CODE
    rounded = np.rint(unit / scales[:, None])
    lost = unit - rounded * scales[:, None]
    return rounded.astype(np.int8), scales, np.sqrt(np.einsum("ij,ij->i", lost, lost)) + SLACK


def _encoded_question(unit: Float64Array) -> tuple[npt.NDArray[np.int8], float, float]:
    """Return the same as `encoded` for one vector, in a third less time."""
    scale = float(np.abs(unit).max()) / MAX_CODE
    rounded = np.rint(unit * (1.0 / scale))
    lost = unit - rounded * scale
    return rounded.astype(np.int8), scale, math.sqrt(lost.dot(lost)) + SLACK


def at_least_kth(values: Float64Array, k: int) -> float:
    """Return a number that at least k of these values reach: a bound below the k-th largest.

    The maxima of blocks are values themselves, and there are few of them to sort.
    """
    blocks = BLOCKS_PER_HIT * k
    if blocks >= len(values) // 2:
        return float(np.partition(values, len(values) - k)[len(values) - k])
    size = len(values) // blocks
    maxima = values[: size * blocks].reshape(size, blocks).max(axis=0)
    return float(np.partition(maxima, blocks - k)[blocks - k])
