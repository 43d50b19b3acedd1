"""Turns experiences as the service sends them into a replica's records and vectors."""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from coinswarm_memory.encode.vectors import Float32Array
from coinswarm_memory.errors import UnexpectedReply
from coinswarm_memory.operations.request import Reply
from coinswarm_memory.packages import require

VECTORS = frozenset({"state_vector", "next_state_vector"})


@dataclass(frozen=True, slots=True)
class Rows:
    """Some experiences: their records (JSON without vectors) and states, shape (n, dimension)."""

    records: list[bytes]
    vectors: Float32Array


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """One page of a snapshot. `cursor` asks for the next one. None on the last page."""

    rows: list[Rows]
    position: str
    vector_type: str
    dimension: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed after a position: experiences as they are now, and deleted ids.

    `waited_s` is how long the service waited before it read this. `is_all`: nothing more had
    changed then. `retired_until` (unix seconds): experiences that answer an earlier moment left the
    memory.
    """

    next: str
    waited_s: float
    is_all: bool
    put: list[Rows] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    retired_until: float | None = None


class _Memory(msgspec.Struct):
    state_vector: str


class _Change(msgspec.Struct):
    id: str
    op: Literal["put", "delete"]
    memory: msgspec.Raw = msgspec.Raw()


class _ChangesReply(msgspec.Struct):
    changes: list[_Change]
    next: str
    waited_s: float
    complete: bool
    retired_until: float | None = None


_changes = msgspec.json.Decoder(_ChangesReply)
_memory = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_changes(reply: Reply) -> Changes:
    """Return what a reply of the feed says. Vectors are base64. Raises MsgspecError."""
    found = _changes.decode(reply.body)
    put = [_split(change.memory) for change in found.changes if change.op == "put"]
    rows = []
    if put:
        vectors = np.frombuffer(b"".join(raw for _, raw in put), "<f4").reshape(len(put), -1)
        rows = [Rows([record for record, _ in put], vectors)]
    deleted = [change.id for change in found.changes if change.op == "delete"]
    return Changes(found.next, found.waited_s, found.complete, rows, deleted, found.retired_until)


def _split(memory: msgspec.Raw) -> tuple[bytes, bytes]:
    """Return an experience's record and the bytes of its state."""
    fields = _memory.decode(memory)
    vector = binascii.a2b_base64(msgspec.json.decode(fields.pop("state_vector"), type=str))
    fields.pop("next_state_vector", None)
    return msgspec.json.encode(fields), vector


def read_page(reply: Reply) -> SnapshotPage:
    """Return a page of a snapshot out of an Arrow stream. Raises UnexpectedReply."""
    pa = require("pyarrow", "replica")
    try:
        with pa.ipc.open_stream(reply.body) as stream:
            told = {k.decode(): v.decode() for k, v in (stream.schema.metadata or {}).items()}
            dimension = stream.schema.field("state_vector").type.list_size
            rows: list[Rows] = []
            ending: dict[bytes, bytes] | None = None
            while (found := _next_batch(stream)) is not None:
                batch, ending = found
                if batch.num_rows:
                    rows.append(_rows(batch, dimension))
    except (pa.ArrowInvalid, KeyError) as error:
        raise UnexpectedReply(f"The snapshot cannot be read ({error}).") from error
    if ending is None or "position" not in told:
        raise UnexpectedReply("The snapshot ended before its last batch.")
    cursor = ending.get(b"cursor", b"").decode() or None
    return SnapshotPage(rows, told["position"], told["vector_type"], dimension, cursor)


def _next_batch(stream: Any) -> tuple[Any, dict[bytes, bytes]] | None:
    try:
        batch, custom = stream.read_next_batch_with_custom_metadata()
    except StopIteration:
        return None
    return batch, dict(custom or {})


def _rows(batch: Any, dimension: int) -> Rows:
    flat = batch.column("state_vector").flatten().to_numpy(zero_copy_only=False)
    names = [name for name in batch.schema.names if name not in VECTORS]
    columns = [_values(batch.schema.field(name), batch.column(name)) for name in names]
    encode = msgspec.json.encode
    records = [
        encode({n: v for n, v in zip(names, row, strict=True) if v is not None})
        for row in zip(*columns, strict=True)
    ]
    return Rows(records, np.ascontiguousarray(flat.reshape(-1, dimension), "<f4"))


def _values(field: Any, column: Any) -> Sequence[Any]:
    """JSON text goes into the record as it is."""
    values: list[Any] = column.to_pylist()
    if (field.metadata or {}).get(b"format") != b"json":
        return values
    return [None if text is None else msgspec.Raw(text.encode()) for text in values]
