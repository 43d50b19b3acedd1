"""Experiences, and those that a search found."""

from typing import Any, Literal

import msgspec
import numpy as np

from coinswarm_memory.answers.tables import Rows
from coinswarm_memory.encode.vectors import Float32Array


class HorizonOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of a memory at one of several horizons, known at `outcome_at`."""

    horizon: str | float
    reward: float
    outcome_at: float
    mae: float | None = None
    mfe: float | None = None
    mae_at: float | None = None
    mfe_at: float | None = None
    recorded_at: float | None = None


class Experience(msgspec.Struct, frozen=True, kw_only=True):
    """One experience as it is stored. Times are unix seconds, UTC; an open one has no reward."""

    id: str
    agent_id: str
    product_id: str
    regime: str
    action: str | None = None
    reward: float | None = None
    timestamp: float
    outcome_at: float | None = None
    terminal: bool = False
    metadata: dict[str, Any] = {}
    pinned: bool = False
    quality: float | None = None
    quality_at: float | None = None
    priority: float | None = None
    priority_at: float | None = None
    episode_id: str | None = None
    step: int | None = None
    recorded_at: float | None = None
    outcome_recorded_at: float | None = None
    scale: float | None = None
    outcomes: list[HorizonOutcome] | None = None
    state_vector: list[float] | None = None
    next_state_vector: list[float] | None = None

    @property
    def product(self) -> str:
        """The product that it is about."""
        return self.product_id

    @property
    def state(self) -> Float32Array | None:
        """Its state, shape (dimension,). Returns None unless vectors were asked for."""
        return as_array(self.state_vector)

    @property
    def next_state(self) -> Float32Array | None:
        """The state that followed. Returns None if nothing followed or it was not asked for."""
        return as_array(self.next_state_vector)


class Hit(Experience, frozen=True, kw_only=True):
    """One experience that a search found.

    `distance` is the cosine distance (0 same, 2 opposite), or by the answer's `metric`.
    """

    distance: float
    regime_step: str | None = None


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A memory with its outcome or rating. `changed` is False if it was known already.

    A key that requires `as_of` gets only that.
    """

    id: str
    changed: bool
    token: str | None = None
    agent_id: str | None = None
    product_id: str | None = None
    regime: str | None = None
    action: str | None = None
    reward: float | None = None
    timestamp: float | None = None
    outcome_at: float | None = None
    terminal: bool | None = None
    metadata: dict[str, Any] | None = None
    quality: float | None = None
    quality_at: float | None = None
    priority: float | None = None
    priority_at: float | None = None
    outcomes: list[HorizonOutcome] | None = None


class Recall(Rows[Hit], msgspec.Struct, frozen=True, kw_only=True):
    """The most similar experiences, nearest first.

    `exact`: no nearer one exists. `partial`: part of the memory could not be searched. `served_by`
    is the Redis node that answered, or `replica`; `took_ms` is the service's own time. A replica's
    answer lacks nothing that was confirmed more than `lag_s` ago. `recall_id` and `arm` are there
    if they were asked for: store what you do under that id, and mind what answered. `metric` is the
    learned distance that was searched by, if any.
    """

    memories: list[Hit]
    exact: bool
    partial: bool
    cached: bool = False
    served_by: str
    took_ms: float
    recall_id: str | None = None
    arm: Literal["memory", "no_memory", "placebo"] | None = None
    metric: str | None = None
    lag_s: float | None = None
    explain: dict[str, Any] | None = None

    @property
    def states(self) -> Float32Array:
        """The states found, shape (n, dimension). Raises ValueError without `vectors=True`."""
        return stacked([hit.state_vector for hit in self.memories])


def as_array(numbers: list[float] | None) -> Float32Array | None:
    """Return a stored vector as float32."""
    return None if numbers is None else np.asarray(numbers, dtype=np.float32)


def stacked(vectors: list[list[float] | None]) -> Float32Array:
    """Return stored vectors as one table. Raises ValueError when some were not asked for."""
    if any(vector is None for vector in vectors):
        raise ValueError("the answer holds no vectors: ask with vectors=True")
    return np.asarray(vectors, dtype=np.float32)
