"""All experiences of one agent: records, vectors and columns, row by row."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import force_setattr

from coinswarm_memory.answers.experiences import Hit
from coinswarm_memory.encode.vectors import Float32Array, fault
from coinswarm_memory.errors import InvalidVector
from coinswarm_memory.replica.filters import Filterable, FilterColumns
from coinswarm_memory.replica.rows import Rows
from coinswarm_memory.replica.scan import BoolArray, Extent, Vectors

_filterable = msgspec.json.Decoder(Filterable)
_hits = msgspec.json.Decoder(list[Hit])
_UNKNOWN_DISTANCE = b',"distance":0.0}'
"""Ends each record, so that an answer's records are decoded at once; questions set their own."""
_RATINGS = (("quality", "quality_at"), ("priority", "priority_at"))


class Table:
    """Experiences by row. Safe for several threads: they ask beside each other, and one writes.

    A deleted row's place is taken by the last one, so that rows have no gaps. `is_float16`: the
    service compares in that precision.
    """

    def __init__(self, dimension: int, *, is_float16: bool = False) -> None:
        self.dimension = dimension
        self.is_float16 = is_float16
        self.ids: list[str] = []
        self.records: list[bytes] = []
        self.vectors = Vectors(dimension)
        self.columns = FilterColumns()
        self.row_of: dict[str, int] = {}
        self._lock = threading.Lock()
        self._extent: Extent | None = self.vectors.extent()
        self._matched: tuple[Extent | None, Mapping[str, Any], BoolArray | None] = None, {}, None

    def __len__(self) -> int:
        return len(self.ids)

    def apply(self, put: Sequence[Rows], deleted: Sequence[str] = ()) -> None:
        """Insert experiences or replace those of the same id, and remove others."""
        with self._lock:
            self._extent = None
            try:
                for rows in put:
                    self._put(rows)
                for memory_id in deleted:
                    self._delete(memory_id)
            finally:
                self._extent = self.vectors.extent()

    def adopt(
        self,
        vectors: Mapping[str, npt.NDArray[Any]],
        columns: Mapping[str, npt.NDArray[Any]],
        codes: dict[str, dict[str, int]],
        ids: list[str],
        records: list[bytes],
    ) -> None:
        """Hold what another table's attributes of these names held."""
        with self._lock:
            self.vectors.adopt(vectors, len(ids))
            self.columns.codes = codes
            self.columns.arrays = {name: columns[name] for name in self.columns.arrays}
            self.ids, self.records = ids, records
            self.row_of = {memory_id: row for row, memory_id in enumerate(ids)}
            self._extent = self.vectors.extent()

    def nearest(self, question: Float32Array, k: int, conditions: Mapping[str, Any]) -> list[Hit]:
        """Return the k most similar experiences that meet all conditions, nearest first.

        Raises InvalidVector for a question that has no direction.
        """
        if self.is_float16:
            with np.errstate(over="ignore"):
                question = question.astype(np.float16).astype(np.float32)
        extent = self._extent
        found = None if extent is None else self._scan(extent, question, k, conditions)
        with self._lock:
            if found is None or extent is not self._extent:  # somebody wrote meanwhile
                found = self._scan(self.vectors.extent(), question, k, conditions)
            rows, distances = found
            records = b",".join([self.records[row] for row in rows])
        hits = _hits.decode(b"[%b]" % records)
        for hit, distance in zip(hits, distances, strict=True):
            force_setattr(hit, "distance", distance)
        as_of = conditions.get("as_of")
        return hits if as_of is None else [_as_known(hit, as_of) for hit in hits]

    def _scan(
        self, extent: Extent, question: Float32Array, k: int, conditions: Mapping[str, Any]
    ) -> tuple[list[int], list[float]]:
        among = self._matching(extent, conditions) if conditions else None
        found = extent.nearest(question, k, among)
        if found is None:
            raise InvalidVector(fault(question, "state"))
        return found

    def _matching(self, extent: Extent, conditions: Mapping[str, Any]) -> BoolArray | None:
        """Return which rows meet the conditions, as found before if they are asked again."""
        matched_of, asked, among = self._matched
        if matched_of is not extent or asked != conditions:
            among = self.columns.matching(conditions, extent.count)
            self._matched = extent, dict(conditions), among
        return among

    def _put(self, rows: Rows) -> None:
        memories = [_filterable.decode(record) for record in rows.records]
        # Of several with one id the last one counts: numpy writes them in order.
        places = np.array([self._place(memory.id) for memory in memories], np.intp)
        self.vectors.put(places, rows.vectors)
        capacity = len(self.vectors.scales)
        if len(self.columns.arrays["terminal"]) < capacity:
            self.columns.reserve(capacity, len(self.columns.arrays["terminal"]))
        self.columns.put(places, memories)
        for place, record in zip(places.tolist(), rows.records, strict=True):
            self.records[place] = record[:-1] + _UNKNOWN_DISTANCE

    def _place(self, memory_id: str) -> int:
        row = self.row_of.get(memory_id)
        if row is None:
            row = self.row_of[memory_id] = len(self.ids)
            self.ids.append(memory_id)
            self.records.append(b"")
        return row

    def _delete(self, memory_id: str) -> None:
        row = self.row_of.pop(memory_id, None)
        if row is None:
            return
        last = len(self.ids) - 1
        if row != last:
            self.ids[row], self.records[row] = self.ids[last], self.records[last]
            self.row_of[self.ids[row]] = row
            self.vectors.move(last, row)
            self.columns.move(last, row)
        self.ids.pop()
        self.records.pop()
        self.vectors.count = last


def _as_known(hit: Hit, as_of: float) -> Hit:
    """Return a hit without the ratings that were given later."""
    for rating, at in _RATINGS:
        given_at = getattr(hit, at)
        if given_at is not None and given_at > as_of:
            hit = msgspec.structs.replace(hit, **{rating: None, at: None})
    return hit
