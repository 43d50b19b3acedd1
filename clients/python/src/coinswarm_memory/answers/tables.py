"""Answers as tables of pandas and pyarrow, which are imported on first use."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from coinswarm_memory.packages import require

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

RowT = TypeVar("RowT", bound=msgspec.Struct)
_TIMES = frozenset(
    {"timestamp", "outcome_at", "quality_at", "priority_at", "created_at", "recorded_at"}
)


class Rows(Generic[RowT]):
    """A sequence of rows that can become a table. Subclasses hold the rows as `memories`."""

    __slots__ = ()
    memories: Sequence[RowT]

    def __len__(self) -> int:
        return len(self.memories)

    def __iter__(self) -> Iterator[RowT]:
        return iter(self.memories)

    @overload
    def __getitem__(self, position: int) -> RowT: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[RowT]: ...
    def __getitem__(self, position: int | slice) -> RowT | Sequence[RowT]:
        return self.memories[position]

    def to_pandas(self) -> "pd.DataFrame":
        """Return a row for each memory; times are UTC timestamps. Raises PackageMissing."""
        return to_pandas(self.memories)

    def to_arrow(self) -> "pa.Table":
        """Return a row for each memory; times are UTC timestamps. Raises PackageMissing."""
        return to_arrow(self.memories)


def to_pandas(rows: Sequence[msgspec.Struct]) -> "pd.DataFrame":
    """Return these rows as a data frame. Raises PackageMissing."""
    frame: pd.DataFrame = require("pandas", "frames").DataFrame(_columns(rows))
    return frame


def to_arrow(rows: Sequence[msgspec.Struct]) -> "pa.Table":
    """Return these rows as an Arrow table; metadata is JSON text. Raises PackageMissing."""
    columns = _columns(rows)
    if "metadata" in columns:
        columns["metadata"] = [msgspec.json.encode(m).decode() for m in columns["metadata"]]
    table: pa.Table = require("pyarrow", "frames").table(columns)
    return table


def _columns(rows: Sequence[msgspec.Struct]) -> dict[str, list[Any]]:
    if not rows:
        return {}
    names = type(rows[0]).__struct_fields__
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    return {
        name: [_moment(value) for value in values] if name in _TIMES else values
        for name, values in columns.items()
        if name not in _OPTIONAL or any(value is not None for value in values)
    }


_OPTIONAL = frozenset(
    {
        "quality",
        "quality_at",
        "priority",
        "priority_at",
        "state_vector",
        "next_state_vector",
        "concept_vector",
        "regime_step",
        "episode_id",
        "step",
        "recorded_at",
        "scale",
    }
)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
