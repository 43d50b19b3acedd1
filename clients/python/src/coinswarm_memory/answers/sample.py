"""Experiences that were drawn, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from coinswarm_memory.answers.experiences import Experience
from coinswarm_memory.encode.vectors import Float32Array


class Drawn(Experience, frozen=True, kw_only=True):
    """One experience that was drawn, with its probability and its importance weight."""

    probability: float
    weight: float


class SamplePage(msgspec.Struct, frozen=True, kw_only=True):
    """What one request drew. `population`: how many could be drawn."""

    memories: list[Drawn]
    population: int
    seed: int
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class SampleArrays:
    """Columns of n drawn experiences, in the order in which they were drawn.

    `states` and `next_states` have shape (n, dimension), float32; if nothing followed (`has_next`
    False), the next state is zeros. `rewards`, `weights` and `probabilities` are float64,
    `terminals` and `has_next` booleans; `weights` are importance weights, scaled so that the
    largest of the population is 1.
    """

    ids: list[str]
    agent_ids: list[str]
    states: Float32Array
    actions: list[str | None]
    rewards: npt.NDArray[np.float64]
    next_states: Float32Array
    has_next: npt.NDArray[np.bool_]
    terminals: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    timestamps: npt.NDArray[np.float64]
    seed: int
    population: int
    metadata: list[dict[str, Any]]
    episode_ids: list[str | None]
    steps: list[int | None]
    next_cursor: str | None


def arrays_of(page: SamplePage) -> SampleArrays:
    """Return a page of drawn experiences as columns."""
    drawn = page.memories
    states = np.array([d.state_vector for d in drawn], np.float32)
    if not drawn:
        states = states.reshape(0, 0)
    has_next = np.array([d.next_state_vector is not None for d in drawn], np.bool_)
    next_states = np.zeros_like(states)
    if has_next.any():
        next_states[has_next] = [d.next_state_vector for d in drawn if d.next_state_vector]
    return SampleArrays(
        ids=[d.id for d in drawn],
        agent_ids=[d.agent_id for d in drawn],
        states=states,
        actions=[d.action for d in drawn],
        rewards=_numbers([d.reward or 0.0 for d in drawn]),
        next_states=next_states,
        has_next=has_next,
        terminals=np.array([d.terminal for d in drawn], np.bool_),
        weights=_numbers([d.weight for d in drawn]),
        probabilities=_numbers([d.probability for d in drawn]),
        timestamps=_numbers([d.timestamp for d in drawn]),
        seed=page.seed,
        population=page.population,
        metadata=[d.metadata for d in drawn],
        episode_ids=[d.episode_id for d in drawn],
        steps=[d.step for d in drawn],
        next_cursor=page.next_cursor,
    )


def _numbers(values: Sequence[float]) -> npt.NDArray[np.float64]:
    return np.array(values, np.float64)
