"""Indexes are made when needed, heal when lost, and are never silently another's."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.errors import IndexMismatch
from app.nodes.client import execute
from app.nodes.redis_errors import IndexMissing
from app.nodes.shard import lone_shard
from app.service import start
from app.settings import Settings
from app.storage.index import Indexes
from app.storage.index_info import parse_info, read_info
from app.storage.schema import IndexSchema, episodic_schema, semantic_schema, shared_episodic_schema
from app.vectors import VectorFormat
from tests.conftest import DIMENSION, running_service

Vector = Callable[[int], list[float]]


def memory(i: int, vector: Vector, agent_id: str = "a") -> dict[str, Any]:
    return {
        "id": f"m{i}",
        "agent_id": agent_id,
        "product_id": "p",
        "regime": "r",
        "state_vector": vector(i),
    }


async def fill(api: httpx.AsyncClient, vector: Vector, count: int = 300) -> None:
    batch = [memory(i, vector) for i in range(count)]
    assert (await api.post("/v1/episodic/batch", json={"memories": batch})).json()["failed"] == 0


async def search(api: httpx.AsyncClient, vector: Vector) -> dict[str, Any]:
    question = {"agent_id": "a", "state_vector": vector(5), "top_k": 1000, "exact": True}
    answer = await api.post("/v1/episodic/search", json=question)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_a_lost_index_heals_on_the_next_search(
    settings: Settings, redis: Redis, vector: Vector, layout: Any
) -> None:
    async with running_service(settings.model_copy(update={"layout": layout})) as api:
        await fill(api, vector)
        before = await search(api, vector)
        for name in await execute(redis, "FT._LIST"):
            await execute(redis, "FT.DROPINDEX", name)
        after = await search(api, vector)
        assert [m["id"] for m in after["memories"]] == [m["id"] for m in before["memories"]]
        assert after["count"] == 300


async def test_a_lost_index_heals_after_a_restart_and_a_write(
    settings: Settings, redis: Redis, vector: Vector
) -> None:
    async with running_service(settings) as api:
        await fill(api, vector)
    await execute(redis, "FT.DROPINDEX", "episodic_memory_idx:{a}:flat")
    async with running_service(settings) as api:
        await api.post("/v1/episodic", json=memory(300, vector))
        assert (await search(api, vector))["count"] == 301


async def test_everything_lost_is_an_empty_memory_that_works(
    api: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    await fill(api, vector)
    await redis.flushall()
    assert (await search(api, vector))["count"] == 0
    await api.post("/v1/episodic", json=memory(1, vector))
    assert [m["id"] for m in (await search(api, vector))["memories"]] == ["m1"]


async def test_layout_can_be_changed_on_the_same_data(settings: Settings, vector: Vector) -> None:
    async with running_service(settings) as api:
        await fill(api, vector)
        exact = await search(api, vector)
    async with running_service(settings.model_copy(update={"layout": "shared"})) as api:
        shared = await search(api, vector)
    assert [m["id"] for m in shared["memories"]] == [m["id"] for m in exact["memories"]]


async def test_another_dimension_is_refused_at_start(settings: Settings, vector: Vector) -> None:
    async with running_service(settings) as api:
        await fill(api, vector, count=1)
    other = settings.model_copy(update={"dimension": DIMENSION * 2})
    async with AsyncExitStack() as stack:
        with pytest.raises(IndexMismatch, match="dimension is 8, expected 16"):
            await start(other, stack)


async def indexes(redis: Redis, dimension: int = DIMENSION) -> Indexes:
    return Indexes(lone_shard(redis), layout="per_agent", dimension=dimension, wait_s=5)


async def test_verify_says_what_differs(redis: Redis) -> None:
    mine = await indexes(redis)
    await mine.ensure(mine.episodic("a"))
    await mine.verify()
    with pytest.raises(IndexMismatch, match="dimension is 8, expected 16"):
        await (await indexes(redis, 16)).verify()
    with pytest.raises(IndexMismatch, match="dimension is 8, expected 16"):
        await (await indexes(redis, 16)).ensure(episodic_schema("a", VectorFormat(16)))


@pytest.mark.parametrize("name", ["episodic_memory_idx", "semantic_memory_idx"])
async def test_an_index_of_another_maker_is_refused(redis: Redis, name: str) -> None:
    await execute(
        redis,
        *("FT.CREATE", name, "ON", "HASH", "PREFIX", 1, "episodic:", "SCHEMA"),
        *("state_vector", "VECTOR", "FLAT", 6, "DIM", DIMENSION, "TYPE", "FLOAT32"),
        *("DISTANCE_METRIC", "COSINE"),
    )
    with pytest.raises(IndexMismatch, match=f"FT.DROPINDEX {name}"):
        await (await indexes(redis)).verify()


@pytest.mark.parametrize(
    ("make", "m", "ef_construction"),
    [(shared_episodic_schema, 16, 200), (semantic_schema, 32, 400)],
)
async def test_hnsw_has_the_parameters_of_the_specification(
    redis: Redis, make: Callable[[VectorFormat], IndexSchema], m: int, ef_construction: int
) -> None:
    schema = make(VectorFormat(DIMENSION))
    await (await indexes(redis)).ensure(schema)
    (info,) = await read_info(redis, [schema.alias])
    assert (info.algorithm, info.is_complete) == ("HNSW", True)
    attributes = dict(zip(*[iter(await execute(redis, "FT.INFO", schema.alias))] * 2, strict=False))
    vector = attributes[b"attributes"][0]
    assert vector[vector.index(b"M") + 1] == m
    assert vector[vector.index(b"ef_construction") + 1] == ef_construction


async def test_info_of_no_index_is_an_error(redis: Redis) -> None:
    with pytest.raises(IndexMissing):
        await read_info(redis, ["nothing"])


def former(schema: IndexSchema) -> tuple[str | int, ...]:
    """FT.CREATE of the release before these fields were indexed."""
    newer = {"quality", "quality_at", "changed_at"}
    fields = tuple(field for field in schema.fields if field[0] not in newer)
    assert len(fields) < len(schema.fields)
    return replace(schema, fields=fields).create_command(scan=False)


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_an_index_of_a_former_release_is_extended_in_place(
    settings: Settings, redis: Redis, vector: Vector, layout: Any
) -> None:
    chosen = settings.model_copy(update={"layout": layout})
    schema = episodic_schema("a", VectorFormat(DIMENSION))
    if layout == "shared":
        schema = shared_episodic_schema(VectorFormat(DIMENSION))
    await execute(redis, *former(schema))
    await execute(redis, "FT.ALIASADD", schema.alias, schema.name)
    async with running_service(chosen) as api:
        await fill(api, vector, count=20)
    # As it was before: without the fields, with its memories.
    await execute(redis, "FT.DROPINDEX", schema.name)
    await execute(redis, *[word for word in former(schema) if word != "SKIPINITIALSCAN"])
    await execute(redis, "FT.ALIASADD", schema.alias, schema.name)
    parts = Indexes(lone_shard(redis), layout=layout, dimension=DIMENSION, wait_s=5)
    (info,) = await read_info(redis, [schema.name])
    assert "lacks quality, quality_at" in (parts.misfit(info) or "")
    async with running_service(chosen) as api:
        assert (await search(api, vector))["count"] == 20
        rated = memory(99, vector) | {"quality": 0.5}
        assert (await api.post("/v1/episodic", json=rated)).status_code == 201
        question = {"agent_id": "a", "state_vector": vector(5), "min_quality": 0.4}
        answer = (await api.post("/v1/episodic/search", json=question)).json()
        assert [m["id"] for m in answer["memories"]] == ["m99"]
    (info,) = await read_info(redis, [schema.name])
    assert parts.misfit(info) is None
    await parts.verify()  # once more changes nothing


async def test_a_size_that_the_engine_counted_below_zero_is_none(redis: Redis) -> None:
    schema = episodic_schema("agent", VectorFormat(DIMENSION))
    await execute(redis, *schema.create_command(scan=False))
    reply = await execute(redis, "FT.INFO", schema.name)
    reply[reply.index(b"total_index_memory_sz_mb") + 1] = b"17592186044415.9996"

    assert parse_info(reply, engine=80_200).size_bytes == 0


async def test_vectors_are_counted_once_whatever_the_engine_has_in_its_total(redis: Redis) -> None:
    schema = episodic_schema("agent", VectorFormat(DIMENSION))
    await execute(redis, *schema.create_command(scan=False))
    reply = await execute(redis, "FT.INFO", schema.name)
    reply[reply.index(b"vector_index_sz_mb") + 1] = b"1.0"
    for total, engine, expected in (
        (b"0.5", 21_005, 1.5),
        (b"0.5", 80_003, 1.5),
        (b"1.5", 80_200, 1.5),
    ):
        reply[reply.index(b"total_index_memory_sz_mb") + 1] = total
        assert parse_info(reply, engine).size_bytes == expected * 2**20
