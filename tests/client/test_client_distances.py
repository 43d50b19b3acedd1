"""Learned distances through the Python client."""

import numpy as np
import pytest

import coinswarm_memory as cm
from coinswarm_memory import AsyncMemory, Memory
from tests.client.conftest import states
from tests.conftest import DIMENSION
from tests.kit.service_process import ServiceProcess

DAY = 86_400.0
DAYS = 240
CUT = 150
KNOWN_AT = CUT * DAY
NAMES = [f"feature {i}" for i in range(DIMENSION)]


def fill(memory: Memory, agent: str, *, is_flat: bool = False) -> None:
    """Store a life in which only the first number of a state says something of the reward.

    `is_flat`: the reward is the same each day, so that no number does.
    """
    lived = states(DAYS, seed=7)
    noise = np.random.default_rng(8).normal(size=DAYS)
    memory.agent(agent).remember_many(
        lived,
        id=[f"d{i}" for i in range(DAYS)],
        reward=np.zeros(DAYS) if is_flat else lived[:, 0] + 0.2 * noise,
        action="hold",
        timestamp=[DAY * i for i in range(DAYS)],
        outcome_at=[DAY * (i + 1) for i in range(DAYS)],
    )


def test_from_learning_to_promotion_and_back(memory: Memory) -> None:
    fill(memory, "learner")
    me, distances = memory.agent("learner"), memory.distances
    learned = distances.learn("learner", as_of=KNOWN_AT, names=NAMES).distance
    assert learned is not None
    assert (learned.known_at, learned.memories) == (KNOWN_AT, CUT)
    assert learned.features[0].name == NAMES[0]
    assert learned.features[0].weight == learned.weights[0] > 0.5
    metric = learned.id

    state = states(1, seed=50)[0]
    found = me.recall(state, k=5, as_of=KNOWN_AT, metric=metric)
    scaled = np.array(learned.weights) / np.array(learned.spread) ** 2 / 2
    away = (states(DAYS, seed=7)[:CUT] - state).astype(np.float64) ** 2 @ scaled
    assert [hit.id for hit in found] == [f"d{i}" for i in np.argsort(away)[:5]]
    assert found[0].distance == pytest.approx(away.min())
    assert (found.metric, found.exact) == (metric, True)
    assert me.recall(state).metric is None
    assert me.recall_many(states(2), metric=metric)[1].metric == metric
    assert me.estimate(state, metric=metric).metric == metric
    with me.replica() as local:
        assert local.recall(state, metric=metric).metric == metric
    with pytest.raises(cm.MetricNotFound):
        me.estimate(state, metric="learner:000000000000")

    early = memory.at(KNOWN_AT - DAY)
    with pytest.raises(cm.MetricFromTheFuture):
        early.agent("learner").recall(state, metric=metric)
    assert early.distances.of("learner") == []
    assert [one.id for one in distances.of("learner")] == [metric]
    assert distances.get(metric).distance == learned

    plain = me.evaluate(k=10, placebos=19)
    with pytest.raises(cm.PromotionRefused):
        distances.promote(metric, plain.id)
    proof = me.evaluate(k=10, placebos=19, metric=metric)
    assert proof.result is not None
    assert (proof.result.verdict, proof.result.metric) == ("helps", metric)
    assert proof.result.since == KNOWN_AT
    assert proof.result.gain is not None
    assert proof.result.gain.value > 0
    assert distances.promote(metric, proof.id).promoted
    assert me.recall(state, metric="promoted").metric == metric
    assert distances.of("learner")[0].promoted
    with pytest.raises(cm.ReadOnlyView):
        early.distances.take_back(metric)
    distances.take_back(metric)
    assert me.recall(state, metric="promoted").metric is None
    with pytest.raises(cm.MetricNotFound):
        distances.take_back(metric)
    distances.delete(metric)
    with pytest.raises(cm.MetricNotFound):
        distances.get(metric)


def test_where_nothing_can_be_learned(memory: Memory) -> None:
    fill(memory, "flat", is_flat=True)
    found = memory.at(KNOWN_AT).distances.learn("flat", product="unknown")
    assert (found.status, found.memories, found.distance) == ("done", CUT, None)
    assert found.request["product_id"] == ["unknown"]
    with pytest.raises(cm.InvalidInput, match="closed memories"):
        memory.distances.learn("flat", as_of=50 * DAY)
    with pytest.raises(cm.InvalidInput):
        memory.distances.learn("flat", names=["one"])
    with pytest.raises(cm.CallTimedOut):
        memory.distances.learn("flat", timeout_s=0)


async def test_the_same_on_asyncio(service: ServiceProcess, memory: Memory) -> None:
    fill(memory, "later")
    async with AsyncMemory(service.url, timeout_s=20) as asked:
        learned = (await asked.distances.learn("later", as_of=KNOWN_AT)).distance
        assert learned is not None
        state = states(1, seed=60)[0]
        found = await asked.agent("later").recall(state, metric=learned.id)
        assert found.metric == learned.id
        await asked.distances.delete(learned.id)
        assert await asked.distances.of("later") == []
