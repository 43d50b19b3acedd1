"""Which rows a question is about: conditions on columns, the same as the service's."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from coinswarm_memory.replica.scan import BoolArray, IndexArray

NAMES = ("product_id", "regime", "action", "episode_id")
NUMBERS = ("reward", "timestamp", "outcome_at", "quality", "quality_at", "step")
BOUNDS = {
    "min_reward": ("reward", np.greater_equal),
    "max_reward": ("reward", np.less_equal),
    "since": ("timestamp", np.greater_equal),
    "until": ("timestamp", np.less_equal),
    "min_quality": ("quality", np.greater_equal),
    "min_step": ("step", np.greater_equal),
    "max_step": ("step", np.less_equal),
}
CONDITIONS = frozenset({*NAMES, *BOUNDS, "terminal", "as_of"})
"""What `matching` understands, under the contract's names."""

NO_NAME = -1


class Filterable(msgspec.Struct):
    """The fields of a record that questions can filter by."""

    id: str
    product_id: str
    regime: str
    timestamp: float
    action: str | None = None
    reward: float | None = None
    outcome_at: float | None = None
    terminal: bool = False
    quality: float | None = None
    quality_at: float | None = None
    episode_id: str | None = None
    step: float | None = None


class FilterColumns:
    """The filterable fields of rows, one array each: names as numbers, missing ones as NaN."""

    def __init__(self, capacity: int = 1024) -> None:
        self.codes: dict[str, dict[str, int]] = {name: {} for name in NAMES}
        self.arrays: dict[str, npt.NDArray[Any]] = {
            **{name: np.full(capacity, NO_NAME, np.int32) for name in NAMES},
            **{name: np.full(capacity, np.nan) for name in NUMBERS},
            "terminal": np.zeros(capacity, np.bool_),
        }

    def reserve(self, capacity: int, count: int) -> None:
        """Make room for this many rows, of which `count` are there."""
        for name, old in self.arrays.items():
            grown = np.empty(capacity, old.dtype)
            grown[:count] = old[:count]
            self.arrays[name] = grown

    def put(self, rows: IndexArray, memories: Sequence[Filterable]) -> None:
        """Write these memories' fields into rows."""
        for name in NAMES:
            known = self.codes[name]
            self.arrays[name][rows] = [
                NO_NAME if value is None else known.setdefault(value, len(known))
                for value in (getattr(memory, name) for memory in memories)
            ]
        for name in NUMBERS:
            values = (getattr(memory, name) for memory in memories)
            self.arrays[name][rows] = [np.nan if value is None else value for value in values]
        self.arrays["terminal"][rows] = [memory.terminal for memory in memories]

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for array in self.arrays.values():
            array[target] = array[source]

    def matching(self, wanted: Mapping[str, Any], count: int) -> BoolArray | None:
        """Return which of the first `count` rows meet all conditions. None without conditions.

        Bounds are inclusive. A row without the number that is asked about does not match.
        """
        parts: list[BoolArray] = []
        for name, value in wanted.items():
            if value is None:
                continue
            if name in self.codes:
                parts.append(self._named(name, value, count))
            elif name in BOUNDS:
                column, holds = BOUNDS[name]
                parts.append(holds(self.arrays[column][:count], value))
            elif name == "terminal":
                parts.append(self.arrays["terminal"][:count] == value)
            elif name == "as_of":
                parts += self._known_at(value, wanted.get("min_quality"), count)
        if not parts:
            return None
        found = parts[0]
        for part in parts[1:]:
            np.logical_and(found, part, out=found)
        return found

    def _named(self, name: str, wanted: str | Sequence[str], count: int) -> BoolArray:
        values = [wanted] if isinstance(wanted, str) else wanted
        codes = [self.codes[name][v] for v in values if v in self.codes[name]]
        column = self.arrays[name][:count]
        if len(codes) == 1:
            found: BoolArray = np.equal(column, codes[0])
            return found
        return np.isin(column, codes)

    def _known_at(self, as_of: float, min_quality: float | None, count: int) -> list[BoolArray]:
        """Return what existed at that moment: states, outcomes, and the ratings in question."""
        parts = [
            np.less_equal(self.arrays["outcome_at"][:count], as_of),
            np.less_equal(self.arrays["timestamp"][:count], as_of),
        ]
        if min_quality is not None:
            parts.append(~np.greater(self.arrays["quality_at"][:count], as_of))
        return parts
