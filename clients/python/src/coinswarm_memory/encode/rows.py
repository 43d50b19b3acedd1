"""Many experiences: data frames, arrays, mappings of columns and iterables, as batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any

import numpy as np

from coinswarm_memory.answers.stored import Refused
from coinswarm_memory.encode.columns import Columns, columns_of
from coinswarm_memory.encode.experience import experience
from coinswarm_memory.encode.frames import frame_columns
from coinswarm_memory.encode.vectors import ArrayLike
from coinswarm_memory.errors import CoinswarmError, InvalidRows
from coinswarm_memory.identity import new_id
from coinswarm_memory.operations.batch import MAX_BATCH, Batch

INVALID = "invalid_input"
"""The code of a row that the client itself refuses: the service's for the same fault."""

ALIASES = {
    "state_vector": "state",
    "next_state_vector": "next_state",
    "product_id": "product",
}


class Rows:
    """Rows to store for one agent. `total` is None while it is not known.

    Raises InvalidRows if `data` cannot be read as rows, and InvalidVector if its states are not a
    table of numbers of this width.
    """

    def __init__(
        self,
        agent_id: str,
        data: object,
        shared: Mapping[str, Any],
        names: Mapping[str, str | Sequence[str]],
        dimension: int | None,
    ) -> None:
        self._agent_id = agent_id
        self._dimension = dimension
        self._shared = {ALIASES.get(name, name): value for name, value in shared.items()}
        self._columns: Columns | None = None
        self._items: Iterable[Any] = ()
        table = _table(data, names)
        if table is not None:
            self._columns = columns_of({**table, **self._shared}, dimension)
            self.total: int | None = len(self._columns)
        elif isinstance(data, Iterable):
            self._items = data
            self.total = len(data) if isinstance(data, Sized) else None
        else:
            raise InvalidRows(f"rows must be a frame, arrays or an iterable, got {_name(data)}")

    def batches(self, size: int) -> Iterator[Batch]:
        """Go through the rows in batches of up to `size`, 1000 at most."""
        if size < 1:
            raise InvalidRows("a batch holds at least one row")
        rows = self._from_items() if self._columns is None else self._from_columns(self._columns)
        while some := list(islice(rows, min(size, MAX_BATCH))):
            batch = Batch(self._agent_id, [], [])
            for position, row in some:
                if isinstance(row, Refused):
                    batch.refused.append(row)
                else:
                    batch.memories.append(row)
                    batch.positions.append(position)
            yield batch

    def _from_items(self) -> Iterator[tuple[int, dict[str, Any] | Refused]]:
        for position, item in enumerate(self._items):
            if not isinstance(item, Mapping):
                raise InvalidRows(f"row {position} must be a mapping, got {_name(item)}")
            given = {ALIASES.get(name, str(name)): value for name, value in item.items()}
            fields = self._shared | given
            yield position, self._row(position, fields)

    def _row(self, position: int, fields: dict[str, Any]) -> dict[str, Any] | Refused:
        given = fields.get("id")
        fields["id"] = name = new_id() if given is None else str(given)
        try:
            state: ArrayLike = fields.pop("state")
            return experience(self._agent_id, state, fields, self._dimension)  # type: ignore[arg-type]
        except KeyError:
            return Refused(position, name, INVALID, "state is missing")
        except CoinswarmError as error:
            return Refused(position, name, INVALID, str(error))

    def _from_columns(self, columns: Columns) -> Iterator[tuple[int, dict[str, Any] | Refused]]:
        for position in range(len(columns)):
            yield position, columns.row(self._agent_id, position)


def _table(data: object, names: Mapping[str, str | Sequence[str]]) -> dict[str, Any] | None:
    """Return the columns of a table. Returns None for data that is read row by row."""
    found = frame_columns(data)
    if found is None and isinstance(data, Mapping):
        found = dict(data)
    if found is None:
        is_matrix = isinstance(data, np.ndarray) or hasattr(data, "__dlpack__")
        return {"state": data} if is_matrix else None
    return _renamed(found, names)


def _renamed(found: dict[str, Any], names: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    for wanted, source in names.items():
        parts = [source] if isinstance(source, str) else list(source)
        missing = [part for part in parts if part not in found]
        if missing:
            raise InvalidRows(f"there is no column {missing[0]!r}: there are {', '.join(found)}")
        columns = [found.pop(part) for part in parts]
        is_one = isinstance(source, str)
        taken[wanted] = columns[0] if is_one else np.column_stack(columns)
    return {ALIASES.get(name, name): column for name, column in found.items()} | taken


def _name(value: object) -> str:
    return type(value).__name__
