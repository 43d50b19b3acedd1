"""A position after a failover: good for who saw nothing that was lost, lost for everybody else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from app.embedded import EmbeddedTopology, embedded_redis
from app.nodes.client import execute
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.feed.test_changes import URL, changes, memory, named, snapshot

Vector = Callable[[int], list[float]]


@pytest.fixture
async def topology(tmp_path: Path) -> AsyncIterator[EmbeddedTopology]:
    settings = Settings(data_dir=tmp_path, embedded_topology="replicas", embedded_replicas=1)
    async with embedded_redis(settings) as nodes:
        yield nodes


async def status(api: httpx.AsyncClient, position: str) -> int:
    return (await api.get(f"{URL}/changes", params={"after": position})).status_code


async def test_what_a_promoted_replica_lacks_ends_the_positions_that_saw_it(
    topology: EmbeddedTopology, vector: Vector
) -> None:
    master, replica = topology.master, topology.replicas[0]
    old = Settings(redis_url=master.url, dimension=DIMENSION)
    new = Settings(redis_url=replica.url, dimension=DIMENSION)
    async with running_service(old) as api, Redis.from_url(replica.url) as promoted:
        for i in range(3):
            await api.post("/v1/episodic", json=memory(vector, f"m{i}"))
        _, begun, _ = await snapshot(api)
        await api.post(f"{URL}/m0/outcome", json={"reward": 1.0, "outcome_at": 2.0})
        kept = (await changes(api, begun))["next"]
        async with asyncio.timeout(60), Redis.from_url(master.url) as client:
            while await execute(client, "WAIT", 1, 1000) < 1:
                pass
        await execute(promoted, "REPLICAOF", "NO", "ONE")
        # Seen by nobody but the old master:
        await api.post("/v1/episodic", json=memory(vector, "lost"))
        await api.delete(f"{URL}/m1")
        lost = (await changes(api, begun))["next"]
        # Read a part, while the memories in it already show what comes later.
        await api.patch(f"{URL}/m0", json={"quality": 1.0})
        first_part = await changes(api, begun, limit=1)
        assert first_part["changes"][0]["memory"]["quality"] == 1.0
    async with running_service(new) as api:
        assert named(await changes(api, kept)) == []
        assert await status(api, lost) == 410
        assert await status(api, first_part["next"]) == 410
        assert await status(api, begun) == 410  # pages of that snapshot may show what was lost
        await api.post("/v1/episodic", json=memory(vector, "after"))
        assert named(await changes(api, kept)) == [("put", "after")]
        assert await status(api, lost) == 410
        rows, position, _ = await snapshot(api)
        assert sorted(rows["id"].to_pylist()) == ["after", "m0", "m1", "m2"]
        assert named(await changes(api, position)) == []


async def test_a_snapshot_does_not_go_on_in_other_data(
    topology: EmbeddedTopology, vector: Vector
) -> None:
    settings = Settings(redis_url=topology.master.url, dimension=DIMENSION)
    async with running_service(settings) as api, Redis.from_url(topology.master.url) as redis:
        batch = {"memories": [memory(vector, f"m{i}") for i in range(9)]}
        await api.post("/v1/episodic/batch", json=batch)
        _, position, cursor = await snapshot(api, limit=4)
        assert await status(api, position) == 200
        async with redis.pipeline(transaction=True) as at_once:
            at_once.execute_command("REPLICAOF", "127.0.0.1", 1)
            at_once.execute_command("REPLICAOF", "NO", "ONE")  # begins another history
            await at_once.execute()
        answer = await api.get(f"{URL}/snapshot", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (410, "position_lost")
