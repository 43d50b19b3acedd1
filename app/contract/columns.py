"""Experiences as Arrow columns: one column for each field of the JSON record, vectors as lists.

Metadata is a column of JSON text, for its keys are the caller's own. A missing value is null.
https://arrow.apache.org/docs/format/Columnar.html
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

MEDIA_TYPE = "application/vnd.apache.arrow.stream"

VECTORS = ("state_vector", "next_state_vector")
_METADATA = "metadata"
_FIELDS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "agent_id": pa.string(),
    "product_id": pa.string(),
    "regime": pa.string(),
    "action": pa.string(),
    "reward": pa.float64(),
    "timestamp": pa.float64(),
    "outcome_at": pa.float64(),
    "terminal": pa.bool_(),
    _METADATA: pa.string(),
    "pinned": pa.bool_(),
    "recorded_at": pa.float64(),
    "quality": pa.float64(),
    "quality_at": pa.float64(),
    "priority": pa.float64(),
    "priority_at": pa.float64(),
}


def experience_schema(dimension: int, metadata: Mapping[str, str]) -> pa.Schema:
    """Return the columns of experiences, with this metadata of the schema."""
    vector = pa.list_(pa.float32(), dimension)
    fields = [*_FIELDS.items(), *((name, vector) for name in VECTORS)]
    return pa.schema(fields, metadata=dict(metadata))


def experience_batch(
    schema: pa.Schema, memories: Sequence[tuple[bytes, Mapping[str, bytes]]]
) -> pa.RecordBatch:
    """Return experiences as columns. Each is its record (JSON) and its vectors (float32 bytes)."""
    records: list[dict[str, Any]] = [orjson.loads(record) for record, _ in memories]
    for record in records:
        record[_METADATA] = orjson.dumps(record[_METADATA])
    columns = [
        pa.array([record.get(name) for record in records], kind) for name, kind in _FIELDS.items()
    ]
    columns += [
        _vectors(schema.field(name).type, [vectors.get(name) for _, vectors in memories])
        for name in VECTORS
    ]
    return pa.record_batch(columns, schema=schema)


def _vectors(kind: pa.DataType, values: Sequence[bytes | None]) -> pa.Array:
    missing = bytes(4 * kind.list_size)
    joined = b"".join(missing if value is None else value for value in values)
    numbers = pa.array(np.frombuffer(joined, "<f4"))
    is_missing = pa.array([value is None for value in values], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(numbers, type=kind, mask=is_missing)


class ColumnStream:
    """Writes experiences as an Arrow stream; the caller sends on what each call returns."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._sink = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._sink, schema)

    def write(
        self,
        memories: Sequence[tuple[bytes, Mapping[str, bytes]]],
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the bytes of one batch, with this metadata of its own."""
        batch = experience_batch(self._schema, memories)
        self._writer.write_batch(batch, custom_metadata=dict(metadata or {}))
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
