"""What others put among the memory's keys spoils nothing that is not theirs."""

from collections.abc import Callable
from pathlib import Path

import httpx
from redis.asyncio import Redis

from app.settings import Settings
from tests.transfer.filled import export_to

Vector = Callable[[int], list[float]]


async def test_a_hash_without_a_record_is_no_memory(
    api: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    body = {"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": vector(1)}
    await api.post("/v1/episodic", json=body | {"id": "m", "timestamp": 1.0})
    await redis.hset("episodic:{a}:foreign", mapping={"timestamp": "2.0", "seq": "7"})
    await redis.hset("episodic:{a}:other", mapping={"regime": "r"})
    for sort_by in ("timestamp", "reward"):
        asked = {"agent_id": "a", "sort_by": sort_by}
        answer = await api.post("/v1/episodic/query", json=asked)
        assert answer.status_code == 200, answer.text
        assert [memory["id"] for memory in answer.json()["memories"]] == ["m"]


async def test_a_string_where_counters_belong_ends_no_export(
    api: httpx.AsyncClient, redis: Redis, settings: Settings, vector: Vector, tmp_path: Path
) -> None:
    body = {"product_id": "p", "regime": "r", "state_vector": vector(1), "id": "m"}
    for agent in ("a", "b", "c"):
        await api.post("/v1/episodic", json=body | {"agent_id": agent})
    await redis.set("episodic_partition:{b}", "something else")
    report = await export_to(tmp_path / "all.ndjson", redis, settings)
    assert report.tally.episodic == 3
