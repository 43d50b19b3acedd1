"""What a search finds equals a plain numpy brute force over the same memories."""

import base64
import time
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from tests.conftest import DIMENSION, running_service

Memory = dict[str, Any]


def memories(count: int, agent_id: str = "agent_1", seed: int = 1) -> list[Memory]:
    rng = np.random.default_rng(seed)
    products, regimes, actions = ["BTC-USD", "ETH-USD"], ["bull", "bear"], ["buy", "sell", "hold"]
    return [
        {
            "id": f"m{i}",
            "agent_id": agent_id,
            "product_id": products[i % 2],
            "regime": regimes[i % 3 % 2],
            "action": actions[i % 3],
            "reward": round(float(rng.normal()), 3),
            "timestamp": 1_700_000_000.0 + i,
            "outcome_at": 1_700_000_100.0 + i,
            "terminal": i % 5 == 0,
            "state_vector": [float(x) for x in rng.normal(size=DIMENSION)],
        }
        for i in range(count)
    ]


async def store(api: httpx.AsyncClient, batch: list[Memory]) -> None:
    for start in range(0, len(batch), 1000):
        answer = await api.post(
            "/v1/episodic/batch", json={"memories": batch[start : start + 1000]}
        )
        assert answer.json()["failed"] == 0


def cosine_distance(a: Any, b: Any) -> float:
    a, b = np.asarray(a, "f4").astype("f8"), np.asarray(b, "f4").astype("f8")
    return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def nearest(stored: list[Memory], question: list[float], top_k: int) -> list[tuple[str, float]]:
    ranked = [(cosine_distance(m["state_vector"], question), m["id"]) for m in stored]
    return [(memory_id, distance) for distance, memory_id in sorted(ranked)[:top_k]]


@pytest.mark.parametrize("top_k", [1, 10, 50, 1000])
async def test_answer_equals_brute_force(api: httpx.AsyncClient, top_k: int) -> None:
    stored = memories(1200)
    await store(api, stored)
    question = [float(x) for x in np.random.default_rng(2).normal(size=DIMENSION)]

    answer = await api.post(
        "/v1/episodic/search",
        json={"agent_id": "agent_1", "state_vector": question, "top_k": top_k},
    )

    body = answer.json()
    expected = nearest(stored, question, top_k)
    assert answer.status_code == 200
    assert body["count"] == len(body["memories"]) == top_k
    assert [m["id"] for m in body["memories"]] == [memory_id for memory_id, _ in expected]
    assert [m["distance"] for m in body["memories"]] == pytest.approx(
        [distance for _, distance in expected], abs=1e-5
    )
    assert body["exact"] is True
    assert body["partial"] is False
    assert body["served_by"].rpartition("/")[2].startswith(("master", "replica"))
    assert body["took_ms"] > 0


async def test_asks_for_more_than_there_is(api: httpx.AsyncClient) -> None:
    stored = memories(7)
    await store(api, stored)
    answer = await api.post(
        "/v1/episodic/search",
        json={"agent_id": "agent_1", "state_vector": [1.0] * DIMENSION, "top_k": 1000},
    )
    assert answer.json()["count"] == 7


async def test_hit_holds_everything_that_was_stored(api: httpx.AsyncClient) -> None:
    stored = {
        "agent_id": "agent_1",
        "product_id": "BTC-USD",
        "regime": "bull",
        "action": "buy",
        "reward": 0.1 + 0.2,
        "timestamp": 1_700_000_000.123456,
        "outcome_at": 1_700_000_500.5,
        "terminal": True,
        "metadata": {"note": 'ä"\\', "nested": {"list": [1, 2.5, None, True]}},
        "state_vector": [0.1] * DIMENSION,
        "next_state_vector": [0.3] * DIMENSION,
        "pinned": True,
    }
    created = (await api.post("/v1/episodic", json=stored)).json()

    answer = await api.post(
        "/v1/episodic/search",
        json={
            "agent_id": "agent_1",
            "state_vector": [0.1] * DIMENSION,
            "include_vectors": True,
        },
    )

    (hit,) = answer.json()["memories"]
    assert hit.pop("id") == created["id"]
    assert hit.pop("recorded_at") == pytest.approx(time.time(), abs=120)
    assert hit.pop("distance") == pytest.approx(0, abs=1e-6)
    for name in ("state_vector", "next_state_vector"):
        assert np.array_equal(np.array(hit.pop(name), "f4"), np.array(stored.pop(name), "f4"))
    assert hit == stored


async def test_base64_and_array_are_the_same_vector(api: httpx.AsyncClient) -> None:
    values = np.random.default_rng(3).normal(size=DIMENSION).astype("<f4")
    as_base64 = base64.b64encode(values.tobytes()).decode()
    memory = {"agent_id": "a", "product_id": "p", "regime": "r", "id": "one"}

    first = await api.post("/v1/episodic", json=memory | {"state_vector": as_base64})
    again = await api.post(
        "/v1/episodic", json=memory | {"state_vector": [float(x) for x in values]}
    )

    assert first.status_code == 201
    assert again.status_code == 200, again.text
    assert again.json()["created"] is False


@pytest.mark.parametrize(
    ("conditions", "keeps"),
    [
        ({"product_id": "BTC-USD"}, lambda m: m["product_id"] == "BTC-USD"),
        ({"product_id": ["BTC-USD", "ETH-USD"]}, lambda m: True),
        ({"regime": "bear", "action": ["buy", "hold"]},
         lambda m: m["regime"] == "bear" and m["action"] != "sell"),
        ({"min_reward": 0.0}, lambda m: m["reward"] >= 0),
        ({"min_reward": -0.5, "max_reward": 0.5}, lambda m: -0.5 <= m["reward"] <= 0.5),
        ({"since": 1_700_000_050.0}, lambda m: m["timestamp"] >= 1_700_000_050),
        ({"until": 1_700_000_050.0}, lambda m: m["timestamp"] <= 1_700_000_050),
        ({"terminal": True}, lambda m: m["terminal"]),
        ({"terminal": False, "product_id": "ETH-USD"},
         lambda m: (m["terminal"], m["product_id"]) == (False, "ETH-USD")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_filters_keep_what_they_say(
    settings: Settings, layout: Any, conditions: dict[str, Any], keeps: Any
) -> None:
    stored = memories(300)
    async with running_service(settings.model_copy(update={"layout": layout})) as api:
        await store(api, stored)
        await store(api, memories(50, agent_id="someone_else", seed=9))
        question = [float(x) for x in np.random.default_rng(4).normal(size=DIMENSION)]
        answer = await api.post(
            "/v1/episodic/search",
            json={
                "agent_id": "agent_1",
                "state_vector": question,
                "top_k": 20,
                "exact": True,
                **conditions,
            },
        )
    expected = nearest([m for m in stored if keeps(m)], question, 20)
    found = answer.json()
    assert [m["id"] for m in found["memories"]] == [memory_id for memory_id, _ in expected]
    assert found["exact"] is True


async def test_max_distance_leaves_out_the_far_ones(api: httpx.AsyncClient) -> None:
    stored = memories(200)
    await store(api, stored)
    question = stored[0]["state_vector"]
    answer = await api.post(
        "/v1/episodic/search",
        json={"agent_id": "agent_1", "state_vector": question, "top_k": 200, "max_distance": 0.5},
    )
    expected = [i for i, distance in nearest(stored, question, 200) if distance <= 0.5]
    assert [m["id"] for m in answer.json()["memories"]] == expected
    assert 0 < len(expected) < 200


async def test_agent_without_memories_gets_an_empty_answer(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/v1/episodic/search", json={"agent_id": "nobody", "state_vector": [1.0] * DIMENSION}
    )
    assert answer.status_code == 200
    assert answer.json()["memories"] == []
    assert answer.json()["exact"] is True


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_scopes_see_own_others_and_all(settings: Settings, layout: Any) -> None:
    async with running_service(settings.model_copy(update={"layout": layout})) as api:
        for agent_id in ("a", "b", "c"):
            batch = memories(40, agent_id, seed=ord(agent_id))
            await store(api, [m | {"id": f"{agent_id}{m['id']}"} for m in batch])
        everything = [
            m | {"id": f"{agent_id}{m['id']}"}
            for agent_id in ("a", "b", "c")
            for m in memories(40, agent_id, seed=ord(agent_id))
        ]
        question = [1.0, *[0.0] * (DIMENSION - 1)]
        for scope, seen in {"own": {"a"}, "others": {"b", "c"}, "all": {"a", "b", "c"}}.items():
            answer = await api.post(
                "/v1/episodic/search",
                json={
                    "agent_id": "a",
                    "state_vector": question,
                    "scope": scope,
                    "top_k": 15,
                    "exact": True,
                },
            )
            expected = nearest([m for m in everything if m["agent_id"] in seen], question, 15)
            assert [m["id"] for m in answer.json()["memories"]] == [i for i, _ in expected]
