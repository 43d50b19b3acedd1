"""Concepts: what the whole swarm knows."""

from typing import Any

import msgspec

from coinswarm_memory.answers.experiences import as_array
from coinswarm_memory.answers.tables import Rows
from coinswarm_memory.encode.vectors import Float32Array


class Concept(msgspec.Struct, frozen=True, kw_only=True):
    """A pattern, a regime or a strategy, with its statistics."""

    id: str
    memory_type: str
    regime_name: str
    sharpe_ratio: float
    win_rate: float
    created_at: float
    metadata: dict[str, Any] = {}
    pinned: bool = False
    access_count: int | None = None
    last_accessed: float | None = None
    concept_vector: list[float] | None = None

    @property
    def vector(self) -> Float32Array | None:
        """Its vector, shape (dimension,). Returns None unless vectors were asked for."""
        return as_array(self.concept_vector)


class ConceptHit(Concept, frozen=True, kw_only=True):
    """One concept that a search found. `distance` is the cosine distance: 0 same, 2 opposite."""

    distance: float


class ConceptAnswer(Rows[ConceptHit], msgspec.Struct, frozen=True, kw_only=True):
    """The most similar concepts, nearest first."""

    memories: list[ConceptHit]
    exact: bool
    partial: bool
    cached: bool = False
    served_by: str
    took_ms: float
