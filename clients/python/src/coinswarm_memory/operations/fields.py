"""Turns the client's names and times into those of the contract."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from coinswarm_memory.encode.times import unix_seconds

_NAMES = {
    "product": "product_id",
    "k": "top_k",
    "vectors": "include_vectors",
}
_TIMES = frozenset(
    {"since", "until", "as_of", "timestamp", "outcome_at", "recorded_by", "at", "mae_at", "mfe_at"}
)


def contract_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given under the contract's names, times as unix seconds, None left out."""
    return {
        _NAMES.get(name, name): _value(name, value)
        for name, value in given.items()
        if value is not None
    }


def _value(name: str, value: Any) -> Any:
    if name in _TIMES:
        return unix_seconds(value, name)
    if name == "outcomes":
        return [contract_fields(outcome) for outcome in value]
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if isinstance(value, np.generic):
        return value.item()
    return value
