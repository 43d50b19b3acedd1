"""Evaluations, decisions and uplift through the Python client."""

import numpy as np
import pytest

import coinswarm_memory as cm
from coinswarm_memory import AsyncMemory, Memory
from tests.client.conftest import states
from tests.kit.service_process import ServiceProcess

DAY = 86_400.0


def fill(memory: Memory, agent: str) -> None:
    memory.agent(agent).remember_many(
        states(120),
        reward=np.arange(120) / 100,
        action="hold",
        timestamp=[DAY * i for i in range(120)],
        outcome_at=[DAY * (i + 1) for i in range(120)],
    )


def test_a_recall_its_decision_and_what_the_memory_adds(memory: Memory) -> None:
    me = memory.agent("decider")
    fill(memory, "decider")
    state = states(1, seed=50)[0]
    found = me.estimate(state, recall=True)
    assert found.arm == "memory"
    assert found.recall_id is not None
    assert me.estimate(state).recall_id is None
    # The moment under the recall's id is the decision; its outcome closes it.
    me.remember(state, product="P", regime="calm", action="hold", id=found.recall_id)
    me.close(found.recall_id, reward=0.5)
    other = me.recall(states(1, seed=51)[0], recall=True).recall_id
    assert other is not None
    posted = me.decide(other, "sell", arm="memory", product="P")
    assert posted.created
    assert posted.counts
    with pytest.raises(cm.DecisionConflict):
        me.decide(other, "hold")
    assert me.close_decision(other, 1.5).changed
    assert not me.close_decision(other, 1.5).changed
    report = me.uplift()
    assert (report.arms[0].closed, report.arms[0].mean_reward) == (2, 1.0)
    assert report.against("no_memory").verdict == "unproven"
    assert [(one.name, one.arms[0].closed) for one in report.products] == [("P", 2)]
    assert [one.agent_id for one in memory.uplifts()] == ["decider"]
    with pytest.raises(cm.RecallUnknown):
        me.decide("recall-x", "buy")
    with pytest.raises(cm.ReadOnlyView):
        memory.at(0).agent("decider").uplift()


def test_an_evaluation(memory: Memory) -> None:
    fill(memory, "evaluated")
    me = memory.agent("evaluated")
    done = me.evaluate(k=10, placebos=19, since=20 * DAY)
    assert done.status == "done"
    assert done.result is not None
    assert done.result.verdict in {"helps", "harms", "unproven"}
    assert (done.result.memories, done.request["top_k"]) == (120, 10)
    assert len(done.result.findings) == 4
    with pytest.raises(cm.InvalidInput):
        me.evaluate(placebos=1)
    assert me.evaluate(scope="all", placebos=19).request["scope"] == "all"
    past = memory.at(60 * DAY).agent("evaluated").evaluate(placebos=19)
    assert past.result is not None
    assert past.result.memories == 60
    with pytest.raises(cm.CallTimedOut):
        me.evaluate(placebos=999, timeout_s=0)


async def test_the_same_on_asyncio(service: ServiceProcess) -> None:
    async with AsyncMemory(service.url, timeout_s=20) as memory:
        me = memory.agent("later")
        found = await me.recall(states(1, seed=60)[0], recall=True)
        assert found.recall_id is not None
        await me.decide(found.recall_id, "buy")
        await me.close_decision(found.recall_id, 2.0)
        assert (await me.uplift()).arms[0].mean_reward == 2.0
        assert (await me.evaluate(placebos=19)).status == "done"
        assert [one async for one in memory.uplifts() if one.agent_id == "later"] == []
