"""What searches find is counted, over HTTP, and no count is lost when services stop or die."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from app import keys
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.service_process import service_process

NEVER_S = 3600.0
NEAR = [1.0] * DIMENSION


def concept(i: int) -> dict[str, Any]:
    return {
        "id": f"c{i}",
        "memory_type": "PATTERN",
        "regime_name": "bull",
        "concept_vector": [1.0 + i, *[1.0] * (DIMENSION - 1)],
        "sharpe_ratio": 1.0,
        "win_rate": 0.5,
    }


async def search(api: httpx.AsyncClient, **conditions: Any) -> list[dict[str, Any]]:
    question = {"concept_vector": NEAR, "top_k": 2, "exact": True, **conditions}
    answer = await api.post("/v1/semantic/search", json=question)
    assert answer.status_code == 200, answer.text
    memories: list[dict[str, Any]] = answer.json()["memories"]
    return memories


async def store(api: httpx.AsyncClient, count: int) -> None:
    batch = {"memories": [concept(i) for i in range(count)]}
    assert (await api.post("/v1/semantic/batch", json=batch)).json()["failed"] == 0


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what background jobs bring about; the test's own time limit ends it."""
    while not await holds():
        await asyncio.sleep(0.02)


@pytest.fixture
def quiet(settings: Settings) -> Settings:
    """Nothing is sent or folded but at the stop."""
    return settings.model_copy(
        update={"access_flush_interval_s": NEVER_S, "access_fold_interval_s": NEVER_S}
    )


async def test_each_search_counts_its_hits_once(quiet: Settings) -> None:
    async with running_service(quiet) as api:
        await store(api, 3)
        began = time.time()
        for count in range(4):
            assert [m["access_count"] for m in await search(api)] == [count, count]
        read = (await api.get("/v1/semantic/c0")).json()
        assert read["access_count"] == 4
        assert began - 0.01 <= read["last_accessed"] <= time.time()
        never = (await api.get("/v1/semantic/c2")).json()
        assert (never["access_count"], never["last_accessed"]) == (0, None)


async def test_reading_is_not_an_access(api: httpx.AsyncClient) -> None:
    await store(api, 1)
    await api.get("/v1/semantic/c0")
    assert (await api.get("/v1/semantic/c0")).json()["access_count"] == 0


async def test_a_stop_keeps_every_count_and_folds_it(quiet: Settings, redis: Redis) -> None:
    async with running_service(quiet) as api:
        await store(api, 3)
        await asyncio.gather(*(search(api) for _ in range(50)))
        assert await redis.hget(keys.semantic_memory("c0"), "access_count") == b"0"
    assert await redis.hmget(keys.semantic_memory("c0"), "access_count") == [b"50"]
    assert await redis.hmget(keys.semantic_memory("c2"), "access_count") == [b"0"]
    async with running_service(quiet) as api:
        assert [m["id"] for m in await search(api, min_access_count=50)] == ["c0", "c1"]
        assert await search(api, min_access_count=51) == []


async def test_a_query_sorts_by_what_it_shows(quiet: Settings) -> None:
    async with running_service(quiet) as api:
        await store(api, 5)
        for top_k in (1, 2, 3, 3):
            await search(api, top_k=top_k)
            await asyncio.sleep(0.02)
    async with running_service(quiet) as api:
        await search(api, top_k=5)
        for sort_by in ("access_count", "last_accessed"):
            listed: list[dict[str, Any]] = []
            cursor = None
            while cursor is not None or not listed:
                asked = {"sort_by": sort_by, "limit": 1, "cursor": cursor}
                page = (await api.post("/v1/semantic/query", json=asked)).json()
                listed += page["memories"]
                cursor = page["next_cursor"]
            assert sorted(m["id"] for m in listed) == [f"c{i}" for i in range(5)]
            assert [m["access_count"] for m in listed] == [4, 3, 2, 0, 0]
            times = [m["last_accessed"] for m in listed]
            assert times[3:] == [None, None]
            assert times[:3] == sorted(times[:3], reverse=True)


async def test_filters_follow_within_the_fold_interval(settings: Settings) -> None:
    fast = {"access_flush_interval_s": 0.05, "access_fold_interval_s": 0.2}
    async with running_service(settings.model_copy(update=fast)) as api:
        await store(api, 3)
        await search(api)

        async def is_folded() -> bool:
            return bool(await search(api, min_access_count=1))

        await until(is_folded)


async def test_two_services_count_together(settings: Settings) -> None:
    fast = {"access_flush_interval_s": 0.02, "access_fold_interval_s": 0.05}
    chosen = settings.model_copy(update=fast)
    async with running_service(chosen) as one, running_service(chosen) as other:
        await store(one, 2)
        for _ in range(20):
            await asyncio.gather(search(one), search(other), search(other))

        async def all_arrived() -> bool:
            count: int = (await one.get("/v1/semantic/c0")).json()["access_count"]
            assert count <= 60
            return count == 60

        await until(all_arrived)
    async with running_service(chosen) as api:
        assert (await api.get("/v1/semantic/c0")).json()["access_count"] == 60


async def test_a_concept_stored_anew_starts_at_zero(quiet: Settings) -> None:
    async with running_service(quiet) as api:
        await store(api, 1)
        await search(api)
        await api.delete("/v1/semantic/c0")
        await store(api, 1)
        fresh = (await api.get("/v1/semantic/c0")).json()
        assert (fresh["access_count"], fresh["last_accessed"]) == (0, None)
    async with running_service(quiet) as api:
        assert (await api.get("/v1/semantic/c0")).json()["access_count"] == 0


def until_sent(data_dir: Path, hits: int) -> None:
    """Wait until the service's Redis has counted so many hits."""
    give_up_at = time.monotonic() + 60
    socket = data_dir / "node-1" / "redis.sock"
    with SyncRedis(unix_socket_path=str(socket.resolve()), protocol=2) as client:
        while sum(map(int, client.hvals(keys.ACCESS_UNFOLDED))) < hits:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)


def test_counts_in_redis_survive_a_killed_service(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {
        "data_dir": tmp_path,
        "dimension": DIMENSION,
        "access_fold_interval_s": NEVER_S,
    }
    question = {"concept_vector": NEAR, "top_k": 1}
    with service_process(**chosen, access_flush_interval_s=0.05) as service:
        with service.client() as client:
            assert client.post("/v1/semantic", json=concept(0)).status_code == 201
            for _ in range(7):
                client.post("/v1/semantic/search", json=question)
        until_sent(tmp_path, 7)
        service.stop(signal.SIGKILL)
    with service_process(**chosen) as again, again.client() as client:
        assert client.get("/v1/semantic/c0").json()["access_count"] == 7
