"""Exact nearest neighbours by a scan of 8-bit codes.

Each vector is kept scaled to length one: as float32, as the engine keeps it, and as int8 with one
scale. A question is compared with all codes; each comparison has a bound on what rounding can have
changed. So vectors that provably cannot be among the nearest are left out, and the few that remain
are compared exactly. With unit vectors q = s c + e (c: the code, s: its scale, e: what rounding
took away):

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
SLACK = 1e-6
"""More than the sums here lose, whose terms are at most 1, and more than the lengths of vectors
rounded to float32 differ from 1."""

ALIKE = 0.02
"""If no vector lost more than this to rounding, one bound for all vectors leaves only a few rows
more than a bound for each, and takes a third of the time."""
BLOCKS_PER_ROW = 8
LOOKED_AT, MORE_LOOKED_AT = 2, 8
"""How many rows are compared exactly at first, per hit and beside: in nine questions of ten they
include the nearest."""
DIRECT_SHARE = 32
"""If a filter leaves at most one row in this many, they are compared exactly, without the codes."""
DIRECT_ROWS = 64
CHUNK_ROWS = 4096
"""Rows that are turned into double precision at a time: 8 MB at 256 numbers."""
SPARE = 1.25
ARRAYS = ("units", "codes", "scales", "errors")
"""The attributes of a table that hold its rows."""

SUMMED_ROWS = 4096
EXCLUDED = -1e300
"""How near a row looks, or less, that a filter excludes."""

FARTHEST = 2.0
"""The cosine distance of opposite vectors."""


class Vectors:
    """A table of vectors that grows at its end. Rows are numbered from 0, without gaps.

    Not safe for several threads: the caller holds a lock. Raises PackageMissing without SimSIMD.
    """

    def __init__(self, dimension: int, capacity: int = 1024) -> None:
        self.dimension = dimension
        self.count = 0
        self.max_error = 0.0
        # Also for single products: these stay in the processor's caches, and numpy's BLAS does not.
        kernels: Any = require("simsimd", "replica")
        self.cdist, self.dot = kernels.cdist, kernels.dot
        self.units = np.zeros((capacity, dimension), np.float32)
        self.codes = np.zeros((capacity, dimension), np.int8)
        self.scales = np.zeros(capacity, np.float64)
        self.errors = np.zeros(capacity, np.float64)
        self._scratch = np.empty((2, capacity), np.float64)
        self._views: _Views | None = None

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
        self._scratch = np.empty((2, larger), np.float64)
        self._views = None

    def put(self, rows: IndexArray, vectors: Float32Array) -> None:
        """Write vectors, shape (n, dimension), into rows, the new ones among them at the end."""
        if not len(rows):
            return
        count = max(self.count, int(rows.max()) + 1)
        self.reserve(count)
        self.count = count
        exact = vectors.astype(np.float64)
        exact /= np.sqrt(np.einsum("ij,ij->i", exact, exact))[:, None]
        units = exact.astype(np.float32)
        codes, scales, errors = encoded(units.astype(np.float64))
        self.max_error = max(self.max_error, float(errors.max()))
        self.units[rows], self.codes[rows] = units, codes
        self.scales[rows], self.errors[rows] = scales, errors

    def adopt(self, arrays: Mapping[str, npt.NDArray[Any]], count: int) -> None:
        """Use these arrays, named like the attributes, in place of the current ones."""
        for name, array in arrays.items():
            setattr(self, name, array)
        self.count = count
        self.max_error = float(self.errors[:count].max(initial=0.0))
        self._scratch = np.empty((2, len(self.scales)), np.float64)
        self._views = None

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for table in (self.units, self.codes, self.scales, self.errors):
            table[target] = table[source]

    def nearest(
        self, question: Float64Array, norm: float, k: int, among: BoolArray | None
    ) -> tuple[list[int], list[float]]:
        """Return the rows of the k nearest vectors and their cosine distances, nearest first.

        `norm`: the question's length. `among`: which rows count, shape (count,). None means all.
        """
        wanted = self.count if among is None else int(np.count_nonzero(among))
        if wanted > max(k, DIRECT_ROWS, 0 if among is None else self.count // DIRECT_SHARE):
            return self._scanned(question, norm, k, among, wanted)
        rows = np.arange(self.count) if among is None else among.nonzero()[0]
        return self._nearest_of(rows, question, norm, k)

    def _scanned(
        self, question: Float64Array, norm: float, k: int, among: BoolArray | None, wanted: int
    ) -> tuple[list[int], list[float]]:
        """Return the k nearest of the `wanted` rows that count, which are more than k.

        The rows that look nearest are compared exactly. The k-th of their distances bounds how near
        any of the k nearest must look.
        """
        looks, unit, error = self._looks(question, norm)
        if among is not None:
            exclude(looks, among)
        reached = at_least_kth(looks, min(wanted, LOOKED_AT * k + MORE_LOOKED_AT))
        found = self._nearest_of((looks >= reached).nonzero()[0], question, norm, k)
        needed = (1.0 - found[1][-1] - error) / unit
        if needed < reached:
            found = self._nearest_of((looks >= needed).nonzero()[0], question, norm, k)
        return found

    def _nearest_of(
        self, rows: IndexArray, question: Float64Array, norm: float, k: int
    ) -> tuple[list[int], list[float]]:
        """Return the k nearest of these rows and their distances, compared in double precision."""
        if not len(rows):
            return [], []
        parts = [rows]
        if len(rows) > CHUNK_ROWS:
            parts = [rows[at : at + CHUNK_ROWS] for at in range(0, len(rows), CHUNK_ROWS)]
        found = [
            self._dots(question[None], self.units.take(part, 0).astype(np.float64))
            for part in parts
        ]
        cosines = found[0] if len(found) == 1 else np.concatenate(found)
        best = cosines.argsort()[: -k - 1 : -1]
        distances = [1.0 - cosine / norm for cosine in cosines.take(best).tolist()]
        if distances[0] < 0.0 or distances[-1] > FARTHEST:  # by rounding
            distances = [min(max(distance, 0.0), FARTHEST) for distance in distances]
        return rows.take(best).tolist(), distances

    def _looks(self, question: Float64Array, norm: float) -> tuple[Float64Array, float, float]:
        """Return how near each row looks, the unit of that, and how much nearer it may be.

        A row's similarity is at most its look, times the unit, and the last number more.
        """
        views = self._views
        if views is None or views.count != self.count:
            views = self._views = _Views(self, self._scratch)
        scale, error = views.encode(question)
        unit, error = scale / norm, error / norm + SLACK
        looks = np.multiply(self._dots(views.code, views.codes), views.scales, out=views.looks)
        if self.max_error <= ALIKE:
            return looks, unit, error + self.max_error * (1.0 + error)
        np.multiply(views.errors, (1.0 + error) / unit, out=views.width)
        return np.add(looks, views.width, out=looks), unit, error

    def _dots(self, one: npt.NDArray[Any], table: npt.NDArray[Any]) -> Float64Array:
        """Return the scalar products of one row, shape (1, n), and each row of a table."""
        # Not by `out`: SimSIMD 6.5 returns None then without counting the reference.
        return np.frombuffer(self.cdist(one, table, "dot"), np.float64)


class _Views:
    """The rows in use of a table's arrays, and a question's code: to slice takes 1 us each."""

    def __init__(self, table: Vectors, scratch: Float64Array) -> None:
        self.count = count = table.count
        self.codes = table.codes[:count]
        self.scales = table.scales[:count]
        self.errors = table.errors[:count]
        self.looks, self.width = scratch[:, :count]
        self.code = np.empty((1, table.dimension), np.int8)
        self._row = self.code[0]
        self._dot = table.dot

    def encode(self, question: Float64Array) -> tuple[float, float]:
        """Set `code`; return its scale, and the length of what rounding took."""
        scale = float(np.maximum.reduce(np.abs(question))) / MAX_CODE
        scaled = question * (1.0 / scale)
        np.rint(scaled, out=self._row, casting="unsafe")
        scaled -= self._row
        return scale, math.sqrt(self._dot(scaled, scaled)) * scale


def encoded(unit: Float64Array) -> tuple[npt.NDArray[np.int8], Float64Array, Float64Array]:
    """Return codes, their scales, and the lengths of what rounding took from unit vectors."""
    scales = np.abs(unit).max(axis=1) / MAX_CODE
    rounded = np.rint(unit / scales[:, None])
    lost = unit - rounded * scales[:, None]
    return rounded.astype(np.int8), scales, np.sqrt(np.einsum("ij,ij->i", lost, lost)) + SLACK


def exclude(looks: Float64Array, among: BoolArray) -> None:
    """Set the looks of all other rows to `EXCLUDED`.

    Sums have no branches to guess wrong: of 100,000 rows they take 60 us, a mask 250.
    """
    if len(looks) < SUMMED_ROWS:
        np.putmask(looks, ~among, EXCLUDED)
    else:
        looks += (among.view(np.int8) - 1) * -EXCLUDED


def at_least_kth(values: Float64Array, k: int) -> float:
    """Return a number that at least k of these values reach: a bound below the k-th largest.

    The maxima of blocks are values themselves, and there are few of them to sort. A filter that
    leaves every n-th row leaves rows in all blocks, because their number is odd.
    """
    blocks = BLOCKS_PER_ROW * k + 1
    size = len(values) // blocks
    if size > 1:
        maxima = np.maximum.reduce(values[: size * blocks].reshape(size, blocks), axis=0)
        maxima.partition(blocks - k)
        if (reached := float(maxima[blocks - k])) > EXCLUDED / 2:
            return reached
    return float(np.partition(values, len(values) - k)[len(values) - k])
