"""An agent whose last memory is gone leaves nothing, and may come back at that very moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.nodes.client import execute
from app.nodes.job_lock import JobLock
from app.settings import Settings
from app.storage.agents import EmptiedAgents
from tests.conftest import running_service
from tests.kit.storage_parts import storage_parts

Vector = Callable[[int], list[float]]
Delete = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]
HOSTILE = "a@b:[x y]|*-é "


@pytest.fixture(params=["per_agent", "shared"])
async def service(
    request: pytest.FixtureRequest, settings: Settings
) -> AsyncIterator[httpx.AsyncClient]:
    chosen = {"layout": request.param, "retention_past_days": 0.0}
    async with running_service(settings.model_copy(update=chosen)) as client:
        yield client


def memory(agent: str, vector: Vector, **more: object) -> dict[str, Any]:
    body = {"id": "m", "agent_id": agent, "product_id": "p", "regime": "r", "reward": 1.0}
    return body | {"timestamp": 1.0, "state_vector": vector(1)} | more


async def by_id(client: httpx.AsyncClient, agent: str) -> httpx.Response:
    return await client.delete(f"/v1/episodic/{agent}/m")


async def by_filter(client: httpx.AsyncClient, agent: str) -> httpx.Response:
    body = {"agent_id": agent, "dry_run": False}
    return await client.post("/v1/episodic/delete", json=body)


async def by_retention(client: httpx.AsyncClient, agent: str) -> httpx.Response:
    body = {"agent_id": agent, "dry_run": False, "episodic_max_age_days": 0}
    return await client.post("/v1/retention", json=body)


async def left(redis: Redis) -> tuple[set[bytes], set[bytes]]:
    """Keys and indexes that are about experiences; the shared layout's index is nobody's alone."""
    names = {key async for key in redis.scan_iter(match="*episodic*", count=1000)}
    # A feed tells of the last deletions for a moment.
    names -= {n for n in names if n.startswith(b"episodic_changes:") and await redis.ttl(n) > 0}
    indexes = set(await execute(redis, "FT._LIST"))
    return names - {b"episodic_seq"}, {i for i in indexes if i.startswith(b"episodic_memory_idx:{")}


@pytest.mark.parametrize("delete", [by_id, by_filter, by_retention])
async def test_nothing_is_left(
    service: httpx.AsyncClient, redis: Redis, vector: Vector, delete: Delete
) -> None:
    await service.post("/v1/episodic", json=memory("stays", vector))
    before = await left(redis)
    for agent in ("gone", HOSTILE):
        assert (await service.post("/v1/episodic", json=memory(agent, vector))).status_code == 201
        assert (await delete(service, agent)).is_success
    assert await left(redis) == before
    body = {"agent_id": "stays", "state_vector": vector(1), "scope": "all", "explain": True}
    answer = (await service.post("/v1/episodic/search", json=body)).json()
    assert (answer["count"], answer["explain"]["searches"]) == (1, 1)
    assert (await service.get("/v1/stats")).json()["totals"]["agents"] == 1


async def test_an_agent_that_comes_back_goes_on_counting(
    service: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    """A deletion under way is bounded by the last `seq`: later memories must be above it."""
    await service.post("/v1/episodic", json=memory("a", vector))
    await by_id(service, "a")
    await service.post("/v1/episodic", json=memory("a", vector))
    await service.post("/v1/episodic", json=memory("new", vector))
    assert await redis.hget("episodic:{a}:m", "seq") == b"2"
    assert await redis.hget("episodic:{new}:m", "seq") == b"2"
    body = {"agent_id": "a", "state_vector": vector(1)}
    assert (await service.post("/v1/episodic/search", json=body)).json()["count"] == 1


async def test_a_memory_that_comes_at_that_moment_is_there(
    settings: Settings, redis: Redis, vector: Vector
) -> None:
    """Two services, one of which does not know that the other removed the agent's index."""
    async with running_service(settings) as one, running_service(settings) as other:
        for number in range(40):
            body = memory("a", vector, id=f"m{number}")
            previous = f"/v1/episodic/a/m{number - 1}"
            # Sometimes certainly before it: then `one` believes in an index that is gone.
            before = [await other.delete(previous)] if number % 4 == 0 else []
            stored, *_ = await asyncio.gather(
                one.post("/v1/episodic", json=body), *([] if before else [other.delete(previous)])
            )
            assert stored.status_code == 201, stored.text
            found = await execute(redis, "FT.SEARCH", "episodic_memory_idx:{a}", "*")
            assert [f"episodic:{{a}}:m{number}".encode()] == found[1::2]
            assert await redis.smembers("episodic_agents") == {b"a"}


async def test_what_was_never_counted_keeps_its_index(
    service: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    """A former release did not count a partition's memories."""
    for number in range(3):
        await service.post("/v1/episodic", json=memory("a", vector, id=f"m{number}"))
    await redis.hdel("episodic_partition:{a}", "memories", "bytes")
    assert (await service.delete("/v1/episodic/a/m0")).status_code == 204
    body = {"agent_id": "a", "state_vector": vector(1)}
    assert (await service.post("/v1/episodic/search", json=body)).json()["count"] == 2
    assert await redis.smembers("episodic_agents") == {b"a"}


async def test_remains_of_other_origin_are_removed(
    service: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    """A refused first store leaves a name and an index; a former release left all of them."""
    await service.post("/v1/episodic", json=memory("stays", vector))
    before = await left(redis)
    await service.post("/v1/episodic", json=memory("emptied", vector))
    await redis.unlink("episodic:{emptied}:m")
    await redis.hset("episodic_partition:{emptied}", "memories", "0")
    await redis.sadd("episodic_agents", "refused", HOSTILE)
    await redis.sadd("episodic_agents", "odd")
    await redis.set("episodic_partition:{odd}", "not a hash")
    shards = storage_parts(redis).shards
    emptied = EmptiedAgents(shards, JobLock(shards))
    assert await emptied.remove() == 3
    await redis.unlink("episodic_partition:{odd}")
    assert await emptied.remove() == 1
    assert await left(redis) == before
    assert await emptied.remove() == 0
