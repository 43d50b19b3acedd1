"""One agent's memory as rows that a compiled scan searches exactly."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from app.contract.record_kinds import VECTOR_FIELDS

FIRST_CAPACITY = 256
GROWTH = 1.5
ENCODED_AT_ONCE = 128
"""To encode one vector takes numpy as long as to encode ten."""
_OBJECT_BYTES = 400
"""Of one row beside its vector and its record: names, numbers, the place by its id."""
_ALL = np.empty(0, np.bool_)


class SearchArguments(NamedTuple):
    """The arguments of the kernel's `nearest`, but for its results."""

    units: NDArray[np.float32]
    codes: NDArray[np.int8]
    scales: NDArray[np.float64]
    errors: NDArray[np.float64]
    size: int
    question: NDArray[np.float32]
    k: int
    among: NDArray[np.bool_]


class CompiledSearch(Protocol):
    """The functions of app/resident/kernel.py."""

    encode: Callable[..., Any]
    nearest: Callable[..., int]


class SearchTable:
    """Rows without gaps: the last row takes a deleted one's place.

    Vectors have the length 1 here (app/resident/kernel.py).
    """

    def __init__(self, dimension: int, kernel: CompiledSearch) -> None:
        self._kernel = kernel
        self._units = np.zeros((FIRST_CAPACITY, dimension), np.float32)
        self._codes = np.zeros((FIRST_CAPACITY, dimension), np.int8)
        self._scales = np.zeros(FIRST_CAPACITY)
        self._errors = np.zeros(FIRST_CAPACITY)
        self._ids: list[str] = []
        self._seqs = np.zeros(FIRST_CAPACITY, np.int64)
        self._records: list[bytes] = []
        self._row_of: dict[str, int] = {}
        self._new: dict[int, bytes] = {}
        self._record_bytes = 0
        self.changes = 0
        """Grows with each change, so that a search in another thread can tell."""

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def size_bytes(self) -> int:
        """Return approximately how much memory it takes."""
        arrays = sum(array.nbytes for array in self._arrays())
        return arrays + self._record_bytes + _OBJECT_BYTES * len(self)

    @property
    def numbers(self) -> int:
        """Return how many numbers a search compares."""
        return len(self) * self._units.shape[1]

    def put(self, seq: int, record: bytes, vectors: Mapping[str, bytes]) -> None:
        """Store a memory as it is now."""
        memory_id: str = orjson.loads(record)["id"]
        row = self._row_of.get(memory_id)
        if row is None:
            row = self._row_of[memory_id] = len(self._ids)
            self._ids.append(memory_id)
            self._records.append(b"")
            if row == len(self._scales):
                self._grow()
        self._record_bytes += len(record) - len(self._records[row])
        self._seqs[row], self._records[row] = seq, record
        self._new[row] = vectors[VECTOR_FIELDS[0]]
        self.changes += 1
        if len(self._new) >= ENCODED_AT_ONCE:
            self._encode()

    def delete(self, memory_id: str) -> None:
        """Drop a memory."""
        row = self._row_of.pop(memory_id, None)
        if row is None:
            return
        self._encode()
        last = len(self._ids) - 1
        self._record_bytes -= len(self._records[row])
        if row != last:
            for array in self._arrays():
                array[row] = array[last]
            self._ids[row], self._seqs[row] = self._ids[last], self._seqs[last]
            self._records[row] = self._records[last]
            self._row_of[self._ids[row]] = row
        self._ids.pop()
        self._records.pop()
        self.changes += 1

    def nearest(
        self, vector: bytes, k: int, only: Sequence[str] = ()
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the rows of the k nearest memories and their cosine distances, nearest first.

        `vector`: float32 bytes. `only`: the ids that may answer; empty for all.
        """
        return self.search(self.question(vector, k, only))

    def question(self, vector: bytes, k: int, only: Sequence[str] = ()) -> SearchArguments:
        """Return what `search` takes, so that it can run in another thread."""
        if self._new:
            self._encode()
        count = len(self._ids)
        among = self._among(only) if only else _ALL
        vectors = self._units, self._codes, self._scales, self._errors
        return SearchArguments(*vectors, count, np.frombuffer(vector, "<f4"), min(k, count), among)

    def search(self, asked: SearchArguments) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what `nearest` does. A change of the table meanwhile spoils it.

        Raise ValueError for a vector without direction, which the service refuses before.
        """
        rows, distances = np.empty(asked.k, np.int64), np.empty(asked.k)
        found = self._kernel.nearest(*asked, rows, distances)
        if found < 0:
            raise ValueError("the question has no direction")
        return rows[:found], distances[:found]

    def records(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the records of rows."""
        records = self._records
        return [records[row] for row in rows.tolist()]

    def seqs(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers that the memories of rows got when they were stored."""
        return self._seqs[rows]

    def _among(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which rows have one of these ids."""
        among = np.zeros(len(self._ids), np.bool_)
        among[[row for row in map(self._row_of.get, ids) if row is not None]] = True
        return among

    def _encode(self) -> None:
        if not self._new:
            return
        rows = list(self._new)
        vectors = np.frombuffer(b"".join(self._new.values()), "<f4").reshape(len(rows), -1)
        encoded = self._kernel.encode(vectors)
        for array, values in zip(self._arrays(), encoded, strict=True):
            array[rows] = values
        self._new = {}

    def _grow(self) -> None:
        capacity = int(len(self._scales) * GROWTH)
        self._seqs = wider(self._seqs, capacity)
        self._units, self._codes, self._scales, self._errors = (
            wider(array, capacity) for array in self._arrays()
        )

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self._units, self._codes, self._scales, self._errors


def wider(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    """Return the same rows with room for more: zeros, or None for objects."""
    grown = np.zeros((capacity, *array.shape[1:]), array.dtype)
    if array.dtype == object:
        grown.fill(None)
    grown[: len(array)] = array
    return grown
