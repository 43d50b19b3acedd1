"""Experiences as columns, for one answer or a stream of batches."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from app.contract.record_kinds import KINDS, VECTOR_FIELDS
from app.vectors import BYTES_PER_COMPONENT

JSON = {"format": "json"}
"""The metadata of columns that hold JSON text."""

Vectors = Sequence[Mapping[str, bytes] | None]


def experience_columns(pa: Any, records: Sequence[bytes]) -> dict[str, Any]:
    """Return a column for each field of these records (JSON), nested ones as JSON text."""
    decoded: list[dict[str, Any]] = [orjson.loads(record) for record in records]
    columns: dict[str, Any] = {}
    for name, kind in KINDS.items():
        values = [record.get(name) for record in decoded]
        if kind == "json":
            values = [None if v is None else orjson.dumps(v).decode() for v in values]
        columns[name] = pa.array(values, column_type(pa, kind))
    return columns


def vector_columns(pa: Any, vectors: Vectors, dimension: int) -> dict[str, Any]:
    """Return the columns of vectors, given as float32 bytes by name."""
    return {
        name: _vector_column(pa, [(v or {}).get(name) for v in vectors], dimension)
        for name in VECTOR_FIELDS
    }


class ExperienceStream:
    """Writes experiences as an Arrow stream; the caller sends on what each call returns."""

    def __init__(self, pa: Any, dimension: int, metadata: Mapping[str, str]) -> None:
        self._pa = pa
        self._dimension = dimension
        fields = [
            pa.field(name, column_type(pa, kind), metadata=JSON if kind == "json" else None)
            for name, kind in KINDS.items()
        ]
        fields += [pa.field(name, pa.list_(pa.float32(), dimension)) for name in VECTOR_FIELDS]
        self._schema = pa.schema(fields, metadata=dict(metadata))
        self._sink = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._sink, self._schema)

    def write(
        self, records: Sequence[bytes], vectors: Vectors, metadata: Mapping[str, str]
    ) -> bytes:
        """Return the bytes of one batch, with this metadata of its own."""
        pa = self._pa
        columns = experience_columns(pa, records) | vector_columns(pa, vectors, self._dimension)
        batch = pa.record_batch(list(columns.values()), schema=self._schema)
        self._writer.write_batch(batch, custom_metadata=dict(metadata))
        return self._taken()

    def end(self) -> bytes:
        """Return the bytes that end the stream."""
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        taken = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return taken


def _vector_column(pa: Any, raw: Sequence[bytes | None], dimension: int) -> Any:
    nothing = bytes(dimension * BYTES_PER_COMPONENT)
    numbers = np.frombuffer(b"".join([nothing if r is None else r for r in raw]), "<f4")
    absent = np.array([r is None for r in raw])
    mask = pa.array(absent) if absent.any() else None
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), dimension, mask=mask)


def column_type(pa: Any, kind: str) -> Any:
    """Return the Arrow type of a kind of field."""
    return getattr(pa, "string" if kind == "json" else kind)()
