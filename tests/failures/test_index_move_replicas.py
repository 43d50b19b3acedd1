"""A partition's index moves to HNSW on a master and its replicas, under load and when one dies."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.nodes.client import execute
from app.nodes.redis_errors import IndexMissing
from app.storage.index_info import read_info
from tests.kit.replica_set import ReplicaSet, raw, replica_set
from tests.storage.test_index_move import HNSW, ask, experience, store

COUNT = 3000
MANY = 12_000
"""So many take a replica a second or more to index."""
WAIT_S = 90


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[ReplicaSet]:
    async with replica_set(
        tmp_path,
        cache_enabled=False,
        resident_max_bytes=0,
        hnsw_threshold=COUNT - 1,
        hnsw_check_interval_s=0.2,
    ) as started:
        yield started


async def index(api: httpx.AsyncClient) -> dict[str, Any]:
    answer = await api.get("/v1/stats")
    if answer.status_code != 200:  # the master is away
        return {"algorithm": None, "moving_to": None}
    body: dict[str, Any] = answer.json()["indexes"][0]
    return body


async def until_moved(api: httpx.AsyncClient) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            found = await index(api)
            if (found["algorithm"], found["moving_to"]) == ("HNSW", None):
                return
            await asyncio.sleep(0.02)


async def check_all(api: httpx.AsyncClient, until: asyncio.Task[None]) -> set[tuple[str, bool]]:
    """Ask without pause; who answered, and whether exactly."""
    seen: set[tuple[str, bool]] = set()
    number = 0
    while not until.done():
        number = (number + 1) % COUNT
        found = await ask(api, number, top_k=1000, exact=number % 3 == 0)
        assert found["count"] == 1000
        if found["exact"]:
            assert found["memories"][0]["id"] == f"m{number}"
        seen.add((found["served_by"], found["exact"]))
    await until
    return seen


async def all_on_hnsw(nodes: ReplicaSet) -> None:
    for node in (nodes.topology.master, *nodes.topology.replicas):
        async with raw(node.url) as client, asyncio.timeout(WAIT_S):
            while await execute(client, "FT._LIST") != [HNSW.name.encode()]:
                await asyncio.sleep(0.02)


async def test_replicas_follow_and_answer_throughout(nodes: ReplicaSet) -> None:
    await store(nodes.api, range(COUNT - 1))
    seen = await check_all(nodes.api, asyncio.create_task(asyncio.sleep(0.5)))
    assert {exact for _, exact in seen} == {True}
    await store(nodes.api, range(COUNT - 1, COUNT))
    await check_all(nodes.api, asyncio.create_task(until_moved(nodes.api)))
    await all_on_hnsw(nodes)
    seen = await check_all(nodes.api, asyncio.create_task(asyncio.sleep(0.5)))
    assert {name for name, exact in seen if not exact} >= {"replica-1", "replica-2"}


@pytest.mark.parametrize("name", ["master", "replica-1"])
async def test_a_node_that_dies_in_the_middle_delays_the_move_alone(
    nodes: ReplicaSet, name: str
) -> None:
    await store(nodes.api, range(COUNT))
    async with asyncio.timeout(WAIT_S):
        while (await index(nodes.api))["moving_to"] is None:
            await asyncio.sleep(0.005)
    await nodes.signal(name, signal.SIGKILL)
    await check_all(nodes.api, asyncio.create_task(until_moved(nodes.api)))
    await all_on_hnsw(nodes)
    assert (await ask(nodes.api, top_k=1000, exact=True, consistency="strong"))["count"] == 1000
    page = await nodes.api.post("/v1/episodic/query", json={"agent_id": "a", "limit": 1})
    assert page.json()["total"] == COUNT


async def test_a_replica_that_builds_the_index_in_use_answers_nothing_short(
    tmp_path: Path,
) -> None:
    """It was away when the index moved, follows again, and its master dies before it is done."""
    async with replica_set(
        tmp_path,
        cache_enabled=False,
        resident_max_bytes=0,
        hnsw_threshold=MANY - 1,
        hnsw_check_interval_s=0.2,
        node_poll_interval_ms=20,
    ) as nodes:
        nodes.end_for_good(2)
        master, away = [await nodes.process_id(name) for name in ("master", "replica-1")]
        os.kill(away, signal.SIGSTOP)
        try:
            await nodes.until_part("replica-1", lambda part: part["status"] != "ok")
            await store(nodes.api, range(MANY))
            await until_moved(nodes.api)
        finally:
            os.kill(away, signal.SIGCONT)
        async with raw(nodes.topology.replicas[0].url) as replica, asyncio.timeout(WAIT_S):
            while not await is_building(replica):
                await asyncio.sleep(0.001)
        nodes.end_for_good(0)
        os.kill(master, signal.SIGKILL)
        vector = experience(MANY - 1)["state_vector"]
        question = {"agent_id": "a", "state_vector": vector, "top_k": 1000, "exact": True}
        refused = []
        async with asyncio.timeout(WAIT_S):
            while (answer := await nodes.api.post("/v1/episodic/search", json=question)).is_error:
                refused.append(answer.json())
        assert all(problem["retryable"] for problem in refused)
        found = answer.json()
        assert (found["served_by"], found["count"]) == ("replica-1", 1000)
        assert found["memories"][0]["id"] == f"m{MANY - 1}"


async def is_building(node: Redis) -> bool:
    try:
        (info,) = await read_info(node, [HNSW.alias])
    except IndexMissing:
        return False
    return info.name == HNSW.name and not info.is_complete
