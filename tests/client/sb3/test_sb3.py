"""Stable-Baselines3's DQN learns from a memory. `make test-rl` installs torch and runs this."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if find_spec("stable_baselines3") is None:
    pytest.skip("NOT CHECKED: Stable-Baselines3; run make test-rl", allow_module_level=True)

import cpprb
import gymnasium
import torch
from scipy.stats import chi2, chisquare
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import ReplayBuffer

from coinswarm_memory import Memory
from coinswarm_memory.sb3 import PrioritizedMemoryBuffer, PriorityCallback
from tests.client.conftest import states
from tests.conftest import DIMENSION

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # torch's and gymnasium's own
]


def cartpole(
    memory: Memory,
    agent: str,
    seed: int,
    buffer: type[PrioritizedMemoryBuffer] = PrioritizedMemoryBuffer,
    **more: Any,
) -> DQN:
    return DQN(
        "MlpPolicy",
        "CartPole-v1",
        replay_buffer_class=buffer,
        replay_buffer_kwargs={"agent": memory.agent(agent), "dimension": DIMENSION, **more},
        learning_starts=100,
        train_freq=16,
        gradient_steps=2,
        seed=seed,
        device="cpu",
    )


def pendulum(memory: Memory, agent: str) -> SAC:
    return SAC(
        "MlpPolicy",
        "Pendulum-v1",
        replay_buffer_class=PrioritizedMemoryBuffer,
        replay_buffer_kwargs={"agent": memory.agent(agent), "dimension": DIMENSION},
        learning_starts=20,
        train_freq=20,
        gradient_steps=1,
        seed=1,
        device="cpu",
    )


def test_dqn_learns_from_it_and_rates_what_it_saw(memory: Memory) -> None:
    unrated: list[int] = []

    class Watched(PrioritizedMemoryBuffer):
        def tensors(self, draw: Any, env: Any = None) -> Any:
            unrated.append(len(self.draws))
            return super().tensors(draw, env)

    model = cartpole(memory, "dqn", 1, Watched, store_every=16, least_priority=0.0, product="x")
    model.learn(400, callback=PriorityCallback())
    assert set(unrated) == {0, 1}, "each draw is rated before the next one"
    stored = list(memory.agent("dqn").query())
    assert 384 <= len(stored) <= 400
    rated = [one for one in stored if one.priority_at is not None]
    assert len(rated) > 100
    assert len({one.priority for one in rated}) > 50
    buffer: Any = model.replay_buffer
    assert buffer.size() == 400
    batch = buffer.sample(32)
    assert batch.observations.shape == (32, 4)
    assert batch.actions.dtype == torch.int64


def test_what_is_drawn_is_what_was_added(memory: Memory) -> None:
    env = gymnasium.make("CartPole-v1")
    ours = PrioritizedMemoryBuffer(
        10,
        env.observation_space,
        env.action_space,
        "cpu",
        agent=memory.agent("same"),
        dimension=DIMENSION,
        alpha=0.0,
    )
    theirs = ReplayBuffer(1000, env.observation_space, env.action_space, "cpu")
    random = np.random.default_rng(0)
    for step in range(50):
        transition = (
            random.normal(size=(1, 4)).astype(np.float32),
            random.normal(size=(1, 4)).astype(np.float32),
            random.integers(0, 2, (1, 1)),
            random.normal(size=1).astype(np.float32),
            np.array([step % 7 == 0]),
            [{"TimeLimit.truncated": step % 14 == 0}],
        )
        ours.add(*transition)
        theirs.add(*transition)
    ours.flush()
    found, expected = ours.sample(50), theirs._get_samples(np.arange(50))
    for name in ("observations", "actions", "next_observations", "dones", "rewards"):
        rows = [
            sorted(map(tuple, getattr(batch, name).double().tolist()))
            for batch in (found, expected)
        ]
        assert np.allclose(rows[0], rows[1]), name


def test_frequencies_are_those_of_cpprb(memory: Memory) -> None:
    """The first of each draw, of three streams: without replacement the others depend on it."""
    count, draws, alpha = 8, 500, 0.7
    priorities = np.array([0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0])
    expected = priorities**alpha / (priorities**alpha).sum()
    statistics = []
    for stream in range(3):
        agent = memory.agent(f"chances_{stream}")
        agent.remember_many(
            {
                "state": states(count),
                "id": [str(i) for i in range(count)],
                "reward": [1.0] * count,
                "priority": priorities,
            }
        )
        ours = np.zeros(count)
        for seed in range(draws):
            first = agent.sample(1, strategy="prioritized", alpha=alpha, seed=seed)
            ours[int(first.ids[0])] += 1
        statistics.append(chisquare(ours, expected * draws).statistic)
    assert chi2.sf(sum(statistics), 3 * (count - 1)) > 0.01
    oracle = cpprb.PrioritizedReplayBuffer(count, {"i": {"dtype": np.int64}}, alpha=alpha)
    oracle.add(i=np.arange(count), priorities=priorities)
    theirs = np.concatenate([oracle.sample(100, beta=0.4)["i"].ravel() for _ in range(200)])
    found = np.bincount(theirs, minlength=count)
    assert chisquare(found, expected * found.sum()).pvalue > 0.01, "and cpprb's are the same"
    drawn = agent.sample(count, strategy="prioritized", alpha=alpha, beta=0.4)
    sample = oracle.sample(2000, beta=0.4)
    weights = dict(zip(sample["i"].ravel().tolist(), sample["weights"].tolist(), strict=True))
    assert len(weights) == count
    for name, weight in zip(drawn.ids, drawn.weights, strict=True):
        assert weight == pytest.approx(weights[int(name)], rel=1e-3)


def test_continuous_actions(memory: Memory) -> None:
    model = pendulum(memory, "sac")
    model.learn(60)
    buffer: Any = model.replay_buffer
    assert buffer.sample(8).actions.shape == (8, 1)


def test_a_saved_model_goes_on(memory: Memory, tmp_path: Path) -> None:
    model = cartpole(memory, "saved", 1, store_every=1000)
    model.learn(112)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    for _ in range(2):
        again = DQN.load(tmp_path / "model", env=model.get_env())
        again.load_replay_buffer(tmp_path / "buffer")
        again.learn(32, reset_num_timesteps=False, callback=PriorityCallback())
        buffer: Any = again.replay_buffer
        buffer.flush()
        assert buffer.size() == 144
        for copy in (buffer._agent, again.replay_buffer_kwargs["agent"]):
            copy._caller.close()
    assert len(list(memory.agent("saved").query())) == 112 + 2 * 32


def test_a_callback_refuses_what_it_cannot_rate(memory: Memory) -> None:
    model = pendulum(memory, "refused")
    with pytest.raises(TypeError, match="PriorityCallback is for DQN"):
        model.learn(1, callback=PriorityCallback())


def test_an_observation_that_does_not_fit_is_refused(memory: Memory) -> None:
    space = gymnasium.spaces.Box(-1, 1, (DIMENSION,))
    with pytest.raises(ValueError, match="MEMORY_DIMENSION"):
        PrioritizedMemoryBuffer(
            10, space, gymnasium.spaces.Discrete(2), agent=memory.agent("wide"), dimension=DIMENSION
        )
