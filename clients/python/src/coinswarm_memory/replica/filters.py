"""Which rows a question is about: conditions on columns, the same as the service's."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from coinswarm_memory.replica.scan import BoolArray, IndexArray, prepare

NAMES = ("product_id", "regime", "action", "episode_id")
NUMBERS = ("reward", "timestamp", "outcome_at", "quality", "quality_at", "step")
LOWER_BOUNDS = {
    "min_reward": "reward",
    "since": "timestamp",
    "min_quality": "quality",
    "min_step": "step",
}
UPPER_BOUNDS = {"max_reward": "reward", "until": "timestamp", "max_step": "step"}
CONDITIONS = frozenset({*NAMES, *LOWER_BOUNDS, *UPPER_BOUNDS, "terminal", "as_of"})
"""What `matching` understands, under the contract's names."""

NO_NAME, UNKNOWN_NAME = -1, -2


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
        self._kernel = prepare()
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
        among: BoolArray = np.empty(count, np.bool_)
        is_first = True
        for column, (low, high) in _bounds(wanted).items():
            self._kernel.keep_between(self.arrays[column], low, high, among, is_first)
            is_first = False
        for name, value in wanted.items():
            if name in self.codes and value is not None:
                self._keep_named(name, value, among, is_first)
                is_first = False
        for part in self._rarely_asked(wanted, count):
            np.logical_and(part, is_first | among, out=among)
            is_first = False
        return None if is_first else among

    def _keep_named(
        self, name: str, wanted: str | Sequence[str], among: BoolArray, is_first: bool
    ) -> None:
        known, column = self.codes[name], self.arrays[name]
        if isinstance(wanted, str):
            code = known.get(wanted, UNKNOWN_NAME)
            self._kernel.keep_equal(column, code, among, is_first)
            return
        codes = [known[one] for one in wanted if one in known]
        np.logical_and(np.isin(column[: len(among)], codes), is_first | among, out=among)

    def _rarely_asked(self, wanted: Mapping[str, Any], count: int) -> Iterator[BoolArray]:
        terminal, as_of = wanted.get("terminal"), wanted.get("as_of")
        if terminal is not None:
            yield self.arrays["terminal"][:count] == terminal
        if as_of is not None and wanted.get("min_quality") is not None:
            yield ~np.greater(self.arrays["quality_at"][:count], as_of)  # NaN: rated at once


def _bounds(wanted: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the least and the largest number that matches, by column."""
    found: dict[str, tuple[float, float]] = {}
    for name, value in wanted.items():
        if value is None:
            continue
        if name in LOWER_BOUNDS:
            _tighten(found, LOWER_BOUNDS[name], value, math.inf)
        elif name in UPPER_BOUNDS:
            _tighten(found, UPPER_BOUNDS[name], -math.inf, value)
        elif name == "as_of":  # states and outcomes known then
            _tighten(found, "outcome_at", -math.inf, value)
            _tighten(found, "timestamp", -math.inf, value)
    return found


def _tighten(bounds: dict[str, tuple[float, float]], column: str, low: float, high: float) -> None:
    least, largest = bounds.get(column, (-math.inf, math.inf))
    bounds[column] = max(least, float(low)), min(largest, float(high))
