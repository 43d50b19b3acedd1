"""What a user writes, checked by mypy --strict and never run: test_client_types.py."""

from typing import assert_type

import numpy as np
import numpy.typing as npt

from coinswarm_memory import (
    ActionEstimate,
    AsyncMemory,
    BulkReport,
    Draw,
    Hit,
    Memory,
    RateLimited,
    Recall,
    Stored,
)

State = npt.NDArray[np.float32]


def trade(memory: Memory, state: State, states: State) -> float:
    me = memory.agent("agent_1")
    stored = me.remember(state, product="BTC-USD", action="buy", timestamp="2020-01-01")
    assert_type(stored, Stored)
    me.close(stored.id, reward=0.012)
    found = me.recall(state, k=10, scope="own", since=np.datetime64("2019-01-01"))
    assert_type(found, Recall)
    assert_type(found[0], Hit)
    assert_type(found[0].reward, float | None)
    assert_type(me.recall_many(states), list[Recall])
    assert_type(me.remember_many(states, action="buy"), BulkReport)
    draw = me.sample(256, strategy="prioritized")
    assert_type(draw, Draw)
    draw.update_priorities(np.abs(draw.rewards))
    for experience in me.query(min_reward=0.01, since="2020-01-01", sort_by="reward"):
        assert_type(experience.id, str)
    with me.writer() as writer:
        writer.append([0.1, 0.2], action="buy", reward=0.01)
    try:
        best = memory.at("2020-03-01").agent("agent_1").estimate(state).best()
        assert_type(best, ActionEstimate | None)
    except RateLimited as error:
        return error.retry_after_s or 0.0
    return 0.0 if best is None else best.value


async def trade_on_asyncio(memory: AsyncMemory, state: State) -> None:
    me = memory.agent("agent_1")
    assert_type(await me.recall(state), Recall)
    async for experience in me.query():
        assert_type(experience.reward, float | None)
    async with me.writer() as writer:
        await writer.append(state)


def wrong(memory: Memory, state: State) -> None:
    memory.agent("a").recall(state, scope="mine")  # type: ignore[arg-type]
    memory.agent("a").recall(state, top_k=3)  # type: ignore[call-arg]
    memory.agent("a").remember(state, rewards=1.0)  # type: ignore[call-arg]
    memory.agent("a").recall(state).nearest  # type: ignore[attr-defined]  # noqa: B018
