"""Columns of equal length, read row by row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coinswarm_memory.answers.stored import Refused
from coinswarm_memory.encode.experience import ExperienceFields, completed
from coinswarm_memory.encode.vectors import Float32Array, fault, faulty_rows, matrix
from coinswarm_memory.errors import CoinswarmError, InvalidRows, InvalidVector
from coinswarm_memory.identity import new_id

_SCALARS = (str, bytes, int, float, bool, Mapping)
_KNOWN = frozenset(ExperienceFields.__annotations__) | {"state"}
_INVALID = "invalid_input"


class Columns:
    """`states` shape (n, dimension), and the other fields: a column each, or a value for all."""

    def __init__(
        self,
        states: Float32Array,
        next_states: Float32Array | None,
        columns: dict[str, Sequence[Any]],
        shared: dict[str, Any],
    ) -> None:
        self._states = states
        self._next_states = next_states
        self._columns = columns
        self._shared = shared
        self._faulty = set(faulty_rows(states).tolist())
        if next_states is not None:
            # A row of nothing but NaN is a missing next state.
            absent = np.isnan(next_states).all(axis=1)
            self._without_next = set(np.flatnonzero(absent).tolist())
            self._faulty_next = set(faulty_rows(next_states).tolist()) - self._without_next

    def __len__(self) -> int:
        return len(self._states)

    def row(self, agent_id: str, position: int) -> dict[str, Any] | Refused:
        """Return one row's body, or why it is refused."""
        given = dict(self._shared)
        for name, column in self._columns.items():
            value = _present(column[position])
            if value is not None:
                given[name] = value
        given["id"] = name = str(given["id"]) if "id" in given else new_id()
        try:
            body = completed(agent_id, given)
            body["state_vector"] = self._state(position)
            following = self._next_state(position)
        except CoinswarmError as error:
            return Refused(position, str(name), _INVALID, str(error))
        if following is not None:
            body["next_state_vector"] = following
        return body

    def _state(self, position: int) -> bytes:
        if position in self._faulty:
            raise InvalidVector(fault(self._states[position], f"state[{position}]"))
        raw: bytes = self._states[position].tobytes()
        return raw

    def _next_state(self, position: int) -> bytes | None:
        if self._next_states is None or position in self._without_next:
            return None
        if position in self._faulty_next:
            raise InvalidVector(fault(self._next_states[position], f"next_state[{position}]"))
        raw: bytes = self._next_states[position].tobytes()
        return raw


def columns_of(given: Mapping[str, Any], dimension: int | None) -> Columns:
    """Return these columns. Raises InvalidRows for unknown or missing columns and for lengths that
    differ, InvalidVector when the states are not a table of numbers of this width."""
    unknown = sorted(set(given) - _KNOWN)
    if unknown:
        raise InvalidRows(
            f"unknown column {unknown[0]!r}: drop it, or say by columns={{...}} what it holds. "
            f"Known are {', '.join(sorted(_KNOWN))}"
        )
    if "state" not in given:
        raise InvalidRows("no column 'state': say by columns={'state': ...} which one it is")
    states = matrix(given["state"], "state", dimension)
    next_states = None
    if given.get("next_state") is not None:
        next_states = matrix(_filled(given["next_state"], states), "next_state", dimension)
    columns: dict[str, Sequence[Any]] = {}
    shared: dict[str, Any] = {}
    for name, value in given.items():
        if name in {"state", "next_state"} or value is None:
            continue
        if isinstance(value, _SCALARS) or not hasattr(value, "__len__"):
            shared[name] = value
        else:
            columns[name] = value.tolist() if _is_plain(value) else value
    lengths = {name: len(column) for name, column in columns.items()} | {"state": len(states)}
    if next_states is not None:
        lengths["next_state"] = len(next_states)
    wrong = [name for name, length in lengths.items() if length != len(states)]
    if wrong:
        raise InvalidRows(f"{wrong[0]} has {lengths[wrong[0]]} rows, state has {len(states)}")
    return Columns(states, next_states, columns, shared)


def _filled(column: Any, states: Float32Array) -> Any:
    """Put NaN in place of the vectors that are missing."""
    if isinstance(column, np.ndarray) and column.dtype != object:
        return column
    gap = np.full(states.shape[1], np.nan, np.float32)
    return [gap if _present(vector) is None else vector for vector in column]


def _is_plain(value: object) -> bool:
    """Return whether it is a numpy column whose items are better read as Python objects."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "biufUSO"


def _present(value: Any) -> Any:
    """Return a cell's value, or None if it is missing."""
    if value is None or isinstance(value, str | Mapping | list | np.ndarray):
        return value
    try:
        is_missing = bool(value != value)  # noqa: PLR0124 - NaN and NaT differ from themselves
    except TypeError:  # pandas' NA is neither equal to itself nor different
        return None
    return None if is_missing else value
