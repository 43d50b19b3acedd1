"""A batch of experiences as Arrow record batches: each row is checked like a JSON item.

Columns have the names of the fields; null means that a row lacks it. Vectors are lists of floats,
times seconds or timestamps, `metadata` JSON text or a struct.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import orjson
from fastapi import Request

from app.api.body import HEADERS, require_uncompressed, whole_body
from app.api.columns.media import arrow
from app.contract.requests import MAX_BATCH, EpisodicStore, EpisodicStoreBatch
from app.errors import InvalidInput

_VECTORS = {"state_vector", "next_state_vector"}
_TIMES = {"timestamp", "outcome_at"}

_HEADER_TYPE, _HEADER = 1, 2
_COMPRESSION = 3
_SCHEMA_MESSAGE, _RECORD_BATCH_MESSAGE = 1, 3


async def read_columns(request: Request) -> EpisodicStoreBatch:
    """Return the rows of a body as the items of a batch.

    Raise InvalidInput if it is not an Arrow stream, is compressed, or has no rows or too many.
    """
    require_uncompressed(request.scope[HEADERS])
    body = await whole_body(request)
    pa = await arrow()
    try:
        items = [item for batch in _batches(pa, body) for item in _items(pa, batch)]
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InvalidInput(
            f"body: must be one Arrow stream of plain columns ({error}).", field="body"
        ) from error
    if not 1 <= len(items) <= MAX_BATCH:
        raise InvalidInput(
            f"memories: must hold 1 to {MAX_BATCH} rows, got {len(items)}.", field="memories"
        )
    # As after JSON: an item is checked when its turn comes.
    return EpisodicStoreBatch.model_construct(memories=cast("list[EpisodicStore]", items))


def _batches(pa: Any, body: bytes) -> Iterator[Any]:
    """Yield the record batches, none of which needs more memory than it has in the body.

    A compressed buffer states its own uncompressed size, so compression is refused before anything
    is unpacked; so are dictionaries. Raise ArrowException for invalid buffers.
    """
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(body)):
        _require_plain(message.metadata.to_pybytes())
    rows = 0
    for batch in pa.ipc.open_stream(pa.BufferReader(body)):
        batch.validate(full=True)
        rows += batch.num_rows
        if rows > MAX_BATCH:
            raise ValueError(f"more than {MAX_BATCH} rows")
        yield batch


def _require_plain(metadata: bytes) -> None:
    """Raise ValueError for a compressed batch or a dictionary.

    Reads only this part of the message's flatbuffer (format/Message.fbs in Apache Arrow).
    """
    try:
        (message,) = struct.unpack_from("<I", metadata)
        kind = metadata[_field(metadata, message, _HEADER_TYPE)]
        if kind == _SCHEMA_MESSAGE:
            return
        if kind != _RECORD_BATCH_MESSAGE:
            raise ValueError("dictionary columns are not supported: send plain ones")
        at = _field(metadata, message, _HEADER)
        header = at + struct.unpack_from("<I", metadata, at)[0]
        if _field(metadata, header, _COMPRESSION):
            raise ValueError("compressed columns are not supported: send them uncompressed")
    except (struct.error, IndexError) as error:
        raise ValueError("a message cannot be read") from error


def _field(buffer: bytes, table: int, number: int) -> int:
    """Return where a flatbuffer table has this field, or 0 if it is missing."""
    (back,) = struct.unpack_from("<i", buffer, table)
    (size,) = struct.unpack_from("<H", buffer, table - back)
    place = 4 + 2 * number
    if place >= size:
        return 0
    (offset,) = struct.unpack_from("<H", buffer, table - back + place)
    return table + offset if offset else 0


def _items(pa: Any, batch: Any) -> list[dict[str, object]]:
    items: list[dict[str, object]] = [{} for _ in range(batch.num_rows)]
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for item, value in zip(items, _values(pa, name, column), strict=True):
            if value is not None:
                item[name] = value
    return items


def _values(pa: Any, name: str, column: Any) -> Sequence[object]:
    """Return a column's values as JSON would give them; vectors as float32 bytes."""
    if name in _VECTORS and _is_list(pa, column.type):
        return _vectors(pa, column)
    if name in _TIMES and pa.types.is_timestamp(column.type):
        microseconds = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
        return [None if v is None else v / 1e6 for v in microseconds.to_pylist()]
    values: list[object] = column.to_pylist()
    if name == "metadata":
        return [_json(value) for value in values]
    return values


def _is_list(pa: Any, kind: Any) -> bool:
    return bool(
        pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    )


def _vectors(pa: Any, column: Any) -> list[object]:
    lengths = column.value_lengths().to_pylist()
    flat = column.flatten()
    numbers = flat.cast(pa.float32()).to_numpy(zero_copy_only=False).astype("<f4", copy=False)
    raw = np.ascontiguousarray(numbers).tobytes()
    found: list[object] = []
    start = 0
    for length in lengths:
        if length is None:
            found.append(None)
            continue
        end = start + 4 * length
        found.append(raw[start:end])
        start = end
    return found


def _json(value: object) -> object:
    """Return the value of JSON text. Any other value stays, and the item's check reports it."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
