"""Samples as Arrow columns, where pyarrow is installed: a third of the time of JSON."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec
import numpy as np

from coinswarm_memory.answers.sample import SampleArrays
from coinswarm_memory.encode.vectors import Float32Array
from coinswarm_memory.operations.request import ARROW, JSON

EITHER = f"{ARROW}, {JSON};q=0.5"


@cache
def is_installed() -> bool:
    """Return whether pyarrow is installed; it is imported when it is first needed."""
    return find_spec("pyarrow") is not None


def accepted() -> str:
    """Return what to accept as the answer to a question about vectors."""
    return EITHER if is_installed() else JSON


class _Told(msgspec.Struct):
    """What a sample says besides its memories."""

    population: int
    seed: int
    next_cursor: str | None = None


def read_sample(body: bytes) -> SampleArrays:
    """Return drawn experiences out of a stream of record batches."""
    pa = import_module("pyarrow")
    table = pa.ipc.open_stream(body).read_all()
    told = msgspec.json.decode(table.schema.metadata[b"answer"], type=_Told)
    states = _vectors(table, "state_vector", 0)
    has_next = np.zeros(len(table), np.bool_)
    if "next_state_vector" in table.schema.names:
        has_next = table.column("next_state_vector").is_valid().to_numpy()
    next_states = np.zeros_like(states)
    if has_next.any():
        next_states[has_next] = _vectors(table, "next_state_vector", states.shape[1])
    return SampleArrays(
        ids=_values(table, "id"),
        agent_ids=_values(table, "agent_id"),
        states=states,
        actions=_values(table, "action"),
        rewards=_numbers(table, "reward"),
        next_states=next_states,
        has_next=has_next,
        terminals=np.array(_values(table, "terminal"), np.bool_),
        weights=_numbers(table, "weight"),
        probabilities=_numbers(table, "probability"),
        timestamps=_numbers(table, "timestamp"),
        seed=told.seed,
        population=told.population,
        metadata=[_metadata(text) for text in _values(table, "metadata")],
        episode_ids=_values(table, "episode_id"),
        steps=_values(table, "step"),
        next_cursor=told.next_cursor,
    )


def _metadata(text: str | None) -> dict[str, Any]:
    return {} if text in _EMPTY else msgspec.json.decode(text or "{}", type=dict[str, Any])


_EMPTY = (None, "{}")


def _values(table: Any, name: str) -> list[Any]:
    values: list[Any] = table.column(name).to_pylist()
    return values


def _numbers(table: Any, name: str) -> Any:
    return np.asarray(table.column(name).to_numpy(), np.float64)


def _vectors(table: Any, name: str, width: int) -> Float32Array:
    """Return the vectors that are present, shape (n, dimension)."""
    if name not in table.schema.names or not len(table):
        return np.zeros((0, width), np.float32)
    parts = table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    width = table.schema.field(name).type.list_size
    return np.array(parts, np.float32).reshape(-1, width)
