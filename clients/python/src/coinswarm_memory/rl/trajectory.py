"""Episodes on their way into a memory: steps, returns and actions of any kind."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from coinswarm_memory import Agent, BulkReport, ItemsRefused
from coinswarm_memory.encode.times import TimeLike
from coinswarm_memory.encode.vectors import ArrayLike
from coinswarm_memory.errors import InvalidRows
from coinswarm_memory.forks import renew_after_fork
from coinswarm_memory.identity import new_id

Action: TypeAlias = str | npt.ArrayLike | Mapping[str, float]
"""A name, the numbers of a continuous action, or such numbers by name: {"size": 0.5}."""

CONTINUOUS = "continuous"
"""The name of an action that is numbers; they are kept in the metadata under `action`."""
_ACTION = "action"


class TrajectoryWriter:
    """Stores episodes of one agent. Use it as a context manager; leaving it ends the last episode.

    Each step gets its `episode_id` and `step`. Steps are stored when the episode ends, with
    metadata that is known only then: `return`, the discounted sum of rewards from that step on, and
    `n_step`: the sum over the next `n_step` steps, how many these are, and the discount of what
    follows, 0 after a terminal step. After an error within the block, the steps so far are stored.
    `tags` (`product`, `regime`, ...) hold for all steps.
    """

    def __init__(self, agent: Agent, *, n_step: int = 1, gamma: float = 0.99, **tags: Any) -> None:
        if n_step < 1 or not 0.0 <= gamma <= 1.0:
            raise InvalidRows(f"n_step must be 1 or more and gamma 0 to 1, got {n_step}, {gamma}")
        self.report = BulkReport()
        self._agent = agent
        self._n_step = n_step
        self._gamma = gamma
        self._tags = tags
        self._steps: list[dict[str, Any]] = []
        self._episode_id = new_id()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin another episode in a forked process: the parent stores the one it was writing."""
        self._episode_id, self._steps = new_id(), []

    @property
    def episode_id(self) -> str:
        """The episode that is being written."""
        return self._episode_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.end_episode()

    def append(
        self,
        state: ArrayLike,
        *,
        action: Action,
        reward: float,
        next_state: ArrayLike | None = None,
        terminal: bool = False,
        truncated: bool = False,
        timestamp: TimeLike | None = None,
        priority: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a step and return its memory's id.

        The episode ends with a `terminal` step, after which nothing is worth anything, and with a
        `truncated` one: there a learner expects rewards after `next_state`, as at any other step.
        """
        name, numbers = _named(action)
        memory_id = f"{self._episode_id}.{len(self._steps)}"
        self._steps.append(
            {
                **self._tags,
                "id": memory_id,
                "state": np.array(state, np.float32),
                "next_state": None if next_state is None else np.array(next_state, np.float32),
                "action": name,
                "reward": float(reward),
                "terminal": bool(terminal),
                "timestamp": timestamp,
                "outcome_at": timestamp,
                "priority": priority,
                "episode_id": self._episode_id,
                "step": len(self._steps),
                "metadata": {**(metadata or {}), **numbers},
            }
        )
        if terminal or truncated:
            self.end_episode()
        return memory_id

    def end_episode(self) -> str:
        """Store the episode and begin another one; return the id of the stored one.

        Raises ItemsRefused; the steps that were not refused are stored.
        """
        ended, steps = self._episode_id, self._steps
        self._episode_id, self._steps = new_id(), []
        if not steps:
            return ended
        self._add_returns(steps)
        report = self._agent.remember_many(steps)
        self.report.add(created=report.created, unchanged=report.unchanged, refused=report.refused)
        if report.refused:
            raise ItemsRefused(report.refused)
        return ended

    def _add_returns(self, steps: Sequence[dict[str, Any]]) -> None:
        rewards = np.array([step["reward"] for step in steps])
        total = 0.0
        for place in range(len(steps) - 1, -1, -1):
            total = rewards[place] + self._gamma * total
            ahead = rewards[place : place + self._n_step]
            discounts = self._gamma ** np.arange(len(ahead))
            is_over = steps[place + len(ahead) - 1]["terminal"]
            steps[place]["metadata"] |= {
                "return": float(total),
                "n_step": {
                    "n": len(ahead),
                    "return": float(ahead @ discounts),
                    "discount": 0.0 if is_over else float(self._gamma ** len(ahead)),
                },
            }


def action_numbers(metadata: Mapping[str, Any]) -> npt.NDArray[np.float64] | None:
    """Return the numbers of a continuous action, shape (n,). Returns None for a named one."""
    found = metadata.get(_ACTION)
    if isinstance(found, Mapping):
        found = list(found.values())
    return np.array(found, np.float64) if isinstance(found, list) else None


def _named(action: Action) -> tuple[str, dict[str, Any]]:
    if isinstance(action, str):
        return action, {}
    if isinstance(action, Mapping):
        numbers: Any = {str(name): float(value) for name, value in action.items()}
        values = list(numbers.values())
    else:
        numbers = values = np.asarray(action, np.float64).ravel().tolist()
    if not values or not np.isfinite(values).all():
        raise InvalidRows(f"an action must be a name or finite numbers, got {action!r}")
    return CONTINUOUS, {_ACTION: numbers}
