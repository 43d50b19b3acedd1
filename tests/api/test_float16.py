"""Vectors stored as float16: rounded once, given out as rounded, refused if they would be lost."""

import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app.settings import Settings
from app.storage.index_info import read_info
from tests.conftest import DIMENSION, running_service
from tests.kit.memory_model import as_stored, cosine_distance

Vector = Callable[[int], list[float]]
OFF = 1e-3
"""How far the engine's distances may be off: it rounds again what it has scaled to length one."""
LARGE, SMALL = [65505.0, *[1.0] * (DIMENSION - 1)], [1e-8] * DIMENSION


@pytest.fixture(params=["per_agent", "shared"])
def float16(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    return settings.model_copy(update={"vector_type": "float16", "layout": request.param})


@pytest.fixture
async def half(float16: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that stores float16."""
    async with running_service(float16) as client:
        yield client


def rounded(vector: list[float]) -> list[float]:
    """The numbers as answers write them: as few digits as tell one float32 from the next."""
    return [float(str(x)) for x in as_stored(vector, "float16")]


def experience(vector: Vector, number: int, agent_id: str = "a") -> dict[str, Any]:
    return {
        "id": f"m{number}",
        "agent_id": agent_id,
        "product_id": "p",
        "regime": "r",
        "action": "buy",
        "reward": 0.5,
        "timestamp": 1_700_000_000.0,
        "state_vector": vector(number),
        "next_state_vector": vector(number + 1000),
    }


def concept(vector: Vector, number: int) -> dict[str, Any]:
    return {
        "id": f"c{number}",
        "memory_type": "PATTERN",
        "regime_name": "r",
        "concept_vector": vector(number),
        "sharpe_ratio": 1.0,
        "win_rate": 0.5,
    }


async def ask(api: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await api.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def fill(api: httpx.AsyncClient, vector: Vector, count: int = 60) -> None:
    batch = [experience(vector, i, "ab"[i % 2]) for i in range(count)]
    assert (await ask(api, "episodic/batch", memories=batch))["created"] == count
    batch = [concept(vector, i) for i in range(count)]
    assert (await ask(api, "semantic/batch", memories=batch))["created"] == count


async def test_redis_holds_half_the_bytes_and_says_so(
    half: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    await fill(half, vector, 4)
    for key, field, number in (
        ("episodic:{a}:m2", "state_vector", 2),
        ("episodic:{a}:m2", "next_state_vector", 1002),
        ("semantic:{semantic_memory_idx}:c3", "concept_vector", 3),
    ):
        expected = as_stored(vector(number), "float16").astype("<f2").tobytes()
        assert await redis.hget(key, field) == expected
    stats = (await half.get("/v1/stats")).json()
    assert stats["vector_type"] == "float16"
    names = [index["name"] for index in stats["indexes"]]
    assert {info.data_type for info in await read_info(redis, names)} == {"FLOAT16"}
    assert stats["totals"]["index_failures"] == 0


async def test_every_answer_gives_what_is_stored(half: httpx.AsyncClient, vector: Vector) -> None:
    await fill(half, vector)
    one = (await half.get("/v1/episodic/a/m2")).json()
    assert one["state_vector"] == rounded(vector(2))
    assert one["next_state_vector"] == rounded(vector(1002))
    assert (await half.get("/v1/semantic/c2")).json()["concept_vector"] == rounded(vector(2))

    question = {"agent_id": "a", "state_vector": vector(2), "scope": "all", "exact": True}
    found = await ask(
        half, "episodic/search", **question, top_k=60, include_vectors=True, explain=True
    )
    assert (found["count"], found["exact"], found["partial"]) == (60, True, False)
    assert found["explain"]["vector_type"] == "float16"
    nearest = sorted(cosine_distance(vector(i), vector(2), "float16") for i in range(60))
    assert [m["distance"] for m in found["memories"]] == pytest.approx(nearest, abs=OFF)
    for hit in found["memories"]:
        number = int(hit["id"][1:])
        assert hit["state_vector"] == rounded(vector(number))
        assert hit["next_state_vector"] == rounded(vector(number + 1000))
    assert found["memories"][0]["id"] == "m2"

    found = await ask(
        half, "semantic/search", concept_vector=vector(3), exact=True, include_vectors=True
    )
    for hit in found["memories"]:
        assert hit["concept_vector"] == rounded(vector(int(hit["id"][1:])))
    assert found["memories"][0]["id"] == "c3"

    drawn = await ask(half, "episodic/sample", agent_id="a", size=5, include_vectors=True)
    for memory in drawn["memories"]:
        assert memory["state_vector"] == rounded(vector(int(memory["id"][1:])))

    estimate = await ask(half, "episodic/estimate", **question)
    assert estimate["actions"][0]["value"] == 0.5
    assert estimate["novelty"] < 0.1


async def test_the_same_memory_again_is_known_by_what_was_sent(
    half: httpx.AsyncClient, vector: Vector
) -> None:
    sent = experience(vector, 1)
    assert (await half.post("/v1/episodic", json=sent)).status_code == 201
    as_base64 = base64.b64encode(np.asarray(vector(1), "<f4").tobytes()).decode()
    for again in (sent, sent | {"state_vector": as_base64}):
        assert (await half.post("/v1/episodic", json=again)).status_code == 200
    other = sent | {"state_vector": rounded(vector(1))}
    assert (await half.post("/v1/episodic", json=other)).status_code == 409
    assert (await half.post("/v1/semantic", json=concept(vector, 1))).status_code == 201
    assert (await half.post("/v1/semantic", json=concept(vector, 1))).status_code == 200


async def test_a_state_that_is_a_memory_is_not_novel(
    half: httpx.AsyncClient, vector: Vector
) -> None:
    for number in range(20):  # the engine finds some of them 0.0005 from themselves
        agent = f"agent {number}"
        await half.post("/v1/episodic", json=experience(vector, number, agent))
        for asked, novelty in ((number, 0.0), (number + 1, 1.0)):
            estimate = await ask(
                half, "episodic/estimate", agent_id=agent, state_vector=vector(asked)
            )
            assert estimate["novelty"] == novelty


async def test_concepts_change_and_are_found_as_they_were(
    half: httpx.AsyncClient, vector: Vector
) -> None:
    await half.post("/v1/semantic", json=concept(vector, 1))
    before = (await half.get("/v1/semantic/c1")).json()["created_at"]
    changed = await half.patch("/v1/semantic/c1", json={"concept_vector": vector(2)})
    assert changed.status_code == 200, changed.text
    assert (await half.get("/v1/semantic/c1")).json()["concept_vector"] == rounded(vector(2))
    former = (await half.get("/v1/semantic/c1", params={"as_of": before})).json()
    assert former["concept_vector"] == rounded(vector(1))
    known = {"as_of": before, "include_vectors": True, "exact": True}
    (hit,) = (await ask(half, "semantic/search", concept_vector=vector(1), **known))["memories"]
    assert hit["concept_vector"] == rounded(vector(1))
    assert hit["distance"] <= OFF


@pytest.mark.parametrize("unfit", [LARGE, SMALL], ids=["too large", "round to zero"])
async def test_what_float16_would_lose_is_refused_everywhere(
    half: httpx.AsyncClient, redis: Redis, vector: Vector, unfit: list[float]
) -> None:
    good = experience(vector, 1)
    keys_before = int(await redis.dbsize())
    for path, body, field in (
        ("episodic", good | {"state_vector": unfit}, "state_vector"),
        ("episodic", good | {"next_state_vector": unfit}, "next_state_vector"),
        ("episodic/search", {"agent_id": "a", "state_vector": unfit}, "state_vector"),
        ("episodic/estimate", {"agent_id": "a", "state_vector": unfit}, "state_vector"),
        ("semantic", concept(vector, 1) | {"concept_vector": unfit}, "concept_vector"),
        ("semantic/search", {"concept_vector": unfit}, "concept_vector"),
    ):
        answer = await half.post(f"/v1/{path}", json=body)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["field"]) == (
            422,
            "invalid_input",
            field,
        )
        assert "MEMORY_VECTOR_TYPE" in problem["detail"]
    assert int(await redis.dbsize()) == keys_before
    batch = [good, good | {"id": "m2", "state_vector": unfit}]
    found = await ask(half, "episodic/batch", memories=batch)
    assert [result["status"] for result in found["results"]] == ["created", "error"]
    assert found["results"][1]["error"]["field"] == "state_vector"
    assert (await half.get("/v1/episodic/a/m2")).status_code == 404
    await half.post("/v1/semantic", json=concept(vector, 1))
    assert (await half.patch("/v1/semantic/c1", json={"concept_vector": unfit})).status_code == 422
    assert (await half.get("/v1/semantic/c1")).json()["concept_vector"] == rounded(vector(1))


async def test_the_largest_and_smallest_that_fit_are_found(half: httpx.AsyncClient) -> None:
    """The engine scales each to length one: neither end of the range may overflow or vanish."""
    corners = {"large": 65504.0, "small": 2.0**-24}
    for number, (name, size) in enumerate(corners.items()):
        state = [0.0] * DIMENSION
        state[number] = size
        body = {"id": name, "agent_id": "a", "product_id": "p", "regime": "r"}
        answer = await half.post("/v1/episodic", json=body | {"state_vector": state})
        assert answer.status_code == 201, answer.text
        found = await ask(half, "episodic/search", agent_id="a", state_vector=state, exact=True)
        assert found["memories"][0]["id"] == name
        assert [m["distance"] for m in found["memories"]] == pytest.approx(
            [0.0, *[1.0] * number], abs=OFF
        )
