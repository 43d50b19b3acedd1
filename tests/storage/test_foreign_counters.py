"""Where something else stands in place of a partition's counters, nothing is done by halves."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

Vector = Callable[[int], list[float]]
Spoil = Callable[[Redis, str], Awaitable[Any]]


async def other_type(redis: Redis, partition: str) -> None:
    await redis.set(partition, "something else")


async def no_number(redis: Redis, partition: str) -> None:
    await redis.hset(partition, "bytes", "many")


async def no_feed(redis: Redis, partition: str) -> None:
    feed = partition.replace("partition", "changes")
    await redis.unlink(feed)
    await redis.set(feed, "something else")


SPOILS = pytest.mark.parametrize("spoil", [other_type, no_number])


async def memories(redis: Redis, pattern: str) -> dict[bytes, Any]:
    return {key: await redis.hgetall(key) async for key in redis.scan_iter(match=pattern)}


@pytest.mark.parametrize("spoil", [other_type, no_number, no_feed])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/v1/episodic/a/m0", None),
        ("POST", "/v1/episodic/delete", {"agent_id": "a", "dry_run": False}),
        ("POST", "/v1/retention", {"agent_id": "a", "dry_run": False, "episodic_max_age_days": 0}),
        ("POST", "/v1/episodic/a/m0/outcome", {"reward": 1.0}),
        ("PATCH", "/v1/episodic/a/m0", {"quality": 0.5}),
    ],
    ids=["delete", "delete by filter", "retention", "outcome", "patch"],
)
async def test_experiences_stay_as_they_are(
    api: httpx.AsyncClient,
    redis: Redis,
    vector: Vector,
    *,
    spoil: Spoil,
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    for number in range(3):
        memory = {"agent_id": "a", "id": f"m{number}", "product_id": "p", "regime": "r"}
        stored = await api.post("/v1/episodic", json=memory | {"state_vector": vector(number)})
        assert stored.status_code == 201
    await spoil(redis, "episodic_partition:{a}")
    before = await memories(redis, "episodic:*")
    answer = await api.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (500, "storage_failed"), answer.text
    assert await memories(redis, "episodic:*") == before


@SPOILS
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/v1/semantic/c0", None),
        ("POST", "/v1/semantic/delete", {"dry_run": False}),
        ("POST", "/v1/retention", {"dry_run": False, "semantic": {"min_age_days": 0}}),
        ("PATCH", "/v1/semantic/c0", {"win_rate": 0.25}),
    ],
    ids=["delete", "delete by filter", "retention", "patch"],
)
async def test_concepts_stay_as_they_are(
    api: httpx.AsyncClient,
    redis: Redis,
    vector: Vector,
    *,
    spoil: Spoil,
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    for number in range(3):
        concept = {"memory_type": "PATTERN", "regime_name": "r", "sharpe_ratio": 0, "win_rate": 0.5}
        concept |= {"id": f"c{number}", "concept_vector": vector(number)}
        assert (await api.post("/v1/semantic", json=concept)).status_code == 201
    await spoil(redis, "semantic_partition:{semantic_memory_idx}")
    before = await memories(redis, "semantic_history:*") | await memories(redis, "semantic:*")
    answer = await api.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (500, "storage_failed"), answer.text
    after = await memories(redis, "semantic_history:*") | await memories(redis, "semantic:*")
    assert after == before


@pytest.mark.parametrize("key", ["episodic_agents", "episodic_changes:{a}"])
async def test_what_stands_in_the_way_of_a_list_or_feed_takes_no_memory(
    api: httpx.AsyncClient, redis: Redis, vector: Vector, key: str
) -> None:
    """Else it would be there, and its agent in no list or its store in no feed."""
    await redis.set(key, "something else")
    memory = {"agent_id": "a", "id": "m", "product_id": "p", "regime": "r"}
    answer = await api.post("/v1/episodic", json=memory | {"state_vector": vector(1)})
    assert answer.status_code == 500, answer.text
    assert await memories(redis, "episodic:*") == {}


async def test_a_foreign_key_of_a_memory_spoils_no_deletion_of_others(
    api: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    memory = {"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": vector(1)}
    await api.post("/v1/episodic", json=memory | {"id": "m"})
    await redis.set("episodic:{a}:other", "something else")
    assert (await api.delete("/v1/episodic/a/other")).status_code == 404
    assert (await api.delete("/v1/episodic/a/m")).status_code == 204
    assert await redis.get("episodic:{a}:other") == b"something else"
