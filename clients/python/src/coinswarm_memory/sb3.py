"""Stable-Baselines3: a replay buffer whose transitions are in a memory, drawn by priority.

    model = DQN(
        "MlpPolicy", env,
        replay_buffer_class=PrioritizedMemoryBuffer, replay_buffer_kwargs={"agent": agent},
    )
    model.learn(50_000, callback=PriorityCallback())

DQN's loss takes no importance weights, so what is drawn more often would count more often. Its loss
is Huber's, for which there is another remedy: no priority is below 1, where that loss turns from
squares to absolute values. Then drawing by priority learns what another loss would learn by uniform
draws (Fujimoto, Meger and Precup 2020, "An Equivalence between Loss Functions and Non-Uniform
Sampling in Experience Replay", https://arxiv.org/abs/2007.06049). A `train` of your own that weighs
its loss (Schaul et al. 2016) takes `buffer.draws[-1].weights` and `least_priority=0`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from coinswarm_memory import Agent, Draw, ItemsRefused
from coinswarm_memory.errors import InvalidRows
from coinswarm_memory.identity import new_id
from coinswarm_memory.packages import missing
from coinswarm_memory.rl.trajectory import CONTINUOUS, action_numbers

try:
    import torch
    from gymnasium import spaces
    from stable_baselines3.common.buffers import ReplayBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.type_aliases import ReplayBufferSamples
except ImportError as error:
    raise missing("stable_baselines3", "sb3") from error

_ROOM = 1
"""The size of Stable-Baselines3's own arrays, in which nothing is kept."""
MAX_DRAWS = 64
"""Draws that a callback may still rate; without one the oldest are forgotten."""


class PrioritizedMemoryBuffer(ReplayBuffer):  # type: ignore[misc]
    """Keeps transitions in an agent's memory and draws them from there.

    An observation is stored unchanged at the beginning of the state, so it must have fewer numbers
    than the service's dimension. Transitions are stored in batches of `store_every`, and before a
    draw when none is stored yet. A new one has the highest priority so far, and none gets less than
    `least_priority`. Nothing is deleted: `buffer_size` is not used. `alpha` 0 draws uniformly.
    """

    def __init__(  # noqa: PLR0917 - as Stable-Baselines3 calls it
        self,
        buffer_size: int,  # noqa: ARG002
        observation_space: "spaces.Space[Any]",
        action_space: "spaces.Space[Any]",
        device: "torch.device | str" = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,  # noqa: ARG002
        handle_timeout_termination: bool = True,
        *,
        agent: Agent,
        dimension: int = 256,
        alpha: float = 0.6,
        beta: float = 0.4,
        store_every: int = 64,
        least_priority: float = 1.0,
        **tags: Any,
    ) -> None:
        super().__init__(
            _ROOM * n_envs,
            observation_space,
            action_space,
            device=device,
            n_envs=n_envs,
            handle_timeout_termination=handle_timeout_termination,
        )
        self._width = int(np.prod(self.obs_shape))
        if self._width >= dimension:
            raise InvalidRows(
                f"an observation has {self._width} numbers, and the state only {dimension}: one "
                "place more is needed. Serve a larger MEMORY_DIMENSION, or wrap the environment."
            )
        self._agent = agent
        self._dimension = dimension
        self._alpha = alpha
        self._beta = beta
        self._store_every = store_every
        self._tags = tags
        self._run = new_id()
        self._waiting: list[dict[str, Any]] = []
        self._added = 0
        self._stored = 0
        self._least = least_priority
        self._highest = max(1.0, least_priority)
        self._learner: PriorityCallback | None = None
        self.draws: list[Draw] = []

    def __getstate__(self) -> dict[str, Any]:
        """Store what waits, so that no copy stores it again, and keep the rest."""
        self.flush()
        return {**self.__dict__, "_learner": None, "draws": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on under names of its own: others may have been loaded from the same file."""
        self.__dict__ |= {**state, "_run": new_id()}

    def size(self) -> int:
        """Return how many transitions this run has added."""
        return self._added

    def add(  # noqa: PLR0917
        self,
        obs: npt.NDArray[Any],
        next_obs: npt.NDArray[Any],
        action: npt.NDArray[Any],
        reward: npt.NDArray[Any],
        done: npt.NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Keep one transition of each environment. Raises ItemsRefused, ServiceProblem."""
        for place in range(self.n_envs):
            is_cut = self.handle_timeout_termination and infos[place].get(
                "TimeLimit.truncated", False
            )
            self._waiting.append(
                {
                    **self._tags,
                    "id": f"{self._run}.{self._added}",
                    "state": self._state(obs[place]),
                    "next_state": self._state(next_obs[place]),
                    "reward": float(reward[place]),
                    "terminal": bool(done[place]) and not is_cut,
                    "priority": self._highest,
                    **self._action(np.asarray(action[place])),
                }
            )
            self._added += 1
        if len(self._waiting) >= self._store_every:
            self.flush()

    def flush(self) -> None:
        """Store what waits. Raises ItemsRefused."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        report = self._agent.remember_many(waiting)
        if report.refused:
            raise ItemsRefused(report.refused)
        self._stored += len(waiting)

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Draw a batch as tensors. `env` normalises, as in Stable-Baselines3."""
        if not self._stored:
            self.flush()
        self.rate_draws()
        draw = self._agent.sample(
            batch_size, strategy="prioritized", alpha=self._alpha, beta=self._beta
        )
        self.draws = [*self.draws[-MAX_DRAWS + 1 :], draw]
        return self.tensors(draw, env)

    def tensors(self, draw: Draw, env: Any = None) -> ReplayBufferSamples:
        """Return drawn transitions as Stable-Baselines3 has them."""
        arrays = draw.arrays
        count = len(draw)
        rewards = arrays.rewards.astype(np.float32).reshape(-1, 1)
        return ReplayBufferSamples(
            observations=self._observations(arrays.states, count, env),
            actions=self.to_torch(self._actions(draw)),
            next_observations=self._observations(arrays.next_states, count, env),
            dones=self.to_torch(arrays.terminals.astype(np.float32).reshape(-1, 1)),
            rewards=self.to_torch(self._normalize_reward(rewards, env)),
        )

    def rate(self, draw: Draw, errors: npt.NDArray[np.float64]) -> None:
        """Give drawn transitions the sizes of their errors as priorities, shape (n,)."""
        priorities = np.maximum(errors, self._least)
        draw.update_priorities(priorities)
        self._highest = max(self._highest, float(priorities.max(initial=0.0)))

    def learn_with(self, learner: "PriorityCallback") -> None:
        """Let a callback tell the errors of what was drawn, before each further draw."""
        self._learner = learner

    def rate_draws(self) -> None:
        """Give what was drawn and learned from its new priorities."""
        if self._learner is None:
            return
        draws, self.draws = self.draws, []
        for draw in draws:
            self.rate(draw, self._learner.errors(self, draw))

    def _observations(self, states: npt.NDArray[np.float32], count: int, env: Any) -> Any:
        plain = states[:, : self._width].reshape(count, *self.obs_shape)
        typed = plain.astype(self.observation_space.dtype)
        return self.to_torch(self._normalize_obs(typed, env))

    def _state(self, observation: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        state = np.zeros(self._dimension, np.float32)
        state[: self._width] = np.asarray(observation, np.float32).ravel()
        state[-1] = 1.0  # a state of nothing but zeros has no direction
        return state

    def _action(self, action: npt.NDArray[Any]) -> dict[str, Any]:
        if isinstance(self.action_space, spaces.Discrete):
            return {"action": str(int(action.item()))}
        numbers = action.astype(np.float64).ravel().tolist()
        return {"action": CONTINUOUS, "metadata": {"action": numbers}}

    def _actions(self, draw: Draw) -> npt.NDArray[Any]:
        if isinstance(self.action_space, spaces.Discrete):
            return np.array([int(name or 0) for name in draw.actions], np.int64).reshape(-1, 1)
        numbers = [action_numbers(metadata) for metadata in draw.arrays.metadata]
        return np.array(numbers, np.float32).reshape(len(draw), -1)


class PriorityCallback(BaseCallback):  # type: ignore[misc]
    """Gives transitions that DQN has learned from the sizes of their errors as priorities.

    After each step of learning, before the next draw, as Schaul et al. 2016 do: DQN takes many
    steps in a row, which would all draw by the priorities from before them.
    """

    def _on_training_start(self) -> None:
        if not hasattr(self.model, "q_net_target"):
            raise TypeError(
                f"PriorityCallback is for DQN. With {type(self.model).__name__}, give the buffer's "
                "`rate` the errors, or draw uniformly by alpha=0."
            )
        self._buffer().learn_with(self)

    def _on_step(self) -> bool:
        self._buffer().rate_draws()
        return True

    def _buffer(self) -> PrioritizedMemoryBuffer:
        buffer = self.model.replay_buffer
        if not isinstance(buffer, PrioritizedMemoryBuffer):
            raise TypeError("PriorityCallback needs replay_buffer_class=PrioritizedMemoryBuffer")
        return buffer

    def errors(self, buffer: PrioritizedMemoryBuffer, draw: Draw) -> npt.NDArray[np.float64]:
        """Return the sizes of the errors of drawn transitions, shape (n,)."""
        model: Any = self.model
        batch = buffer.tensors(draw, model.get_vec_normalize_env())
        with torch.no_grad():
            following = model.q_net_target(batch.next_observations).max(dim=1, keepdim=True)[0]
            target = batch.rewards + (1 - batch.dones) * model.gamma * following
            value = torch.gather(model.q_net(batch.observations), 1, batch.actions.long())
            errors = (target - value).abs().flatten().cpu().numpy()
        return np.asarray(errors, np.float64)
