"""Listing and deleting without vectors, while others write."""

import asyncio
import base64
import json
import time
from typing import Any

import httpx
import pytest

from tests.api.test_semantic import concepts
from tests.conftest import DIMENSION


def memory(i: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"m{i}",
        "agent_id": "a",
        "product_id": "p",
        "regime": "r",
        "state_vector": [1.0] * DIMENSION,
        **fields,
    }


async def pages(api: httpx.AsyncClient, body: dict[str, Any], path: str) -> list[str]:
    listed: list[str] = []
    cursor = None
    while True:
        answer = await api.post(path, json=body | {"cursor": cursor})
        assert answer.status_code == 200, answer.text
        listed += [m["id"] for m in answer.json()["memories"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return listed


@pytest.mark.parametrize("sort_by", ["reward", "timestamp"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_neither_skip_nor_repeat_while_others_write(
    api: httpx.AsyncClient, sort_by: str, order: str
) -> None:
    """Three hundred memories share two rewards and two seconds."""
    old = [memory(i, reward=float(i % 2), timestamp=1e9 + i % 2) for i in range(300)]
    await api.post("/v1/episodic/batch", json={"memories": old})
    stop = asyncio.Event()

    async def keep_writing() -> None:
        i = 300
        while not stop.is_set():
            new = memory(i, reward=float(i % 2), timestamp=1e9 + i % 2)
            assert (await api.post("/v1/episodic", json=new)).status_code == 201
            i += 1

    writing = asyncio.create_task(keep_writing())
    body = {"agent_id": "a", "sort_by": sort_by, "order": order, "limit": 7}
    listed = await pages(api, body, "/v1/episodic/query")
    stop.set()
    await writing
    assert len(set(listed)) == len(listed)
    assert {f"m{i}" for i in range(300)} <= set(listed)


async def test_recent_high_reward(api: httpx.AsyncClient) -> None:
    """The specification's question: the last hours' most profitable, best first."""
    now = time.time()
    batch = [memory(i, reward=i / 100, timestamp=now - i * 3600) for i in range(48)]
    await api.post("/v1/episodic/batch", json={"memories": batch})
    body = {"agent_id": "a", "hours": 24, "min_reward": 0.1, "sort_by": "reward", "limit": 5}
    answer = (await api.post("/v1/episodic/query", json=body)).json()
    assert [m["id"] for m in answer["memories"]] == ["m23", "m22", "m21", "m20", "m19"]
    assert answer["total"] == 14
    assert answer["next_cursor"]


async def test_cursor_of_another_query_is_refused(api: httpx.AsyncClient) -> None:
    batch = [memory(i, reward=float(i)) for i in range(5)]
    await api.post("/v1/episodic/batch", json={"memories": batch})
    body = {"agent_id": "a", "limit": 2}
    cursor = (await api.post("/v1/episodic/query", json=body)).json()["next_cursor"]
    for wrong in (
        body | {"cursor": cursor, "agent_id": "b"},
        body | {"cursor": cursor, "order": "asc"},
        body | {"cursor": "nonsense"},
        body | {"cursor": "AAAA"},
    ):
        answer = await api.post("/v1/episodic/query", json=wrong)
        assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


async def test_hours_and_since_contradict_each_other(api: httpx.AsyncClient) -> None:
    body = {"agent_id": "a", "hours": 1, "since": 5.0}
    answer = await api.post("/v1/episodic/query", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "hours")


async def test_delete_by_filter_is_a_dry_run_unless_told(api: httpx.AsyncClient) -> None:
    batch = [memory(i, reward=float(i % 3), timestamp=float(i)) for i in range(700)]
    await api.post("/v1/episodic/batch", json={"memories": batch})
    body: dict[str, Any] = {"agent_id": "a", "until": 599.0}
    dry = (await api.post("/v1/episodic/delete", json=body)).json()
    assert dry == {"matched": 600, "deleted": 0, "remaining": 600, "durability": "memory"}
    wet = (await api.post("/v1/episodic/delete", json=body | {"dry_run": False})).json()
    assert wet == {"matched": 600, "deleted": 600, "remaining": 0, "durability": "memory"}
    left = (await api.post("/v1/episodic/query", json={"agent_id": "a"})).json()
    assert left["total"] == 100
    question = {"agent_id": "a", "state_vector": [1.0] * DIMENSION, "top_k": 1000}
    found = (await api.post("/v1/episodic/search", json=question)).json()
    assert {m["id"] for m in found["memories"]} == {f"m{i}" for i in range(600, 700)}


async def test_delete_of_an_unknown_agent_finds_nothing(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/episodic/delete", json={"agent_id": "x", "dry_run": False})
    assert answer.json() == {"matched": 0, "deleted": 0, "remaining": 0, "durability": "memory"}


@pytest.mark.parametrize("sort_by", ["sharpe_ratio", "win_rate", "created_at", "access_count"])
async def test_concepts_in_order(api: httpx.AsyncClient, sort_by: str) -> None:
    stored = concepts(40)
    await api.post("/v1/semantic/batch", json={"memories": stored})
    body = {"sort_by": sort_by, "limit": 9, "memory_type": ["PATTERN", "REGIME"]}
    listed = await pages(api, body, "/v1/semantic/query")
    kept = [c for c in stored if c["memory_type"] != "STRATEGY"]
    if sort_by in {"sharpe_ratio", "win_rate"}:
        kept.sort(key=lambda c: -c[sort_by])
    assert len(listed) == len(kept)
    assert set(listed) == {c["id"] for c in kept}
    if sort_by != "created_at":
        assert listed == [c["id"] for c in kept]


async def test_concepts_deleted_by_filter(api: httpx.AsyncClient) -> None:
    await api.post("/v1/semantic/batch", json={"memories": concepts(30)})
    body = {"memory_type": "REGIME", "dry_run": False}
    assert (await api.post("/v1/semantic/delete", json=body)).json()["deleted"] == 10
    assert (await api.post("/v1/semantic/query", json={})).json()["total"] == 20


async def test_search_batch_answers_each_on_its_own(api: httpx.AsyncClient) -> None:
    await api.post("/v1/episodic", json=memory(1))
    good = {"agent_id": "a", "state_vector": [1.0] * DIMENSION}
    body = {"searches": [good, good | {"top_k": 0}, good | {"state_vector": [1.0]}, 5, good]}
    results = (await api.post("/v1/episodic/search/batch", json=body)).json()["results"]
    assert [r.get("field") for r in results] == [None, "top_k", "state_vector", "body", None]
    assert results[0]["memories"] == results[4]["memories"] != []
    for count in (0, 257):
        answer = await api.post("/v1/episodic/search/batch", json={"searches": [good] * count})
        assert (answer.status_code, answer.json()["field"]) == (422, "searches")


async def test_hours_end_at_the_moment_of_the_first_page(api: httpx.AsyncClient) -> None:
    now, hour_s = time.time(), 3600.0
    ages_s = [60.0, 70.0, 80.0, 1.5 * hour_s, 1.6 * hour_s, 2.5 * hour_s]
    stored = [memory(i, timestamp=now - age_s) for i, age_s in enumerate(ages_s)]
    await api.post("/v1/episodic/batch", json={"memories": stored})
    asked = {"agent_id": "a", "hours": 1, "limit": 2}
    first = (await api.post("/v1/episodic/query", json=asked)).json()
    cursor = first["next_cursor"]
    content = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    assert content[-1] == pytest.approx(time.time(), abs=60)
    # As if the first page had been asked for an hour ago.
    an_hour_ago = json.dumps([*content[:-1], content[-1] - hour_s]).encode()
    cursor = base64.urlsafe_b64encode(an_hour_ago).decode()
    second = (await api.post("/v1/episodic/query", json=asked | {"cursor": cursor})).json()
    assert [m["id"] for m in second["memories"]] == ["m2", "m3"]
    third = asked | {"cursor": second["next_cursor"]}
    third = (await api.post("/v1/episodic/query", json=third)).json()
    assert [m["id"] for m in third["memories"]] == ["m4"]
    assert third["next_cursor"] is None
