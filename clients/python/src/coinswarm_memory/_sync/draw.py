"""Experiences drawn to train on, and the priorities that a learner gives them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from coinswarm_memory._sync.caller import Caller
from coinswarm_memory._sync.questions import prioritize
from coinswarm_memory.answers.sample import SampleArrays
from coinswarm_memory.encode.vectors import Float32Array
from coinswarm_memory.errors import InvalidRows
from coinswarm_memory.operations.episodic import PrioritiesChanged
from coinswarm_memory.operations.sample import sample
from coinswarm_memory.view import View


class Draw:
    """Experiences that were drawn, as arrays of one row each (see SampleArrays)."""

    def __init__(self, caller: Caller, arrays: SampleArrays, view: View) -> None:
        self._caller = caller
        self._view = view
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays.ids)

    @property
    def ids(self) -> list[str]:
        """The memories' ids."""
        return self.arrays.ids

    @property
    def states(self) -> Float32Array:
        """The states, shape (n, dimension)."""
        return self.arrays.states

    @property
    def actions(self) -> list[str | None]:
        """What was done."""
        return self.arrays.actions

    @property
    def rewards(self) -> npt.NDArray[np.float64]:
        """What came of it, shape (n,)."""
        return self.arrays.rewards

    @property
    def next_states(self) -> Float32Array:
        """The states that followed, shape (n, dimension); zeros if `has_next` is False."""
        return self.arrays.next_states

    @property
    def has_next(self) -> npt.NDArray[np.bool_]:
        """Whether a next state was stored, shape (n,)."""
        return self.arrays.has_next

    @property
    def terminals(self) -> npt.NDArray[np.bool_]:
        """Whether the episode ended there, shape (n,)."""
        return self.arrays.terminals

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Importance weights, shape (n,): the largest of the population is 1."""
        return self.arrays.weights

    @property
    def seed(self) -> int:
        """The seed that draws the same experiences again."""
        return self.arrays.seed

    def update_priorities(self, values: npt.ArrayLike | Sequence[float]) -> list[PrioritiesChanged]:
        """Give the drawn experiences these priorities, such as the errors of a learning step.

        values: shape (n,), at least 0. One request for each agent and thousand memories. Raises
        InvalidRows before anything is sent.
        """
        self._view.require_present("Rating")
        numbers = np.asarray(values, np.float64)
        if numbers.shape != (len(self),):
            raise InvalidRows(f"priorities must have shape ({len(self)},), got {numbers.shape}")
        wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
        if len(wrong):
            raise InvalidRows(f"priorities[{wrong[0]}] is {numbers[wrong[0]]}: must be 0 or more")
        by_agent: dict[str, dict[str, float]] = {}
        for agent_id, name, value in zip(self.arrays.agent_ids, self.ids, numbers, strict=True):
            by_agent.setdefault(agent_id, {})[name] = float(value)
        return [prioritize(self._caller, agent, new) for agent, new in by_agent.items()]


def draw(caller: Caller, wanted: dict[str, Any], view: View) -> Draw:
    """Draw experiences."""
    return Draw(caller, caller.call(sample(wanted)), view)
