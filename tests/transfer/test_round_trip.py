"""What was exported, deleted and imported is what was there: hash by hash, answer by answer."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app import keys
from app.nodes.shard import lone_shard
from app.settings import Settings
from app.storage.access_counters import DAYS_KEPT, day_of
from app.storage.index import partition_of
from app.transfer import files
from app.transfer.read_memory import HashWalk
from tests.conftest import running_service
from tests.transfer.filled import (
    AGENTS,
    CONCEPTS,
    EXPERIENCES,
    concept,
    experience,
    export_to,
    fill,
    hashes,
    import_from,
    indexes,
    order,
)

FILES = ["all.ndjson", "all.ndjson.gz", "all.parquet"]
STORED = len(EXPERIENCES) - 3 + CONCEPTS
STILL = {"access_flush_interval_s": 3600.0, "access_fold_interval_s": 3600.0}
"""Hits that are counted go to Redis when a service ends, not while a file is written (a fold sends
them too)."""


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAGE_ROWS", 5)


async def answers(api: httpx.AsyncClient) -> list[Any]:
    """Everything that searches say, but for how long they took."""
    said = []
    for i, agent_id in enumerate(AGENTS):
        question = {
            **{"agent_id": agent_id, "state_vector": experience("x", i)["state_vector"]},
            **{"top_k": 50, "scope": ["own", "all"][i % 2], "exact": True, "include_vectors": True},
        }
        said.append((await api.post("/v1/episodic/search", json=question)).json())
    question = {"concept_vector": concept(1)["concept_vector"], "min_access_count": 1}
    said.append((await api.post("/v1/semantic/search", json=question)).json())
    return [{k: v for k, v in answer.items() if k != "took_ms"} for answer in said]


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
@pytest.mark.parametrize("name", FILES)
async def test_everything_comes_back(
    name: str, layout: Any, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"layout": layout, **STILL})
    path = tmp_path / name
    async with running_service(settings) as api:
        await fill(api, redis)
        stored, ordered, said = await hashes(redis), await order(redis), await answers(api)
        report = await export_to(path, redis, settings)
        assert (report.tally.episodic, report.tally.semantic) == (len(EXPERIENCES) - 3, CONCEPTS)
        assert report.resumed_from == 0
    assert [p.name for p in tmp_path.iterdir()] == [name]
    await redis.flushall()
    imported = await import_from(path, redis, settings)
    assert (imported.created, imported.unchanged, imported.conflicts) == (STORED, 0, [])
    assert await hashes(redis) == stored
    assert await order(redis) == ordered
    async with running_service(settings) as api:
        assert await answers(api) == said
        assert said[-1]["count"] == 1
        again = (await api.post("/v1/episodic/batch", json={"memories": EXPERIENCES})).json()
        statuses = [result["status"] for result in again["results"]]
        assert (statuses.count("unchanged"), statuses.count("created")) == (STORED - CONCEPTS, 3)


@pytest.mark.parametrize("name", FILES)
async def test_one_agent_alone(
    name: str, api: httpx.AsyncClient, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    await fill(api, redis)
    stored = await hashes(redis)
    await export_to(tmp_path / name, redis, settings, agent_id="Bot")
    await export_to(tmp_path / f"whole_{name}", redis, settings)
    own = {key: value for key, value in stored.items() if key.startswith(b"episodic:{Bot}:")}
    for path, agent_id in ((tmp_path / name, None), (tmp_path / f"whole_{name}", "Bot")):
        await redis.flushall()
        assert (await import_from(path, redis, settings, agent_id=agent_id)).created == len(own)
        assert await hashes(redis) == own


async def test_formats_hold_the_same(
    api: httpx.AsyncClient, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    await fill(api, redis)
    reports = [await export_to(tmp_path / name, redis, settings) for name in FILES]
    assert len({report.tally for report in reports}) == 1


async def test_an_import_into_the_other_layout_is_found_there(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    settings = settings.model_copy(update=STILL)
    async with running_service(settings) as api:
        await fill(api, redis)
        said = await answers(api)
        await export_to(tmp_path / "all.ndjson", redis, settings)
    await redis.flushall()
    shared = settings.model_copy(update={"layout": "shared"})
    await import_from(tmp_path / "all.ndjson", redis, shared)
    async with running_service(shared) as other:
        assert [found["memories"] for found in await answers(other)] == [
            found["memories"] for found in said
        ]


async def test_what_is_there_stays_and_conflicts_are_named(
    api: httpx.AsyncClient, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    await fill(api, redis)
    path = tmp_path / "all.ndjson"
    await export_to(path, redis, settings)
    other = experience("bot", 1) | {"regime": "bear"}
    await api.delete("/v1/episodic/bot/m1")
    await api.post("/v1/episodic", json=other)
    await api.delete("/v1/episodic/Bot/m2")
    await redis.hset("semantic:{semantic_memory_idx}:c1", "access_count", 42)
    await redis.hset("semantic:{semantic_memory_idx}:c2", "record", '{"id":"c2","patched":1}')
    before = await hashes(redis)
    report = await import_from(path, redis, settings)
    assert (report.created, report.unchanged) == (1, STORED - 3)
    assert report.conflicts == [("bot", "m1"), (None, "c2")]
    after = await hashes(redis)
    restored = after.pop(b"episodic:{Bot}:m2")
    assert b"digest" in restored
    assert after == before


async def test_memories_stored_and_deleted_meanwhile_do_not_break_it(
    api: httpx.AsyncClient, settings: Settings, redis: Redis
) -> None:
    """Between two pages others write: what was there at the start and stays is in the file."""
    await fill(api, redis)
    there = {key.decode() for key in await hashes(redis) if b"{Bot}" in key}
    own = indexes(redis, settings)
    walk = HashWalk(lone_shard(redis), own, timeout_ms=1000)
    found: list[str] = []
    deleted: set[str] = set()
    async for page in walk.pages(partition_of(own, "Bot"), after_seq=0, page_rows=5):
        found += [f"episodic:{{Bot}}:{memory.memory_id}" for memory in page]
        next_key = f"episodic:{{Bot}}:m{page[-1].seq + 1}"  # seq counts from 1, ids from 0
        deleted |= {next_key} if await redis.unlink(next_key) else set()
        body = experience("Bot", 1000 + len(found))
        assert (await api.post("/v1/episodic", json=body)).status_code == 201
    assert len(deleted) == 4
    assert sorted(found) == sorted(there - deleted)


async def test_a_running_service_does_not_answer_from_before_the_import(
    api: httpx.AsyncClient, settings: Settings, redis: Redis
) -> None:
    """Its cache is told of what another process imported."""
    await fill(api, redis)
    await export_to(Path("all.ndjson"), redis, settings)
    await api.post("/v1/episodic/delete", json={"agent_id": "Bot", "dry_run": False})
    for i in range(CONCEPTS):
        await api.delete(f"/v1/semantic/c{i}")
    question = {"agent_id": "Bot", "state_vector": experience("Bot", 1)["state_vector"]}
    idea = {"concept_vector": concept(1)["concept_vector"]}
    for _ in range(2):
        assert (await api.post("/v1/episodic/search", json=question)).json()["count"] == 0
        assert (await api.post("/v1/semantic/search", json=idea)).json()["count"] == 0
    await import_from(Path("all.ndjson"), redis, settings)
    # The push from Redis takes its way; an answer of the cache would stay for a minute.
    async with asyncio.timeout(60):
        while (await api.post("/v1/episodic/search", json=question)).json()["count"] != 10:
            await asyncio.sleep(0.01)
        while (await api.post("/v1/semantic/search", json=idea)).json()["count"] != CONCEPTS:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", FILES)
async def test_what_searches_counted_comes_back(
    name: str, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    """Folded or not, and by the day: else retention would remove what it keeps."""
    slow = settings.model_copy(update={"access_fold_interval_s": 3600.0})
    idea = {"concept_vector": concept(1)["concept_vector"], "top_k": 1}
    today, past = day_of(time.time()), day_of(time.time()) - 20
    async with running_service(settings) as api:
        await fill(api, redis)
        await redis.hset("semantic:{semantic_memory_idx}:c1", "access_count", 0)
        for _ in range(3):
            await api.post("/v1/semantic/search", json=idea)
    seq = int(await redis.hget("semantic:{semantic_memory_idx}:c1", "seq") or 0)
    await redis.hset(keys.access_day(past), str(seq), 200)
    async with running_service(slow) as api:
        for _ in range(2):
            await api.post("/v1/semantic/search", json=idea)
        async with asyncio.timeout(60):
            while await redis.hget(keys.access_day(today), str(seq)) != b"5":
                await asyncio.sleep(0.05)
        assert await redis.hget("semantic:{semantic_memory_idx}:c1", "access_count") == b"3"
        await export_to(tmp_path / name, redis, settings)
    await redis.flushall()
    await redis.hset("semantic_partition:{semantic_memory_idx}", "seq", 1000)  # another numbering
    await import_from(tmp_path / name, redis, settings)
    hash_ = await redis.hgetall("semantic:{semantic_memory_idx}:c1")
    new_seq = str(int(hash_[b"seq"]))
    assert int(new_seq) > 1000
    assert hash_[b"access_count"] == b"5"
    assert float(hash_[b"last_accessed"]) == pytest.approx(time.time(), abs=60)
    assert await redis.hgetall(keys.access_day(today)) == {new_seq.encode(): b"5"}
    assert await redis.hgetall(keys.access_day(past)) == {new_seq.encode(): b"200"}
    for day in (past, today):
        left_s = await redis.ttl(keys.access_day(day))
        assert 0 < (today - day) * 86_400 + left_s - DAYS_KEPT * 86_400 <= 2 * 86_400
    again = await import_from(tmp_path / name, redis, settings)
    assert (again.created, again.conflicts) == (0, [])
    assert await redis.hgetall(keys.access_day(today)) == {new_seq.encode(): b"5"}
