"""An agent's experiences as a file, in the names that `remember_many` takes."""

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from coinswarm_memory import Agent, MemoryNotFound
from coinswarm_memory.answers import Experience
from coinswarm_memory.encode.experience import ExperienceFields
from coinswarm_memory.packages import require

_IN_FLIGHT = 8
_ROWS = 500
_NAMES = tuple(ExperienceFields.__annotations__)
_TIMES = frozenset({"timestamp", "outcome_at"})


def write(agent: Agent, to: Path | None, conditions: Mapping[str, Any]) -> int:
    """Write the experiences that match, oldest first, and return how many there are.

    The file has its name once it is whole. Raises PackageMissing for Parquet without pyarrow,
    ServiceProblem, OSError.
    """
    rows = _rows(agent, conditions)
    if to is None:
        return _as_lines(rows, sys.stdout.buffer)
    partial = to.with_name(f"{to.name}.partial")
    try:
        with partial.open("wb") as file:
            count = (_as_parquet if to.suffix == ".parquet" else _as_lines)(rows, file)
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _rows(agent: Agent, conditions: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Go through the experiences with their vectors, some at a time.

    A query returns no vectors: each experience is read by its id. One deleted meanwhile is left
    out.
    """
    found = iter(agent.query(order="asc", **conditions))
    with ThreadPoolExecutor(_IN_FLIGHT) as threads:
        while some := list(islice(found, _ROWS)):
            whole = threads.map(lambda one: _whole(agent, one), some)
            yield [_row(one) for one in whole if one is not None]


def _whole(agent: Agent, experience: Experience) -> Experience | None:
    try:
        return agent.get(experience.id)
    except MemoryNotFound:
        return None


def _row(experience: Experience) -> dict[str, Any]:
    given = {name: getattr(experience, name) for name in _NAMES}
    given |= {"state": experience.state_vector, "next_state": experience.next_state_vector}
    return {name: value for name, value in given.items() if value is not None}


def _as_lines(parts: Iterator[list[dict[str, Any]]], file: Any) -> int:
    count = 0
    for rows in parts:
        file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        count += len(rows)
    file.flush()
    return count


def _as_parquet(parts: Iterator[list[dict[str, Any]]], file: Any) -> int:
    arrow, parquet = require("pyarrow", "frames"), require("pyarrow.parquet", "frames")
    schema, count = _schema(arrow), 0
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in parts:
            for row in rows:
                row["metadata"] = msgspec.json.encode(row["metadata"]).decode()
                for name in _TIMES & row.keys():
                    row[name] = round(row[name] * 1e6)
            writer.write_table(arrow.Table.from_pylist(rows, schema))
            count += len(rows)
    return count


def _schema(arrow: Any) -> Any:
    moment, numbers = arrow.timestamp("us", tz="UTC"), arrow.list_(arrow.float32())
    kinds = {
        **dict.fromkeys(("reward", "quality", "priority", "scale"), arrow.float64()),
        **dict.fromkeys(_TIMES, moment),
        **dict.fromkeys(("state", "next_state"), numbers),
        **dict.fromkeys(("terminal", "pinned"), arrow.bool_()),
        "step": arrow.int64(),
    }
    names = ("state", *_NAMES)
    return arrow.schema([(name, kinds.get(name, arrow.string())) for name in names])
