"""Answers as one Arrow record batch; everything besides the memories is in the schema's metadata.

Each field of an experience is a column, null if it has none; `metadata` and other nested fields are
JSON text; vectors are `fixed_size_list<float>`. The metadata's key `answer` holds the rest of the
JSON answer, without its memories.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from fastapi import Response

from app.api.columns.experiences import (
    Vectors,
    column_type,
    experience_columns,
    vector_columns,
)
from app.api.columns.media import MEDIA_TYPE, arrow
from app.api.responses import completeness
from app.contract.record_kinds import KINDS, VECTOR_FIELDS
from app.memory.paging import MemoryPage
from app.memory.replay import NAMES, NUMBERS
from app.memory.sampling import DrawnRows, Sample
from app.model import Answer

_NUMPY_KINDS = {"float64": np.float64, "int64": np.int64, "bool_": np.bool_}
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format"""


async def search_columns(answer: Answer, took_ms: float, dimension: int) -> Response:
    """Return a search's answer as columns, with the column `distance`."""
    hits = answer.hits
    told: dict[str, object] = {
        "count": len(hits),
        "exact": answer.exact,
        "partial": answer.partial,
        "cached": answer.cached,
        "served_by": answer.served_by,
        "took_ms": round(took_ms, 3),
        **({"unanswered_groups": answer.silent_groups} if answer.silent_groups else {}),
        **({} if answer.metric is None else {"metric": answer.metric}),
        **({} if answer.whole_since is None else {"whole_since": answer.whole_since}),
    }
    if answer.recall_id is not None:
        told |= {"recall_id": answer.recall_id, "arm": answer.arm}
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
    told = {
        "total": page.total,
        "next_cursor": page.next_cursor,
        **completeness(page.whole_since),
    }
    return await _response(page.records, [None] * len(page.records), {}, told, dimension)


async def sample_columns(sample: Sample, took_ms: float, dimension: int) -> Response:
    """Return a sample as columns, with the columns `probability` and `weight`."""
    drawn = sample.drawn
    told = {
        "count": len(drawn),
        "population": sample.population,
        "seed": sample.seed,
        "next_cursor": sample.next_cursor,
        **completeness(sample.whole_since),
        "took_ms": round(took_ms, 3),
    }
    if isinstance(drawn, DrawnRows):
        return _stream(await arrow(), _drawn_columns(await arrow(), drawn), told)
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
    columns = experience_columns(pa, records)
    for name, (kind, given) in more.items():
        columns[name] = pa.array(given, getattr(pa, kind)())
    if any(vectors):
        columns |= vector_columns(pa, vectors, dimension)
    return _stream(pa, columns, told)


def _drawn_columns(pa: Any, drawn: DrawnRows) -> dict[str, Any]:
    """Return the columns of experiences that are columns already."""
    taken = drawn.taken
    count = len(drawn)
    found = {name: pa.array(text, pa.string()) for name, text in taken.texts.items()}
    for place, name in enumerate(NAMES):
        found[name] = _names_of(pa, taken.codes[:, place], taken.names[name])
    found |= _numbers_of(pa, taken.numbers)
    columns = {}
    for name, kind in KINDS.items():
        column = found.get(name)
        columns[name] = _nothing(pa, count, kind) if column is None else column
    columns["probability"] = pa.array(drawn.chances.probabilities)
    columns["weight"] = pa.array(drawn.chances.weights)
    if taken.states is not None:
        columns[VECTOR_FIELDS[0]] = _vectors_of(pa, taken.states, None)
    if taken.next_states is not None:
        columns[VECTOR_FIELDS[1]] = _vectors_of(pa, taken.next_states, ~taken.has_next)
    return columns


@lru_cache(maxsize=256)
def _nothing(pa: Any, count: int, kind: str) -> Any:
    """Return a column without values."""
    return pa.nulls(count, column_type(pa, kind))


@lru_cache(maxsize=256)
def _repeated(pa: Any, name: str, count: int) -> Any:
    """Return a column that has the same name in all rows."""
    return pa.repeat(pa.scalar(name, pa.string()), count)


def _names_of(pa: Any, codes: Any, names: list[str | None]) -> Any:
    """Return a column of names by their codes. None if no row has one."""
    if len(codes) and (codes == codes[0]).all():
        name = names[codes[0]]
        return None if name is None else _repeated(pa, name, len(codes))
    return pa.array([names[code] for code in codes.tolist()], pa.string())


def _numbers_of(pa: Any, numbers: Any) -> dict[str, Any]:
    """Return columns of numbers, by field. None if no row has one.

    numpy converts them: a kernel of Arrow takes 50 us to begin.
    """
    absent = np.isnan(numbers)
    has_gaps, is_empty = absent.any(axis=0).tolist(), absent.all(axis=0).tolist()
    columns: dict[str, Any] = {}
    for place, name in enumerate(NUMBERS):
        kind = _NUMPY_KINDS[KINDS[name]]
        if is_empty[place]:
            columns[name] = None
        elif has_gaps[place]:
            mask = absent[:, place]
            values: Any = np.where(mask, 0.0, numbers[:, place]).astype(kind)
            columns[name] = pa.array(values, mask=mask)
        else:
            columns[name] = pa.array(numbers[:, place].astype(kind))
    return columns


def _vectors_of(pa: Any, vectors: Any, absent: Any) -> Any:
    mask = None if absent is None or not absent.any() else pa.array(absent)
    numbers = pa.array(vectors.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(numbers, vectors.shape[1], mask=mask)


def _stream(pa: Any, columns: Mapping[str, Any], told: Mapping[str, object]) -> Response:
    """Return one batch as a stream: messages written at their size, where a sink would grow."""
    table = pa.record_batch(columns).replace_schema_metadata({"answer": orjson.dumps(told)})
    messages = (table.schema.serialize(), table.serialize(), _END_OF_STREAM)
    return Response(b"".join(messages), media_type=MEDIA_TYPE)
