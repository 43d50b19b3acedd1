"""Random lives of a memory: the service's answers equal those of a plain Python model."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.embedded import EmbeddedNode
from app.settings import Settings, VectorType
from tests.conftest import DIMENSION, running_service
from tests.kit.memory_model import MemoryModel, as_stored, cosine_distance
from tests.kit.random_lives import vectors

AGENTS = ["Bot1", "bot1", "a,b"]
IDS = [f"m{i}" for i in range(40)]
PRODUCTS = ["BTC-USD", "x|y", " edge ", "*"]
REGIMES = ["bull", "Bull"]
ACTIONS = ["buy", "sell"]
REWARDS = [-1.5, -0.1, 0.0, 0.1, 0.30000000000000004, 2.0]
TIMES = [1_700_000_000.0, 1_700_000_000.25, 1_700_000_001.0, 1_700_003_600.0]

_random = np.random.default_rng(1)
DRAWN = [
    *_random.uniform(-1, 1, (150, DIMENSION)).astype("f4").tolist(),
    *_random.choice([-1.0, 0.0, 1.0, 2.0**-24, 1e-40], (50, DIMENSION)).astype("f4").tolist(),
]
DRAWN = [vector for vector in DRAWN if sum(x * x for x in vector) > 0.01]
"""For the many memories of a beginning: drawing each number takes longer than all the rest."""


def memories_with(vectors: st.SearchStrategy[list[float]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(FIELDS | {"state_vector": vectors})


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "agent_id": st.sampled_from(AGENTS),
    "id": st.sampled_from(IDS),
    "product_id": st.sampled_from(PRODUCTS),
    "regime": st.sampled_from(REGIMES),
    "action": st.sampled_from([*ACTIONS, None]),
    "reward": st.sampled_from([*REWARDS, None]),
    "timestamp": st.sampled_from(TIMES),
    "terminal": st.booleans(),
}
memories = memories_with(vectors)


def some(values: list[str]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, max_size=3)


conditions = st.fixed_dictionaries(
    {},
    optional={
        "product_id": some(PRODUCTS),
        "regime": some(REGIMES),
        "action": some(ACTIONS),
        "min_reward": st.sampled_from(REWARDS),
        "max_reward": st.sampled_from(REWARDS),
        "since": st.sampled_from(TIMES),
        "until": st.sampled_from(TIMES),
        "terminal": st.booleans(),
    },
)
agents, ids = st.sampled_from(AGENTS), st.sampled_from(IDS)
searches = st.fixed_dictionaries(
    {
        "agent_id": agents,
        "state_vector": vectors,
        "scope": st.sampled_from(["own", "others", "all"]),
        "top_k": st.integers(1, 15),
    }
)
operations = st.one_of(
    st.tuples(st.just("store"), memories),
    st.tuples(st.just("batch"), st.lists(memories, min_size=1, max_size=15)),
    st.tuples(st.just("close"), agents, ids, st.sampled_from(REWARDS)),
    st.tuples(st.just("delete"), agents, ids),
    st.tuples(st.just("search"), searches, conditions),
    st.tuples(
        st.just("searches"), st.lists(st.tuples(searches, conditions), min_size=1, max_size=5)
    ),
    st.tuples(
        st.just("query"),
        agents,
        st.just({}) | conditions,
        st.sampled_from(["reward", "timestamp"]),
        st.sampled_from(["asc", "desc"]),
        st.integers(1, 7),
    ),
    st.tuples(st.just("delete_matching"), agents, conditions, st.booleans()),
)


TOLERANCE: dict[VectorType, float] = {"float32": 1e-4, "float16": 1e-3}
"""The engine scales a vector to length one and rounds that again."""


class Comparison:
    """Does each operation on both, and compares what they say."""

    def __init__(self, api: httpx.AsyncClient, stored_as: VectorType) -> None:
        self.api = api
        self.stored_as = stored_as
        self.tolerance = TOLERANCE[stored_as]
        self.model = MemoryModel()

    async def store(self, memory: Any) -> None:
        answer = await self.api.post("/v1/episodic", json=memory)
        assert answer.status_code == self.model.store(memory), answer.text

    async def batch(self, batch: Any) -> None:
        answer = (await self.api.post("/v1/episodic/batch", json={"memories": batch})).json()
        names = {201: "created", 200: "unchanged", 409: "error"}
        expected = [names[self.model.store(memory)] for memory in batch]
        assert [result["status"] for result in answer["results"]] == expected
        assert answer["created"] == expected.count("created")

    async def close(self, agent_id: str, memory_id: str, reward: float) -> None:
        path = f"/v1/episodic/{agent_id}/{memory_id}/outcome"
        answer = await self.api.post(path, json={"reward": reward})
        assert answer.status_code == self.model.close(agent_id, memory_id, reward)

    async def delete(self, agent_id: str, memory_id: str) -> None:
        answer = await self.api.delete(f"/v1/episodic/{agent_id}/{memory_id}")
        assert answer.status_code == self.model.delete(agent_id, memory_id)

    async def search(self, question: Any, wanted: Any) -> None:
        body = question | wanted | {"exact": True}
        answer = await self.api.post("/v1/episodic/search", json=body)
        self.compare_hits(answer.json(), question, wanted)

    async def searches(self, items: Any) -> None:
        bodies = [question | wanted | {"exact": True} for question, wanted in items]
        answer = await self.api.post("/v1/episodic/search/batch", json={"searches": bodies})
        for found, (question, wanted) in zip(answer.json()["results"], items, strict=True):
            self.compare_hits(found, question, wanted)

    def compare_hits(self, found: Any, question: Any, wanted: Any) -> None:
        asking = question["agent_id"]
        seen = {
            "own": {asking},
            "others": set(AGENTS) - {asking},
            "all": set(AGENTS),
        }[question["scope"]]
        distances = {
            (m["agent_id"], m["id"]): cosine_distance(
                m["state_vector"], question["state_vector"], self.stored_as
            )
            for m in self.model.of(seen, wanted)
        }
        hits = [((m["agent_id"], m["id"]), m["distance"]) for m in found["memories"]]
        nearest = sorted(distances.values())[: question["top_k"]]
        assert [distance for _, distance in hits] == pytest.approx(nearest, abs=self.tolerance)
        assert len({key for key, _ in hits}) == len(hits)
        for key, distance in hits:
            assert distance == pytest.approx(distances[key], abs=self.tolerance)

    async def query(
        self, agent_id: str, wanted: Any, sort_by: str, order: str, limit: int
    ) -> None:  # fmt: skip
        body = {
            "agent_id": agent_id,
            "sort_by": sort_by,
            "order": order,
            "limit": limit,
            **wanted,
        }
        listed: list[str] = []
        cursor = None
        while True:
            page = await self.api.post("/v1/episodic/query", json=body | {"cursor": cursor})
            found = page.json()
            listed += [memory["id"] for memory in found["memories"]]
            cursor = found["next_cursor"]
            if cursor is None:
                break
            assert len(found["memories"]) == limit
        assert listed == self.model.ordered(agent_id, wanted, sort_by, order)
        assert found["total"] == len(listed)

    async def delete_matching(self, agent_id: str, wanted: Any, dry_run: bool) -> None:
        # The model keeps nothing that retires.
        body = {"agent_id": agent_id, "dry_run": dry_run, "erase": True, **wanted}
        answer = await self.api.post("/v1/episodic/delete", json=body)
        doomed = self.model.of({agent_id}, wanted)
        gone = 0 if dry_run else len(doomed)
        assert answer.json() == {
            "matched": len(doomed),
            "deleted": gone,
            "remaining": len(doomed) - gone,
            "durability": "memory",
        }
        if not dry_run:
            for memory in doomed:
                self.model.delete(memory["agent_id"], memory["id"])

    async def all_is_there(self) -> None:
        """Every memory with all that was stored, and no other; the last of each agent by its id."""
        for agent_id in AGENTS:
            body = {"agent_id": agent_id, "state_vector": DRAWN[0], "top_k": len(IDS) + 1}
            body |= {"exact": True, "include_vectors": True}
            page = (await self.api.post("/v1/episodic/search", json=body)).json()
            expected = {m["id"]: m for m in self.model.of({agent_id}, {})}
            assert {stored["id"] for stored in page["memories"]} == expected.keys()
            for stored in page["memories"]:
                self.compare_stored(stored, expected[stored["id"]])
            for memory_id in list(expected)[-1:]:
                stored = (await self.api.get(f"/v1/episodic/{agent_id}/{memory_id}")).json()
                self.compare_stored(stored, expected[memory_id])

    def compare_stored(self, stored: Any, memory: Any) -> None:
        for name, value in memory.items():
            if name != "state_vector":
                assert stored[name] == value
        expected = as_stored(memory["state_vector"], self.stored_as)
        assert np.array_equal(np.asarray(stored["state_vector"], "f4"), expected)


@pytest.fixture(
    scope="module",
    params=[("per_agent", "float32"), ("shared", "float32"), ("per_agent", "float16")],
    ids="-".join,
)
async def lasting_api(
    request: pytest.FixtureRequest, redis_node: EmbeddedNode
) -> AsyncIterator[httpx.AsyncClient]:
    """One service for all examples of its settings; each empties the Redis behind it."""
    layout, stored_as = request.param
    chosen = Settings(
        redis_url=redis_node.url, dimension=DIMENSION, layout=layout, vector_type=stored_as
    )
    async with Redis.from_url(redis_node.url, protocol=2) as redis:
        await redis.flushall()  # a service refuses to start on vectors of another type
    async with running_service(chosen) as client:
        yield client


@pytest.mark.timeout(600)  # a failure takes its time to be made small
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    beginning=st.lists(memories_with(st.sampled_from(DRAWN)), min_size=20, max_size=60),
    steps=st.lists(operations, min_size=5, max_size=30),
)
async def test_random_life_equals_the_model(
    lasting_api: httpx.AsyncClient,
    redis: Redis,
    beginning: list[Any],
    steps: list[tuple[Any, ...]],
) -> None:
    await redis.flushall()
    stats = (await lasting_api.get("/v1/stats")).json()
    comparison = Comparison(lasting_api, stats["vector_type"])
    await comparison.batch(beginning)
    for name, *arguments in steps:
        await getattr(comparison, name)(*arguments)
    await comparison.all_is_there()
