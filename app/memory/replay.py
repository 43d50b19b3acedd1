"""One agent's closed experiences as columns in this process, from which samples are drawn.

A learner draws hundreds of times a second from tens of thousands of experiences that rarely change.
What was read before is not read from Redis again: app/feed/replay.py keeps the columns current by
the agent's change feed.

For a seed it draws exactly what app/memory/sampling.py draws. But a key needs two logarithms, and
nearly all keys are too large to matter. 1 - u is a lower bound of -ln(u), so only rows with 1 - u <
w t can have a key below t; only their keys are computed. With the largest weight in place of w, one
comparison of random bits rules out nearly all rows before any of them becomes a float.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.contract.record_kinds import KINDS, VECTOR_FIELDS
from app.resident.table import wider

Floats = NDArray[np.float64]
Bits = NDArray[np.uint64]

PRIORITY_FLOOR = 1e-6
"""Added to every priority, so that a memory that neither won nor lost can still be drawn."""

FIRST_CAPACITY = 1024
GROWTH = 1.5
WIDER, FEW, TRIES = 4.0, 16, 12
"""The first threshold has the wanted rows below it, with a margin for chance; each further one is
WIDER times as high. After TRIES thresholds all rows get their keys."""
CHUNK_ROWS = 16_000
"""Rows that get their random numbers at a time: 128 kB a step, which stay in the processor's
caches, and which malloc does not have to ask the kernel for."""
UNUSED_BITS = 12
"""A float has 52 bits after the point."""
LARGEST_LOG = 300.0
"""Weights further from their reference are computed again, because they are kept as floats."""

NUMBERS = tuple(name for name, kind in KINDS.items() if kind in {"float64", "int64", "bool_"})
NAMES = ("agent_id", "product_id", "regime", "action")
"""Fields with few values in many rows: rows have numbers for them."""
TEXTS = tuple(name for name in KINDS if name not in {*NUMBERS, *NAMES})
_JSON = frozenset(name for name, kind in KINDS.items() if kind == "json")
_OBJECT_BYTES = 8 * len(KINDS) + 700
"""Of one row beside its vectors and its record: columns, names, the place by its id."""


@dataclass(frozen=True, slots=True)
class Chances:
    """What was drawn: rows in order, their chances to be drawn first, and importance weights.

    `last_key` is the key (a logarithm) of the last one, from which the next page continues.
    """

    rows: NDArray[np.intp]
    probabilities: Floats
    weights: Floats
    last_key: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Copies of n rows. `records`: not requested if None.

    `numbers`: shape (n, len(NUMBERS)), NaN for none. `codes`: shape (n, len(NAMES)), which name in
    `names`, by field, each row has; the first one is None. `texts`: by field, with None; a field
    that no experience ever had is left out.
    `states` and `next_states` have shape (n, dimension). None: not requested, or nothing ever
    followed. `has_next` says where something did.
    """

    records: list[bytes] | None
    numbers: Floats
    codes: NDArray[np.int32]
    names: dict[str, list[str | None]]
    texts: dict[str, NDArray[Any]]
    states: NDArray[np.float32] | None
    next_states: NDArray[np.float32] | None
    has_next: NDArray[np.bool_]

    def vectors(self, place: int) -> dict[str, bytes]:
        """Return a row's vectors as float32 bytes, by field name."""
        if self.states is None:
            return {}
        found = {VECTOR_FIELDS[0]: self.states[place].tobytes()}
        if self.next_states is not None and self.has_next[place]:
            found[VECTOR_FIELDS[1]] = self.next_states[place].tobytes()
        return found


class ReplayTable:
    """Columns of closed experiences without gaps: the last row takes a deleted one's place."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._count = 0
        self._row_of: dict[str, int] = {}
        self._records: list[bytes] = []
        self._seqs = np.zeros(FIRST_CAPACITY, np.uint64)
        self._priorities = np.zeros(FIRST_CAPACITY)
        self._states = np.zeros((FIRST_CAPACITY, dimension), np.float32)
        self._next_states: NDArray[np.float32] | None = None
        self._has_next = np.zeros(FIRST_CAPACITY, np.bool_)
        self._numbers = np.zeros((FIRST_CAPACITY, len(NUMBERS)))
        self._codes = np.zeros((FIRST_CAPACITY, len(NAMES)), np.int32)
        self._texts: dict[str, NDArray[Any]] = {}
        self._names: dict[str, list[str | None]] = {name: [None] for name in NAMES}
        self._code_of: dict[str, dict[str | None, int]] = {name: {None: 0} for name in NAMES}
        self._weighing = _Weighing(0.0)

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Return approximately how much memory it takes."""
        vectors = self._states.nbytes + (
            0 if self._next_states is None else self._next_states.nbytes
        )
        records = self._count * (_OBJECT_BYTES + (len(self._records[0]) if self._records else 0))
        return vectors + records

    def put(self, seq: int, record: bytes, vectors: Mapping[str, bytes]) -> None:
        """Store an experience as it is now, unless it is open."""
        fields: dict[str, Any] = orjson.loads(record)
        memory_id: str = fields["id"]
        if fields.get("reward") is None:
            self.delete(memory_id)
            return
        row = self._row_of.get(memory_id)
        if row is None:
            row = self._new_row(memory_id)
        self._records[row] = record
        self._seqs[row] = seq
        priority = fields.get("priority")
        self._priorities[row] = abs(fields["reward"] if priority is None else priority)
        self._weighing.put(row, self._priorities[row])
        self._states[row] = np.frombuffer(vectors[VECTOR_FIELDS[0]], "<f4")
        self._put_next(row, vectors.get(VECTOR_FIELDS[1]))
        self._numbers[row] = [
            np.nan if value is None else value for value in map(fields.get, NUMBERS)
        ]
        self._codes[row] = [self._code(name, fields.get(name)) for name in NAMES]
        for name in TEXTS:
            self._put_text(name, row, fields.get(name))

    def delete(self, memory_id: str) -> None:
        """Drop an experience."""
        row = self._row_of.pop(memory_id, None)
        if row is None:
            return
        last = self._count - 1
        arrays = self._arrays()
        if row != last:
            for array in arrays:
                array[row] = array[last]
            self._records[row] = self._records[last]
            self._row_of[self._texts["id"][row]] = row
            self._weighing.put(row, self._priorities[row])
        self._records.pop()
        for column in self._texts.values():
            column[last] = None
        self._count = last

    def draw(
        self,
        bits: Callable[[Bits], Bits],
        *,
        strategy: str,
        size: int,
        alpha: float,
        beta: float,
    ) -> Chances:
        """Draw rows. `bits` gives random bits for places in the agent's memory."""
        seqs = self._seqs[: self._count]
        if strategy in ORDERS:
            return _in_order(seqs, size, ORDERS[strategy])
        if not len(seqs):
            return Chances(np.empty(0, np.intp), np.empty(0), np.empty(0), -np.inf)
        exponent = alpha if strategy == "prioritized" else 0.0
        if self._weighing.alpha != exponent or self._weighing.is_stale:
            self._weighing = _Weighing(exponent)
            self._weighing.begin(self._priorities, self._count)
        logs, weights = self._weighing.of(self._count)
        total, heaviest = self._weighing.total(self._count), self._weighing.heaviest
        rows, keys = _smallest(
            lambda part: bits(seqs[part]), logs, weights, total=total, heaviest=heaviest, size=size
        )
        log_total = self._weighing.reference + math.log(total)
        log_chances = logs[rows] - log_total
        rarest = self._weighing.least(self._count) - log_total
        return Chances(
            rows,
            np.exp(log_chances),
            np.exp(-beta * (log_chances - rarest)),
            float(keys[-1]) if len(keys) else -np.inf,
        )

    def take(
        self, rows: NDArray[np.intp], *, with_vectors: bool, with_records: bool = True
    ) -> "Taken":
        """Return a copy of these rows, which stays as it is when the table changes."""
        states = next_states = None
        if with_vectors:
            states = self._states.take(rows, 0)
            next_states = None if self._next_states is None else self._next_states.take(rows, 0)
        return Taken(
            records=[self._records[row] for row in rows.tolist()] if with_records else None,
            numbers=self._numbers.take(rows, 0),
            codes=self._codes.take(rows, 0),
            names=self._names,
            texts={name: column.take(rows) for name, column in self._texts.items()},
            states=states,
            next_states=next_states,
            has_next=self._has_next.take(rows),
        )

    def _code(self, name: str, value: str | None) -> int:
        """Return the number of a name, a new one for a new name."""
        known = self._code_of[name]
        code = known.get(value)
        if code is None:
            code = known[value] = len(known)
            self._names[name].append(value)
        return code

    def _put_next(self, row: int, raw: bytes | None) -> None:
        self._has_next[row] = raw is not None
        if raw is None:
            if self._next_states is not None:
                self._next_states[row] = 0.0
            return
        if self._next_states is None:
            self._next_states = np.zeros_like(self._states)
        self._next_states[row] = np.frombuffer(raw, "<f4")

    def _put_text(self, name: str, row: int, value: Any) -> None:
        """Store a text. Reading a column of nothing would be a cache miss for each row."""
        if value is not None and name not in self._texts:
            self._texts[name] = np.full(len(self._seqs), None)
        if name in self._texts:
            is_json = name in _JSON and value is not None
            self._texts[name][row] = _json_text(value) if is_json else value

    def _new_row(self, memory_id: str) -> int:
        if self._count == len(self._seqs):
            self._grow()
        row = self._row_of[memory_id] = self._count
        self._records.append(b"")
        self._count += 1
        return row

    def _grow(self) -> None:
        capacity = int(self._count * GROWTH)
        self._seqs = wider(self._seqs, capacity)
        self._priorities = wider(self._priorities, capacity)
        self._states = wider(self._states, capacity)
        self._has_next = wider(self._has_next, capacity)
        if self._next_states is not None:
            self._next_states = wider(self._next_states, capacity)
        self._numbers = wider(self._numbers, capacity)
        self._codes = wider(self._codes, capacity)
        self._texts = {name: wider(array, capacity) for name, array in self._texts.items()}
        self._weighing.grow(capacity)

    def _arrays(self) -> list[NDArray[Any]]:
        arrays: list[NDArray[Any]] = [self._seqs, self._priorities, self._states, self._has_next]
        arrays += [self._numbers, self._codes, *self._texts.values()]
        return arrays if self._next_states is None else [*arrays, self._next_states]


ORDERS = {"fifo": 1, "lifo": -1}
"""Strategies that take experiences in the order of storing, or the latest first."""


class _Weighing:
    """Weights (p + floor)^alpha of all rows, as logarithms and as floats beside a reference."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.reference = 0.0
        self.heaviest = 0.0
        """No weight beside the reference is above it."""
        self.is_stale = True
        self._logs = np.zeros(0)
        self._weights = np.zeros(0)
        self._sums: tuple[int, float, float] | None = None

    def begin(self, priorities: Floats, count: int) -> None:
        """Compute the weights of the first `count` rows."""
        logs = self.alpha * np.log(priorities + PRIORITY_FLOOR)
        self.reference = float(logs[:count].max(initial=-np.inf)) if count else 0.0
        self._logs, self._weights = logs, np.exp(np.minimum(logs - self.reference, LARGEST_LOG))
        self.heaviest = float(self._weights[:count].max(initial=0.0))
        self.is_stale, self._sums = False, None

    def put(self, row: int, priority: float) -> None:
        """Compute one row's weight."""
        if self.is_stale:
            return
        log = self.alpha * math.log(priority + PRIORITY_FLOOR)
        if row >= len(self._logs) or log - self.reference > LARGEST_LOG:
            self.is_stale = True
            return
        self._logs[row] = log
        self._weights[row] = weight = math.exp(log - self.reference)
        self.heaviest = max(self.heaviest, weight)
        self._sums = None

    def grow(self, capacity: int) -> None:
        """Make room for more rows."""
        if not self.is_stale:
            self._logs = wider(self._logs, capacity)
            self._weights = wider(self._weights, capacity)

    def of(self, count: int) -> tuple[Floats, Floats]:
        """Return the first `count` rows' weights: as logarithms, and beside the reference."""
        return self._logs[:count], self._weights[:count]

    def total(self, count: int) -> float:
        """Return the sum of the first `count` rows' weights beside the reference."""
        return self._summed(count)[1]

    def least(self, count: int) -> float:
        """Return the least logarithm of the first `count` rows' weights."""
        return self._summed(count)[2]

    def _summed(self, count: int) -> tuple[int, float, float]:
        """Sum again only if a weight changed: both sums read all rows."""
        if self._sums is None or self._sums[0] != count:
            logs, weights = self.of(count)
            self._sums = (count, float(weights.sum()), float(logs.min(initial=np.inf)))
        return self._sums


def _in_order(seqs: NDArray[np.uint64], size: int, direction: int) -> Chances:
    keys = seqs.astype(np.float64) * direction
    order = np.argsort(keys)[:size]
    count = len(order)
    share = 1.0 / max(1, len(seqs))
    last = float(keys[order[-1]]) if count else -np.inf
    return Chances(order, np.full(count, share), np.ones(count), last)


def _smallest(
    bits: Callable[[slice], Bits],
    logs: Floats,
    weights: Floats,
    *,
    total: float,
    heaviest: float,
    size: int,
) -> tuple[NDArray[np.intp], Floats]:
    """Return the rows with the smallest keys, and the keys: ln(-ln(u)) - ln(w), in order."""
    count, size = len(logs), min(size, len(logs))
    threshold = (size + WIDER * math.sqrt(size) + FEW) / total if total > 0 else math.inf
    for _ in range(TRIES):
        rows, numbers = _bounded(bits, weights, threshold, heaviest)
        if len(rows) >= size:
            draws = -np.log(numbers)
            if np.count_nonzero(draws < weights[rows] * threshold) >= size:
                return _first(rows, np.log(draws) - logs[rows], size)
        threshold *= WIDER
    numbers = unit(bits(slice(count)))
    return _first(np.arange(count), np.log(-np.log(numbers)) - logs, size)


def _bounded(
    bits: Callable[[slice], Bits], weights: Floats, threshold: float, heaviest: float
) -> tuple[NDArray[np.intp], Floats]:
    """Return the rows whose keys may be below a threshold, and their numbers in (0, 1)."""
    reach = heaviest * threshold
    least = np.uint64(max(0, int((1.0 - reach) * 2.0**52) - 1) if reach < 1.0 else 0)
    least <<= np.uint64(UNUSED_BITS)
    found = []
    for start in range(0, len(weights), CHUNK_ROWS):
        part = slice(start, min(len(weights), start + CHUNK_ROWS))
        mixed = bits(part)
        some = (mixed >= least).nonzero()[0]
        numbers = unit(mixed[some])
        near = (np.subtract(1.0, numbers) < weights[part][some] * threshold).nonzero()[0]
        found.append((some[near] + start, numbers[near]))
    rows, taken = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(taken)


def unit(bits: Bits) -> Floats:
    """Return random bits as numbers in (0, 1)."""
    numbers: Floats = ((bits >> np.uint64(UNUSED_BITS)).astype(np.float64) + 0.5) * 2.0**-52
    return numbers


def _first(rows: NDArray[np.intp], keys: Floats, size: int) -> tuple[NDArray[np.intp], Floats]:
    order = np.argsort(keys)[:size]
    return rows[order], keys[order]


def _json_text(value: Any) -> str:
    """Return JSON. The empty object, which most rows have, is one and the same."""
    return orjson.dumps(value).decode() if value else ("{}" if value == {} else "[]")
