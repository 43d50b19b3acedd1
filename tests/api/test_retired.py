"""What retention or a deletion by performance removes still answers earlier moments."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app import keys
from app.nodes.client import execute
from app.settings import Settings
from tests.conftest import DIMENSION, running_service

DAY_S = 86_400.0
EVERY = {"agent_id": "a", "dry_run": False, "episodic_max_age_days": 0}


@pytest.fixture(params=["per_agent", "shared"])
async def service(
    request: pytest.FixtureRequest, settings: Settings
) -> AsyncIterator[httpx.AsyncClient]:
    async with running_service(settings.model_copy(update={"layout": request.param})) as client:
        yield client


def state(number: int) -> list[float]:
    return [1.0, number / 10, *[0.0] * (DIMENSION - 2)]


def memory(number: int, agent_id: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "id": f"m{number}",
        "agent_id": agent_id,
        "product_id": "p",
        "regime": "r",
        "action": "buy",
        "state_vector": state(number),
        "reward": float(number),
        "timestamp": 1000.0 + number,
        "outcome_at": 2000.0 + number,
        **more,
    }


async def store(api: httpx.AsyncClient, count: int, agent_id: str = "a") -> None:
    memories = [memory(number, agent_id) for number in range(count)]
    answer = await api.post("/v1/episodic/batch", json={"memories": memories})
    assert answer.json()["created"] == count, answer.text


async def search(api: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    body = {"agent_id": "a", "state_vector": state(0), "top_k": 100, **more}
    answer = await api.post("/v1/episodic/search", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def named(answer: dict[str, Any]) -> list[str]:
    return [found["id"] for found in answer["memories"]]


async def retire_all(api: httpx.AsyncClient) -> int:
    answer = (await api.post("/v1/retention", json=EVERY)).json()["episodic"]
    assert answer["retired"] == answer["deleted"]
    return int(answer["retired"])


async def test_the_present_forgets_and_the_past_does_not(service: httpx.AsyncClient) -> None:
    await store(service, 5)
    before = await search(service, as_of=3000.0)
    assert await retire_all(service) == 5
    after = await search(service, as_of=3000.0)
    assert after["memories"] == before["memories"]
    assert named(await search(service)) == []
    assert named(await search(service, as_of=time.time() + 1)) == []
    assert named(await search(service, as_of=2001.5)) == ["m0", "m1"]
    for scope in ("all", "others"):
        body = {"agent_id": "b", "scope": scope, "as_of": 3000.0}
        assert named(await search(service, **body)) == named(before)
    seen = await service.get("/v1/episodic/a/m1", params={"as_of": 3000.0})
    assert (seen.status_code, seen.json()["reward"]) == (200, 1.0)
    assert (await service.get("/v1/episodic/a/m1")).status_code == 404
    assert (await service.patch("/v1/episodic/a/m1", json={"quality": 1})).status_code == 404


async def test_another_memory_of_the_same_id(service: httpx.AsyncClient) -> None:
    await store(service, 2)
    await retire_all(service)
    again = memory(1, reward=7.0, timestamp=2500.0, outcome_at=2600.0)
    assert (await service.post("/v1/episodic", json=again)).status_code == 201
    seen = await service.get("/v1/episodic/a/m1", params={"as_of": 2400.0})
    assert seen.json()["reward"] == 1.0
    assert (await service.get("/v1/episodic/a/m1")).json()["reward"] == 7.0
    await retire_all(service)
    rewards = [m["reward"] for m in (await search(service, as_of=3000.0))["memories"]]
    assert sorted(rewards) == [0.0, 1.0, 7.0]
    assert (await service.delete("/v1/episodic/a/m1")).status_code == 204
    assert named(await search(service, as_of=3000.0)) == ["m0"]


async def test_a_deletion_by_performance_retires_and_any_other_erases(
    service: httpx.AsyncClient,
) -> None:
    await store(service, 6)
    losers = {"agent_id": "a", "max_reward": 1.0, "dry_run": False}
    assert (await service.post("/v1/episodic/delete", json=losers)).json()["deleted"] == 2
    assert named(await search(service)) == ["m2", "m3", "m4", "m5"]
    assert len(named(await search(service, as_of=3000.0))) == 6
    erased = losers | {"max_reward": 0.5, "erase": True}
    assert (await service.post("/v1/episodic/delete", json=erased)).json() | {} == {
        "matched": 1, "deleted": 1, "remaining": 0, "durability": "memory"
    }  # fmt: skip
    assert named(await search(service, as_of=3000.0)) == ["m1", "m2", "m3", "m4", "m5"]
    early = {"agent_id": "a", "until": 1002.5, "dry_run": False}
    assert (await service.post("/v1/episodic/delete", json=early)).json()["deleted"] == 2
    assert named(await search(service, as_of=3000.0)) == ["m3", "m4", "m5"]


async def test_equally_near_ones_keep_their_order(service: httpx.AsyncClient) -> None:
    """Agents that watch one market store equal states."""
    for agent_id in "ab":
        await store(service, 6, agent_id)
    twin = memory(3) | {"id": "m0-twin", "outcome_at": 2004.0}
    assert (await service.post("/v1/episodic", json=twin)).status_code == 201

    async def asked() -> list[Any]:
        answers: list[Any] = []
        for scope in ("own", "all", "others"):
            at = {"as_of": 3000.0, "scope": scope, "product_id": "p"}
            answers.append((await search(service, **at))["memories"])
            body = {"agent_id": "a", "state_vector": state(0), "top_k": 5, **at}
            estimate = (await service.post("/v1/episodic/estimate", json=body)).json()
            answers.append((estimate["actions"], estimate["memories"], estimate["novelty"]))
        return answers

    before = await asked()
    for name in ("m3", "m1"):
        rated = await service.patch(f"/v1/episodic/a/{name}", json={"priority": 1.0})
        assert rated.status_code == 200, rated.text
    assert await asked() == before
    losers = {"agent_id": "a", "max_reward": 4.0, "dry_run": False}
    assert (await service.post("/v1/episodic/delete", json=losers)).json()["deleted"] == 6
    assert await asked() == before


async def test_pages_samples_and_counts_as_of_a_moment(service: httpx.AsyncClient) -> None:
    await store(service, 9)
    part = {"agent_id": "a", "min_reward": 3.5, "max_reward": 6.5, "dry_run": False}
    asked = {"agent_id": "a", "as_of": 3000.0, "sort_by": "reward", "limit": 4}
    drawn = {"agent_id": "a", "as_of": 3000.0, "size": 5, "seed": 1, "strategy": "prioritized"}

    async def pages() -> list[Any]:
        found, cursor = [], None
        while True:
            answer = await service.post(
                "/v1/episodic/query", json=asked | ({"cursor": cursor} if cursor else {})
            )
            found.append(answer.json())
            cursor = found[-1]["next_cursor"]
            if cursor is None:
                return found

    async def sample() -> Any:
        answer = (await service.post("/v1/episodic/sample", json=drawn)).json()
        return answer["memories"], answer["population"]

    before = await pages(), await sample()
    assert (await service.post("/v1/episodic/delete", json=part)).json()["deleted"] == 3
    assert (await pages(), await sample()) == before
    (stats,) = (await service.get("/v1/stats")).json()["agents"]
    assert (stats["memories"], stats["retired_memories"]) == (6, 3)


async def others_said(api: httpx.AsyncClient, as_of: float) -> list[dict[str, Any]]:
    """Return what the other routes answer as of a moment; the memory asked for was purged."""
    every: dict[str, Any] = {"as_of": as_of}
    asked = {"agent_id": "a", **every}
    return [
        (await api.post("/v1/episodic/query", json=asked)).json(),
        (await api.post("/v1/episodic/sample", json={**asked, "size": 5})).json(),
        (await api.post("/v1/episodic/sample", json={**every, "size": 5})).json(),
        (await api.get("/v1/episodic/a/map", params=every)).json(),
        (await api.get("/v1/episodic/a/m0", params=every)).json(),
        (await api.get("/v1/calibration", params=asked)).json(),
        (await api.get("/v1/calibration", params={**asked, "scope": "all"})).json(),
        await evaluated(api, **asked),
        await evaluated(api, **asked, scope="all"),
    ]


async def evaluated(api: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    """Return what an evaluation found, without what it did not."""
    found = (await api.post("/v1/evaluate", json=asked)).json()
    while found["status"] in {"queued", "running"}:
        await asyncio.sleep(0.01)
        found = (await api.get(f"/v1/evaluate/{found['id']}")).json()
    return {name: value for name, value in found["result"].items() if value is not None}


async def test_what_is_purged_is_told(settings: Settings, redis: Redis) -> None:
    chosen = settings.model_copy(update={"retention_past_memories": 2})
    async with running_service(chosen) as api:
        await store(api, 3)
        await store(api, 1, "b")
        assert "whole_since" not in await search(api, as_of=3000.0)
        first = {"agent_id": "a", "max_reward": 0.5, "dry_run": False}
        await api.post("/v1/episodic/delete", json=first)
        said = (await api.post("/v1/retention", json=EVERY)).json()["episodic"]
        assert (said["retired"], said["purged"]) == (2, 1)
        found = await search(api, as_of=3000.0)
        assert named(found) == ["m1", "m2"]
        assert (found["partial"], found["exact"]) == (True, False)
        assert 3000.0 < found["whole_since"] <= time.time()
        page = await api.post("/v1/episodic/query", json={"agent_id": "a", "as_of": 3000.0})
        assert page.json()["whole_since"] == found["whole_since"]
        estimate = {"agent_id": "a", "state_vector": state(0), "as_of": 3000.0}
        told = (await api.post("/v1/episodic/estimate", json=estimate)).json()
        assert (told["partial"], told["whole_since"]) == (True, found["whole_since"])
        for said in await others_said(api, 3000.0):
            assert (said["partial"], said["whole_since"]) == (True, found["whole_since"]), said
        assert (await api.get("/v1/episodic/a/m1", params={"as_of": 3000.0})).status_code == 200
        for said in await others_said(api, time.time()):
            assert not said.get("partial"), said
            assert "whole_since" not in said
        assert not (await search(api, as_of=time.time()))["partial"]
        assert not (await search(api, agent_id="b", as_of=3000.0))["partial"]
        assert (await search(api, scope="all", as_of=3000.0))["partial"]
    async with running_service(settings.model_copy(update={"retention_past_days": 0.0})) as api:
        await api.post("/v1/retention", json=EVERY)
        assert named(await search(api, as_of=3000.0)) == []
        await api.delete("/v1/episodic/b/m0")
    assert not await redis.exists(keys.episodic_partition("a"))


async def test_a_lost_index_is_built_again(api: httpx.AsyncClient, redis: Redis) -> None:
    await store(api, 3)
    await retire_all(api)
    await execute(redis, "FT.DROPINDEX", "episodic_retired_idx:flat")
    assert named(await search(api, as_of=3000.0)) == ["m0", "m1", "m2"]


async def test_an_agent_stays_while_nobody_knows_what_retired(
    api: httpx.AsyncClient, redis: Redis
) -> None:
    """Without the index, its last memory takes along neither counters nor `retired_until`."""
    await store(api, 1, "b")
    await api.post("/v1/retention", json={**EVERY, "agent_id": "b"})
    await store(api, 2)
    await execute(redis, "FT.DROPINDEX", "episodic_retired_idx:flat")
    await retire_all(api)
    assert await redis.hget(keys.episodic_partition("a"), "retired_until") is not None
    assert named(await search(api, as_of=3000.0)) == ["m0", "m1"]
