"""The Gymnasium wrapper with real environments: CartPole, and gym-anytrading's Google shares."""

import subprocess
import sys
from typing import Any

import gym_anytrading  # noqa: F401 - registers its environments
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from coinswarm_memory import Memory
from coinswarm_memory.gym import MemoryAugmented
from coinswarm_memory.packages import WHERE
from tests.client.conftest import states
from tests.conftest import DIMENSION
from tests.kit.service_process import REPOSITORY


def eight(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """CartPole's four numbers, bounded, and four that keep it from being all zeros."""
    return np.concatenate([np.tanh(observation), np.ones(4, np.float32)])


@pytest.mark.filterwarnings("ignore:.*minimum value is -infinity:UserWarning")
@pytest.mark.filterwarnings("ignore:.*maximum value is infinity:UserWarning")
@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version:UserWarning")
def test_gymnasium_finds_no_fault(memory: Memory) -> None:
    agent = memory.agent("checked")
    agent.remember_many(states(20), action="1", reward=1.0)
    plain = gymnasium.make("CartPole-v1", disable_env_checker=True)
    env = MemoryAugmented(plain, agent, eight, learn=False)  # what learns does not repeat itself
    check_env(env, skip_render_check=True, skip_close_check=True)
    env.close()


def test_transitions_are_stored_and_neighbours_seen(memory: Memory) -> None:
    agent = memory.agent("cartpole")
    env = MemoryAugmented(
        gymnasium.make("CartPole-v1"), agent, eight, k=5, product="CartPole", regime="v1"
    )
    first, _ = env.reset(seed=1)
    assert first["neighbours"].shape == (5, 5)
    assert not first["neighbours"].any()
    assert first["novelty"] == [1.0]
    seen, is_over = [first], False
    actions: list[int] = []
    while not is_over:
        actions.append(len(actions) % 2)
        observation, _, is_over, _, _ = env.step(actions[-1])
        assert env.observation_space.contains(observation)
        seen.append(observation)
    stored = list(agent.query(page=7))
    assert len(stored) == len(actions)
    assert sum(one.terminal for one in stored) == 1
    assert len({one.episode_id for one in stored}) == 1
    assert sorted(one.step or 0 for one in stored) == list(range(len(actions)))
    assert {one.product for one in stored} == {"CartPole"}
    again, _ = env.reset(seed=1)
    present, distance, reward_seen, *code = again["neighbours"][0]
    assert (present, reward_seen, code) == (1.0, 1.0, [1.0, 0.0]), (
        "the same moment, and what was done"
    )
    assert distance == pytest.approx(0, abs=1e-6)
    assert again["novelty"][0] < 1.0
    one = agent.get(agent.recall(eight(again["observation"]), k=1)[0].id)
    assert one.next_state == pytest.approx(eight(seen[1]["observation"]), abs=1e-6)
    env.close()


def _google(clock: bool, agent: Any) -> MemoryAugmented:
    env = gymnasium.make(
        "stocks-v0", frame_bound=(20, 70), window_size=DIMENSION + 1, disable_env_checker=True
    )

    def now(_: object) -> Any:
        trading: Any = env.unwrapped
        return trading.df.index[trading._current_tick].tz_localize("UTC")

    def returns(window: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.diff(np.log(window[:, 0].astype(np.float64))) + 1e-9

    return MemoryAugmented(env, agent, returns, k=4, clock=now if clock else None)


def _live(env: MemoryAugmented) -> NDArray[np.float32]:
    """How many neighbours each observation of an episode has."""
    observation, _ = env.reset(seed=1)
    seen, is_over = [observation["neighbours"][:, 0].sum()], False
    while not is_over:
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        seen.append(observation["neighbours"][:, 0].sum())
        is_over = terminated or truncated
    return np.array(seen)


def test_a_second_episode_over_the_same_prices_sees_nothing_of_the_future(memory: Memory) -> None:
    known = _google(clock=True, agent=memory.agent("google"))
    _live(known)
    seen = _live(known)
    assert list(seen[:6]) == [0, 1, 2, 3, 4, 4], "the first episode's outcomes, up to each day"
    unbounded = _google(clock=False, agent=memory.agent("google"))
    assert _live(unbounded)[0] == 4, "without a clock it sees them all"


def test_continuous_actions_come_back_as_numbers(memory: Memory) -> None:
    env = MemoryAugmented(
        gymnasium.make("Pendulum-v1", max_episode_steps=3),
        memory.agent("pendulum"),
        lambda observation: np.concatenate([observation, np.ones(5, np.float32)]),
        k=2,
    )
    env.reset(seed=3)
    for action in (0.5, -1.25, 2.0):
        env.step(np.array([action], np.float32))
    observation, _ = env.reset(seed=3)
    assert observation["neighbours"][0, 3] == 0.5
    assert observation["neighbours"][0, 2] < 0
    env.close()


def test_other_action_spaces_are_refused(memory: Memory) -> None:
    class Odd(gymnasium.Env[Any, Any]):  # type: ignore[misc]
        observation_space = spaces.Discrete(2)
        action_space = spaces.MultiBinary(3)

    with pytest.raises(TypeError, match="MultiBinary"):
        MemoryAugmented(Odd(), memory.agent("odd"), lambda _: states(1)[0])


def test_nothing_of_a_framework_is_imported_until_it_is_used() -> None:
    code = """
import sys, coinswarm_memory, coinswarm_memory.backtest
heavy = {"gymnasium", "torch", "stable_baselines3", "langchain_core", "langgraph", "mcp"}
heavy |= {"pandas", "pyarrow", "typer"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
sys.modules["gymnasium"] = None
try:
    import coinswarm_memory.gym
except coinswarm_memory.PackageMissing as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(REPOSITORY / "clients/python/src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = f"This needs gymnasium: pip install './clients/python[gym]' {WHERE}"
    assert ended.stdout.rstrip() == said
