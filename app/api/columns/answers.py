"""Answers as one Arrow record batch; what is said beside the memories is in the schema's metadata.

Each field of an experience is a column, null where it has none; `metadata` and other nested fields
are JSON text; vectors are `fixed_size_list<float>`. The metadata's key `answer` holds the rest of
the JSON answer, without its memories.
"""

import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

import numpy as np
import orjson
from fastapi import Response

from app.api.columns.media import MEDIA_TYPE, arrow
from app.contract.answers import EpisodicRecord
from app.memory.paging import MemoryPage
from app.memory.sampling import Sample
from app.model import Answer
from app.vectors import BYTES_PER_COMPONENT

VECTOR_FIELDS = ("state_vector", "next_state_vector")
_KINDS = {str: "string", float: "float64", int: "int64", bool: "bool_"}

Vectors = Sequence[Mapping[str, bytes] | None]


async def search_columns(answer: Answer, took_ms: float, dimension: int) -> Response:
    """Return a search's answer as columns, with the column `distance`."""
    hits = answer.hits
    told = {
        "count": len(hits),
        "exact": answer.exact,
        "partial": answer.partial,
        "cached": answer.cached,
        "served_by": answer.served_by,
        "took_ms": round(took_ms, 3),
    }
    return await _response(
        [hit.record for hit in hits],
        [hit.vectors for hit in hits],
        {
            "distance": ("float64", [hit.distance for hit in hits]),
            "regime_step": ("string", [hit.regime_step for hit in hits]),
        },
        told,
        dimension,
    )


async def page_columns(page: MemoryPage, dimension: int) -> Response:
    """Return a page of a query as columns."""
    told = {"total": page.total, "next_cursor": page.next_cursor}
    return await _response(page.records, [None] * len(page.records), {}, told, dimension)


async def sample_columns(sample: Sample, took_ms: float, dimension: int) -> Response:
    """Return a sample as columns, with the columns `probability` and `weight`."""
    drawn = sample.drawn
    told = {
        "count": len(drawn),
        "population": sample.population,
        "seed": sample.seed,
        "next_cursor": sample.next_cursor,
        "took_ms": round(took_ms, 3),
    }
    return await _response(
        [one.record for one in drawn],
        [one.vectors for one in drawn],
        {
            "probability": ("float64", [one.probability for one in drawn]),
            "weight": ("float64", [one.weight for one in drawn]),
        },
        told,
        dimension,
    )


async def _response(
    records: Sequence[bytes],
    vectors: Vectors,
    more: Mapping[str, tuple[str, Sequence[object]]],
    told: Mapping[str, object],
    dimension: int,
) -> Response:
    pa = await arrow()
    decoded: list[dict[str, Any]] = [orjson.loads(record) for record in records]
    columns: dict[str, Any] = {}
    for name, kind in _FIELDS.items():
        values = [record.get(name) for record in decoded]
        if kind == "json":
            values = [None if v is None else orjson.dumps(v).decode() for v in values]
        columns[name] = pa.array(values, getattr(pa, _arrow_name(kind))())
    for name, (kind, given) in more.items():
        columns[name] = pa.array(given, getattr(pa, kind)())
    if any(vectors):
        for name in VECTOR_FIELDS:
            columns[name] = _vector_column(pa, [(v or {}).get(name) for v in vectors], dimension)
    table = pa.record_batch(columns).replace_schema_metadata({"answer": orjson.dumps(told)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_batch(table)
    return Response(sink.getvalue().to_pybytes(), media_type=MEDIA_TYPE)


def _vector_column(pa: Any, raw: Sequence[bytes | None], dimension: int) -> Any:
    nothing = bytes(dimension * BYTES_PER_COMPONENT)
    numbers = np.frombuffer(b"".join([nothing if r is None else r for r in raw]), "<f4")
    absent = np.array([r is None for r in raw])
    mask = pa.array(absent) if absent.any() else None
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), dimension, mask=mask)


def _arrow_name(kind: str) -> str:
    return "string" if kind == "json" else kind


def _kind(annotation: Any) -> str:
    """Return what an answer's field is as a column."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return _KINDS.get(annotation, "json")


_FIELDS = {
    name: _kind(field.annotation)
    for name, field in EpisodicRecord.model_fields.items()
    if name not in VECTOR_FIELDS
}
