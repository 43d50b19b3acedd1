"""The k nearest of many vectors, exactly, in one compiled call over 8-bit codes.

The client's `replica/kernel.py` and the service's `app/resident/kernel.py` are this same file, byte
for byte (a test compares them), because neither installation needs the other. Numba compiles it
at import, for 5 s, and keeps the result beside this file, in the user's cache, or in
NUMBA_CACHE_DIR: later imports take 0.4 s. Import it in the background, never within a question.

Each vector is kept scaled to length one: as float32, as the engine keeps it, and as int8 with one
scale. A question is compared with all codes; each comparison has a bound on what rounding can have
changed. With unit vectors q = s c + e (c: the code, s: its scale, e: what rounding took away):

    |<q, x> - s_q s_x <c_q, c_x>| <= |e_x| + |e_q| (1 + |e_x|)

because <q, x> = <q, s_x c_x> + <q, e_x> and |s_x c_x| <= 1 + |e_x|. The lengths |e| are those of
the actual errors, kept per vector. Hence the k-th largest lower bound so far is reached by k rows;
a row whose upper bound is below it is not among the k nearest. The few rows that are left are
compared in double precision, those with the largest lower bounds first. Sums of products of codes
fit an int32 up to 133,000 numbers.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from numba import types

Float64Array = npt.NDArray[np.float64]

MAX_CODE = 127
SLACK = 1e-6
"""More than the sums here lose, whose terms are at most 1, and more than the lengths of vectors
rounded to float32 differ from 1."""
BLOCK_ROWS = 256
"""Rows that a mask is read for at a time."""
DENSE_SHARE = 8
"""If at least one row in this many counts, all are read, in order: the processor fetches ahead."""
SHORTEST, LONGEST = 0.999e-15, 1.001e18
"""The lengths of questions that the service answers, and a little more: it sums in float32."""
NO_DIRECTION = -1

_Function = TypeVar("_Function", bound=Callable[..., Any])
inner: Callable[[_Function], _Function] = numba.njit(error_model="numpy")
"""Decorates what compiled functions call."""
_summing: Callable[[_Function], _Function] = numba.njit(
    error_model="numpy",
    fastmath={"reassoc", "contract"},  # a strict sum is not vectorised: eight times the time
)


def compiled(signatures: list[Any], *, nogil: bool = True) -> Callable[[_Function], _Function]:
    """Compile for these types now, or load what an earlier process compiled.

    `nogil`: release the interpreter's lock during a call. Without a folder to keep the result in,
    each process compiles again: a read-only container, for example.
    """

    def decorate(function: _Function) -> _Function:
        options: dict[str, Any] = {"nogil": nogil, "error_model": "numpy"}
        try:
            found: _Function = numba.njit(signatures, cache=True, **options)(function)
        except (RuntimeError, OSError):
            found = numba.njit(signatures, **options)(function)
        return found

    return decorate


def encode(
    vectors: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8], Float64Array, Float64Array]:
    """Return units, codes, scales and errors of vectors, shape (n, dimension), none of length zero.

    `errors` are the lengths of what rounding took, and the slack.
    """
    exact = vectors.astype(np.float64)
    exact /= np.sqrt(np.einsum("ij,ij->i", exact, exact))[:, None]
    units = exact.astype(np.float32)
    exact = units.astype(np.float64)
    scales = np.abs(exact).max(axis=1) / MAX_CODE
    rounded = np.rint(exact / scales[:, None])
    exact -= rounded * scales[:, None]
    errors = np.sqrt(np.einsum("ij,ij->i", exact, exact)) + SLACK
    return units, rounded.astype(np.int8), scales, errors


@inner
def _is_worse(key: float, item: int, other_key: float, other_item: int) -> bool:
    return key < other_key or (key == other_key and item > other_item)


@inner
def _sink(keys: Any, items: Any, size: int, key: float, item: int) -> None:
    """Put an entry in the place of the worst one, which a heap has first."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and _is_worse(keys[right], items[right], keys[child], items[child]):
            child = right
        if not _is_worse(keys[child], items[child], key, item):
            break
        keys[at], items[at] = keys[child], items[child]
        at = child
    keys[at], items[at] = key, item


@inner
def _keep(keys: Any, items: Any, size: int, key: float, item: int) -> int:
    """Put an entry into the heap of the best; return how many there are now."""
    if size == len(keys):
        if _is_worse(keys[0], items[0], key, item):
            _sink(keys, items, size, key, item)
        return size
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if not _is_worse(key, item, keys[parent], items[parent]):
            break
        keys[at], items[at] = keys[parent], items[parent]
        at = parent
    keys[at], items[at] = key, item
    return size + 1


@inner
def _product(codes: Any, row: int, code: Any) -> np.int32:
    # The casts keep numba from summing in 64 bits: three times slower.
    total = np.int32(0)
    for i in range(len(code)):
        total = np.int32(total + np.int32(np.int32(code[i]) * np.int32(codes[row, i])))
    return total


@_summing
def _similarity(units: Any, row: int, unit: Any) -> float:
    total = 0.0
    for i in range(len(unit)):
        total += np.float64(units[row, i]) * unit[i]
    return min(max(total, -1.0), 1.0)


@_summing
def _square(vector: Any) -> float:
    total = 0.0
    for number in vector:
        total += number * number
    return total


@inner
def _encode(unit: Any, code: Any) -> tuple[float, float]:
    """Set a question's code; return its scale, and the length of what rounding took."""
    largest = 0.0
    for number in unit:
        largest = max(largest, abs(number))
    scale = largest / MAX_CODE
    lost = np.empty_like(unit)
    inverse = 1.0 / scale
    for i in range(len(unit)):
        rounded = np.rint(unit[i] * inverse)
        code[i] = np.int16(rounded)
        lost[i] = unit[i] - rounded * scale
    return scale, math.sqrt(_square(lost)) + SLACK


@inner
def _select(among: Any, start: int, end: int, selected: Any) -> int:
    """Set which rows of a block count; return how many. Without branches to guess wrong."""
    size = 0
    for row in range(start, end):
        selected[size] = row
        size += among[row]
    return size


@inner
def _scan(
    codes: Any,
    scales: Any,
    errors: Any,
    count: int,
    unit: Any,
    among: Any,
    best: Any,
    best_items: Any,
    rows: Any,
    highest: Any,
) -> tuple[int, int]:
    """Set the rows that may be among the nearest, in order, and the highest similarity of each.

    Returns how many, and how many of them `best_items` names: those with the largest lower bounds.
    """
    code = np.empty(len(unit), np.int16)
    scale, lost = _encode(unit, code)
    selected = np.empty(BLOCK_ROWS, np.int64)
    is_masked = len(among) > 0
    found = held = 0
    reached = -np.inf
    for start in range(0, count, BLOCK_ROWS):
        size = min(BLOCK_ROWS, count - start)
        chosen = _select(among, start, start + size, selected) if is_masked else size
        is_sparse = chosen * DENSE_SHARE < size
        if is_sparse:
            size = chosen
        for at in range(size):
            row = selected[at] if is_sparse else start + at
            looks = _product(codes, row, code) * scale * scales[row]
            width = lost * (1.0 + errors[row]) + errors[row]
            if looks + width < reached or (is_masked and not among[row]):
                continue
            rows[found], highest[found] = row, looks + width
            held = _keep(best, best_items, held, looks - width, found)
            found += 1
            if held == len(best):
                reached = best[0]
    return found, held


@inner
def _nearest(
    units: Any,
    codes: Any,
    scales: Any,
    errors: Any,
    count: int,
    unit: Any,
    k: int,
    among: Any,
    rows_out: Any,
    distances_out: Any,
) -> int:
    best, best_items = np.empty(k, np.float64), np.empty(k, np.int64)
    rows, highest = np.empty(count, np.int64), np.empty(count, np.float64)
    found, held = _scan(codes, scales, errors, count, unit, among, best, best_items, rows, highest)
    nearest, nearest_rows = np.empty(k, np.float64), np.empty(k, np.int64)
    size = 0
    for at in range(held):
        item = best_items[at]
        size = _keep(nearest, nearest_rows, size, _similarity(units, rows[item], unit), rows[item])
        highest[item] = -np.inf
    for item in range(found):
        if highest[item] >= nearest[0]:
            similarity = _similarity(units, rows[item], unit)
            size = _keep(nearest, nearest_rows, size, similarity, rows[item])
    for at in range(size - 1, -1, -1):
        rows_out[at] = nearest_rows[0]
        distances_out[at] = 1.0 - nearest[0]
        _sink(nearest, nearest_rows, at, nearest[at], nearest_rows[at])
    return size


def readonly(number: Any, dimensions: int) -> Any:
    """Return the type of C-contiguous arrays, which may be read-only."""
    return types.Array(number, dimensions, "C", readonly=True)


def _signature(question: Any) -> Any:
    numbers = readonly(types.float64, 1)
    return types.int64(
        readonly(types.float32, 2),
        readonly(types.int8, 2),
        numbers,
        numbers,
        types.int64,
        readonly(question, 1),
        types.int64,
        readonly(types.boolean, 1),
        types.int64[::1],
        types.float64[::1],
    )


@compiled([_signature(types.float32), _signature(types.float64)])
def nearest(
    units: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int8],
    scales: Float64Array,
    errors: Float64Array,
    count: int,
    question: npt.NDArray[np.float32] | Float64Array,
    k: int,
    among: npt.NDArray[np.bool_],
    rows_out: npt.NDArray[np.int64],
    distances_out: Float64Array,
) -> int:
    """Set the rows of the k nearest of the first `count` vectors and their distances, 0 to 2.

    The nearest come first; of equally near ones the lower row. Returns how many there are, or
    `NO_DIRECTION` for a question that is not finite or not between `SHORTEST` and `LONGEST`.
    `among` says which rows count (shape (count,); empty: all), and `k` is cut to the room in
    `rows_out` and `distances_out`. All arrays are C-contiguous; inputs may be read-only. Raises
    ValueError if their shapes do not fit together. The interpreter lock is released meanwhile.
    """
    dimension = len(question)
    if units.shape[1] != dimension or codes.shape[1] != dimension:
        raise ValueError("the question's dimension is not the table's")
    if count < 0 or count > min(len(units), len(codes), len(scales), len(errors)):
        raise ValueError("count is more than the rows of the table")
    if len(among) and len(among) != count:
        raise ValueError("among must be empty or of length count")
    unit = np.empty(dimension, np.float64)
    for i in range(dimension):
        unit[i] = np.float64(question[i])
    length = math.sqrt(_square(unit))
    if not SHORTEST <= length <= LONGEST:
        return NO_DIRECTION
    for i in range(dimension):
        unit[i] /= length
    k = min(k, count, len(rows_out), len(distances_out))
    if k < 1:
        return 0
    return _nearest(units, codes, scales, errors, count, unit, k, among, rows_out, distances_out)


@compiled(
    [
        types.void(
            readonly(types.float64, 1), types.float64, types.float64, types.boolean[::1],
            types.boolean,
        )
    ]
)  # fmt: skip
def keep_between(
    column: Float64Array, low: float, high: float, among: npt.NDArray[np.bool_], is_first: bool
) -> None:
    """Leave those rows of a mask whose number is from `low` to `high`; NaN never is.

    `is_first`: what the mask holds does not count.
    """
    if len(among) > len(column):
        raise ValueError("the mask has more rows than the column")
    for row in range(len(among)):
        holds = (column[row] >= low) & (column[row] <= high)
        among[row] = holds & (is_first | among[row])


@compiled([types.void(readonly(types.int32, 1), types.int64, types.boolean[::1], types.boolean)])
def keep_equal(
    column: npt.NDArray[np.int32], value: int, among: npt.NDArray[np.bool_], is_first: bool
) -> None:
    """Leave those rows of a mask that have this value. `is_first`: as in `keep_between`."""
    if len(among) > len(column):
        raise ValueError("the mask has more rows than the column")
    for row in range(len(among)):
        among[row] = (column[row] == value) & (is_first | among[row])
