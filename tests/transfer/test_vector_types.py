"""Changing MEMORY_VECTOR_TYPE: refused on what is stored, done by export and import."""

from pathlib import Path
from typing import Any, cast, get_args

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app.errors import UnfitFile
from app.keys import SEMANTIC_HISTORY
from app.nodes.client import execute
from app.settings import Settings, VectorType
from app.transfer.file_format import VECTOR_FIELDS
from tests.commands.app_process import run_app, run_app_process
from tests.conftest import DIMENSION, running_service
from tests.transfer.filled import (
    AGENTS,
    CONCEPTS,
    EXPERIENCES,
    Hashes,
    experience,
    export_to,
    fill,
    hashes,
    import_from,
)

STORED = len(EXPERIENCES) - 3 + CONCEPTS
DTYPE = {"float32": "<f4", "float16": "<f2"}
WAYS = [("float32", "float16"), ("float16", "float32")]


def of_type(settings: Settings, vector_type: str) -> Settings:
    return settings.model_copy(update={"vector_type": vector_type})


def converted(stored: Hashes, before: str, after: str) -> Hashes:
    """The same hashes with their vectors in the other type."""
    return {
        key: {
            name: np.frombuffer(value, DTYPE[before]).astype(DTYPE[after]).tobytes()
            if name.decode() in VECTOR_FIELDS
            else value
            for name, value in fields.items()
        }
        for key, fields in stored.items()
    }


async def former(redis: Redis) -> Hashes:
    """What concepts were before they were changed, without `seq`."""
    found: Hashes = {}
    async for key in redis.scan_iter(f"{SEMANTIC_HISTORY}*:*", _type="hash"):
        fields = cast("dict[bytes, bytes]", await redis.hgetall(key))
        found[key] = {name: value for name, value in fields.items() if name != b"seq"}
    return found


async def search(api: httpx.AsyncClient, agent_id: str) -> dict[str, Any]:
    vector = experience(agent_id, 5)["state_vector"]
    body = {"agent_id": agent_id, "state_vector": vector, "exact": True}
    answer = await api.post("/v1/episodic/search", json=body)
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(("before", "after"), WAYS)
async def test_a_service_of_the_other_type_refuses_to_start_and_check_says_why(
    settings: Settings, redis: Redis, before: str, after: str
) -> None:
    async with running_service(of_type(settings, before)) as api:
        await fill(api, redis)
    assert settings.redis_url is not None
    chosen: dict[str, Any] = {
        "redis_url": settings.redis_url.get_secret_value(),
        "dimension": DIMENSION,
    }
    sentence = f"type is {before.upper()}, expected {after.upper()}"
    for run, command, status in ((run_app_process, "serve", 3), (run_app, "check", 1)):
        found, said = run(command, **chosen, port=0, vector_type=after)
        assert found == status, said
        assert sentence in said
        assert f"set MEMORY_VECTOR_TYPE to {before}" in said
    assert run_app("check", **chosen, vector_type=before)[0] == 0


@pytest.mark.parametrize("name", ["all.ndjson.gz", "all.parquet"])
@pytest.mark.parametrize("way", [*WAYS, ("float16", "float16")], ids=" to ".join)
async def test_everything_moves_over(
    name: str, way: tuple[str, str], settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    before, after = way
    async with running_service(of_type(settings, before)) as api:
        await fill(api, redis)
        patch = {"concept_vector": experience("x", 1)["state_vector"]}
        assert (await api.patch("/v1/semantic/c2", json=patch)).status_code == 200
        stored, past = await hashes(redis), await former(redis)
        await export_to(tmp_path / name, redis, of_type(settings, before))
    await redis.flushall()
    chosen = of_type(settings, after)
    report = await import_from(tmp_path / name, redis, chosen)
    assert (report.created, report.unchanged, report.conflicts) == (STORED, 0, [])
    assert await hashes(redis) == converted(stored, before, after)
    assert len(past) == 1
    assert list((await former(redis)).values()) == list(converted(past, before, after).values())
    report = await import_from(tmp_path / name, redis, chosen)
    assert (report.created, report.unchanged, report.conflicts) == (0, STORED, [])
    async with running_service(chosen) as api:
        for agent_id in AGENTS:
            found = await search(api, agent_id)
            assert (found["memories"][0]["id"], found["exact"]) == ("m5", True)
            assert found["memories"][0]["distance"] < 1e-3
        again = (await api.post("/v1/episodic/batch", json={"memories": EXPERIENCES})).json()
        statuses = [result["status"] for result in again["results"]]
        assert (statuses.count("unchanged"), statuses.count("created")) == (STORED - CONCEPTS, 3)


async def test_a_file_with_numbers_that_float16_would_lose_is_not_begun(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    path = tmp_path / "all.ndjson"
    async with running_service(settings) as api:
        await fill(api, redis)
        body = experience("bot", 99) | {"state_vector": [1e6, *[1.0] * (DIMENSION - 1)]}
        assert (await api.post("/v1/episodic", json=body)).status_code == 201
        await export_to(path, redis, settings)
    await redis.flushall()
    with pytest.raises(UnfitFile, match=r"m99: state_vector must hold numbers from"):
        await import_from(path, redis, of_type(settings, "float16"))
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(("before", "after"), WAYS)
async def test_a_lost_index_is_not_rebuilt_as_an_empty_one_of_the_other_type(
    settings: Settings, redis: Redis, before: str, after: str
) -> None:
    async with running_service(of_type(settings, before)) as api:
        await fill(api, redis)
    for name in await execute(redis, "FT._LIST"):
        await execute(redis, "FT.DROPINDEX", name)
    async with running_service(of_type(settings, after)) as api:
        found = await search(api, "bot")
        assert (found["status"], found["code"]) == (500, "index_mismatch")
        assert "MEMORY_VECTOR_TYPE" in found["detail"]
        refused = await api.post("/v1/episodic", json=experience("bot", 100))
        assert refused.json()["code"] == "index_mismatch"
    async with running_service(of_type(settings, before)) as api:
        assert (await search(api, "bot"))["memories"][0]["id"] == "m5"


def test_each_type_has_its_bytes_here() -> None:
    assert set(DTYPE) == set(get_args(VectorType))
