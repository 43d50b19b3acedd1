"""PATCH changes what it names, all at once, and nothing else."""

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app import keys
from tests.api.test_semantic import concepts
from tests.conftest import DIMENSION

CONCEPT = concepts(1)[0]
PATH = "/v1/semantic/c0"


@pytest.fixture(autouse=True)
async def stored(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/semantic", json=CONCEPT)).status_code == 201


async def found(api: httpx.AsyncClient, **conditions: Any) -> list[dict[str, Any]]:
    question = {"concept_vector": CONCEPT["concept_vector"], "exact": True, **conditions}
    memories: list[dict[str, Any]] = (
        await api.post("/v1/semantic/search", json=question)
    ).json()["memories"]  # fmt: skip
    return memories


@pytest.mark.parametrize(
    ("name", "value", "before", "after"),
    [
        ("memory_type", "STRATEGY", {"memory_type": "PATTERN"}, {"memory_type": "STRATEGY"}),
        ("regime_name", " a,b ", {"regime_name": "bull"}, {"regime_name": " a,b "}),
        ("sharpe_ratio", 9.000000000000002, {}, {"min_sharpe_ratio": 9.000000000000002}),
        ("win_rate", 1.0, {}, {"min_win_rate": 1.0}),
        ("metadata", {"new": [1, {"deep": None}]}, {}, {}),
        ("pinned", True, {}, {}),
    ],
)
async def test_one_field(
    api: httpx.AsyncClient,
    name: str,
    value: Any,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    assert [m["id"] for m in await found(api, **before)] == ["c0"]
    old = (await api.get(PATH)).json()
    answer = await api.patch(PATH, json={name: value})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert changed.pop("token").count(":") == 1
    new = (await api.get(PATH)).json()
    assert new == old | {name: value}
    new.pop("concept_vector")
    assert changed == new | {"durability": "memory"}
    assert [m[name] for m in await found(api, **after)] == [value]
    if before:
        assert await found(api, **before) == []


async def test_vector(api: httpx.AsyncClient) -> None:
    old = (await api.get(PATH)).json()
    vector = [-x for x in CONCEPT["concept_vector"]]
    assert (await api.patch(PATH, json={"concept_vector": vector})).status_code == 200
    new = (await api.get(PATH)).json()
    assert np.allclose(new.pop("concept_vector"), vector)
    old.pop("concept_vector")
    assert new == old
    assert (await found(api))[0]["distance"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "body"),
        ({"id": "other"}, "id"),
        ({"access_count": 5}, "access_count"),
        ({"created_at": 5.0}, "created_at"),
        ({"win_rate": 1.5}, "win_rate"),
        ({"memory_type": "pattern"}, "memory_type"),
        ({"sharpe_ratio": None}, "sharpe_ratio"),
        ({"pinned": "yes"}, "pinned"),
        ({"concept_vector": [1.0]}, "concept_vector"),
    ],
)
async def test_wrong_changes(api: httpx.AsyncClient, changes: dict[str, Any], field: str) -> None:
    old = (await api.get(PATH)).json()
    answer = await api.patch(PATH, json=changes)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await api.get(PATH)).json() == old


async def test_nothing_there(api: httpx.AsyncClient, redis: Redis) -> None:
    answer = await api.patch("/v1/semantic/nobody", json={"pinned": True})
    assert (answer.status_code, answer.json()["code"]) == (404, "memory_not_found")
    assert not await redis.exists(keys.semantic_memory("nobody"))


async def test_a_repeated_first_store_changes_nothing(api: httpx.AsyncClient) -> None:
    await api.patch(PATH, json={"win_rate": 0.25})
    again = await api.post("/v1/semantic", json=CONCEPT)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert (await api.get(PATH)).json()["win_rate"] == 0.25
    other = await api.post("/v1/semantic", json=CONCEPT | {"win_rate": 0.25})
    assert other.status_code == 409


async def test_concurrent_patches_of_different_fields_all_stay(api: httpx.AsyncClient) -> None:
    changes = {
        "memory_type": "REGIME",
        "regime_name": "crisis",
        "sharpe_ratio": -3.5,
        "win_rate": 0.125,
        "metadata": {"a": 1},
        "pinned": True,
    }
    answers = await asyncio.gather(*(api.patch(PATH, json={k: v}) for k, v in changes.items()))
    assert [answer.status_code for answer in answers] == [200] * len(changes)
    new = (await api.get(PATH)).json()
    assert {name: new[name] for name in changes} == changes


async def test_concurrent_patches_of_the_same_fields_are_never_mixed(
    api: httpx.AsyncClient, redis: Redis
) -> None:
    for attempt in range(10):
        pairs = [(attempt + i / 10, (attempt + 1) / (i + 20)) for i in range(8)]
        answers = await asyncio.gather(
            *(api.patch(PATH, json={"sharpe_ratio": s, "win_rate": w}) for s, w in pairs)
        )
        assert {answer.status_code for answer in answers} == {200}
        new = (await api.get(PATH)).json()
        assert (new["sharpe_ratio"], new["win_rate"]) in pairs
        indexed = await redis.hmget(keys.semantic_memory("c0"), "sharpe_ratio", "win_rate")
        assert [float(v or -1) for v in indexed] == [new["sharpe_ratio"], new["win_rate"]]


async def test_a_patch_does_not_bring_a_deleted_concept_back(
    api: httpx.AsyncClient, redis: Redis
) -> None:
    for _ in range(10):
        await api.post("/v1/semantic", json=CONCEPT)
        patched, deleted = await asyncio.gather(
            api.patch(PATH, json={"win_rate": 0.5}), api.delete(PATH)
        )
        assert patched.status_code in (200, 404)
        assert deleted.status_code == 204
        assert not await redis.exists(keys.semantic_memory("c0"))


@pytest.mark.parametrize("pinned", [True, False, None])
async def test_pinned_is_stored_with_either_memory(
    api: httpx.AsyncClient, pinned: bool | None
) -> None:
    given = {} if pinned is None else {"pinned": pinned}
    experience = {
        "id": "m",
        "agent_id": "a",
        "product_id": "p",
        "regime": "r",
        "state_vector": [1.0] * DIMENSION,
    }
    await api.post("/v1/episodic", json=experience | given)
    await api.post("/v1/semantic", json=CONCEPT | {"id": "n"} | given)
    for path in ("/v1/episodic/a/m", "/v1/semantic/n"):
        assert (await api.get(path)).json()["pinned"] is bool(pinned)
