"""What /v1/stats says is what Redis holds."""

import itertools
import time
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.memory.stats import StatsOperations
from app.nodes.client import execute
from app.nodes.reads import ReadRouter
from app.nodes.shard import lone_shard
from app.settings import Settings
from app.storage.index import Indexes
from app.storage.index_info import read_info
from app.storage.statistics import Statistics
from tests.conftest import DIMENSION, running_service
from tests.kit.storage_parts import NoGuards
from tests.transfer.filled import concept, experience

STORED = {"a": [1, 2, 3], "B": [1], "c,d": [1, 2], "d": [0, 3]}
"""By agent; multiples of 3 are stored without a reward."""


async def fill(api: httpx.AsyncClient) -> None:
    batch = [experience(agent, i) | {"id": f"m{i}"} for agent, ids in STORED.items() for i in ids]
    assert (await api.post("/v1/episodic/batch", json={"memories": batch})).json()["failed"] == 0
    for i in range(2):
        assert (await api.post("/v1/semantic", json=concept(i))).status_code == 201


async def stats(api: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await api.get("/v1/stats", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def hash_bytes(redis: Redis, pattern: str) -> int:
    sizes = [await redis.memory_usage(k, samples=0) async for k in redis.scan_iter(pattern)]
    return sum(size or 0 for size in sizes)


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_counts_and_bytes_are_those_of_redis(
    settings: Settings, redis: Redis, layout: Any
) -> None:
    async with running_service(settings.model_copy(update={"layout": layout})) as api:
        await fill(api)
        found = await stats(api)
        agents = {agent["agent_id"]: agent for agent in found["agents"]}
        assert list(agents) == sorted(STORED)
        for agent_id, ids in STORED.items():
            agent = agents[agent_id]
            assert agent["memories"] == agent["sampled_hashes"] == len(ids)
            assert agent["open_memories"] == sum(i % 3 == 0 for i in ids)
            own = await hash_bytes(redis, f"episodic:{{{agent_id}}}:*")
            assert agent["hash_bytes"] == own > len(ids) * DIMENSION * 4
        assert found["semantic"]["memories"] == 2
        names = [index["name"] for index in found["indexes"]]
        infos = dict(zip(names, await read_info(redis, names), strict=True))
        assert set(names) == {agent["index"] for agent in found["agents"]} | {
            found["semantic"]["index"]
        }
        assert len(names) == (5 if layout == "per_agent" else 2)
        for index in found["indexes"]:
            info = infos[index["name"]]
            assert index["status"] == "ready"
            assert index["algorithm"] == info.algorithm
            assert index["dimension"] == DIMENSION
            assert (index["progress"], index["failures"]) == (1.0, 0)
            assert index["documents"] == info.documents > 0
            assert index["total_bytes"] > index["vector_bytes"] > 0
        totals = found["totals"]
        assert (totals["agents"], totals["memories"], totals["open_memories"]) == (4, 8, 3)
        assert (totals["concepts"], totals["indexes"]) == (2, len(names))
        assert totals["index_failures"] == 0
        assert totals["hash_bytes"] == await hash_bytes(redis, "[es]*ic:*")
        assert totals["index_bytes"] == sum(index["total_bytes"] for index in found["indexes"])
        assert abs(totals["measured_at"] - time.time()) < 30


async def test_pages_give_every_agent_once(api: httpx.AsyncClient) -> None:
    await fill(api)
    seen: list[str] = []
    cursor: str | None = None
    for page in itertools.count(1):
        found = await stats(api, limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [agent["agent_id"] for agent in found["agents"]]
        assert found["totals"]["memories"] == 8
        assert len(found["indexes"]) == len(found["agents"]) + 1
        cursor = found["next_cursor"]
        if cursor is None:
            break
        assert page == 1
    assert seen == sorted(STORED)
    one = await stats(api, agent_id="c,d")
    assert [agent["agent_id"] for agent in one["agents"]] == ["c,d"]
    assert (one["next_cursor"], one["totals"]["agents"]) == (None, 4)
    assert (await stats(api, agent_id="nobody"))["agents"] == []


async def test_estimate_uses_the_mean_of_five(api: httpx.AsyncClient, redis: Redis) -> None:
    batch = [experience("a", 2 * i) | {"id": f"m{i:03}", "metadata": {}} for i in range(100)]
    await api.post("/v1/episodic/batch", json={"memories": batch})
    (agent,) = (await stats(api))["agents"]
    assert agent["sampled_hashes"] == 5
    assert agent["hash_bytes"] == pytest.approx(await hash_bytes(redis, "episodic:*"), rel=0.1)


async def test_missing_and_failing_indexes_are_said(api: httpx.AsyncClient, redis: Redis) -> None:
    await fill(api)
    await execute(redis, "FT.DROPINDEX", "episodic_memory_idx:{a}:flat")
    await redis.hset("episodic:{d}:foreign", "state_vector", b"short")
    found = await stats(api)
    agents = {agent["agent_id"]: agent for agent in found["agents"]}
    indexes = {index["name"]: index for index in found["indexes"]}
    assert agents["a"]["memories"] is agents["a"]["open_memories"] is None
    assert indexes["episodic_memory_idx:{a}"]["status"] == "missing"
    assert indexes["episodic_memory_idx:{d}"]["failures"] == 1
    assert (found["totals"]["index_failures"], found["totals"]["indexes"]) == (1, 4)
    assert (found["totals"]["memories"], found["totals"]["uncounted_agents"]) == (5, 1)


async def test_empty_memory(api: httpx.AsyncClient) -> None:
    found = await stats(api)
    assert found["agents"] == []
    assert found["semantic"]["memories"] is None
    assert found["totals"] | {"measured_at": 0} == dict.fromkeys(found["totals"], 0)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"limit": 0}, "limit"), ({"limit": 1001}, "limit"), ({"agent_id": "a{"}, "agent_id")],
)
async def test_bad_parameters_are_named(
    api: httpx.AsyncClient, parameters: dict[str, Any], field: str
) -> None:
    answer = await api.get("/v1/stats", params=parameters)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(("took_s", "fresh_after_s"), [(2.0, 41.0), (0.05, 0.06)])
async def test_costly_totals_are_kept_for_twenty_times_their_cost(
    api: httpx.AsyncClient, settings: Settings, redis: Redis, took_s: float, fresh_after_s: float
) -> None:
    """A clock that says that counting took so long."""
    shards = lone_shard(redis)
    own = Indexes(shards, layout="per_agent", dimension=settings.dimension, wait_s=5)
    times: list[float] = []
    readable = ReadRouter(shards, NoGuards())
    operations = StatsOperations(
        Statistics(readable, own), effort={}, now=time.time, clock=lambda: times.pop(0)
    )

    async def agents(*clock: float) -> int:
        times[:] = clock
        page = await operations.page(agent_id=None, after=None, limit=1)
        assert not times
        return page.totals.agents

    await fill(api)
    assert await agents(100.0, 100.0 + took_s) == 4
    await api.post("/v1/episodic", json=experience("new", 1))
    now = 100.0 + took_s
    if took_s > 1:
        assert await agents(now + fresh_after_s - 2) == 4
    assert await agents(now + fresh_after_s, now + fresh_after_s, now + fresh_after_s) == 5
