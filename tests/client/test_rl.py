"""Episodes are stored with their returns, and batches are what a learner needs."""

import os
import pickle
import threading
import time

import numpy as np
import pytest

from coinswarm_memory import InvalidRows, Memory
from coinswarm_memory.rl import (
    Batch,
    RateLimiter,
    ReplayBuffer,
    TooFewInserts,
    TrajectoryWriter,
    action_numbers,
)
from tests.client.conftest import states
from tests.conftest import DIMENSION
from tests.kit.service_process import ServiceProcess

GAMMA = 0.9


def write_episode(
    memory: Memory, agent: str, length: int, *, terminal: bool = True, with_next: bool = True
) -> str:
    some = states(length + 1, seed=length)
    with TrajectoryWriter(memory.agent(agent), n_step=3, gamma=GAMMA, product="p") as writer:
        episode = writer.episode_id
        for step in range(length):
            writer.append(
                some[step],
                action=f"a{step}",
                reward=float(step + 1),
                next_state=some[step + 1] if with_next else None,
                terminal=terminal and step == length - 1,
                truncated=not terminal and step == length - 1,
            )
        assert writer.episode_id != episode
    assert writer.report.created == length
    return episode


def test_an_episode_is_stored_with_its_returns(memory: Memory) -> None:
    episode = write_episode(memory, "writer", 5)
    stored = sorted(memory.agent("writer").query(episode_id=episode), key=lambda one: one.step or 0)
    assert [one.step for one in stored] == [0, 1, 2, 3, 4]
    assert [one.reward for one in stored] == [1, 2, 3, 4, 5]
    assert [one.terminal for one in stored] == [False] * 4 + [True]
    whole = [sum(GAMMA**k * (t + k + 1) for k in range(5 - t)) for t in range(5)]
    assert [one.metadata["return"] for one in stored] == pytest.approx(whole)
    assert [one.metadata["n_step"]["n"] for one in stored] == [3, 3, 3, 2, 1]
    assert stored[1].metadata["n_step"]["return"] == pytest.approx(2 + 0.9 * 3 + 0.81 * 4)
    discounts = [one.metadata["n_step"]["discount"] for one in stored]
    assert discounts == pytest.approx([0.729, 0.729, 0, 0, 0]), "nothing follows a terminal step"
    (part,) = memory.agent("writer").steps([(episode, 1, 3)])
    assert [hit.step for hit in part] == [1, 2, 3]
    assert part[0].state == pytest.approx(states(6, seed=5)[1])


@pytest.mark.parametrize(
    ("terminal", "with_next"), [(True, True), (False, True), (True, False), (False, False)]
)
def test_n_steps_are_summed_up_to_the_episode_s_end(
    memory: Memory, terminal: bool, with_next: bool
) -> None:
    agent = f"n_step_{terminal}_{with_next}"
    write_episode(memory, agent, 6, terminal=terminal, with_next=with_next)
    buffer = ReplayBuffer(memory.agent(agent), strategy="uniform", gamma=GAMMA)
    batch = buffer.sample(6, n_step=3)
    some = states(7, seed=6)
    seen = set()
    for place in range(len(batch)):
        step = int((batch.actions[place] or "")[1:])
        seen.add(step)
        count = min(3, 6 - step)
        expected = sum(GAMMA**k * (step + k + 1) for k in range(count))
        assert batch.rewards[place] == pytest.approx(expected)
        is_last = step + count == 6
        is_known = with_next or not is_last
        following = some[step + count] if is_known else np.zeros(DIMENSION)
        assert batch.next_states[place] == pytest.approx(following)
        assert batch.terminals[place] == (terminal and is_last)
        is_worth = is_known and not (terminal and is_last)
        assert batch.discounts[place] == pytest.approx(GAMMA**count if is_worth else 0.0)
    assert seen == set(range(6))
    one = buffer.sample(6)
    assert sorted(one.rewards) == [1, 2, 3, 4, 5, 6]
    for place, reward in enumerate(one.rewards):
        if reward < 6:
            assert one.next_states[place] == pytest.approx(some[int(reward)])
    with pytest.raises(InvalidRows, match="n_step"):
        buffer.sample(6, n_step=0)


def test_long_parts_are_asked_for_in_several_requests(memory: Memory) -> None:
    episode = write_episode(memory, "long", 65)
    parts = memory.agent("long").steps([(episode, 0, 64)] * 64)
    assert [len(part) for part in parts] == [65] * 64
    found = memory.agent("long").recall_many(states(64), k=65, vectors=True)
    assert [len(one) for one in found] == [65] * 64


def test_sequences_have_a_burn_in_and_a_mask(memory: Memory) -> None:
    write_episode(memory, "sequences", 5)
    buffer = ReplayBuffer(memory.agent("sequences"), strategy="uniform")
    drawn = buffer.sample_sequences(5, length=3, burn_in=2)
    assert drawn.states.shape == (5, 5, DIMENSION)
    some = states(6, seed=5)
    for place in range(5):
        first = int((drawn.actions[place][2] or "")[1:]) - 2
        expected = [0 <= first + t < 5 for t in range(5)]
        assert drawn.mask[place].tolist() == expected
        for t in np.flatnonzero(expected):
            assert drawn.states[place, t] == pytest.approx(some[first + t])
            assert drawn.rewards[place, t] == first + t + 1
            assert drawn.terminals[place, t] == (first + t == 4)
        assert not drawn.states[place, ~np.array(expected)].any()
    drawn.update_priorities(np.arange(5.0))


def test_fifo_gives_each_once_and_lifo_the_latest(memory: Memory) -> None:
    agent = memory.agent("orders")
    agent.remember_many(states(10), reward=np.arange(10.0), batch=1, in_flight=1)
    fifo = ReplayBuffer(agent, strategy="fifo", timeout_s=0.3)
    assert [list(fifo.sample(4).rewards) for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    with pytest.raises(TooFewInserts):
        fifo.sample(4)
    agent.remember(states(1, seed=9)[0], reward=99.0)
    assert list(fifo.sample(4).rewards) == [99]
    assert list(ReplayBuffer(agent, strategy="lifo").sample(2).rewards) == [99, 9]


def test_priorities_change_what_is_drawn(memory: Memory) -> None:
    agent = memory.agent("priorities")
    agent.remember_many(states(40), reward=1.0)
    with ReplayBuffer(agent, alpha=1.0, beta=1.0, prefetch=2) as buffer:
        batch = buffer.sample(40)
        assert batch.weights == pytest.approx(1.0)
        favourite = batch.draw.ids[7]
        errors = np.full(40, -1e-4)
        errors[7] = -100.0
        (changed,) = batch.update_priorities(errors)
        assert changed.changed == 40
        buffer.sample(1)  # two more were drawn ahead
        drawn: list[Batch] = [buffer.sample(1) for _ in range(30)]
    assert sum(one.draw.ids == [favourite] for one in drawn[4:]) >= 24
    assert drawn[-1].weights[0] < 0.01, "the most likely one counts least"
    with pytest.raises(InvalidRows, match="closed"):
        buffer.sample(1)
    assert buffer.update_priorities([favourite], [0.5]).changed == 1
    with pytest.raises(InvalidRows):
        buffer.update_priorities([favourite], [0.5, 1.0])


def test_a_learner_waits_for_its_agents(memory: Memory) -> None:
    agent = memory.agent("slow")
    agent.remember_many(states(5), reward=1.0)
    hasty = ReplayBuffer(agent, min_size=10, timeout_s=0.2)
    with pytest.raises(TooFewInserts):
        hasty.sample(2)
    patient = ReplayBuffer(agent, min_size=10, timeout_s=20)
    later = threading.Timer(0.3, lambda: agent.remember_many(states(10, seed=2), reward=1.0))
    began = time.monotonic()
    later.start()
    assert len(patient.sample(2)) == 2
    assert time.monotonic() - began > 0.25
    later.join()


def test_a_limiter_keeps_the_ratio() -> None:
    stored = [10]
    limiter = RateLimiter(lambda: stored[0], min_size=10, samples_per_insert=2.0, slack=0.0)
    assert limiter.may_draw(20)
    limiter.drew(20, 10)
    assert not limiter.may_draw(1)
    stored[0] = 12
    assert limiter.may_draw(4)
    assert not limiter.may_draw(5)
    stored[0] = 3
    assert limiter.may_draw(4), "what is deleted is not subtracted"
    limiter.drew(4)
    assert not limiter.may_draw(1)
    stored[0] = 5
    assert limiter.may_draw(4), "two more are stored, though there were twelve before"
    assert not limiter.may_draw(5)
    few = RateLimiter(lambda: 3, samples_per_insert=1.0)
    assert few.may_draw(256), "a batch has no more than there are"
    for never in (0.0, np.nan):
        with pytest.raises(InvalidRows, match="samples_per_insert"):
            RateLimiter(lambda: 1, samples_per_insert=never)


def test_a_forked_learner_draws_ahead_by_itself(memory: Memory) -> None:
    agent = memory.agent("forked_learner")
    agent.remember_many(states(10), reward=1.0)
    with ReplayBuffer(agent, prefetch=1) as buffer, TrajectoryWriter(agent) as writer:
        buffer.sample(2)
        writer.append(states(1)[0], action="buy", reward=1.0)
        child = os.fork()
        if child == 0:
            try:
                writer.end_episode()
                os._exit(len(buffer.sample(2)) != 2 or writer.report.created != 0)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(buffer.sample(2)) == 2
    assert writer.report.created == 1


def test_a_copy_of_a_client_connects_by_itself(
    service: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORY_API_KEY", "of-the-environment")
    with Memory(service.url, "a-secret", dimension=DIMENSION) as memory:
        packed = pickle.dumps(memory)
    assert b"a-secret" not in packed
    assert b"of-the-environment" not in packed
    with pickle.loads(packed) as copy:
        assert copy.agent("copied").remember(states(1)[0], reward=1.0).created


def test_actions_may_be_numbers(memory: Memory) -> None:
    agent = memory.agent("continuous")
    with TrajectoryWriter(agent) as writer:
        writer.append(states(1)[0], action=np.array([0.5, -1.0], np.float32), reward=1.0)
        writer.append(states(2)[1], action={"size": 0.25, "price": 101.5}, reward=1.0)
        with pytest.raises(InvalidRows):
            writer.append(states(1)[0], action=[np.nan], reward=1.0)
    batch = ReplayBuffer(agent, strategy="lifo").sample(2)
    assert batch.continuous_actions().tolist() == [[0.25, 101.5], [0.5, -1.0]]
    assert batch.actions == ["continuous", "continuous"]
    assert batch.draw.arrays.metadata[0]["action"] == {"size": 0.25, "price": 101.5}
    assert action_numbers({}) is None
    agent.remember(states(1)[0], reward=1.0, action="buy")
    with pytest.raises(InvalidRows):
        ReplayBuffer(agent, strategy="lifo").sample(2).continuous_actions()
