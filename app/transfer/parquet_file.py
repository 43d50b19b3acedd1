"""An export as Parquet: columns that pandas, polars and DuckDB read, vectors as float32 lists.

Columns: memory, agent_id, id, seq, record (JSON), state_vector, next_state_vector, concept_vector
(null if the memory has none), fields, bytes and hits_by_day (maps, as in NDJSON), former (set only
for earlier revisions; missing in version 1). Header and totals are in the file's metadata.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import UnfitFile
from app.extras.load import load
from app.transfer.file_format import (
    VECTOR_FIELDS,
    ExportRow,
    Header,
    Tally,
    decode_former,
    encode_row,
    kind_of,
    parse_header,
    parse_tally,
    require_same,
    split_fields,
)

MAGIC = b"PAR1"
ROW_GROUP = 10_000
_HEADER, _END = b"coinswarm_header", b"coinswarm_end"
_PLAIN_COLUMNS = ["memory", "agent_id", "id", "record"]


def _pyarrow() -> tuple[Any, Any]:
    """Return pyarrow, whose import takes a tenth of a second that other commands do not pay."""
    return load("pyarrow"), load("pyarrow.parquet")


def write_rows(
    path: Path, rows: Iterator[ExportRow], *, header: Header, tally: Tally
) -> Iterator[int]:
    """Write all rows. Yield the size of each row group."""
    pa, pq = _pyarrow()
    schema = _schema(pa).with_metadata({_HEADER: header.as_json(), _END: tally.as_json()})
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=_PLAIN_COLUMNS,
        write_page_checksum=True,
    ) as writer:
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_batch(_batch(pa, schema, group))
            yield len(group)


def read_header(path: Path) -> Header:
    """Return the file's header. Raise UnfitFile or OSError."""
    return parse_header(_metadata(path).get(_HEADER, b""), source=str(path))


def read_rows(path: Path) -> Iterator[ExportRow]:
    """Yield each row. Raise UnfitFile if the file is damaged or the totals do not match."""
    pa, pq = _pyarrow()
    read_header(path)
    promised = parse_tally(_metadata(path).get(_END, b""), source=str(path))
    tally = Tally()
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=1000):
                for row in _rows(batch):
                    tally = tally.plus(row, encode_row(row))
                    yield row
    except _damage(pa) as error:
        raise UnfitFile(f"{path} is damaged ({error}): export again.") from error
    require_same(tally, promised, source=str(path))


def _metadata(path: Path) -> dict[bytes, bytes]:
    pa, pq = _pyarrow()
    try:
        return dict(pq.read_schema(path).metadata or {})
    except _damage(pa) as error:
        raise UnfitFile(f"{path} is damaged ({error}): export again.") from error


def _damage(pa: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions that reading a damaged file raises, here and in pyarrow."""
    return (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError)


def _schema(pa: Any) -> Any:
    text = pa.string()
    return pa.schema(
        [
            pa.field("memory", text, nullable=False),
            pa.field("agent_id", text),
            pa.field("id", text, nullable=False),
            pa.field("seq", pa.int64(), nullable=False),
            pa.field("record", pa.binary(), nullable=False),
            *(pa.field(name, pa.list_(pa.float32())) for name in VECTOR_FIELDS),
            pa.field("fields", pa.map_(text, text)),
            pa.field("bytes", pa.map_(text, pa.binary())),
            pa.field("hits_by_day", pa.map_(pa.int32(), pa.int64())),
            pa.field(
                "former",
                pa.struct(
                    [
                        ("number", pa.int64()),
                        ("of_changes", pa.int64()),
                        ("changed_at", text),
                        ("expires_at", pa.int64()),
                    ]
                ),
            ),
        ]
    )


def _batch(pa: Any, schema: Any, rows: Sequence[ExportRow]) -> Any:
    split = [split_fields(row.fields) for row in rows]
    columns: list[Sequence[object]] = [
        [kind_of(row) for row in rows],
        [row.agent_id for row in rows],
        [row.memory_id for row in rows],
        [row.seq for row in rows],
        [row.fields["record"] for row in rows],
        *([_numbers(row.fields.get(name)) for row in rows] for name in VECTOR_FIELDS),
        [list(texts.items()) for texts, _ in split],
        [list(raw.items()) for _, raw in split],
        [list(row.hits_by_day.items()) for row in rows],
        [None if row.former is None else asdict(row.former) for row in rows],
    ]
    arrays = [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _numbers(raw: bytes | None) -> Any:
    return None if raw is None else np.frombuffer(raw, "<f4")


def _rows(batch: Any) -> Iterator[ExportRow]:
    plain = {
        name: batch.column(name).to_pylist()
        for name in ("agent_id", "id", "seq", "record", "fields", "bytes", "hits_by_day")
    }
    has_former = "former" in batch.schema.names
    formers = batch.column("former").to_pylist() if has_former else [None] * batch.num_rows
    vectors = {name: batch.column(name) for name in VECTOR_FIELDS}
    for i in range(batch.num_rows):
        fields: dict[str, bytes] = {"record": plain["record"][i]}
        for name, column in vectors.items():
            if column[i].is_valid:
                fields[name] = column[i].values.to_numpy().astype("<f4").tobytes()
        fields |= {name: text.encode() for name, text in plain["fields"][i]}
        fields |= dict(plain["bytes"][i])
        hits = dict(plain["hits_by_day"][i])
        former = decode_former(formers[i])
        yield ExportRow(plain["agent_id"][i], plain["id"][i], plain["seq"][i], fields, hits, former)
