"""Indexes of several shards: they move to HNSW, are measured, and are left behind."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from app.storage.embedded import EmbeddedNode
from tests.cluster import (
    Cluster,
    Migration,
    afresh,
    command,
    memory,
    raw,
    running_cluster,
    search,
    slot_of,
    until,
)
from tests.conftest import running_service

LARGE, SMALL = ("agent_1", "agent_8"), "agent_2"
"""Each on a shard of its own."""
THRESHOLD = 60
MANY, FEW = 2 * THRESHOLD, THRESHOLD // 2


@pytest.fixture(scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One cluster for all tests here; the cache is off, so that nodes answer."""
    async with running_cluster(
        tmp_path_factory.mktemp("cluster"),
        cache_enabled=False,
        hnsw_threshold=THRESHOLD,
        hnsw_check_interval_s=0.5,
        recall_sample_share=1.0,
    ) as cluster:
        yield cluster


@pytest.fixture
async def cluster(started: Cluster) -> AsyncIterator[Cluster]:
    """The cluster, all of its nodes up, with memories, and a fresh service on it."""
    async with afresh(started) as fresh:
        for agent_id in (*LARGE, SMALL):
            await store(fresh.api, agent_id, MANY if agent_id in LARGE else FEW)
        yield fresh


async def store(api: httpx.AsyncClient, agent_id: str, count: int) -> None:
    batch = {"memories": [memory(agent_id, number) for number in range(count)]}
    assert (await api.post("/v1/episodic/batch", json=batch)).json()["failed"] == 0


async def is_on_hnsw(api: httpx.AsyncClient, agent_id: str) -> bool:
    found = await search(api, agent_id)
    return found.get("exact") is False and not found["partial"]


async def ids(api: httpx.AsyncClient, agent_id: str, **more: Any) -> set[str]:
    return {hit["id"] for hit in (await search(api, agent_id, top_k=1000, **more))["memories"]}


async def indexes_on(node: EmbeddedNode, agent_id: str) -> set[str]:
    """The algorithms of which it has an index of this agent."""
    async with raw(node) as redis:
        names = [name.decode() for name in await command(redis, "FT._LIST")]
    return {n.rpartition(":")[2] for n in names if f"{{{agent_id}}}" in n}


async def indexes_of(cluster: Cluster, agent_id: str) -> set[str]:
    return await indexes_on(await cluster.owner(slot_of(agent_id)), agent_id)


async def test_large_agents_of_every_shard_move_to_hnsw_and_follow_their_slot(
    cluster: Cluster,
) -> None:
    for agent_id in LARGE:
        await until(lambda agent_id=agent_id: is_on_hnsw(cluster.api, agent_id))
        everything = {f"m{number}" for number in range(MANY)}
        assert await ids(cluster.api, agent_id, exact=True) == everything

        async def is_alone(agent_id: str = agent_id) -> bool:
            return await indexes_of(cluster, agent_id) == {"hnsw"}

        await until(is_alone)
    assert await indexes_of(cluster, SMALL) == {"flat"}
    moving = LARGE[0]
    source = await cluster.owner(slot_of(moving))
    migration = Migration(slot_of(moving), source, await cluster.owner(slot_of(SMALL)))
    await migration.begin()
    await migration.finish()
    # First FLAT there, for that is built sooner, then HNSW again.
    await until(lambda: is_on_hnsw(cluster.api, moving))
    assert await ids(cluster.api, moving, exact=True) == everything
    async with running_service(cluster.settings) as fresh:
        assert await is_on_hnsw(fresh, moving)
    await forget_index(source, moving, owner=migration.target)
    assert await indexes_on(source, moving) == set()
    assert await is_on_hnsw(cluster.api, moving)


async def forget_index(node: EmbeddedNode, agent_id: str, *, owner: EmbeddedNode) -> None:
    """As docs/cluster.md says: what an agent that has moved leaves behind is dropped by hand."""
    slot = slot_of(agent_id)
    async with raw(owner) as redis:
        owner_id = (await command(redis, "CLUSTER", "MYID")).decode()
    async with raw(node) as pool, pool.client() as redis:
        await command(redis, "CLUSTER", "SETSLOT", slot, "IMPORTING", owner_id)
        await command(redis, "ASKING")
        await command(redis, "FT.DROPINDEX", f"episodic_memory_idx:{{{agent_id}}}:hnsw")
        await command(redis, "CLUSTER", "SETSLOT", slot, "STABLE")


async def test_agent_on_its_way_keeps_no_other_from_moving_to_hnsw(cluster: Cluster) -> None:
    first, later = LARGE[0], "agent_9"
    source = await cluster.owner(slot_of(first))
    owners = [await cluster.owner(slot_of(agent_id)) for agent_id in (SMALL, *LARGE)]
    target = next(node for node in owners if node is not source)  # it may have moved to SMALL's
    migration = Migration(slot_of(first), source, target)
    await migration.begin()
    await store(cluster.api, later, MANY)
    await until(lambda: is_on_hnsw(cluster.api, later))
    await migration.finish()
    await until(lambda: is_on_hnsw(cluster.api, first))


async def test_recall_is_measured_on_the_shard_of_who_is_asked(cluster: Cluster) -> None:
    labels = {"index_kind": "episodic", "outcome": "compared"}

    def compared() -> float:
        return REGISTRY.get_sample_value("memory_recall_samples_total", labels) or 0.0

    for agent_id in LARGE:
        await until(lambda agent_id=agent_id: is_on_hnsw(cluster.api, agent_id))
        before = compared()

        async def is_measured(agent_id: str = agent_id, before: float = before) -> bool:
            await search(cluster.api, agent_id)
            return compared() > before

        await until(is_measured)
    recall = REGISTRY.get_sample_value("memory_recall_at_k", {"index_kind": "episodic"})
    assert recall == 1.0
