"""Random histories: a question of a past moment gets the answer that was true then.

Each history is lived through in the order of its moments, first in a plain model that keeps what
was known after each of them, then in the service. Afterwards every route is asked as of each
moment and compared with what the model knew then.
"""

import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.embedded import EmbeddedNode
from tests.kit.fakes import ManualClock
from tests.kit.memory_model import MemoryModel, cosine_distance
from tests.kit.random_lives import service_by_clock, vectors

START = 1_700_000_000.0
CLOCK = ManualClock()
"""What the service takes for now."""

AGENTS = ["a", "b"]
REGIMES = ["bull", "bear"]
ACTIONS = ["buy", "sell"]
REWARDS = [-1.5, -0.1, 0.1, 2.0]

experiences = st.fixed_dictionaries(
    {
        "agent_id": st.sampled_from(AGENTS),
        "product_id": st.just("p"),
        "regime": st.sampled_from(REGIMES),
        "action": st.sampled_from(ACTIONS),
        "reward": st.sampled_from([*REWARDS, None]),
        "age": st.sampled_from([0.0, 0.5, 3.0]),
        "state_vector": vectors,
    }
)
events = st.one_of(
    st.tuples(st.just("live"), experiences),
    st.tuples(st.just("live"), experiences),
    st.tuples(st.just("close"), st.integers(0, 50), st.sampled_from(REWARDS)),
    st.tuples(st.just("rate"), st.integers(0, 50), st.sampled_from([0.2, 0.9])),
)


@dataclass
class History:
    """What was known after each moment, and how it came to be in the service."""

    api: httpx.AsyncClient
    model: MemoryModel = field(default_factory=MemoryModel)
    known: list[tuple[float, MemoryModel]] = field(default_factory=list)

    @property
    def now(self) -> float:
        """The service's clock, too."""
        return CLOCK.now_s

    async def live(self, experience: dict[str, Any]) -> None:
        """A state some time ago; its outcome, if it has one, is known now."""
        memory = {k: v for k, v in experience.items() if k != "age"}
        memory |= {"id": f"m{len(self.model.memories)}", "terminal": False}
        memory["timestamp"] = self.now - experience["age"]
        if memory["reward"] is not None:
            memory["outcome_at"] = self.now
        assert (await self.api.post("/v1/episodic", json=memory)).status_code == 201
        self.model.store(memory)

    async def close(self, number: int, reward: float) -> None:
        """The outcome of one of the open memories becomes known now."""
        opened = [key for key, m in self.model.memories.items() if m["reward"] is None]
        if opened:
            agent_id, memory_id = opened[number % len(opened)]
            path = f"/v1/episodic/{agent_id}/{memory_id}/outcome"
            outcome = {"reward": reward, "outcome_at": self.now}
            assert (await self.api.post(path, json=outcome)).is_success
            self.model.close(agent_id, memory_id, reward)

    async def rate(self, number: int, quality: float) -> None:
        """One of the memories without a quality is given one now."""
        unrated = [key for key, m in self.model.memories.items() if "quality" not in m]
        if unrated:
            agent_id, memory_id = key = unrated[number % len(unrated)]
            body = {"quality": quality, "priority": 1.0}
            answer = await self.api.patch(f"/v1/episodic/{agent_id}/{memory_id}", json=body)
            assert answer.is_success, answer.text
            self.model.memories[key]["quality"] = quality

    def end_of_moment(self) -> None:
        """Keep what is known now."""
        known = copy.deepcopy(self.model)
        known.memories = {k: m for k, m in known.memories.items() if m["reward"] is not None}
        self.known.append((self.now, known))
        CLOCK.advance(1.0)

    async def compare(self, as_of: float, known: MemoryModel, asked: list[float]) -> None:
        """Every route answers as of this moment what was known then."""
        for agent_id in AGENTS:
            await self.compare_search(as_of, known, agent_id, asked)
            await self.compare_query(as_of, known, agent_id)
            await self.compare_deletion(as_of, known, agent_id)
            await self.compare_estimate(as_of, known, agent_id, asked)
            await self.compare_sample(as_of, known, agent_id)
        for key in self.model.memories:
            answer = await self.api.get("/v1/episodic/{}/{}".format(*key), params={"as_of": as_of})
            assert answer.status_code == (200 if key in known.memories else 404)
            if key in known.memories:
                assert answer.json()["reward"] == known.memories[key]["reward"]
                assert answer.json().get("quality") == known.memories[key].get("quality")

    async def compare_search(
        self, as_of: float, known: MemoryModel, agent_id: str, asked: list[float]
    ) -> None:
        for scope, seen in [("own", {agent_id}), ("others", set(AGENTS) - {agent_id})]:
            expected = {
                m["id"]: (cosine_distance(m["state_vector"], asked), m["reward"])
                for m in known.of(seen, {})
            }
            question = {"agent_id": agent_id, "state_vector": asked, "top_k": 100}
            question |= {"scope": scope, "as_of": as_of, "exact": True}
            single = await self.api.post("/v1/episodic/search", json=question)
            body = {"searches": [question]}
            batch = await self.api.post("/v1/episodic/search/batch", json=body)
            for answer in (single.json(), batch.json()["results"][0]):
                hits = {m["id"]: (m["distance"], m["reward"]) for m in answer["memories"]}
                assert hits.keys() == expected.keys()
                for memory_id, hit in hits.items():
                    assert hit == pytest.approx(expected[memory_id], abs=1e-4)

        good = {m["id"] for m in known.of({agent_id}, {}) if m.get("quality", 0) >= 0.5}
        question |= {"scope": "own", "min_quality": 0.5}
        hits = (await self.api.post("/v1/episodic/search", json=question)).json()["memories"]
        assert {m["id"] for m in hits} == good

    async def compare_estimate(
        self, as_of: float, known: MemoryModel, agent_id: str, asked: list[float]
    ) -> None:
        body = {"agent_id": agent_id, "state_vector": asked, "top_k": 100, "as_of": as_of}
        found = (
            await self.api.post(
                "/v1/episodic/estimate", json=body | {"exact": True, "distinct": "none"}
            )
        ).json()
        memories = known.of({agent_id}, {})
        assert set(found["memories"]) == {m["id"] for m in memories}
        for action in found["actions"]:
            own = [m for m in memories if m["action"] == action["action"]]
            weights = [1 / (cosine_distance(m["state_vector"], asked) + 1e-3) for m in own]
            value = np.average([m["reward"] for m in own], weights=weights)
            assert action["value"] == pytest.approx(value, abs=0.02)
            assert action["count"] == len(own)

    async def compare_sample(self, as_of: float, known: MemoryModel, agent_id: str) -> None:
        body = {"agent_id": agent_id, "as_of": as_of, "size": 4096, "seed": 1}
        drawn = (await self.api.post("/v1/episodic/sample", json=body)).json()["memories"]
        expected = {m["id"]: m["reward"] for m in known.of({agent_id}, {})}
        assert {m["id"]: m["reward"] for m in drawn} == expected
        assert len(drawn) == len(expected)

    async def compare_query(self, as_of: float, known: MemoryModel, agent_id: str) -> None:
        body = {"agent_id": agent_id, "as_of": as_of, "sort_by": "reward", "limit": 1000}
        page = (await self.api.post("/v1/episodic/query", json=body)).json()
        expected = known.ordered(agent_id, {}, "reward", "desc")
        assert [m["id"] for m in page["memories"]] == expected
        assert page["total"] == len(expected)

    async def compare_deletion(self, as_of: float, known: MemoryModel, agent_id: str) -> None:
        body = {"agent_id": agent_id, "as_of": as_of}
        matched = (await self.api.post("/v1/episodic/delete", json=body)).json()["matched"]
        assert matched == len(known.of({agent_id}, {}))


@pytest.fixture(scope="module", params=["per_agent", "shared"])
async def backtest(
    request: pytest.FixtureRequest, empty_node: EmbeddedNode
) -> AsyncIterator[httpx.AsyncClient]:
    """One service that requires `as_of`."""
    chosen = {"layout": request.param, "require_as_of": True}
    async with service_by_clock(empty_node, CLOCK, **chosen) as client:
        yield client


@pytest.mark.timeout(600)  # a failure takes its time to be made small
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    moments=st.lists(st.lists(events, min_size=1, max_size=4), min_size=2, max_size=8),
    asked=vectors,
)
async def test_every_moment_is_answered_as_it_was(
    backtest: httpx.AsyncClient,
    redis: Redis,
    moments: list[list[tuple[Any, ...]]],
    asked: list[float],
) -> None:
    await redis.flushall()
    CLOCK.now_s = START
    history = History(backtest)
    history.end_of_moment()
    for moment in moments:
        for name, *arguments in moment:
            await getattr(history, name)(*arguments)
        history.end_of_moment()
    for as_of, known in history.known:
        await history.compare(as_of, known, asked)
