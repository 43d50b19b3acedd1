"""Turns the client's names and times into those of the contract."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from coinswarm_memory.encode.times import unix_seconds
from coinswarm_memory.errors import InvalidNumber

_NAMES = {
    "product": "product_id",
    "k": "top_k",
    "vectors": "include_vectors",
}
_TIMES = frozenset(
    {"since", "until", "as_of", "timestamp", "outcome_at", "recorded_by", "at", "mae_at", "mfe_at"}
)


def contract_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given under the contract's names, times as unix seconds, None left out.

    Raises InvalidTime, and InvalidNumber for NaN and infinity.
    """
    return {
        _NAMES.get(name, name): _value(name, value)
        for name, value in given.items()
        if value is not None
    }


def _value(name: str, value: Any) -> Any:
    if name in _TIMES:
        return unix_seconds(value, name)
    if type(value) is str:
        return value
    if name == "outcomes":
        return [contract_fields(outcome) for outcome in value]
    if name == "metadata":
        return _as_json(name, value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        _require_finite(name, value)
    return value


def _as_json(name: str, value: Any) -> Any:
    """Return a part of the metadata with numbers and lists of Python's own.

    Raises InvalidNumber for NaN and infinity, which JSON lacks.
    """
    if isinstance(value, dict):
        return {key: _as_json(f"{name}.{key}", part) for key, part in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_as_json(name, part) for part in value]
    if isinstance(value, float):
        _require_finite(name, value)
    return value


def _require_finite(name: str, number: float) -> None:
    # As JSON it would be null, which a question takes for no condition.
    if not math.isfinite(number):
        raise InvalidNumber(f"{name} must be finite, got {number}: leave it out where unknown")
