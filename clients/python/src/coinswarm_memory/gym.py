"""Gymnasium: an environment whose observations hold what similar moments taught.

    env = MemoryAugmented(gymnasium.make("CartPole-v1"), memory.agent("agent_1"), encoder)

Retrieved neighbours as inputs of a policy: Humphreys et al. 2022, https://arxiv.org/abs/2206.05314.
"""

from collections.abc import Callable
from typing import Any, SupportsFloat, TypeAlias

import numpy as np
import numpy.typing as npt

from coinswarm_memory import Agent, Recall
from coinswarm_memory.encode.times import TimeLike
from coinswarm_memory.encode.vectors import ArrayLike, Float32Array
from coinswarm_memory.errors import ItemsRefused
from coinswarm_memory.identity import new_id
from coinswarm_memory.packages import missing

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise missing("gymnasium", "gym") from error

Encoder: TypeAlias = Callable[[Any], ArrayLike]
"""Turns an observation into a state, shape (dimension,): the same for the same observation."""

_OF_A_NEIGHBOUR = 3
_ACTION = "action"
_WORST = -1e300
"""A bound on the reward that leaves out nothing but open experiences."""


class MemoryAugmented(gymnasium.Wrapper):  # type: ignore[misc]
    """Stores each transition of `env` and adds the outcomes of similar moments to the observation.

    The observation becomes a dict:

    - `observation`: that of `env`.
    - `neighbours`: float32, shape (k, 3 + a), nearest first. Columns: 1 for a neighbour
      and 0 for a missing one, its distance (0 to 2), its reward, and its action: one-hot for a
      Discrete action space of a actions, or the numbers of a Box of a numbers.
    - `novelty`: float32, shape (1,), 0 to 1: how far the state is from everything stored.

    Transitions are stored in batches of `store_every`, at the end of each episode and by `close`,
    so a run with the same seeds can be repeated exactly. Each has its `episode_id` and `step`, by
    which `coinswarm_memory.rl` reads several steps and sequences. `clock` returns the market's time
    of the environment after `reset` or `step`; questions then carry it as `as_of`, and so do the
    outcomes stored. Without it, the present time is used. With `learn` False nothing is stored.
    `tags` are the `product`, `regime` and other fields of all transitions.
    """

    def __init__(
        self,
        env: "gymnasium.Env[Any, Any]",
        memory: Agent,
        encoder: Encoder,
        *,
        k: int = 8,
        clock: "Callable[[gymnasium.Env[Any, Any]], TimeLike] | None" = None,
        learn: bool = True,
        store_every: int = 256,
        **tags: Any,
    ) -> None:
        super().__init__(env)
        self._memory = memory
        self._encoder = encoder
        self._k = k
        self._clock = clock
        self._learn = learn
        self._store_every = store_every
        self._tags = tags
        self._actions = _Actions(env.action_space)
        self._state: ArrayLike | None = None
        self._at: TimeLike | None = None
        self._waiting: list[dict[str, Any]] = []
        self._episode_id, self._step = new_id(), 0
        low = np.zeros((k, _OF_A_NEIGHBOUR + self._actions.width), np.float32)
        low[:, 2:] = -np.inf
        high = np.full_like(low, np.inf)
        high[:, :2] = (1.0, 2.0)
        self.observation_space = spaces.Dict(
            {
                "observation": env.observation_space,
                "neighbours": spaces.Box(low, high, dtype=np.float32),
                "novelty": spaces.Box(0.0, 1.0, (1,), np.float32),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode, after storing the rest of the one before."""
        self._store()
        self._episode_id, self._step = new_id(), 0
        observation, info = self.env.reset(seed=seed, options=options)
        return self._seen(observation), info

    def step(self, action: Any) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step and keep the transition."""
        state, at = self._state, self._at
        observation, reward, terminated, truncated, info = self.env.step(action)
        seen = self._seen(observation)
        if self._learn:
            self._waiting.append(
                {
                    "state": state,
                    "next_state": self._state,
                    "reward": float(reward),
                    "terminal": bool(terminated),
                    "timestamp": at,
                    "outcome_at": self._at,
                    "episode_id": self._episode_id,
                    "step": self._step,
                    **self._actions.fields(action),
                    **self._tags,
                }
            )
        self._step += 1
        if terminated or truncated or len(self._waiting) >= self._store_every:
            self._store()
        return seen, reward, terminated, truncated, info

    def close(self) -> None:
        """Store what is left and close the environment."""
        self._store()
        super().close()

    def _seen(self, observation: Any) -> dict[str, Any]:
        self._state = self._encoder(observation)
        self._at = None if self._clock is None else self._clock(self.env)
        found = self._memory.recall(self._state, k=self._k, as_of=self._at, min_reward=_WORST)
        known = self._memory.estimate(self._state, k=self._k, as_of=self._at)
        novelty = 1.0 if known.novelty is None else known.novelty
        return {
            "observation": observation,
            "neighbours": self._table(found),
            "novelty": np.array([novelty], np.float32),
        }

    def _table(self, found: Recall) -> Float32Array:
        table = np.zeros((self._k, _OF_A_NEIGHBOUR + self._actions.width), np.float32)
        for row, hit in zip(table, found, strict=False):
            row[:_OF_A_NEIGHBOUR] = (1.0, hit.distance, hit.reward or 0.0)
            row[_OF_A_NEIGHBOUR:] = self._actions.code(hit.action, hit.metadata)
        return table

    def _store(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            report = self._memory.remember_many(waiting)
            if report.refused:
                raise ItemsRefused(report.refused)


class _Actions:
    """Actions as they are stored and as numbers of a table."""

    def __init__(self, space: "spaces.Space[Any]") -> None:
        if isinstance(space, spaces.Discrete):
            self._first, self.width = int(space.start), int(space.n)
            self._is_discrete = True
        elif isinstance(space, spaces.Box):
            self._first, self.width = 0, int(np.prod(space.shape))
            self._is_discrete = False
        else:
            raise TypeError(f"actions must be Discrete or Box, got {type(space).__name__}")

    def fields(self, action: Any) -> dict[str, Any]:
        """Return what is stored of an action: a name, or its numbers in the metadata."""
        if self._is_discrete:
            return {"action": str(int(action))}
        numbers = np.asarray(action, np.float64).ravel().tolist()
        return {"action": "continuous", "metadata": {_ACTION: numbers}}

    def code(self, name: str | None, metadata: dict[str, Any]) -> npt.NDArray[np.float32]:
        """Return an action's numbers, shape (width,): zeros for one outside the space."""
        code = np.zeros(self.width, np.float32)
        if not self._is_discrete:
            numbers = metadata.get(_ACTION)
            if isinstance(numbers, list) and len(numbers) == self.width:
                code[:] = numbers
        elif name is not None and name.lstrip("-").isdecimal():
            place = int(name) - self._first
            if 0 <= place < self.width:
                code[place] = 1.0
        return code
